"""Which network looks at which pictures, and what it makes of them."""

import numpy as np
import pytest

from garl.evaluate.eye import choose_eye
from garl.evaluate.features import Features, load_features
from garl.evaluate.frechet import frechet_distance
from garl.evaluate.judge import SHIPPED, Judge
from garl.evaluate.report import evaluate


@pytest.mark.parametrize("shape", [(9, 1, 28, 28), (1, 32, 20), (1, 4, 64), (3, 7, 7)])
def test_digits_and_what_the_features_cannot_see_are_for_the_judge(shape: tuple[int, ...]):
    assert isinstance(choose_eye(shape), Judge)


@pytest.mark.parametrize("shape", [(9, 3, 28, 28), (1, 33, 20), (3, 8, 8)])
def test_larger_pictures_and_colour_are_for_the_features(shape: tuple[int, ...]):
    assert isinstance(choose_eye(shape), Features)
    assert isinstance(choose_eye(shape, SHIPPED), Judge)


def test_the_features_tell_pictures_apart_by_colour_and_by_place():
    real = np.zeros((40, 3, 32, 32), np.uint8)
    real[:, :, 4:12, 4:12] = np.random.default_rng(0).integers(128, 256, (40, 3, 1, 1))
    others = {"half of them": real[:20], "moved": np.roll(real, 16, 3), "inverted": 255 - real}
    seen = {name: load_features().look(pictures)[0] for name, pictures in others.items()}
    distance = {name: frechet_distance(each, load_features().look(real)[0]) for name, each in seen.items()}
    assert 10 * distance["half of them"] < min(distance["moved"], distance["inverted"])


def test_a_report_of_pictures_without_classes_has_none():
    pictures = np.random.default_rng(0).integers(0, 256, (12, 3, 16, 16), np.uint8)
    record = evaluate(pictures, pictures[:9], label=1, asked=np.zeros(12, np.int64))
    assert not {"shares", "coverage", "total_variation", "recognised", "met"} & set(record)
    assert record["frechet"] >= 0.0
