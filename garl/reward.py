"""Scores of canvases to rewards of strokes (thesis §6.4): pure functions of (T + 1, B) → (T, B).

Row t of the scores is D(C_t), from the blank canvas C_0 to the final one C_T; row t of the rewards is what the
stroke from C_t to C_{t+1} earned.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from garl.settings import Settings


class RewardConfig(Settings):
    """Which reward system, and its bounds. The defaults are the thesis's."""

    source: Literal["adversary", "l2", "l_half"] = "adversary"
    """What scores canvases: the adversary, or the share of the blank canvas's distance to the target that they have
    removed, by squared differences of pixels (SPIRAL's rival) or by the roots of differences (PaintBot's L^½)."""
    perceptual: float = Field(0.0, ge=0.0)
    """Weight of the perceptual loss (thesis eq. 3.1, features of the judge) beside that of pixels."""
    system: Literal["episodic", "temporal", "adjusted_episodic", "adjusted_temporal"] = "adjusted_temporal"
    """Reward at the end only, or at every stroke; of the raw score, or of the adjusted one."""
    clip: float = Field(10.0, gt=0.0)
    """Rewards are cut to ± this."""
    scale: float = Field(1.0, gt=0.0)
    """Rewards are multiplied by this before they are clipped."""
    expectation_batch: int = Field(64, ge=2)
    """Final canvases that the adjustment takes its mean and standard deviation from."""


def adjust(score: Tensor, final: Tensor, epsilon: float = 1e-8) -> Tensor:
    """(D(C_t) − E[D(C_N)]) / (S[D(C_N)] + ε), eq. 6.8; `final` (n,) are scores of the current policy's paintings."""
    return (score - final.mean()) / (final.std(correction=0) + epsilon)


def episodic(score: Tensor) -> Tensor:
    """D(C_N) at the last stroke, else 0 (eq. 6.7)."""
    reward = score.new_zeros(score[1:].shape)
    reward[-1] = score[-1]
    return reward


def temporal(score: Tensor) -> Tensor:
    """D(C_{t+1}) − D(C_t), and D(C_0) on top at the first stroke: sums to D(C_N) (eq. 6.10)."""
    reward = score[1:] - score[:-1]
    reward[0] = reward[0] + score[0]
    return reward


def reward(score: Tensor, config: RewardConfig) -> Tensor:
    """Scores (T + 1, B) to rewards (T, B) by the chosen system, scaled and clipped."""
    if config.system.startswith("adjusted"):
        score = adjust(score, score[-1, : config.expectation_batch])
    earned = episodic(score) if config.system.endswith("episodic") else temporal(score)
    return (earned * config.scale).clamp(-config.clip, config.clip)
