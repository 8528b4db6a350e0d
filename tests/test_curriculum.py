"""When paintings get another stroke, and which pictures are painted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from garl.curriculum import CurriculumConfig, Targets, grown
from garl.data.images import Images

IMAGES = Images("six", np.arange(6, dtype=np.uint8)[:, None, None, None].repeat(2, 2).repeat(3, 3), None, (), ())


def targets(**settings: object) -> Targets:
    return Targets(IMAGES, CurriculumConfig(**settings))


@pytest.mark.parametrize(
    ("strokes", "score", "then"),
    [
        (1, 0.09, 1),
        (1, 0.1, 2),  # an eighth of 0.8
        (4, 0.39, 4),
        (4, 0.41, 5),
        (7, 0.69, 7),
        (7, 0.71, 8),
        (8, 0.99, 8),
        (3, float("nan"), 3),
    ],
)
def test_a_stroke_is_added_at_its_share_of_the_threshold(strokes: int, score: float, then: int) -> None:
    assert grown(strokes, 8, score, 0.8) == then


def test_uniform_targets_are_the_pictures_of_a_batch_and_nothing_is_remembered() -> None:
    drawn = targets()
    pictures = drawn.draw(9, torch.Generator().manual_seed(3))
    assert torch.equal(pictures, IMAGES.batch(9, torch.Generator().manual_seed(3)))
    drawn.learn(torch.rand(9))
    assert drawn.state_dict() == {}


def test_the_worse_a_picture_was_painted_the_more_often_it_is_drawn() -> None:
    drawn, generator = targets(targets="difficulty"), torch.Generator().manual_seed(0)
    scores = torch.tensor([0.5, 0.9, -0.5, 1.0, 0.0, 0.75])
    drawn.places = torch.arange(6)
    drawn.learn(scores)
    pictures = drawn.draw(20_000, generator)
    assert torch.equal(pictures[:, 0, 0, 0].long(), drawn.places)
    shares = torch.bincount(drawn.places, minlength=6) / 20_000
    weight = torch.tensor([0.5, 0.1, 1.5, 0.01, 1.0, 0.25])
    torch.testing.assert_close(shares, weight / weight.sum(), rtol=0.1, atol=0.002)


def test_of_two_paintings_of_a_picture_the_later_counts() -> None:
    drawn = targets(targets="difficulty")
    drawn.places = torch.tensor([2, 0, 2])
    drawn.learn(torch.tensor([0.9, 0.4, 0.2]))
    torch.testing.assert_close(drawn.error, torch.tensor([0.6, 1.0, 0.8, 1.0, 1.0, 1.0]))
