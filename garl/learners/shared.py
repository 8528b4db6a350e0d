"""What the learners share: settings, the optimiser, and the weight of the entropy bonus."""

from __future__ import annotations

import math
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from garl.errors import GarlError
from garl.settings import Settings
from garl.types import ActionSpec


class LearnerConfig(Settings):
    """What every learner is told. The defaults are the thesis's, of PPO."""

    batch_size: int = Field(64, ge=2)
    """Transitions in a minibatch; as many as a rollout holds, or more: one step."""
    optimizer: Literal["rmsprop", "adam"] = "rmsprop"
    """RMSprop with PyTorch's defaults, or Adam with β = (0.5, 0.99) and ε = 1e-5."""
    learning_rate: float = Field(1e-4, gt=0.0)
    """Step size at the start of the run."""
    value_coefficient: float = Field(0.5, ge=0.0)
    """Weight of the critic's loss."""
    entropy_coefficient: float = Field(0.01, ge=0.0)
    """Weight of the entropy bonus at the start of the run (eq. 6.1)."""
    entropy_target: float = Field(0.0, ge=0.0, lt=1.0)
    """Let that weight adapt until the entropy is this share of the greatest possible one; 0: it does not adapt."""
    hindsight: float = Field(0.0, ge=0.0)
    """Weight of the strokes' log-probability as if each painting had been asked for what it became: an agent that is
    shown targets learns by imitation, too, what strokes look like (Ghosh et al. 2021). It falls with the entropy's."""
    anchor: float = Field(0.0, ge=0.0)
    """Weight of the KL divergence from the policy as it was when it had imitated demonstrations: what the adversary
    asks for is learned near what they taught, and not in its stead (Jaques et al. 2017; Ziegler et al. 2019)."""
    max_grad_norm: float = Field(0.5, gt=0.0)
    """Gradients are scaled down to this L2 norm."""
    bptt: int = Field(16, ge=1)
    """Strokes through which the gradient of a recurrent policy runs back; the thesis compares 4, 8 and 16 (§7.9)."""
    parts: int = Field(1, ge=1)
    """Parts of a minibatch that a CPU goes through side by side, each with its share of the threads: 2 is faster where
    networks are large, as the threads then need not wait for each other in every operation."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What the networks compute in; softmax and losses are float32 always."""

    @property
    def dtype(self) -> torch.dtype:
        """The precision, as PyTorch has it."""
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    @model_validator(mode="after")
    def _adaptable(self) -> Self:
        if self.entropy_target and not self.entropy_coefficient:
            raise GarlError("entropy_target needs a weight to start from: set entropy_coefficient above 0")
        return self


def make_optimizer(policy: nn.Module, config: LearnerConfig) -> torch.optim.Optimizer:
    if config.optimizer == "adam":
        return torch.optim.Adam(policy.parameters(), config.learning_rate, betas=(0.5, 0.99), eps=1e-5, fused=True)
    return torch.optim.RMSprop(policy.parameters(), config.learning_rate)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


class Weights(nn.Module):
    """What the entropy bonus weighs: a tensor where it adapts, so that nothing waits for it; then a run saves it."""

    RANGE = 1000.0
    """It stays within this factor of what it was at the start."""
    adapted: Tensor

    def __init__(self, config: LearnerConfig, spec: ActionSpec) -> None:
        super().__init__()
        self.config = config
        self.greatest = sum(math.log(dimension.n) for dimension in spec)
        self.share = 1.0
        """What the run's schedule leaves of the weight."""
        adapts = config.entropy_target > 0
        self.register_buffer("adapted", torch.tensor(config.entropy_coefficient), persistent=adapts)

    @property
    def entropy(self) -> Tensor | float:
        return (self.adapted if self.config.entropy_target else self.config.entropy_coefficient) * self.share

    def follow(self, entropy: Tensor) -> None:
        """w ← w · exp(target − H / H_max): as much heavier, in percent, as the entropy is too low, in percent."""
        if self.config.entropy_target:
            start = self.config.entropy_coefficient
            self.adapted.mul_((self.config.entropy_target - entropy / self.greatest).exp())
            self.adapted.clamp_(start / self.RANGE, start * self.RANGE)
