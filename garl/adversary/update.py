"""The adversary: a discriminator with its loss and optimiser. It scores canvases and learns to tell them apart."""

from __future__ import annotations

import copy
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from garl.adversary.discriminator import Committee, Discriminator, DiscriminatorConfig
from garl.adversary.losses import (
    around,
    cramer,
    fisher,
    gradient_norm_real,
    gradient_penalty,
    hinge,
    least_squares,
    minimax,
    relativistic,
    stay_close,
    wasserstein,
)
from garl.adversary.mask import draw_masks
from garl.adversary.memory import Intermediate, Priority
from garl.adversary.optimistic import OptimisticAdam
from garl.errors import GarlError
from garl.settings import Settings


class AdversaryConfig(Settings):
    """Loss, optimiser and schedule of the discriminator. The defaults are the thesis's."""

    loss: Literal["wgan", "minimax_logit", "minimax", "lsgan", "hinge", "relativistic", "fisher", "cramer"] = "wgan"
    """wgan; cross-entropy with the LOGIT as reward; cross-entropy with the PROBABILITY as reward; least squares; hinge;
    relativistic average cross-entropy; Fisher; Cramér. The score is the raw output for all but `minimax` and
    `cramer`, whose score compares `network.outputs` with those of the last fakes."""
    gradient_penalty: float = Field(10.0, ge=0.0)
    """λ of WGAN-GP; 0 leaves it out."""
    penalised: Literal["wgan", "any"] = "wgan"
    """The losses that the gradient penalty is added to: wgan and cramer alone, or any."""
    penalised_at: Literal["between", "around"] = "between"
    """Where the gradient is penalised: between real pictures and fakes (WGAN-GP), or around real ones (DRAGAN)."""
    fisher_penalty: float = Field(1e-6, gt=0.0)
    """ρ of the Fisher loss: the weight of its constraint, and the step size of its multiplier."""
    weight_clip: float = Field(0.0, ge=0.0)
    """c: after each step weights are cut to ± c (thesis eq. 7.2: 0.01); 0 leaves them."""
    l2_penalty: float = Field(0.0, ge=0.0)
    """Weight decay: λ/2 times the squared weights is added to the loss."""
    stay_close: float = Field(0.0, ge=0.0)
    """Weight of E[(D(x) − D'(x))²], where D' is the discriminator before its last step (thesis §7.6.2)."""
    r1: float = Field(0.0, ge=0.0)
    """γ/2 of R1, the squared gradient norm at real images; 0 leaves it out."""
    label_smoothing: float = Field(0.0, ge=0.0, lt=0.5)
    """ε of the cross-entropy labels 1 − ε and ε."""
    optimizer: Literal["rmsprop", "adam", "optimistic_adam"] = "rmsprop"
    """RMSprop with PyTorch's defaults, or Adam with β = (0.5, 0.99), or Adam that extrapolates each step."""
    learning_rate: float = Field(1e-4, gt=0.0)
    """Step size at the start of the run."""
    batch_size: int = Field(64, ge=1)
    """Real images in a step of a network, and as many fakes."""
    updates: int = Field(0, ge=0)
    """Steps in each cycle; 0: one pass over as many fakes as the cycle painted."""
    networks: int = Field(1, ge=1, le=64)
    """Discriminators, each with its own start and its own batches; the mean of their outputs is the score."""
    average: float = Field(0.0, ge=0.0, lt=1.0)
    """Scores come from averaged weights: each step w ← average · w + (1 − average) · discriminator; 0: the last."""
    intermediate: Intermediate = "none"
    """Unfinished canvases as fakes: none, all, as many as finished ones, or all with more weight the earlier they
    are."""
    memory: int = Field(1500, ge=0)
    """Fakes remembered; 0: only those of this cycle (on-policy)."""
    memory_priority: Priority = "recent"
    """Remember the newest fakes, or a uniform sample of all; mixed: half a batch from such a sample, half of this
    cycle's."""
    mask: float = Field(0.0, ge=0.0, le=1.0)
    """Share of the patches of a (canvas, target) pair that are hidden, each in one of the two, so that pixels cannot be
    compared (SPIRAL++); 1: no place is seen in both."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What scores are computed in; the discriminator learns in float32 always."""
    network: DiscriminatorConfig = DiscriminatorConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.label_smoothing and self.loss not in ("minimax_logit", "minimax"):
            raise GarlError("label_smoothing needs a cross-entropy loss: set loss to minimax_logit or minimax")
        if self.weight_clip and self.network.spectral_norm:
            raise GarlError("weight_clip bounds nothing under spectral norm: set network.spectral_norm to false")
        if (self.loss == "cramer") != (self.network.outputs > 1):
            raise GarlError("loss cramer compares several outputs, other losses know one: set network.outputs to suit")
        if self.loss in ("fisher", "cramer") and (self.networks > 1 or self.intermediate == "weighted"):
            raise GarlError(
                f"loss {self.loss} knows one network and no weights: set networks to 1, intermediate to none"
            )
        return self


def to_network(images: Tensor) -> Tensor:
    """uint8 0..255 → float32 −1..1."""
    return (images.float() / 127.5 - 1.0).contiguous(memory_format=torch.channels_last)


def _told(condition: Tensor | None) -> Tensor | None:
    """What networks are told of a class, or of a target (N, C, H, W) uint8."""
    return condition if condition is None or condition.ndim == 1 else to_network(condition)


def _every(count: int, batch: Tensor | None, first: int) -> Tensor | None:
    return None if batch is None else batch[first::count]


class Running(nn.Module):
    """What a loss remembers from step to step."""

    multiplier: Tensor
    reference: Tensor

    def __init__(self, config: AdversaryConfig) -> None:
        super().__init__()
        self.register_buffer("multiplier", torch.zeros(()))  # λ of the Fisher loss
        self.register_buffer("reference", torch.zeros(config.batch_size, config.network.outputs))  # h(x') of Cramér's


class Adversary:
    """Scores canvases (N, C, H, W) uint8 → (N,), high for real; `update` makes it better at it."""

    def __init__(
        self,
        canvas: tuple[int, int, int],
        config: AdversaryConfig,
        device: torch.device | str = "cpu",
        classes: int = 0,
        pairs: bool = False,
    ) -> None:
        self.config = config
        self.members = [
            Discriminator(canvas, config.network, classes, pairs).to(device) for _ in range(config.networks)
        ]
        self.network: nn.Module = Committee(self.members) if config.networks > 1 else self.members[0]
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer: torch.optim.Optimizer
        parameters, rate, decay = self.network.parameters(), config.learning_rate, config.l2_penalty
        if config.optimizer == "rmsprop":
            self.optimizer = torch.optim.RMSprop(parameters, rate, weight_decay=decay)
        else:
            adam = OptimisticAdam if config.optimizer == "optimistic_adam" else torch.optim.Adam
            self.optimizer = adam(parameters, rate, betas=(0.5, 0.99), weight_decay=decay, fused=True)
        self.average = copy.deepcopy(self.network).eval() if config.average else None
        self.previous = copy.deepcopy(self.network).eval() if config.stay_close else None
        self.running = Running(config).to(device) if config.loss in ("fisher", "cramer") else None

    def modules(self) -> dict[str, nn.Module]:
        """Everything that changes, by name, but the optimiser."""
        parts = {"adversary": self.network, "adversary_average": self.average, "adversary_previous": self.previous}
        parts["adversary_running"] = self.running
        return {name: part for name, part in parts.items() if part is not None}

    def judge(self, images: Tensor, condition: Tensor | None = None) -> Tensor:
        """(N, C, H, W) float32 in −1..1 → (N,), the score, with a gradient that flows through it."""
        outputs = self._outputs(images, condition)
        return outputs.sigmoid() if self.config.loss == "minimax" else outputs

    def _outputs(self, images: Tensor, condition: Tensor | None) -> Tensor:
        """What scores are made of: raw outputs (N,) float32, or the comparison with the last fakes."""
        network = self.network if self.average is None else self.average
        network.eval()
        outputs = network(images, condition).float()
        if self.config.loss == "cramer" and self.running is not None:
            return cramer(outputs, self.running.reference)
        return outputs

    @torch.no_grad()
    def score(
        self,
        images: Tensor,
        condition: Tensor | None = None,
        generator: torch.Generator | None = None,
        chunk: int = 512,
    ) -> Tensor:
        """(N, C, H, W) uint8 → (N,) float32: the raw output, or the probability for the loss `minimax`.

        For the relativistic loss too: it knows differences of raw outputs alone, as rewards do. `condition`: the class
        that each canvas is to show, (M,) int64, or the picture, (M, C, H, W) uint8; N is a multiple of M. Where pairs
        are masked, `generator` draws one mask for all, as the canvases of a painting are to be compared; the score is
        the mean of those with the mask and with its two halves exchanged, between which nothing is hidden.
        """
        if condition is not None:
            condition = condition.repeat(len(images) // len(condition), *[1] * (condition.ndim - 1))
        masks = draw_masks(images[:1], self.config.mask, generator) if self.config.mask else None

        def look(part: Tensor, told: Tensor | None) -> Tensor:
            picture, target = to_network(part), _told(told)
            if masks is None or target is None:
                return self._outputs(picture, target)
            return torch.stack([self._outputs(picture * a, target * b) for a, b in (masks, masks[::-1])]).mean(0)

        parts = images.split(chunk)
        conditions = [None] * len(parts) if condition is None else condition.split(chunk)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            scores = torch.cat([look(part, told) for part, told in zip(parts, conditions, strict=True)])
        return scores.sigmoid() if self.config.loss == "minimax" else scores

    def update(
        self,
        real: Tensor,
        fake: Tensor,
        generator: torch.Generator,
        condition: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """One step on real (N, C, H, W) and fake (N, C, H, W) uint8; returns metrics, each a scalar tensor.

        Several networks share the batch out among them. The condition is what each fake was to show, and its real
        counterpart does: a class, (N,) int64, or the target, (N, C, H, W) uint8; `weight` (N,) is what a fake counts.
        """
        self.network.train()
        real, fake, count = to_network(real), to_network(fake), len(self.members)
        condition = _told(condition)
        if self.config.mask and condition is not None:
            seen, told = draw_masks(real, self.config.mask, generator)
            real, fake, condition = real * seen, fake * seen, condition * told
        results = []
        for i in range(count):  # every count-th, as the first half of a batch may be newer than the second
            batches = real[i::count], fake[i::count], _every(count, condition, i), _every(count, weight, i)
            results.append(self._loss(i, generator, *batches))
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack([loss for loss, _ in results]).sum().backward()
        if self.previous is not None:
            self.previous.load_state_dict(self.network.state_dict())
        self.optimizer.step()
        if self.config.weight_clip:
            with torch.no_grad():
                for parameter in self.network.parameters():
                    parameter.clamp_(-self.config.weight_clip, self.config.weight_clip)
        if self.average is not None:
            # Not torch's AveragedModel, which lets a GPU be waited for at each step.
            with torch.no_grad():
                for mean, now in zip(self.average.parameters(), self.network.parameters(), strict=True):
                    mean.lerp_(now, 1.0 - self.config.average)
                for kept, new in zip(self.average.buffers(), self.network.buffers(), strict=True):
                    kept.copy_(new)
        metrics = {name: torch.stack([figures[name] for _, figures in results]).mean() for name in results[0][1]}
        metrics["d/separation"] = metrics["d/real"] - metrics["d/fake"]
        return metrics

    def _loss(
        self,
        member: int,
        generator: torch.Generator,
        real: Tensor,
        fake: Tensor,
        condition: Tensor | None,
        weight: Tensor | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What one network minimises, and its metrics."""
        config, network = self.config, self.members[member]
        # Apart: in one batch, batch norm would let the discriminator see the other half's statistics.
        d_real, d_fake = network(real, condition), network(fake, condition)
        features = d_fake
        if config.loss == "cramer" and self.running is not None:
            self.running.reference = features.detach()
            d_real, d_fake = cramer(d_real, features), cramer(features, features)
        loss = self._adversarial(d_real, d_fake, weight)
        metrics = {"d/loss": loss.detach(), "d/real": d_real.detach().mean(), "d/fake": d_fake.detach().mean()}
        if config.gradient_penalty and (config.loss in ("wgan", "cramer") or config.penalised == "any"):
            mix = torch.rand(len(real), 1, 1, 1, generator=generator).to(real.device, non_blocking=True)
            other = fake
            if config.penalised_at == "around":
                other = around(real, torch.rand(real.shape, generator=generator).to(real.device, non_blocking=True))

            def judged(between: Tensor) -> Tensor:
                outputs = network(between, condition)
                return cramer(outputs, features.detach()) if config.loss == "cramer" else outputs

            penalty = gradient_penalty(judged, real, other, mix)
            metrics["d/penalty"] = penalty.detach()
            loss = loss + config.gradient_penalty * penalty
        if config.r1:
            penalty = gradient_norm_real(lambda images: network(images, condition), real)
            metrics["d/r1"] = penalty.detach()
            loss = loss + config.r1 * penalty
        if self.previous is not None:
            previous = self.previous.members[member] if isinstance(self.previous, Committee) else self.previous
            with torch.no_grad():
                before = previous(real, condition), previous(fake, condition)
            penalty = stay_close(torch.cat([d_real, d_fake]), torch.cat(before))
            metrics["d/change"] = penalty.detach()
            loss = loss + config.stay_close * penalty
        return loss, metrics

    def _adversarial(self, real: Tensor, fake: Tensor, weight: Tensor | None) -> Tensor:
        """The chosen loss of outputs for real pictures and fakes."""
        if self.config.loss in ("wgan", "cramer"):
            return wasserstein(real, fake, weight)
        if self.config.loss == "fisher" and self.running is not None:
            multiplier, rho = self.running.multiplier, self.config.fisher_penalty
            loss, constraint = fisher(real, fake, multiplier, rho)
            self.running.multiplier = multiplier - rho * (1.0 - constraint.detach())
            return loss
        if self.config.loss == "lsgan":
            return least_squares(real, fake, weight)
        if self.config.loss == "hinge":
            return hinge(real, fake, weight)
        if self.config.loss == "relativistic":
            return relativistic(real, fake, weight)
        return minimax(real, fake, self.config.label_smoothing, weight)
