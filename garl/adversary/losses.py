"""Adversarial losses: pure functions of the discriminator's outputs. Sign convention: logits_real_is_high.

Real and fake outputs are (N,) and (M,) raw outputs of the network; a loss is what the discriminator MINIMISES.
`weight` (M,), if given, says how much each fake counts; its mean should be 1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def _mean(values: Tensor, weight: Tensor | None) -> Tensor:
    return values.mean() if weight is None else (weight * values).mean()


def wasserstein(real: Tensor, fake: Tensor, weight: Tensor | None = None) -> Tensor:
    """E[D(fake)] − E[D(real)] (Arjovsky et al. 2017; thesis §7.4.2)."""
    return _mean(fake, weight) - real.mean()


def minimax(real: Tensor, fake: Tensor, smoothing: float = 0.0, weight: Tensor | None = None) -> Tensor:
    """Cross-entropy −E[log σ(D(real))] − E[log(1 − σ(D(fake)))], labels 1 − ε and ε (Goodfellow et al. 2014)."""
    real_loss = F.binary_cross_entropy_with_logits(real, torch.full_like(real, 1.0 - smoothing))
    fake_loss = F.binary_cross_entropy_with_logits(fake, torch.full_like(fake, smoothing), weight)
    return real_loss + fake_loss


def least_squares(real: Tensor, fake: Tensor, weight: Tensor | None = None) -> Tensor:
    """½ E[(D(real) − 1)²] + ½ E[(D(fake) + 1)²] (Mao et al. 2016; thesis eq. 7.1 with a = 1, b = −1)."""
    return 0.5 * (real - 1.0).square().mean() + 0.5 * _mean((fake + 1.0).square(), weight)


def hinge(real: Tensor, fake: Tensor, weight: Tensor | None = None) -> Tensor:
    """E[max(0, 1 − D(real))] + E[max(0, 1 + D(fake))] (Lim & Ye 2017; Miyato et al. 2018 eq. 16)."""
    return F.relu(1.0 - real).mean() + _mean(F.relu(1.0 + fake), weight)


def relativistic(real: Tensor, fake: Tensor, weight: Tensor | None = None) -> Tensor:
    """−E[log σ(D(real) − E[D(fake)])] − E[log(1 − σ(D(fake) − E[D(real)]))] (Jolicoeur-Martineau 2018, RaSGAN)."""
    real_loss = F.softplus(_mean(fake, weight) - real).mean()
    return real_loss + _mean(F.softplus(fake - real.mean()), weight)


def fisher(real: Tensor, fake: Tensor, multiplier: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """−(E[D(real)] − E[D(fake)]) − λ (1 − Ω) + ρ/2 (1 − Ω)², and Ω = ½ E[D(real)²] + ½ E[D(fake)²], which is to be 1:
    the augmented Lagrangian of Mroueh & Sercu 2017, eq. 9, with multiplier λ () and penalty ρ. After each step
    λ ← λ − ρ (1 − Ω)."""
    constraint = 0.5 * real.square().mean() + 0.5 * fake.square().mean()
    slack = 1.0 - constraint
    return fake.mean() - real.mean() - multiplier * slack + 0.5 * penalty * slack.square(), constraint


def cramer(features: Tensor, reference: Tensor) -> Tensor:
    """f(x) = E[‖h(x) − h(x')‖₂] − ‖h(x)‖₂ over fakes x', high for real (Bellemare et al. 2017, algorithm 1).

    features h(x) (N, K), reference h(x') (M, K) → (N,). Fakes that are their own reference are not compared with
    themselves, which keeps the estimate unbiased. The loss is `wasserstein` of f.
    """
    distance = (features[:, None] - reference).norm(dim=2)  # (N, M)
    others = len(reference) - (features is reference)
    return distance.sum(1) / others - features.norm(dim=1)


def step_weight(step: Tensor, strokes: int) -> Tensor:
    """How much a canvas after t of N strokes counts: 0.5 (N − t)/N + 0.5 (thesis §7.4.4), 1 for a blank one and ½ for a
    finished one; divided by the batch's mean, as the output's bias would run away if WGAN's halves weighed unlike."""
    weight = 0.5 * (strokes - step) / strokes + 0.5
    return weight / weight.mean()


def gradient_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """E[(‖∇D(x̂)‖₂ − 1)²] at x̂ = mix · real + (1 − mix) · fake (Gulrajani et al. 2017 eq. 3; thesis eq. 7.4).

    real, fake: (N, C, H, W) in −1..1; mix: (N, 1, 1, 1) uniform in 0..1.
    """
    between = (mix * real + (1.0 - mix) * fake).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(between).sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1.0).square().mean()


def around(real: Tensor, noise: Tensor) -> Tensor:
    """Pictures x + ½ σ u near real ones, where σ is the batch's standard deviation and u uniform noise in 0..1: with
    them for fakes the gradient penalty is DRAGAN's (Kodali et al. 2017, eq. 2, with the noise of their code)."""
    return real + 0.5 * real.std() * noise


def gradient_norm_real(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """R1: E[‖∇D(x)‖₂²] at the real images (Mescheder et al. 2018 eq. 9)."""
    real = real.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


def stay_close(now: Tensor, before: Tensor) -> Tensor:
    """E[(D(x) − D'(x))²] for outputs now and before, so that the discriminator changes slowly (thesis §7.6.2)."""
    return (now - before).square().mean()
