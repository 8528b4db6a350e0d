"""Proximal policy optimisation, clipped (Schulman et al. 2017; thesis §2.2.4, §6.2)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from garl.settings import Settings
from garl.types import Decision, Observation, Rollout


class PPOConfig(Settings):
    """Optimiser and loss. The defaults are the thesis's."""

    epochs: int = Field(5, ge=1)
    """Passes over each rollout."""
    batch_size: int = Field(64, ge=2)
    """Transitions in a minibatch."""
    optimizer: Literal["rmsprop", "adam"] = "rmsprop"
    """RMSprop with PyTorch's defaults, or Adam with β = (0.5, 0.99) and ε = 1e-5."""
    learning_rate: float = Field(1e-4, gt=0.0)
    """Step size at the start of the run."""
    clip: float = Field(0.2, gt=0.0)
    """ε of the clipped ratio."""
    value_coefficient: float = Field(0.5, ge=0.0)
    """Weight of the critic's loss."""
    entropy_coefficient: float = Field(0.01, ge=0.0)
    """Weight of the entropy bonus at the start of the run (eq. 6.1)."""
    max_grad_norm: float = Field(0.5, gt=0.0)
    """Gradients are scaled down to this L2 norm."""
    bptt: int = Field(16, ge=1)
    """Strokes through which the gradient of a recurrent policy runs back; the thesis compares 4, 8 and 16 (§7.9)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What the networks compute in; softmax and losses are float32 always."""


def make_optimizer(policy: nn.Module, config: PPOConfig) -> torch.optim.Optimizer:
    if config.optimizer == "adam":
        return torch.optim.Adam(policy.parameters(), config.learning_rate, betas=(0.5, 0.99), eps=1e-5)
    return torch.optim.RMSprop(policy.parameters(), config.learning_rate)


def surrogate(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """−E[min(ρ A, clip(ρ, 1 ± ε) A)] with ρ = π/π_old (Schulman et al. 2017 eq. 7), and ρ itself (N,)."""
    ratio = (log_prob - old_log_prob).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean(), ratio


def subsequences(steps: int, batch: int, length: int) -> Tensor:
    """Where the transitions of each subsequence lie in a rollout of (T · B): (L, T / L · B).

    All episodes begin and end together and L divides T, so that none is shorter: nothing has to be masked.
    """
    return torch.arange(steps * batch).view(steps // length, length, batch).transpose(0, 1).reshape(length, -1)


def update(
    policy: nn.Module,
    optimizer: torch.optim.Optimizer,
    rollout: Rollout,
    advantage: Tensor,
    target: Tensor,
    config: PPOConfig,
    generator: torch.Generator,
    entropy_coefficient: float | None = None,
) -> dict[str, Tensor]:
    """Several epochs over the rollout's T · B transitions; advantages are normalised within each minibatch.

    A recurrent policy learns from whole subsequences of `bptt` strokes, each from its state in the rollout on
    (truncated back-propagation through time, Williams & Peng 1990; thesis §7.9); any other from single strokes.

    advantage, target: (T, B). Returns the means of the metrics over all minibatches, each a scalar tensor.
    """
    entropy_weight = config.entropy_coefficient if entropy_coefficient is None else entropy_coefficient
    observation = Observation(*(field.flatten(0, 1) for field in rollout.observation))
    action, old_log_prob = rollout.action.flatten(0, 1), rollout.log_prob.flatten()
    advantage, target = advantage.flatten(), target.flatten()
    states = None if rollout.state is None else rollout.state.flatten(0, 1)
    length = 1 if states is None else min(config.bptt, len(rollout.action))
    sequences = subsequences(len(rollout.action), len(rollout.action[0]), length)  # (L, T / L · B)
    sums: dict[str, Tensor] = {}
    minibatches = 0
    for _ in range(config.epochs):
        order = sequences[:, torch.randperm(sequences.shape[1], generator=generator)]
        order = order.to(action.device, non_blocking=True)
        for part in order.split(max(1, config.batch_size // length), 1):
            index = part.flatten()
            if len(index) < 2:
                continue  # one transition has no spread to normalise by
            with torch.autocast(action.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                seen = Observation(*(field[index] for field in observation))
                state = None if states is None else states[part[0]]
                decision: Decision = policy(seen, action[index], state=state)
            a = advantage[index]
            a = (a - a.mean()) / (a.std() + 1e-8)
            policy_loss, ratio = surrogate(decision.log_prob, old_log_prob[index], a, config.clip)
            value_loss = (decision.value - target[index]).square().mean()
            entropy = decision.entropy.mean()
            loss = policy_loss + config.value_coefficient * value_loss - entropy_weight * entropy
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(policy.parameters(), config.max_grad_norm)
            optimizer.step()
            with torch.no_grad():
                metrics = {
                    "ppo/policy_loss": policy_loss,
                    "ppo/value_loss": value_loss,
                    "ppo/entropy": entropy,
                    # Schulman 2020, the low-variance estimator. The logarithm of the ratio would be −∞ where that is 0.
                    "ppo/kl": (ratio - 1 - (decision.log_prob - old_log_prob[index])).mean(),
                    "ppo/clipped": ((ratio - 1).abs() > config.clip).float().mean(),
                    "ppo/gradient_norm": norm,
                }
                for name, value in metrics.items():
                    sums[name] = sums.get(name, 0.0) + value.detach()
            minibatches += 1
    return {name: total / minibatches for name, total in sums.items()}
