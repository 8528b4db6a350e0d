"""Proximal policy optimisation, by a clipped ratio or a KL penalty (Schulman et al. 2017; thesis §2.2.4, §6.2)."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from garl.errors import GarlError
from garl.learners import shared
from garl.learners.shared import LearnerConfig, make_optimizer
from garl.machine import workers
from garl.policy.actor_critic import ActorCritic
from garl.types import ActionSpec, Decision, Observation, Rollout

__all__ = ["PPOConfig", "Weights", "improve", "make_optimizer", "update"]


class PPOConfig(LearnerConfig):
    """Optimiser and loss. The defaults are the thesis's."""

    epochs: int = Field(5, ge=1)
    """Passes over each rollout."""
    penalty: Literal["clip", "kl"] = "clip"
    """What keeps the policy near the one that painted: a clipped ratio, or a penalty on the KL divergence."""
    clip: float = Field(0.2, gt=0.0)
    """ε of the clipped ratio."""
    kl_target: float = Field(0.03, gt=0.0)
    """KL divergence that the penalty's weight adapts to."""
    kl_limit: float = Field(0.0, ge=0.0)
    """No more epochs after one whose mean KL divergence exceeds this; 0: all. A GPU is waited for once an epoch."""

    @model_validator(mode="after")
    def _limitable(self) -> Self:
        if self.kl_limit and self.epochs == 1:
            raise GarlError("kl_limit leaves out epochs after the first: set epochs to 2 or more")
        return self


class Weights(shared.Weights):
    """What the entropy bonus and the KL penalty weigh."""

    kl: Tensor

    def __init__(self, config: PPOConfig, spec: ActionSpec) -> None:
        super().__init__(config, spec)
        self.penalty, self.kl_target = config.penalty, config.kl_target
        self.register_buffer("kl", torch.tensor(1.0), persistent=config.penalty == "kl")

    def follow_kl(self, kl: Tensor) -> None:
        """β ← β / 2 where KL < target / 1.5, 2 β where KL > 1.5 · target (Schulman et al. 2017 §4)."""
        if self.penalty == "kl":
            too_low, too_high = kl < self.kl_target / 1.5, kl > self.kl_target * 1.5
            self.kl.mul_(1.0 + too_high.float() - 0.5 * too_low.float()).clamp_(1 / self.RANGE, self.RANGE)


def surrogate(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """−E[min(ρ A, clip(ρ, 1 ± ε) A)] with ρ = π/π_old (Schulman et al. 2017 eq. 7), and ρ itself (N,)."""
    ratio = (log_prob - old_log_prob).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean(), ratio


def divergence(log_prob: Tensor, old_log_prob: Tensor) -> Tensor:
    """KL[π_old, π] ≈ E[ρ − 1 − log ρ] over actions of π_old, never below 0 (Schulman 2020, the low-variance estimator).

    The logarithm is not taken of the ratio, as it would be −∞ where that is 0.
    """
    difference = log_prob - old_log_prob
    return (difference.exp() - 1 - difference).mean()


def reverse_kl(difference: Tensor) -> Tensor:
    """What has the gradient of KL[π, π'] in expectation, from log π − log π' of actions of π: its half square
    (Schulman 2020, "k2"; the mean of the difference itself has none, as the actions are drawn already)."""
    return difference.square().mean() / 2


def penalised(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, weight: Tensor) -> Tensor:
    """−E[ρ A] + β KL[π_old, π] (Schulman et al. 2017 eq. 8)."""
    ratio = (log_prob - old_log_prob).exp()
    return weight * divergence(log_prob, old_log_prob) - (ratio * advantage).mean()


PolicyLoss = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]
"""(log-probability, the rollout's, normalised advantage), each (N,) → a loss to minimise, and figures to watch."""


def subsequences(steps: int, batch: int, length: int) -> Tensor:
    """Where the transitions of each subsequence lie in a rollout of (T · B): (L, T / L · B).

    All episodes begin and end together and L divides T, so that none is shorter: nothing has to be masked.
    """
    return torch.arange(steps * batch).view(steps // length, length, batch).transpose(0, 1).reshape(length, -1)


def improve(
    policy: ActorCritic,
    optimizer: torch.optim.Optimizer,
    rollout: Rollout,
    advantage: Tensor,
    target: Tensor,
    config: LearnerConfig,
    generator: torch.Generator,
    weights: shared.Weights,
    policy_loss: PolicyLoss,
    epochs: int = 1,
    kl_limit: float = 0.0,
) -> dict[str, Tensor]:
    """Several epochs over the rollout's T · B transitions; advantages are normalised within each minibatch.

    A recurrent policy learns from whole subsequences of `bptt` strokes, each from its state in the rollout on
    (truncated back-propagation through time, Williams & Peng 1990; thesis §7.9); any other from single strokes.

    advantage, target: (T, B). Returns the means of the metrics over all minibatches, each a scalar tensor, and the mean
    KL divergence of the last epoch.

    On a CPU the `parts` of a minibatch are gone through side by side; their gradients are summed in their order.
    """
    observation = Observation(*(field.flatten(0, 1) for field in rollout.observation))
    action, old_log_prob = rollout.action.flatten(0, 1), rollout.log_prob.flatten()
    advantage, target = advantage.flatten(), target.flatten()
    anchor = None if rollout.anchor is None else rollout.anchor.flatten()
    states = None if rollout.state is None else rollout.state.flatten(0, 1)
    length = 1 if states is None else min(config.bptt, len(rollout.action))
    sequences = subsequences(len(rollout.action), len(rollout.action[0]), length)  # (L, T / L · B)
    entropy_weight = weights.entropy
    learned = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    parts = config.parts if action.device.type == "cpu" else 1

    def decide(part: Tensor, **instead: Tensor) -> Decision:
        """The policy's opinion of subsequences (L, n), each field of the observation as it was or as given instead."""
        index = part.flatten()
        seen = Observation(*(field[index] for field in observation))._replace(**instead)
        state = None if states is None else states[part[0]]
        low = config.precision == "bfloat16"
        # No cache: a weight is needed but once, and threads would share it.
        with torch.autocast(action.device.type, torch.bfloat16, enabled=low, cache_enabled=False):
            return policy(seen, action[index], state=state)

    def descend(part: Tensor, a: Tensor, share: float) -> tuple[tuple[Tensor | None, ...], dict[str, Tensor]]:
        """What subsequences (L, n) with advantages (L, n), a `share` of a minibatch, add to its loss's gradient and to
        the figures to watch, which are means."""
        index = part.flatten()
        decision = decide(part)
        actor_loss, figures = policy_loss(decision.log_prob, old_log_prob[index], a.flatten())
        value_loss = (decision.value - target[index]).square().mean()
        entropy = decision.entropy.mean()
        loss = actor_loss + config.value_coefficient * value_loss - entropy_weight * entropy
        if config.hindsight:
            half = part[:, ::2]  # all of it would cost as much again
            became = rollout.final[half.flatten() % len(rollout.final)]
            hindsight = decide(half, condition=became).log_prob.mean()
            loss = loss - config.hindsight * weights.share * hindsight
            figures["hindsight"] = hindsight
        if anchor is not None:
            strayed = decision.log_prob - anchor[index]
            loss = loss + config.anchor * reverse_kl(strayed)
            figures["strayed"] = strayed.mean()
        with torch.no_grad():
            kl = divergence(decision.log_prob, old_log_prob[index])
        figures |= {"policy_loss": actor_loss, "value_loss": value_loss, "entropy": entropy, "kl": kl}
        gradient = torch.autograd.grad(share * loss, learned, allow_unused=True)
        return gradient, {name: share * value.detach() for name, value in figures.items()}

    sums: dict[str, Tensor] = {}
    minibatches = 0
    with workers(parts) as pool:
        side_by_side = pool.map if parts > 1 else map
        for _ in range(epochs):
            divergences = []
            order = sequences[:, torch.randperm(sequences.shape[1], generator=generator)]
            order = order.to(action.device, non_blocking=True)
            for minibatch in order.split(max(1, config.batch_size // length), 1):
                if minibatch.numel() < 2:
                    continue  # one transition has no spread to normalise by
                a = advantage[minibatch]
                a = (a - a.mean()) / (a.std() + 1e-8)
                size = -(-minibatch.shape[1] // parts)
                split = minibatch.split(size, 1)
                shares = [part.numel() / minibatch.numel() for part in split]
                gradients, watched = zip(*side_by_side(descend, split, a.split(size, 1), shares), strict=True)
                for parameter, *gradient in zip(learned, *gradients, strict=True):
                    parameter.grad = None if gradient[0] is None else reduce(torch.add, gradient)
                norm = nn.utils.clip_grad_norm_(learned, config.max_grad_norm)
                optimizer.step()
                figures = {name: sum(part[name] for part in watched) for name in watched[0]} | {"gradient_norm": norm}
                divergences.append(figures["kl"])
                for name, value in figures.items():
                    sums[name] = sums.get(name, 0.0) + value
                minibatches += 1
            last_kl = torch.stack(divergences).mean()
            if kl_limit and last_kl > kl_limit:
                break
    metrics = {name: total / minibatches for name, total in sums.items()} | {"last_kl": last_kl}
    weights.follow(metrics["entropy"])
    return metrics


def update(
    policy: ActorCritic,
    optimizer: torch.optim.Optimizer,
    rollout: Rollout,
    advantage: Tensor,
    target: Tensor,
    config: PPOConfig,
    generator: torch.Generator,
    weights: Weights | None = None,
) -> dict[str, Tensor]:
    """Several epochs over the rollout, each held near the policy that painted it; see `improve`."""
    adapting = weights or Weights(config, policy.spec).to(rollout.action.device)

    def policy_loss(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if config.penalty == "kl":
            return penalised(log_prob, old_log_prob, advantage, adapting.kl), {"kl_weight": adapting.kl}
        loss, ratio = surrogate(log_prob, old_log_prob, advantage, config.clip)
        return loss, {"clipped": ((ratio.detach() - 1).abs() > config.clip).float().mean()}

    metrics = improve(
        policy,
        optimizer,
        rollout,
        advantage,
        target,
        config,
        generator,
        adapting,
        policy_loss,
        epochs=config.epochs,
        kl_limit=config.kl_limit,
    )
    adapting.follow_kl(metrics["last_kl"])
    return {f"ppo/{name}": value for name, value in metrics.items()}
