"""Advantage actor-critic (Mnih et al. 2016; the learner of SPIRAL, but on one machine): one pass, and no ratio.

It is PPO with one epoch and nothing that holds the policy back (Huang et al. 2022), so the loop is PPO's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from garl.learners.ppo import improve
from garl.learners.shared import LearnerConfig, Weights, make_optimizer
from garl.policy.actor_critic import ActorCritic
from garl.types import Rollout

__all__ = ["A2CConfig", "Weights", "make_optimizer", "policy_gradient", "update"]


class A2CConfig(LearnerConfig):
    """Optimiser and loss. The defaults are those of PPO."""


def policy_gradient(log_prob: Tensor, advantage: Tensor) -> Tensor:
    """−E[log π(a|s) A] (Mnih et al. 2016 §4)."""
    return -(log_prob * advantage).mean()


def update(
    policy: ActorCritic,
    optimizer: torch.optim.Optimizer,
    rollout: Rollout,
    advantage: Tensor,
    target: Tensor,
    config: A2CConfig,
    generator: torch.Generator,
    weights: Weights | None = None,
) -> dict[str, Tensor]:
    """One pass over the rollout in minibatches; see `improve`."""
    adapting = weights or Weights(config, policy.spec).to(rollout.action.device)

    def policy_loss(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return policy_gradient(log_prob, advantage), {}

    metrics = improve(policy, optimizer, rollout, advantage, target, config, generator, adapting, policy_loss)
    return {f"a2c/{name}": value for name, value in metrics.items()}
