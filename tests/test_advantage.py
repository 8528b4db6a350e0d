"""Advantage estimators against their definitions, written as sums."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from garl.advantage import AdvantageConfig, RewardScale, estimate, gae, n_step, returns_to_go, td

SHAPES = {"steps": st.integers(1, 9), "batch": st.integers(1, 6), "seed": st.integers(0, 10_000)}
SHARES = st.floats(0, 1)


def draw(steps: int, batch: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    reward = torch.randn(steps, batch, dtype=torch.float64, generator=generator)
    return reward, torch.randn(steps, batch, dtype=torch.float64, generator=generator)


def double_sum(reward: Tensor, value: Tensor, gamma: float, lam: float) -> Tensor:
    """A_t = Σ_{i ≥ 0} (γλ)^i (r_{t+i} + γ V(s_{t+i+1}) − V(s_{t+i})), V = 0 after the end."""
    steps, batch = reward.shape
    advantage = torch.zeros_like(reward)
    for b in range(batch):
        v = [*value[:, b].tolist(), 0.0]
        for t in range(steps):
            for i in range(steps - t):
                delta = reward[t + i, b].item() + gamma * v[t + i + 1] - v[t + i]
                advantage[t, b] += (gamma * lam) ** i * delta
    return advantage


def monte_carlo(reward: Tensor, gamma: float) -> Tensor:
    """R_t = Σ_{i ≥ 0} γ^i r_{t+i}."""
    steps = len(reward)
    return torch.stack([sum(gamma**i * reward[t + i] for i in range(steps - t)) for t in range(steps)])


def one_step(reward: Tensor, value: Tensor, gamma: float) -> Tensor:
    """r_t + γ V_{t+1}, and r_T at the end."""
    rows = [reward[t] + (gamma * value[t + 1] if t + 1 < len(reward) else 0) for t in range(len(reward))]
    return torch.stack(rows)


@settings(max_examples=60, deadline=None)
@given(**SHAPES, gamma=SHARES, lam=SHARES)
def test_gae_is_the_double_sum(steps: int, batch: int, seed: int, gamma: float, lam: float) -> None:
    reward, value = draw(steps, batch, seed)
    before = reward.clone(), value.clone()
    advantage, target = gae(reward, value, gamma, lam)
    torch.testing.assert_close(advantage, double_sum(*before, gamma, lam))
    torch.testing.assert_close(target, double_sum(*before, gamma, lam) + before[1])
    assert torch.equal(reward, before[0])
    assert torch.equal(value, before[1])


@settings(max_examples=30, deadline=None)
@given(**SHAPES, gamma=SHARES)
def test_lambda_one_is_monte_carlo_and_lambda_zero_one_step(steps: int, batch: int, seed: int, gamma: float) -> None:
    reward, value = draw(steps, batch, seed)
    returns, bootstrap = monte_carlo(reward, gamma), one_step(reward, value, gamma)
    for advantage, target in (gae(reward, value, gamma, 1.0), returns_to_go(reward, value, gamma)):
        torch.testing.assert_close(advantage, returns - value)
        torch.testing.assert_close(target, returns)
    for advantage, target in (gae(reward, value, gamma, 0.0), td(reward, value, gamma)):
        torch.testing.assert_close(advantage, bootstrap - value)
        torch.testing.assert_close(target, bootstrap)


def bootstrapped(reward: Tensor, value: Tensor, gamma: float, n: int) -> Tensor:
    """Σ_{i<n} γ^i r_{t+i} + γ^n V_{t+n}; rewards and values after the end are 0."""
    steps = len(reward)
    rows = []
    for t in range(steps):
        row = sum(gamma**i * reward[t + i] for i in range(min(n, steps - t)))
        rows.append(row + (gamma**n * value[t + n] if t + n < steps else 0))
    return torch.stack(rows)


@settings(max_examples=40, deadline=None)
@given(**SHAPES, gamma=SHARES, n=st.integers(1, 12))
def test_n_step_lies_between_one_step_and_monte_carlo(steps: int, batch: int, seed: int, gamma: float, n: int) -> None:
    reward, value = draw(steps, batch, seed)
    advantage, target = n_step(reward, value, gamma, n)
    torch.testing.assert_close(target, bootstrapped(reward, value, gamma, n))
    torch.testing.assert_close(advantage, target - value)
    if n == 1:
        torch.testing.assert_close(target, one_step(reward, value, gamma))
        assert torch.equal(target, td(reward, value, gamma)[1])
    if n >= steps:
        torch.testing.assert_close(target, monte_carlo(reward, gamma))
        torch.testing.assert_close(n_step(reward, value, gamma, n)[0], gae(reward, value, gamma, 1.0)[0])


@pytest.mark.parametrize("normalize", ["reward", "return"])
def test_rewards_are_divided_by_their_running_spread(normalize: str) -> None:
    """The moments of three cycles, the older ones weighing 0.99 as much for each cycle since."""
    scale = RewardScale(AdvantageConfig(normalize=normalize, gamma=0.5))
    batches = [draw(4, 7, seed)[0] * size + 3.0 for seed, size in enumerate((1.0, 5.0, 0.2))]
    seen = [monte_carlo(x, 0.5) if normalize == "return" else x for x in batches]
    weights = torch.tensor([0.99**2, 0.99, 1.0], dtype=torch.float64)
    weights = weights / weights.sum()
    mean = sum(w * x.mean() for w, x in zip(weights, seen, strict=True))
    variance = sum(w * (x - mean).square().mean() for w, x in zip(weights, seen, strict=True))
    for batch in batches:
        scaled = scale(batch)
    torch.testing.assert_close(scaled, batches[-1] / variance.sqrt())
    again = RewardScale(AdvantageConfig(normalize=normalize, gamma=0.5))
    again.load_state_dict(scale.state_dict())
    assert torch.equal(again(batches[0].float()), scale(batches[0].float()))
    assert again(batches[0].float()).dtype == torch.float32
    without_spread = torch.full((1, 3), 5.0)
    assert torch.equal(RewardScale(AdvantageConfig(normalize=normalize))(without_spread), without_spread)


def test_rewards_are_left_alone_by_default() -> None:
    scale, reward = RewardScale(AdvantageConfig()), torch.ones(2, 3)
    assert scale(reward) is reward
    assert not scale.state_dict()


def test_by_hand() -> None:
    """T = 3, B = 1, γ = 1/2, λ = 1/2; the value after the last stroke is 0."""
    reward, value = torch.tensor([[1.0], [2.0], [8.0]]), torch.tensor([[4.0], [2.0], [6.0]])
    # δ = 1 + 1 − 4, 2 + 3 − 2, 8 + 0 − 6 = −2, 3, 2; A_2 = 2, A_1 = 3 + 2/4, A_0 = −2 + 3.5/4.
    advantage, target = gae(reward, value, 0.5, 0.5)
    assert advantage.flatten().tolist() == [-1.125, 3.5, 2.0]
    assert target.flatten().tolist() == [2.875, 5.5, 8.0]


@pytest.mark.parametrize("estimator", ["gae", "td", "n_step", "returns_to_go"])
def test_estimate_takes_the_chosen_estimator(estimator: str) -> None:
    reward, value = draw(5, 3, 0)
    expected = {
        "gae": double_sum(reward, value, 0.9, 0.7),
        "td": one_step(reward, value, 0.9) - value,
        "n_step": bootstrapped(reward, value, 0.9, 2) - value,
        "returns_to_go": monte_carlo(reward, 0.9) - value,
    }[estimator]
    advantage, target = estimate(reward, value, AdvantageConfig(estimator=estimator, gamma=0.9, lam=0.7, n=2))
    torch.testing.assert_close(advantage, expected)
    torch.testing.assert_close(target, expected + value)


@pytest.mark.parametrize("estimator", ["gae", "td", "n_step", "returns_to_go"])
def test_centred_advantages_ignore_what_all_canvases_gain(estimator: str) -> None:
    """An adversary that scores the blank canvas anew changes every first reward alike; no canvas is better for it."""
    reward, value = draw(4, 3, 7)
    drifted = reward + torch.tensor([[-5.0], [0.5], [0.0], [2.0]])
    config = AdvantageConfig.model_validate({"estimator": estimator, "center": True})
    advantage, target = estimate(reward, value, config)
    torch.testing.assert_close(estimate(drifted, value, config)[0], advantage)
    torch.testing.assert_close(advantage.sum(1), torch.zeros(4, dtype=torch.float64))
    plain, plain_target = estimate(reward, value, config.model_copy(update={"center": False}))
    torch.testing.assert_close(advantage - advantage[:, :1], plain - plain[:, :1])  # differences of canvases stay
    assert torch.equal(target, plain_target)  # the critic's lesson is what it was


def test_a_perfect_critic_leaves_no_advantage() -> None:
    """V_t = Σ γ^i r_{t+i} makes every δ 0, for any λ."""
    reward, _ = draw(6, 4, 1)
    advantage, _ = gae(reward, monte_carlo(reward, 0.99), 0.99, 0.95)
    assert advantage.abs().max() < 1e-12
