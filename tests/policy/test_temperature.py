"""What the temperature does to samples, for each kind of head."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from scipy import stats

from garl.errors import GarlError
from garl.policy.actor_critic import ActorCritic
from garl.policy.features import PolicyConfig
from garl.policy.heads import AutoregressiveHead, draw
from garl.policy.rivals import BetaHead, CategoricalHead, GaussianHead
from garl.systems.garl import load_agents
from garl.types import Location, Observation, Scalar

SPEC = (Scalar("thickness", 5), Location("end", 3))
N = 20_000


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_probabilities_are_raised_to_a_power(temperature: float) -> None:
    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    wanted = p ** (1 / temperature) / (p ** (1 / temperature)).sum()
    index = draw(p.log().expand(N, -1), generator(), temperature)
    torch.testing.assert_close(index.bincount(minlength=4) / N, wanted, rtol=0, atol=0.012)


@pytest.mark.parametrize("head", [AutoregressiveHead, CategoricalHead, GaussianHead, BetaHead])
def test_without_any_every_sample_is_the_likeliest(head: type) -> None:
    torch.manual_seed(0)
    made = head(SPEC, PolicyConfig(features=8, location_channels=4, location_blocks=0))
    features = 3 * torch.rand(1, 8)
    cold = made(features.expand(50, -1), None, generator(), 0.0)
    assert (cold[0] == cold[0][0]).all()
    warm = made(features.expand(N, -1), None, generator())
    if head is AutoregressiveHead:  # each dimension in turn, which may miss the likeliest of all
        assert cold[1][0] > warm[1].median()
    else:
        assert cold[1][0] >= warm[1].max() - 1e-4


def test_a_normal_narrows_and_a_beta_is_another_beta() -> None:
    torch.manual_seed(0)
    config, features = PolicyConfig(features=8), 3 * torch.rand(1, 8)
    normal, beta = GaussianHead(SPEC, config), BetaHead(SPEC, config)
    action = normal(features.expand(N, -1), None, generator(), 0.5)[0]
    deviation = normal.distribution(features).stddev[0] * 0.5
    torch.testing.assert_close(action.std(0), deviation, rtol=0.02, atol=0)
    action = beta(features.expand(N, -1), None, generator(), 0.5)[0]
    distribution = beta.distribution(features)
    for i in range(3):
        a, b = (each[0, i].item() for each in (distribution.concentration1, distribution.concentration0))
        squared = stats.beta(2 * a - 1, 2 * b - 1)  # x^(a−1) (1−x)^(b−1), squared and normalised
        assert stats.kstest(action[:, i].detach().numpy(), squared.cdf).pvalue > 1e-3
    assert not np.isclose(a, 2 * a - 1)


def test_agents_refuse_what_is_none(tiny_run) -> None:
    assert load_agents(tiny_run, "cpu", temperature=0.5)[0].policy.temperature == 0.5
    for wrong in (-0.1, float("nan"), 1e9):
        with pytest.raises(GarlError, match="--temperature must lie between 0 and 100"):
            load_agents(tiny_run, "cpu", temperature=wrong)


@pytest.mark.parametrize("head", ["autoregressive", "categorical"])
def test_a_tempered_policy_acts_as_it_did_at_that_temperature(head: Literal["autoregressive", "categorical"]) -> None:
    torch.manual_seed(0)
    config = PolicyConfig(channels=4, blocks=0, features=16, location_channels=4, location_blocks=0, noise=3, head=head)
    policy = ActorCritic(SPEC, (1, 9, 7), config)
    with torch.no_grad():
        for layer in policy.outputs():
            layer.weight += 0.5 * torch.randn_like(layer.weight)
            layer.bias += torch.randn_like(layer.bias)
    canvas, nothing = torch.randint(0, 256, (200, 1, 9, 7), dtype=torch.uint8), torch.full((200,), -1)
    seen = Observation(canvas, torch.randn(200, 3), nothing[:, None].expand(-1, 2), torch.zeros_like(nothing), nothing)
    warm = policy(seen, generator=generator())
    policy.temperature = 0.4
    cold = policy(seen, generator=generator())
    policy.temperature = 1.0
    policy.temper(0.4)
    tempered = policy(seen, generator=generator())
    assert torch.equal(tempered.action, cold.action)
    assert not torch.equal(tempered.action, warm.action)
    assert tempered.entropy.mean() < 0.9 * warm.entropy.mean()
