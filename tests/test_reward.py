"""The four reward systems (thesis §6.4) against numbers worked by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from garl.reward import RewardConfig, adjust, episodic, reward, temporal

# (T + 1, B) = (4, 2): D(C_0) … D(C_3). Finals 6 and 2: mean 4, standard deviation 2.
SCORE = torch.tensor([[1.0, -1.0], [0.0, 1.0], [3.0, 4.0], [6.0, 2.0]])
EXPECTED = {
    "episodic": [[0, 0], [0, 0], [6, 2]],
    "temporal": [[0, 1], [3, 3], [3, -2]],  # the first row: D(C_1) − D(C_0) + D(C_0)
    # Adjusted: (D − 4) / 2 = (−1.5, −2.5), (−2, −1.5), (−0.5, 0), (1, −1).
    "adjusted_episodic": [[0, 0], [0, 0], [1, -1]],
    "adjusted_temporal": [[-2, -1.5], [1.5, 1.5], [1.5, -1]],
}


@pytest.mark.parametrize("system", EXPECTED)
def test_each_system_by_hand(system: str) -> None:
    score = SCORE.clone()
    result = reward(score, RewardConfig(system=system))
    torch.testing.assert_close(result, torch.tensor(EXPECTED[system], dtype=torch.float32))
    assert torch.equal(score, SCORE), "the scores are left as they were"


def test_the_default_is_adjusted_temporal() -> None:
    torch.testing.assert_close(reward(SCORE, RewardConfig()), torch.tensor(EXPECTED["adjusted_temporal"]))


@pytest.mark.parametrize("system", EXPECTED)
def test_rewards_are_scaled_before_they_are_clipped(system: str) -> None:
    expected = [[max(-2.5, min(2.5, 2 * r)) for r in row] for row in EXPECTED[system]]
    result = reward(SCORE, RewardConfig(system=system, scale=2.0, clip=2.5))
    torch.testing.assert_close(result, torch.tensor(expected, dtype=torch.float32))


@settings(max_examples=40, deadline=None)
@given(steps=st.integers(1, 9), batch=st.integers(1, 7), seed=st.integers(0, 10_000))
def test_temporal_and_episodic_rewards_both_sum_to_the_final_score(steps: int, batch: int, seed: int) -> None:
    score = torch.randn(steps + 1, batch, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    before = score.clone()
    torch.testing.assert_close(temporal(score).sum(0), before[-1])
    torch.testing.assert_close(episodic(score).sum(0), before[-1])
    assert torch.equal(score, before)


def test_adjusted_finals_have_mean_0_and_standard_deviation_1() -> None:
    final = 3 + 7 * torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    adjusted = adjust(final, final)
    assert adjusted.mean().item() == pytest.approx(0, abs=1e-9)
    assert adjusted.square().mean().item() == pytest.approx(1, abs=1e-6)


def test_adjusted_scores_of_equal_finals_are_finite() -> None:
    result = reward(torch.tensor([[1.0, 2.0], [3.0, 3.0]]), RewardConfig(system="adjusted_episodic"))
    assert torch.equal(result, torch.zeros(1, 2))


def test_the_expectation_is_over_the_first_finals_only() -> None:
    """Finals 6, 2 | 100: the third painting has no part in mean 4 and deviation 2."""
    score = torch.cat([SCORE, torch.tensor([[0.0], [8.0], [4.0], [100.0]])], 1)
    result = reward(score, RewardConfig(system="adjusted_temporal", expectation_batch=2))
    torch.testing.assert_close(result[:, :2], torch.tensor(EXPECTED["adjusted_temporal"]))
    torch.testing.assert_close(result[:, 2], torch.tensor([2.0, -2.0, 10.0]))  # 48, clipped to 10
    whole = reward(score, RewardConfig(system="adjusted_episodic", expectation_batch=3))
    finals = torch.tensor([6.0, 2.0, 100.0])
    torch.testing.assert_close(whole[-1], (finals - 36) / (((30**2 + 34**2 + 64**2) / 3) ** 0.5))
