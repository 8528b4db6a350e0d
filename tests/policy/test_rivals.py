"""The rival heads: their densities against closed forms and torch.distributions, and what the engine makes of them."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Normal

from garl.brush.spec import load_brush
from garl.engine.paint import PaintConfig, PaintEngine, StrokeCodec
from garl.env.canvas import PaintEnv
from garl.policy.actor_critic import ActorCritic
from garl.policy.features import FractionEncoder, PolicyConfig
from garl.policy.rivals import BetaHead, CategoricalHead, GaussianHead
from garl.rollout import collect
from garl.types import Flag, Location, Observation, Scalar, coordinates

SPEC = (Scalar("grey", 4), Location("place", 3), Flag("lift"))
CONFIG = PolicyConfig(channels=4, blocks=0, features=6, location_channels=4, location_blocks=0, noise=2)
FEATURES = torch.randn(7, 6, generator=torch.Generator().manual_seed(0))
HEADS = ("categorical", "gaussian", "beta")


def build(head: Any, **changes: Any) -> Any:
    torch.manual_seed(1)
    return head(SPEC, CONFIG.model_copy(update=changes))


def test_a_location_counts_twice() -> None:
    assert coordinates(SPEC) == 4


@torch.no_grad()
def test_categorical_is_a_product_of_independent_categoricals() -> None:
    head = build(CategoricalHead)
    assert [decoder.out_features for decoder in head.decoders] == [4, 3, 3, 2]
    grey, x, y, lift = (Categorical(logits=decoder(head.hidden(FEATURES))) for decoder in head.decoders)
    action = torch.stack([torch.tensor([d.n for d in SPEC]) - 1 - i % 2 for i in range(7)])
    action[:, 1] = torch.arange(7)  # cells: index = row · 3 + column
    returned, log_prob, entropy = head(FEATURES, action)
    assert torch.equal(returned, action)
    cell = action[:, 1]
    expected = grey.log_prob(action[:, 0]) + x.log_prob(cell % 3) + y.log_prob(cell // 3) + lift.log_prob(action[:, 2])
    torch.testing.assert_close(log_prob, expected)
    torch.testing.assert_close(entropy, sum(d.entropy() for d in (grey, x, y, lift)))


@torch.no_grad()
def test_categorical_probabilities_of_all_actions_sum_to_one_and_samples_follow_them() -> None:
    head, n = build(CategoricalHead), 20_000
    actions = torch.tensor(list(itertools.product(*(range(d.n) for d in SPEC))))
    p = head(FEATURES[:1].expand(len(actions), -1), actions)[1].exp()
    assert p.sum().item() == pytest.approx(1.0, abs=1e-5)
    sample = head(FEATURES[:1].expand(n, -1), generator=torch.Generator().manual_seed(2))[0]
    counts = torch.zeros(len(actions)).index_add_(
        0, (sample[:, 0] * 9 + sample[:, 1]) * 2 + sample[:, 2], torch.ones(n)
    )
    assert ((counts - n * p).square() / (n * p)).sum() < 72 + 5 * 12  # χ² of 71 degrees


@torch.no_grad()
@pytest.mark.parametrize("kind", ["state", "free"])
def test_gaussian_is_a_normal_of_each_coordinate(kind: str) -> None:
    head = build(GaussianHead, log_std=kind)
    torch.testing.assert_close(
        build(GaussianHead, log_std="free").distribution(FEATURES).stddev, torch.full((7, 4), 0.25)
    )
    head.log_std += torch.arange(4) / 10
    hidden = head.hidden(FEATURES)
    spread = head.log_std + (head.decoders[1](hidden) if kind == "state" else 0)
    log_std = math.log(0.02) + spread.sigmoid() * (math.log(0.5) - math.log(0.02))
    normal = Normal(0.5 + head.decoders[0](hidden), log_std.exp().expand(7, -1))
    action = torch.randn(7, 4, generator=torch.Generator().manual_seed(3))
    _, log_prob, entropy = head(FEATURES, action)
    torch.testing.assert_close(log_prob, normal.log_prob(action).sum(1))
    torch.testing.assert_close(entropy, normal.entropy().sum(1))
    assert (entropy.std() > 1e-3) == (kind == "state")
    sample = head(FEATURES[:1].expand(40_000, -1), generator=torch.Generator().manual_seed(4))[0]
    torch.testing.assert_close(sample.mean(0), normal.mean[0], rtol=0, atol=0.03)
    torch.testing.assert_close(sample.std(0), normal.stddev[0], rtol=0.03, atol=0)


@torch.no_grad()
def test_a_gaussian_is_neither_too_sure_nor_too_wide() -> None:
    """Hindsight asks how likely any stroke is, entropy is rewarded: a free spread ends in infinity."""
    head = build(GaussianHead, log_std="free")
    head.log_std -= 100.0
    action = head.distribution(FEATURES).mean + torch.tensor([0.0, 0.02, 0.04, 1.0])
    surprise = 4 * math.log(0.02 * math.sqrt(2 * math.pi)) + (0 + 1 + 4 + 2500) / 2
    torch.testing.assert_close(head(FEATURES, action)[1], torch.full((7,), -surprise))
    head.log_std += 200.0
    torch.testing.assert_close(head.distribution(FEATURES).stddev, torch.full((7, 4), 0.5))


@torch.no_grad()
def test_beta_is_a_beta_of_each_coordinate() -> None:
    head = build(BetaHead)
    hidden = head.hidden(FEATURES).double()
    a, b = (1 + decoder.double()(hidden).exp().log1p() for decoder in head.decoders)
    head.float()
    action = torch.rand(7, 4, generator=torch.Generator().manual_seed(3))
    _, log_prob, entropy = head(FEATURES, action)
    x = action.double()
    log_b = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
    torch.testing.assert_close(log_prob.double(), ((a - 1) * x.log() + (b - 1) * (1 - x).log() - log_b).sum(1), **ABOUT)
    grid = (torch.arange(20_000, dtype=torch.float64)[:, None, None] + 0.5) / 20_000  # the integral −∫ p log p
    log_p = (a - 1) * grid.log() + (b - 1) * (1 - grid).log() - log_b
    torch.testing.assert_close(entropy.double(), -(log_p.exp() * log_p).mean(0).sum(1), **ABOUT)
    sample = head(FEATURES[:1].expand(40_000, -1), generator=torch.Generator().manual_seed(4))[0]
    mean, variance = (a / (a + b))[0], (a * b / (a + b).square() / (a + b + 1))[0]
    torch.testing.assert_close(sample.mean(0).double(), mean, rtol=0, atol=0.01)
    torch.testing.assert_close(sample.var(0).double(), variance, rtol=0.05, atol=0)
    assert ((sample > 0) & (sample < 1)).all()


ABOUT = {"rtol": 1e-4, "atol": 1e-4}


@pytest.mark.parametrize("head", [CategoricalHead, GaussianHead, BetaHead])
def test_gradients_are_finite_differences(head: Any) -> None:
    module = build(head)
    action = module(FEATURES, generator=torch.Generator().manual_seed(5))[0]
    features = FEATURES.clone().requires_grad_()

    def objective(x: Tensor) -> Tensor:
        _, log_prob, entropy = module(x, action)
        return (log_prob + 0.3 * entropy).sum()

    (gradient,) = torch.autograd.grad(objective(features), features)
    direction = torch.randn(7, 6, generator=torch.Generator().manual_seed(6))
    step = 1e-2
    with torch.no_grad():
        slope = (objective(FEATURES + step * direction) - objective(FEATURES - step * direction)) / (2 * step)
    assert (gradient * direction).sum().item() == pytest.approx(slope.item(), rel=2e-2, abs=2e-2)
    assert abs(slope) > 0.1


@pytest.mark.parametrize("head", [CategoricalHead, GaussianHead, BetaHead])
def test_samples_repeat_with_their_generator_and_carry_no_gradient(head: Any) -> None:
    module = build(head)
    first, again, other = (module(FEATURES, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])
    assert not first[0].requires_grad
    assert torch.equal(first[1], module(FEATURES, first[0])[1]), "sampling and evaluating are one path"


@pytest.mark.parametrize("contiguous", [False, True])
def test_fractions_at_the_centres_of_bins_are_the_strokes_of_the_bins(contiguous: bool) -> None:
    codec = StrokeCodec(PaintConfig(grid=8, bins=5, contiguous=contiguous), [load_brush("splatter")])
    generator, columns = torch.Generator().manual_seed(0), []
    bins = torch.stack([torch.randint(0, d.n, (9,), generator=generator) for d in codec.action_spec], 1)
    for index, d in zip(bins.unbind(1), codec.action_spec, strict=True):
        if isinstance(d, Location):
            columns += [(index % 8 + 0.5) / 8, (index // 8 + 0.5) / 8]
        else:
            columns.append(index / 4)
    pen = torch.rand(9, 2, generator=generator)
    fractions = torch.stack(columns, 1)
    torch.testing.assert_close(codec.decode(fractions, pen), codec.decode(bins, pen), rtol=0, atol=1e-6)
    outside = fractions + torch.tensor([-2.0, 2.0])[torch.randint(0, 2, fractions.shape, generator=generator)]
    assert torch.equal(codec.decode(outside, pen), codec.decode((outside > 0.5).float(), pen)), "clipped to the range"


def test_fractions_are_encoded_as_painted() -> None:
    encoder = FractionEncoder(SPEC)
    action = torch.tensor([[-0.5, 0.25, 1.5, 0.5]])
    torch.testing.assert_close(encoder(action), encoder.linear(torch.tensor([[-1.0, -0.5, 1.0, 0.0]])))
    assert torch.equal(encoder(torch.full((1, 4), 0.5))[0], encoder.linear.bias)


@pytest.mark.parametrize("head", HEADS)
def test_the_ratio_is_one_before_the_first_step(head: str) -> None:
    env = PaintEnv(5, PaintConfig(height=10, width=13, brush="hard_round", grid=5, bins=4), 3)
    env.reset(seed=0)
    torch.manual_seed(1)
    config = CONFIG.model_copy(update={"head": head})
    policy = ActorCritic(env.action_spec, (3, 10, 13), config, 3)
    for decoder in policy.head.decoders:
        nn.init.orthogonal_(decoder.weight)
    rollout = collect(env, policy, torch.randn(5, 2), torch.Generator().manual_seed(2))
    assert rollout.action.dtype == (torch.int64 if head == "categorical" else torch.float32)
    with torch.no_grad():
        for t in range(3):
            decision = policy(Observation(*(field[t] for field in rollout.observation)), rollout.action[t])
            assert torch.equal(decision.log_prob, rollout.log_prob[t])
        seen = rollout.observation
        rolled = policy(Observation(*(f[1] for f in seen))._replace(last_action=seen.last_action[2]), rollout.action[1])
        assert (rolled.log_prob - rollout.log_prob[1]).abs().max() > 1e-4, "the last action is seen"
    engine = PaintEngine(env.engine.config)
    engine.reset(5, env.np_random)
    engine.apply(rollout.canvases[0], rollout.action[0])
    assert torch.equal(engine.painted[:, 0], rollout.strokes[0])


def test_a_fresh_gaussian_starts_at_the_centre_with_a_quarter() -> None:
    policy = ActorCritic(SPEC, (1, 8, 11), CONFIG.model_copy(update={"head": "gaussian"}), 3)
    distribution = policy.head.distribution(FEATURES.relu())
    torch.testing.assert_close(distribution.mean, torch.full((7, 4), 0.5), rtol=0, atol=0.05)
    assert distribution.stddev.log().mean().item() == pytest.approx(math.log(0.25), abs=0.05)
