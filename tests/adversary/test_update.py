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


def build(network: dict | None = None, **changes) -> Adversary:
    torch.manual_seed(0)
    sizes = TINY.model_copy(update=network or {})
    return Adversary(CANVAS, AdversaryConfig(network=sizes, learning_rate=3e-3, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "wgan"},
        {"loss": "minimax_logit"},
        {"loss": "minimax"},
        {"loss": "minimax_logit", "r1": 0.1, "label_smoothing": 0.1, "optimizer": "adam"},
        {"loss": "lsgan", "penalised": "any", "gradient_penalty": 1.0},
        {"loss": "hinge", "networks": 2},
        {"loss": "relativistic", "optimizer": "optimistic_adam"},
        {"loss": "hinge", "stay_close": 0.1, "average": 0.5, "l2_penalty": 1e-4},
        {"loss": "fisher", "fisher_penalty": 0.1},
        {"loss": "cramer", "network": {"outputs": 3}},
        {"loss": "minimax_logit", "penalised": "any", "penalised_at": "around", "gradient_penalty": 1.0},
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
        ({"loss": "hinge", "penalised": "any", "stay_close": 1.0}, {"d/penalty", "d/change"}),
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


@pytest.mark.parametrize("loss", ["wgan", "hinge"])
def test_label_smoothing_needs_labels(loss: str) -> None:
    with pytest.raises(GarlError, match="label_smoothing"):
        AdversaryConfig(loss=loss, label_smoothing=0.1)


def test_clipped_weights() -> None:
    with pytest.raises(GarlError, match="weight_clip"):
        AdversaryConfig(weight_clip=0.01)
    network = DiscriminatorConfig(channels=2, spectral_norm=False)
    adversary = Adversary(CANVAS, AdversaryConfig(network=network, weight_clip=0.01, gradient_penalty=0.0))
    adversary.update(squares(4, 255, 0), squares(4, 0, 1), torch.Generator().manual_seed(0))
    sizes = torch.cat([parameter.detach().abs().flatten() for parameter in adversary.network.parameters()])
    assert sizes.max().item() == pytest.approx(0.01)
    assert sizes.min() < 0.009


def test_l2_penalty_pulls_weights_to_zero() -> None:
    """RMSprop's first step follows the sign of the gradient: with a penalty that outweighs the loss, towards zero."""
    network = DiscriminatorConfig(channels=2, spectral_norm=False)
    adversary = Adversary(CANVAS, AdversaryConfig(network=network, l2_penalty=1e6, learning_rate=1e-5))
    before = [parameter.detach().clone() for parameter in adversary.network.parameters()]
    adversary.update(squares(4, 255, 0), squares(4, 0, 1), torch.Generator().manual_seed(0))
    for old, new in zip(before, adversary.network.parameters(), strict=True):
        far = old.abs() > 1e-3
        assert (new.detach().abs() < old.abs())[far].all()


def test_stay_close_compares_with_the_network_before_its_last_step() -> None:
    network = DiscriminatorConfig(channels=2, spectral_norm=False)
    adversary = Adversary(CANVAS, AdversaryConfig(network=network, stay_close=1.0, learning_rate=3e-3))
    real, fake, generator = squares(4, 255, 0), squares(4, 0, 1), torch.Generator().manual_seed(0)
    both, scores = torch.cat([real, fake]), []
    for i in range(3):
        scores.append(adversary.score(both))
        change = adversary.update(real, fake, generator)["d/change"]
        expected = (scores[i] - scores[i - 1]).square().mean() if i else torch.tensor(0.0)
        torch.testing.assert_close(change, expected, rtol=1e-3, atol=1e-6)
    assert change > 1e-6


def test_stay_close_slows_the_discriminator() -> None:
    def change(stay_close: float) -> float:
        torch.manual_seed(0)
        network = DiscriminatorConfig(channels=2, spectral_norm=False)
        config = AdversaryConfig(network=network, stay_close=stay_close, optimizer="adam", loss="hinge")
        adversary, generator = Adversary(CANVAS, config), torch.Generator().manual_seed(0)
        images = torch.cat([squares(8, 255, 0), squares(8, 0, 1)])
        before = adversary.score(images)
        for _ in range(10):
            adversary.update(images[:8], images[8:], generator)
        return (adversary.score(images) - before).square().mean().item()

    assert change(1000.0) < 0.5 * change(1e-9)


def test_scores_come_from_averaged_weights() -> None:
    network = DiscriminatorConfig(channels=2, spectral_norm=False)
    adversary = Adversary(CANVAS, AdversaryConfig(network=network, average=0.75, learning_rate=3e-3))
    generator, images = torch.Generator().manual_seed(0), squares(6, 200, 3)
    expected = {name: value.clone() for name, value in adversary.network.state_dict().items()}
    for i in range(3):
        adversary.update(squares(4, 255, 2 * i), squares(4, 0, 2 * i + 1), generator)
        last = adversary.network.state_dict()
        expected = {name: 0.75 * value + 0.25 * last[name] for name, value in expected.items()}
    scored = adversary.score(images)
    plain = Adversary(CANVAS, AdversaryConfig(network=network))
    plain.network.load_state_dict(last)
    assert (plain.score(images) - scored).abs().max() > 1e-3
    plain.network.load_state_dict(expected)
    torch.testing.assert_close(plain.score(images), scored, rtol=1e-4, atol=1e-5)


def test_every_network_learns_from_its_own_part_of_a_batch() -> None:
    """Two networks on a shared batch are two adversaries on every second picture."""
    settings = {"network": DiscriminatorConfig(channels=2), "loss": "hinge", "learning_rate": 3e-3}
    torch.manual_seed(0)
    pair = Adversary(CANVAS, AdversaryConfig(networks=2, **settings))
    torch.manual_seed(0)
    alone = [Adversary(CANVAS, AdversaryConfig(**settings)) for _ in range(2)]
    generator = torch.Generator().manual_seed(0)
    for i in range(3):
        real, fake = squares(8, 255, 2 * i), squares(8, 0, 2 * i + 1)
        metrics = pair.update(real, fake, generator)
        apart = [one.update(real[k::2], fake[k::2], generator) for k, one in enumerate(alone)]
        torch.testing.assert_close(metrics["d/loss"], (apart[0]["d/loss"] + apart[1]["d/loss"]) / 2)
    images = squares(6, 180, 9)
    scores = [one.score(images) for one in alone]
    torch.testing.assert_close(pair.score(images), (scores[0] + scores[1]) / 2)
    assert (scores[0] - scores[1]).abs().max() > 1e-3


def test_it_learns_which_pictures_are_of_which_class() -> None:
    """White squares are right for class 1 and wrong for class 0, black ones the other way round."""
    torch.manual_seed(0)
    adversary = Adversary(CANVAS, AdversaryConfig(network=TINY, loss="hinge", learning_rate=3e-3), classes=2)
    generator, classes = torch.Generator().manual_seed(0), torch.arange(8) % 2
    for i in range(60):
        white, black = squares(8, 255, 2 * i), squares(8, 0, 2 * i + 1)
        right = torch.where(classes[:, None, None, None] == 1, white, black)
        wrong = torch.where(classes[:, None, None, None] == 1, black, white)
        adversary.update(right, wrong, generator, classes)
    zero, one = torch.zeros(32).long(), torch.ones(32).long()
    white, black = squares(32, 255, 998), squares(32, 0, 999)
    assert (adversary.score(white, one) > adversary.score(black, one)).all()
    assert (adversary.score(black, zero, chunk=5) > adversary.score(white, zero)).all()


def pairs(**changes) -> Adversary:
    torch.manual_seed(0)
    return Adversary(CANVAS, AdversaryConfig(network=TINY, learning_rate=3e-3, **changes), pairs=True)


@pytest.mark.parametrize("mask", [0.0, 0.5])
def test_it_learns_which_pictures_are_their_targets(mask: float) -> None:
    adversary, generator = pairs(loss="hinge", mask=mask), torch.Generator().manual_seed(0)
    for i in range(60):
        target, other = squares(8, 255, i), squares(8, 0, i + 1)
        adversary.update(target, other, generator, target)
        adversary.update(other, target, generator, other)
    white, black = squares(32, 255, 998), squares(32, 0, 999)
    assert (adversary.score(white, white) > adversary.score(black, white)).all()
    assert (adversary.score(black, black, chunk=5) > adversary.score(white, black)).all()


def test_targets_are_repeated_for_the_canvases_of_an_episode() -> None:
    adversary, targets, canvases = pairs(), squares(3, 200, 1), squares(12, 90, 2)
    whole = adversary.score(canvases, targets)
    for t, part in enumerate(canvases.split(3)):
        torch.testing.assert_close(whole[3 * t : 3 * t + 3], adversary.score(part, targets))
    assert (whole.view(4, 3).std(1) > 0).all()


def test_what_is_hidden_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all patches masked no place of a pair is seen twice, and real pairs are masked as the fakes beside them."""
    adversary, generator = pairs(mask=1.0, gradient_penalty=0.0), torch.Generator().manual_seed(0)
    seen: list[torch.Tensor] = []
    adversary.members[0].layers[0].register_forward_hook(lambda module, given, _: seen.append(given[0].detach()))
    target, fake = squares(5, 255, 0), squares(5, 0, 1)
    adversary.update(target, fake, generator, target)
    real_pair, fake_pair = (x != 0 for x in seen)
    for pair in (real_pair, fake_pair):
        assert not (pair[:, 0] & pair[:, 1]).any()
        assert pair.any(1).all()
    assert torch.equal(real_pair, fake_pair)
    seen.clear()
    score = adversary.score(fake, target, generator)
    first, second = seen
    shown = to_network(fake)[:, 0], to_network(target)[:, 0]
    for i in range(2):  # what one view hides, the other shows
        torch.testing.assert_close(first[:, i] + second[:, i], shown[i])
    network = adversary.members[0]
    expected = [network(view[:, :1], view[:, 1:]) for view in (first, second)]
    torch.testing.assert_close(score, torch.stack(expected).mean(0))
    assert len({tuple(mask.flatten().tolist()) for mask in first[:, :1] != 0}) == 1, "one mask for all"


def test_the_multiplier_of_fisher_follows_its_constraint() -> None:
    """λ ← λ − ρ (1 − Ω), and it is among what a run saves."""
    adversary = build(loss="fisher", fisher_penalty=0.5, network={"spectral_norm": False})
    real, fake = squares(8, 255, 1), squares(8, 0, 2)
    wanted = 0.0
    for _ in range(3):
        outputs = [adversary.network(to_network(x)).detach() for x in (real, fake)]
        wanted -= 0.5 * (1 - sum(0.5 * float(x.square().mean()) for x in outputs))
        adversary.update(real, fake, torch.Generator())
    assert float(adversary.modules()["adversary_running"].state_dict()["multiplier"]) == pytest.approx(wanted)


def test_cramer_compares_with_the_last_fakes() -> None:
    adversary = build(network={"outputs": 3}, loss="cramer", batch_size=8)
    adversary.update(squares(8, 255, 1), squares(8, 0, 2), torch.Generator().manual_seed(0))
    reference = adversary.modules()["adversary_running"].state_dict()["reference"]
    assert reference.shape == (8, 3)
    features = adversary.network.eval()(to_network(squares(5, 255, 3)))
    wanted = (features[:, None] - reference).norm(dim=2).mean(1) - features.norm(dim=1)
    torch.testing.assert_close(adversary.score(squares(5, 255, 3)), wanted)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"loss": "cramer"}, "network.outputs"),
        ({"loss": "wgan", "network": DiscriminatorConfig(outputs=2)}, "network.outputs"),
        ({"loss": "fisher", "networks": 2}, "networks to 1"),
    ],
)
def test_losses_that_need_another_network_say_so(changes: dict, says: str) -> None:
    with pytest.raises(GarlError, match=says):
        AdversaryConfig(**changes)
