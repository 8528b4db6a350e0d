"""The losses of a fixed adversary against numbers worked by hand, and its scores against the losses."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from garl.adversary.likeness import LEAST, Likeness, perceptual_loss, pixel_loss
from garl.evaluate.judge import load_judge
from garl.reward import RewardConfig, reward

BLANK = torch.tensor([255, 0, 128], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 9, 13)


def pictures(n: int, seed: int) -> Tensor:
    return torch.randint(0, 256, (n, 3, 9, 13), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def halves(images: Tensor) -> list[Tensor]:
    """Two feature maps of different sizes: the left half, and the mean of each row."""
    x = images.float() / 255
    return [x[..., :5], x.mean(3, keepdim=True)]


def test_pixel_losses_by_hand() -> None:
    picture = torch.tensor([[[[0.25, 1.0], [0.0, 0.5]]], [[[0.0, 0.0], [0.0, 0.0]]]])
    target = torch.tensor([[[[0.0, 0.0], [0.0, 0.49]]], [[[0.0, 0.0], [0.0, 1.0]]]])
    torch.testing.assert_close(pixel_loss(picture, target, 2.0), torch.tensor([(0.0625 + 1 + 0.0001) / 4, 0.25]))
    torch.testing.assert_close(pixel_loss(picture, target, 0.5), torch.tensor([(0.5 + 1 + 0.1) / 4, 0.25]))


def test_the_perceptual_loss_is_equation_3_1() -> None:
    generator = torch.Generator().manual_seed(0)
    ours, theirs = ([torch.randn(4, *shape, generator=generator) for shape in ((5, 3, 7), (2, 6, 1))] for _ in range(2))
    loss = perceptual_loss(ours, theirs)
    for i in range(4):
        expected = 0.0
        for a, b in zip(ours, theirs, strict=True):
            d, h, w = a.shape[1:]
            expected += sum((x - y) ** 2 for x, y in zip(a[i].flatten(), b[i].flatten(), strict=True)) / (h * w * d)
        assert loss[i].item() == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("perceptual", [0.0, 0.5])
def test_a_blank_canvas_scores_0_and_the_target_1(perceptual: float) -> None:
    likeness = Likeness(BLANK, 0.5, perceptual, halves if perceptual else None)
    target = pictures(4, 1)
    score = likeness.score(torch.cat([BLANK.expand(4, -1, -1, -1), target]), target)
    torch.testing.assert_close(score, torch.tensor([0.0] * 4 + [1.0] * 4))


def test_scores_are_shares_of_each_blank_loss() -> None:
    likeness, target, canvases = Likeness(BLANK, 2.0, 0.25, halves), pictures(3, 1), pictures(6, 2)
    score = likeness.score(canvases, target)
    for i, (canvas, asked) in enumerate(zip(canvases, torch.cat([target, target]), strict=True)):
        shares = []
        for see, loss in ((lambda x: x.float() / 255, lambda a, b: pixel_loss(a, b, 2.0)), (halves, perceptual_loss)):
            painted, blank = (loss(see(x[None]), see(asked[None])).item() for x in (canvas, BLANK[0]))
            shares.append(1 - painted / blank)
        assert score[i].item() == pytest.approx((shares[0] + 0.25 * shares[1]) / 1.25, abs=1e-5)


def test_temporal_rewards_are_those_of_paintbot() -> None:
    """r_t = (L_{t−1} − L_t) / L_0."""
    target, canvases = pictures(2, 1), torch.cat([BLANK.expand(2, -1, -1, -1), pictures(6, 2)])
    score = Likeness(BLANK, 0.5).score(canvases, target).view(4, 2)
    earned = reward(score, RewardConfig(system="temporal"))
    loss = torch.stack([pixel_loss(c.float() / 255, target.float() / 255, 0.5) for c in canvases.view(4, 2, 3, 9, 13)])
    torch.testing.assert_close(earned, (loss[:-1] - loss[1:]) / loss[0])


def test_a_target_that_is_blank_costs_no_fortune() -> None:
    score = Likeness(BLANK, 2.0).score(pictures(1, 3), BLANK)
    assert -1 / LEAST < score.item() < -1
    assert math.isfinite(score.item())


def test_the_maps_of_the_judge_lead_to_its_features() -> None:
    judge = load_judge()
    images = torch.randint(0, 256, (5, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    maps = judge.maps(images)
    assert [tuple(each.shape) for each in maps] == [(5, 16, 14, 14), (5, 32, 7, 7), (5, 64, 3, 3)]
    features = judge.body[-2:](maps[-1].flatten(1))
    torch.testing.assert_close(features.double().numpy(), judge.features(images))
