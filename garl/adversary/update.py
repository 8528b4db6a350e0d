"""The adversary: a discriminator with its loss and optimiser. It scores canvases and learns to tell them apart."""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from garl.adversary.discriminator import Discriminator, DiscriminatorConfig
from garl.adversary.losses import gradient_norm_real, gradient_penalty, minimax, wasserstein
from garl.errors import GarlError
from garl.settings import Settings


class AdversaryConfig(Settings):
    """Loss, optimiser and schedule of the discriminator. The defaults are the thesis's."""

    loss: Literal["wgan", "minimax_logit", "minimax"] = "wgan"
    """wgan; cross-entropy with the LOGIT as reward; cross-entropy with the PROBABILITY as reward."""
    gradient_penalty: float = Field(10.0, ge=0.0)
    """λ of WGAN-GP; 0 leaves it out."""
    r1: float = Field(0.0, ge=0.0)
    """γ/2 of R1, the squared gradient norm at real images; 0 leaves it out."""
    label_smoothing: float = Field(0.0, ge=0.0, lt=0.5)
    """ε of the cross-entropy labels 1 − ε and ε."""
    optimizer: Literal["rmsprop", "adam"] = "rmsprop"
    """RMSprop with PyTorch's defaults, or Adam with β = (0.5, 0.99)."""
    learning_rate: float = Field(1e-4, gt=0.0)
    """Step size at the start of the run."""
    batch_size: int = Field(64, ge=1)
    """Real images in a step, and as many fakes."""
    updates: int = Field(0, ge=0)
    """Steps in each cycle; 0: one pass over as many fakes as the cycle painted."""
    memory: int = Field(1500, ge=0)
    """Fakes remembered; 0: only those of this cycle (on-policy)."""
    memory_priority: Literal["recent", "uniform"] = "recent"
    """Remember the newest fakes, or a uniform sample of all."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What scores are computed in; the discriminator learns in float32 always."""
    network: DiscriminatorConfig = DiscriminatorConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.label_smoothing and self.loss == "wgan":
            raise GarlError("label_smoothing needs a cross-entropy loss: set loss to minimax_logit or minimax")
        return self


def to_network(images: Tensor) -> Tensor:
    """uint8 0..255 → float32 −1..1."""
    return (images.float() / 127.5 - 1.0).contiguous(memory_format=torch.channels_last)


class Adversary:
    """Scores canvases (N, C, H, W) uint8 → (N,), high for real; `update` makes it better at it."""

    def __init__(
        self, canvas: tuple[int, int, int], config: AdversaryConfig, device: torch.device | str = "cpu"
    ) -> None:
        self.config = config
        self.network = Discriminator(canvas, config.network).to(device)
        parameters = self.network.parameters()
        self.optimizer: torch.optim.Optimizer
        if config.optimizer == "adam":
            self.optimizer = torch.optim.Adam(parameters, config.learning_rate, betas=(0.5, 0.99))
        else:
            self.optimizer = torch.optim.RMSprop(parameters, config.learning_rate)

    @torch.no_grad()
    def score(self, images: Tensor, chunk: int = 4096) -> Tensor:
        """(N, C, H, W) uint8 → (N,) float32: the raw output, or the probability for the loss `minimax`."""
        self.network.eval()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            scores = torch.cat([self.network(to_network(part)).float() for part in images.split(chunk)])
        return scores.sigmoid() if self.config.loss == "minimax" else scores

    def update(self, real: Tensor, fake: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """One step on real (N, C, H, W) and fake (N, C, H, W) uint8; returns metrics, each a scalar tensor."""
        config = self.config
        self.network.train()
        n = len(real)
        real, fake = to_network(real), to_network(fake)
        # Apart: in one batch, batch norm would let the discriminator see the other half's statistics.
        d_real, d_fake = self.network(real), self.network(fake)
        loss = wasserstein(d_real, d_fake) if config.loss == "wgan" else minimax(d_real, d_fake, config.label_smoothing)
        metrics = {"d/loss": loss.detach(), "d/real": d_real.detach().mean(), "d/fake": d_fake.detach().mean()}
        if config.loss == "wgan" and config.gradient_penalty:
            mix = torch.rand(n, 1, 1, 1, generator=generator).to(real.device, non_blocking=True)
            penalty = gradient_penalty(self.network, real, fake, mix)
            metrics["d/penalty"] = penalty.detach()
            loss = loss + config.gradient_penalty * penalty
        if config.r1:
            penalty = gradient_norm_real(self.network, real)
            metrics["d/r1"] = penalty.detach()
            loss = loss + config.r1 * penalty
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        metrics["d/separation"] = metrics["d/real"] - metrics["d/fake"]
        return metrics
