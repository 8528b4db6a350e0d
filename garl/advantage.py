"""Advantage estimators: pure functions of rewards and values, both (T, B) (thesis §6.3).

Episodes have a fixed length and end together: the value after the last stroke is 0. Each function returns
(advantage, target), both (T, B); the target is what the critic is trained towards.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from garl.settings import Settings


class AdvantageConfig(Settings):
    """Which estimator. The defaults are the thesis's."""

    estimator: Literal["gae", "td", "returns_to_go"] = "gae"
    """Generalised advantage estimation, one-step temporal difference, or Monte Carlo returns."""
    gamma: float = Field(0.99, ge=0.0, le=1.0)
    """Discount."""
    lam: float = Field(0.95, ge=0.0, le=1.0)
    """λ of GAE: 0 is one-step TD, 1 is Monte Carlo."""


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
    target = reward + gamma * torch.cat([value[1:], torch.zeros_like(value[:1])])
    return target - value, target


def estimate(reward: Tensor, value: Tensor, config: AdvantageConfig) -> tuple[Tensor, Tensor]:
    """(advantage, target) by the chosen estimator."""
    if config.estimator == "gae":
        return gae(reward, value, config.gamma, config.lam)
    if config.estimator == "td":
        return td(reward, value, config.gamma)
    return returns_to_go(reward, value, config.gamma)
