"""The adversary learns to tell black from white squares, and says which is real."""

from __future__ import annotations

import pytest
import torch

from garl.adversary.discriminator import DiscriminatorConfig
from garl.adversary.update import Adversary, AdversaryConfig, to_network
from garl.errors import GarlError

CANVAS = (1, 16, 20)
TINY = DiscriminatorConfig(channels=2)


def squares(n: int, value: int, seed: int) -> torch.Tensor:
    """Squares of `value` with a little noise at random places on grey, (n, 1, 16, 20) uint8."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.full((n, *CANVAS), 128, dtype=torch.uint8)
    for image in images:
        y, x = (int(torch.randint(0, high, (), generator=generator)) for high in (8, 12))
        image[:, y : y + 8, x : x + 8] = value
    return images


def build(**changes) -> Adversary:
    torch.manual_seed(0)
    return Adversary(CANVAS, AdversaryConfig(network=TINY, learning_rate=3e-3, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "wgan"},
        {"loss": "minimax_logit"},
        {"loss": "minimax"},
        {"loss": "minimax_logit", "r1": 0.1, "label_smoothing": 0.1, "optimizer": "adam"},
    ],
)
def test_it_learns_to_score_real_pictures_higher(changes: dict) -> None:
    adversary, generator = build(**changes), torch.Generator().manual_seed(0)
    for i in range(20):
        adversary.update(squares(8, 255, 2 * i), squares(8, 0, 2 * i + 1), generator)
    real, fake = adversary.score(squares(64, 255, 998)), adversary.score(squares(64, 0, 999))
    assert real.min() > fake.max(), "every unseen real picture above every unseen fake"


def test_scores_of_minimax_are_the_probabilities_of_the_logits() -> None:
    probability, logit = build(loss="minimax"), build(loss="minimax_logit")
    images = torch.randint(0, 256, (7, *CANVAS), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    p, x = probability.score(images), logit.score(images)
    torch.testing.assert_close(p, 1 / (1 + (-x).exp()))
    assert p.std() > 0


def test_scores_do_not_depend_on_chunks_or_company() -> None:
    adversary = Adversary(CANVAS, AdversaryConfig(network=TINY.model_copy(update={"dropout": 0.5, "norm": "batch"})))
    images = torch.randint(0, 256, (7, *CANVAS), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    whole = adversary.score(images)
    torch.testing.assert_close(adversary.score(images, chunk=3), whole)
    torch.testing.assert_close(torch.cat([adversary.score(image[None]) for image in images]), whole)
    assert not whole.requires_grad


def test_pictures_enter_the_network_in_minus_one_to_one() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 1, 1, 3)
    torch.testing.assert_close(to_network(images).flatten(), torch.tensor([-1.0, -0.6, 1.0]))


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({"loss": "wgan"}, {"d/penalty"}),
        ({"loss": "wgan", "gradient_penalty": 0.0}, set()),
        ({"loss": "wgan", "r1": 0.5}, {"d/penalty", "d/r1"}),
        ({"loss": "minimax"}, set()),
        ({"loss": "minimax_logit", "r1": 0.5}, {"d/r1"}),
    ],
)
def test_metrics_of_one_step(changes: dict, more: set[str]) -> None:
    adversary = build(**changes)
    adversary.network.eval()
    real, fake = squares(5, 255, 0), squares(5, 0, 1)
    metrics = adversary.update(real, fake, torch.Generator().manual_seed(0))
    assert set(metrics) == {"d/loss", "d/real", "d/fake", "d/separation"} | more
    assert all(value.shape == () and not value.requires_grad for value in metrics.values())
    separation = (metrics["d/real"] - metrics["d/fake"]).item()
    assert metrics["d/separation"].item() == pytest.approx(separation)
    if changes["loss"] == "wgan":
        assert metrics["d/loss"].item() == pytest.approx(-separation, abs=1e-6)


def test_metrics_are_those_before_the_step() -> None:
    """Without spectral norm the training pass is the scoring pass."""
    torch.manual_seed(0)
    network = DiscriminatorConfig(channels=2, spectral_norm=False)
    adversary = Adversary(CANVAS, AdversaryConfig(network=network, loss="wgan", gradient_penalty=0.0))
    real, fake = squares(5, 255, 0), squares(5, 0, 1)
    before = adversary.score(real).mean(), adversary.score(fake).mean()
    metrics = adversary.update(real, fake, torch.Generator().manual_seed(0))
    torch.testing.assert_close((metrics["d/real"], metrics["d/fake"]), before)
    assert adversary.score(real).mean() - adversary.score(fake).mean() > before[0] - before[1]


def test_the_step_is_that_of_rmsprop_on_the_penalised_loss() -> None:
    """First step of RMSprop (α = 0.99): −lr · g / (√(0.01 g²) + 1e-8) = −10 lr · sign(g)."""
    torch.manual_seed(0)
    network = DiscriminatorConfig(channels=2, spectral_norm=False)
    config = AdversaryConfig(network=network, gradient_penalty=3.0, r1=0.7, learning_rate=1e-3)
    adversary = Adversary(CANVAS, config)
    real, fake = squares(4, 255, 0), squares(4, 0, 1)
    mix = torch.rand(4, 1, 1, 1, generator=torch.Generator().manual_seed(5))
    x, y = to_network(real).requires_grad_(), to_network(fake)
    between = (mix * x + (1 - mix) * y).detach().requires_grad_()
    d = adversary.network
    (g_between,) = torch.autograd.grad(d(between).sum(), between, create_graph=True)
    (g_real,) = torch.autograd.grad(d(x).sum(), x, create_graph=True)
    penalty = ((g_between.flatten(1).square().sum(1).sqrt() - 1) ** 2).mean()
    loss = d(y).mean() - d(x).mean() + 3.0 * penalty + 0.7 * g_real.square().flatten(1).sum(1).mean()
    parameters = list(d.parameters())
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    before = [p.detach().clone() for p in parameters]
    adversary.update(real, fake, torch.Generator().manual_seed(5))
    for p, b, g in zip(parameters, before, gradients, strict=True):
        if g is None:
            assert torch.equal(p.detach(), b)
            continue
        clear = g.abs() > 1e-4
        torch.testing.assert_close((p.detach() - b)[clear], -0.01 * g.sign()[clear], rtol=1e-2, atol=1e-6)
    assert any((g.abs() > 1e-4).any() for g in gradients if g is not None)


def test_label_smoothing_needs_labels() -> None:
    with pytest.raises(GarlError, match="label_smoothing"):
        AdversaryConfig(loss="wgan", label_smoothing=0.1)
