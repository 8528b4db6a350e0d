"""Adversarial losses against closed forms."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
from torch import Tensor

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
    step_weight,
    wasserstein,
)

REAL, FAKE = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([0.0, -3.0])
IMAGES = torch.randn(5, 2, 3, 4, generator=torch.Generator().manual_seed(0))
OTHERS = torch.randn(5, 2, 3, 4, generator=torch.Generator().manual_seed(1))
MIX = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0]).view(5, 1, 1, 1)
W = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(2)).requires_grad_()


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def linear(x: Tensor) -> Tensor:
    """D(x) = w · x, whose gradient is w everywhere."""
    return (x * W).flatten(1).sum(1)


def quadratic(x: Tensor) -> Tensor:
    """D(x) = ½ ‖x‖², whose gradient is x."""
    return 0.5 * x.square().flatten(1).sum(1)


def test_wasserstein_is_mean_of_fake_minus_mean_of_real() -> None:
    assert wasserstein(REAL, FAKE).item() == pytest.approx(-1.5 - 0.5)


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_minimax_is_the_cross_entropy_at_known_logits(epsilon: float) -> None:
    def cross_entropy(logit: float, label: float) -> float:
        return -label * log(sigmoid(logit)) - (1 - label) * log(1 - sigmoid(logit))

    expected = sum(cross_entropy(x, 1 - epsilon) for x in REAL.tolist()) / 3
    expected += sum(cross_entropy(x, epsilon) for x in FAKE.tolist()) / 2
    assert minimax(REAL, FAKE, epsilon).item() == pytest.approx(expected, rel=1e-5)


def test_minimax_at_logit_zero_is_twice_log_two() -> None:
    assert minimax(torch.zeros(3), torch.zeros(2)).item() == pytest.approx(2 * log(2))


def test_smoothed_labels_put_the_optimum_at_their_own_logit() -> None:
    """The gradient vanishes where σ(D) equals the label: no label of 1 drives the logits to infinity."""
    best = torch.tensor([log(0.9 / 0.1)])
    real, fake = best.clone().requires_grad_(), (-best).clone().requires_grad_()
    for gradient in torch.autograd.grad(minimax(real, fake, 0.1), (real, fake)):
        assert gradient.item() == pytest.approx(0.0, abs=1e-6)


def test_least_squares_by_hand() -> None:
    """Distances of 2, −1, ½ from 1 and of 0, −3 from −1."""
    assert least_squares(REAL, FAKE).item() == pytest.approx(0.5 * (1 + 4 + 0.25) / 3 + 0.5 * (1 + 4) / 2)


def test_hinge_by_hand() -> None:
    """Real pictures beyond 1 and fakes below −1 count nothing."""
    assert hinge(REAL, FAKE).item() == pytest.approx((0 + 2 + 0.5) / 3 + (1 + 0) / 2)


def test_relativistic_by_hand_and_blind_to_a_shift() -> None:
    real, fake = 0.5, -1.5  # the means
    expected = -sum(log(sigmoid(x - fake)) for x in REAL.tolist()) / 3
    expected -= sum(log(1 - sigmoid(x - real)) for x in FAKE.tolist()) / 2
    assert relativistic(REAL, FAKE).item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(relativistic(REAL + 7, FAKE + 7), relativistic(REAL, FAKE))


@pytest.mark.parametrize("loss", [wasserstein, minimax, least_squares, hinge, relativistic])
def test_a_fake_of_weight_two_is_two_fakes(loss) -> None:
    """Of three fakes the first counts half as much as the second: as if that were there twice."""
    fake = torch.tensor([0.4, -2.0])
    weight = torch.tensor([2 / 3, 4 / 3])
    twice = torch.tensor([0.4, -2.0, -2.0])
    torch.testing.assert_close(loss(REAL, fake, weight=weight), loss(REAL, twice))
    assert loss(REAL, fake) != loss(REAL, twice)


def test_early_canvases_weigh_up_to_twice_as_much_as_finished_ones() -> None:
    step = torch.tensor([0, 2, 8, 8])  # of 8: 1, 7/8, 1/2, 1/2; mean 23/32
    expected = torch.tensor([1.0, 0.875, 0.5, 0.5]) * 32 / 23
    torch.testing.assert_close(step_weight(step, 8), expected)


def test_stay_close_by_hand() -> None:
    assert stay_close(REAL, torch.tensor([1.0, -1.0, 2.0])).item() == pytest.approx((1 + 0 + 2.25) / 3)


@pytest.mark.parametrize("loss", [wasserstein, minimax, least_squares, hinge, relativistic])
def test_real_high_and_fake_low_lower_the_loss(loss) -> None:
    real, fake = REAL - 1, FAKE + 1  # where least squares does not yet pull back
    assert loss(real + 0.5, fake) < loss(real, fake) < loss(real, fake + 0.5)


def test_gradient_penalty_of_a_linear_discriminator() -> None:
    expected = (W.detach().norm() - 1) ** 2
    torch.testing.assert_close(gradient_penalty(linear, IMAGES, OTHERS, MIX).detach(), expected)


def test_gradient_penalty_is_taken_between_real_and_fake() -> None:
    """For ½‖x‖² it is E[(‖x̂‖ − 1)²]: mix = 1 is the real image, 0 the fake one."""
    between = [m * r + (1 - m) * f for m, r, f in zip(MIX.flatten().tolist(), IMAGES, OTHERS, strict=True)]
    expected = sum((x.norm().item() - 1) ** 2 for x in between) / 5
    assert gradient_penalty(quadratic, IMAGES, OTHERS, MIX).item() == pytest.approx(expected, rel=1e-5)


def test_gradient_penalty_trains_the_discriminator() -> None:
    """d/dw (‖w‖ − 1)² = 2 (‖w‖ − 1) w / ‖w‖."""
    (gradient,) = torch.autograd.grad(gradient_penalty(linear, IMAGES, OTHERS, MIX), W)
    w = W.detach()
    torch.testing.assert_close(gradient, 2 * (w.norm() - 1) * w / w.norm())


def test_r1_is_the_squared_gradient_at_real_images() -> None:
    torch.testing.assert_close(gradient_norm_real(linear, IMAGES).detach(), W.detach().square().sum())
    expected = IMAGES.square().sum().item() / 5
    assert gradient_norm_real(quadratic, IMAGES).item() == pytest.approx(expected, rel=1e-5)
    (gradient,) = torch.autograd.grad(gradient_norm_real(linear, IMAGES), W)
    torch.testing.assert_close(gradient, 2 * W.detach())


def test_fisher_is_the_augmented_lagrangian_by_hand() -> None:
    """Ω = ½ (4 + 1 + ¼)/3 + ½ (0 + 9)/2 = 3.125; the mean gap is 0.5 + 1.5."""
    loss, constraint = fisher(REAL, FAKE, torch.tensor(0.3), 0.2)
    assert constraint.item() == pytest.approx(3.125)
    assert loss.item() == pytest.approx(-2.0 - 0.3 * (1 - 3.125) + 0.1 * (1 - 3.125) ** 2)


def test_cramer_against_loops() -> None:
    h = torch.randn(3, 4, generator=torch.Generator().manual_seed(3))
    fakes = torch.randn(5, 4, generator=torch.Generator().manual_seed(4))
    for features, leaves_itself_out in ((h, False), (fakes, True)):
        wanted = []
        for i, x in enumerate(features):
            distances = [(x - y).norm() for j, y in enumerate(fakes) if not (leaves_itself_out and i == j)]
            wanted.append(torch.stack(distances).mean() - x.norm())
        torch.testing.assert_close(cramer(features, fakes), torch.stack(wanted))


def test_cramer_has_a_finite_gradient_where_fakes_meet_themselves() -> None:
    fakes = torch.randn(5, 4, generator=torch.Generator().manual_seed(4)).requires_grad_()
    cramer(fakes, fakes).sum().backward()
    assert fakes.grad is not None
    assert fakes.grad.isfinite().all()


def test_around_moves_real_pictures_by_half_their_spread_at_most() -> None:
    noise = torch.rand(IMAGES.shape, generator=torch.Generator().manual_seed(5))
    moved = (around(IMAGES, noise) - IMAGES) / IMAGES.std()
    torch.testing.assert_close(moved, 0.5 * noise)


def test_dragan_penalises_the_gradient_near_real_pictures() -> None:
    """D(x) = ½ ‖x‖² has the gradient x, so that the place of the penalty can be read off."""
    noise = torch.rand(IMAGES.shape, generator=torch.Generator().manual_seed(5))
    place = MIX * IMAGES + (1 - MIX) * (IMAGES + 0.5 * IMAGES.std() * noise)
    wanted = (place.flatten(1).norm(dim=1) - 1).square().mean()
    torch.testing.assert_close(gradient_penalty(quadratic, IMAGES, around(IMAGES, noise), MIX), wanted)
