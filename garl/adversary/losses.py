"""Adversarial losses: pure functions of the discriminator's outputs. Sign convention: logits_real_is_high.

Real and fake outputs are (N,) and (M,) raw outputs of the network; a loss is what the discriminator MINIMISES.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def wasserstein(real: Tensor, fake: Tensor) -> Tensor:
    """E[D(fake)] − E[D(real)] (Arjovsky et al. 2017; thesis §7.4.2)."""
    return fake.mean() - real.mean()


def minimax(real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy −E[log σ(D(real))] − E[log(1 − σ(D(fake)))], labels 1 − ε and ε (Goodfellow et al. 2014)."""
    real_loss = F.binary_cross_entropy_with_logits(real, torch.full_like(real, 1.0 - smoothing))
    fake_loss = F.binary_cross_entropy_with_logits(fake, torch.full_like(fake, smoothing))
    return real_loss + fake_loss


def gradient_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """E[(‖∇D(x̂)‖₂ − 1)²] at x̂ = mix · real + (1 − mix) · fake (Gulrajani et al. 2017 eq. 3; thesis eq. 7.4).

    real, fake: (N, C, H, W) in −1..1; mix: (N, 1, 1, 1) uniform in 0..1.
    """
    between = (mix * real + (1.0 - mix) * fake).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(between).sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1.0).square().mean()


def gradient_norm_real(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """R1: E[‖∇D(x)‖₂²] at the real images (Mescheder et al. 2018 eq. 9)."""
    real = real.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()
