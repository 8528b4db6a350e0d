"""Advantage estimators: pure functions of rewards and values, both (T, B) (thesis §6.3).

Episodes have a fixed length and end together: the value after the last stroke is 0. Each function returns
(advantage, target), both (T, B); the target is what the critic is trained towards.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from garl.settings import Settings


class AdvantageConfig(Settings):
    """Which estimator. The defaults are the thesis's."""

    estimator: Literal["gae", "td", "n_step", "returns_to_go"] = "gae"
    """Generalised advantage estimation, temporal difference over one step or over `n`, or Monte Carlo returns."""
    n: int = Field(5, ge=1)
    """Rewards that `n_step` sums before it trusts the critic."""
    gamma: float = Field(0.99, ge=0.0, le=1.0)
    """Discount."""
    lam: float = Field(0.95, ge=0.0, le=1.0)
    """λ of GAE: 0 is one-step TD, 1 is Monte Carlo."""
    normalize: Literal["none", "reward", "return"] = "none"
    """Divide rewards by the running spread of the rewards, or of their discounted sums over the rest of the episode."""
    center: bool = False
    """Subtract from each stroke's advantages their mean over the canvases: what all of them gain or lose by a change of
    the adversary alone, to its score of the blank canvas above all, is no stroke's merit."""


def gae(reward: Tensor, value: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """A_t = Σ_i (γλ)^i δ_{t+i}, δ_t = r_t + γ V_{t+1} − V_t (Schulman et al. 2016 eq. 16; thesis eq. 6.6)."""
    advantage = torch.zeros_like(reward)
    following = torch.zeros_like(reward[0])
    for t in reversed(range(len(reward))):
        next_value = value[t + 1] if t + 1 < len(reward) else 0.0
        following = reward[t] + gamma * next_value - value[t] + gamma * lam * following
        advantage[t] = following
    return advantage, advantage + value


def returns_to_go(reward: Tensor, value: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """R_t = Σ_i γ^i r_{t+i} (eq. 6.4); the advantage is R_t − V_t."""
    returns = torch.zeros_like(reward)
    following = torch.zeros_like(reward[0])
    for t in reversed(range(len(reward))):
        following = reward[t] + gamma * following
        returns[t] = following
    return returns - value, returns


def td(reward: Tensor, value: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """R_t = r_t + γ V_{t+1} (eq. 6.5); the advantage is R_t − V_t."""
    return n_step(reward, value, gamma, 1)


def n_step(reward: Tensor, value: Tensor, gamma: float, n: int) -> tuple[Tensor, Tensor]:
    """R_t = Σ_{i<n} γ^i r_{t+i} + γ^n V_{t+n} (Sutton and Barto 2018 eq. 7.1; thesis §6.3); the advantage is R_t − V_t.

    n = 1 is `td`; n ≥ T, where every episode ends before the critic is asked, is `returns_to_go`.
    """
    target = value
    for _ in range(min(n, len(reward))):
        target = reward + gamma * torch.cat([target[1:], torch.zeros_like(target[:1])])
    return target - value, target


def estimate(reward: Tensor, value: Tensor, config: AdvantageConfig) -> tuple[Tensor, Tensor]:
    """(advantage, target) by the chosen estimator."""
    if config.estimator == "gae":
        advantage, target = gae(reward, value, config.gamma, config.lam)
    elif config.estimator == "td":
        advantage, target = td(reward, value, config.gamma)
    elif config.estimator == "n_step":
        advantage, target = n_step(reward, value, config.gamma, config.n)
    else:
        advantage, target = returns_to_go(reward, value, config.gamma)
    if config.center:
        advantage = advantage - advantage.mean(1, keepdim=True)  # episodes begin together: the mean is a baseline
    return advantage, target


class RewardScale(nn.Module):
    """Rewards (T, B) divided by their running spread (Engstrom et al. 2020 for `return`), which is saved with a run.

    The mean stays: a stroke that makes things worse must not look like a good one.
    """

    DECAY = 0.99  # of what a cycle weighs in the running moments, in each that follows: rewards drift as D learns
    moments: Tensor

    def __init__(self, config: AdvantageConfig) -> None:
        super().__init__()
        self.config = config
        # Σ w, Σ w x̄ and Σ w x̄² with weights that fall by DECAY.
        self.register_buffer("moments", torch.zeros(3, dtype=torch.float64), persistent=config.normalize != "none")

    def forward(self, reward: Tensor) -> Tensor:
        if self.config.normalize == "none":
            return reward
        x = reward.double()
        if self.config.normalize == "return":
            _, x = returns_to_go(x, torch.zeros_like(x), self.config.gamma)
        seen = torch.stack([torch.ones_like(x[0, 0]), x.mean(), x.square().mean()])
        self.moments.mul_(self.DECAY).add_(seen)
        weight, mean, square = self.moments
        spread = (square / weight - (mean / weight).square()).clamp(min=0.0).sqrt()
        return reward / torch.where(spread > 1e-8, spread, 1.0)
