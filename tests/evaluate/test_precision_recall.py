import numpy as np
import pytest

from garl.errors import GarlError
from garl.evaluate import precision_recall as module
from garl.evaluate.precision_recall import precision_recall


def slow_share_inside(points: np.ndarray, centers: np.ndarray, k: int) -> float:
    inside = 0
    for point in points:
        for i, center in enumerate(centers):
            others = np.delete(centers, i, axis=0)
            radius = sorted(np.linalg.norm(others - center, axis=1))[k - 1]
            if np.linalg.norm(point - center) <= radius:
                inside += 1
                break
    return inside / len(points)


@pytest.mark.parametrize("k", [1, 3])
def test_equals_the_slow_reference_across_chunks(monkeypatch, k):
    monkeypatch.setattr(module, "CHUNK", 7)
    rng = np.random.default_rng(0)
    painted, real = rng.normal(size=(23, 2)) * 0.7 + 0.5, rng.normal(size=(40, 2))
    precision, recall = precision_recall(painted, real, k)
    assert precision == pytest.approx(slow_share_inside(painted, real, k))
    assert recall == pytest.approx(slow_share_inside(real, painted, k))
    assert precision != recall


def test_known_by_hand():
    real = np.array([[0.0], [1.0], [2.0], [100.0], [101.0], [102.0]])  # two modes
    painted = np.array([[0.5], [1.5], [1.0], [50.0]])  # one mode and a stray
    # k = 1: real balls have radius 1, so 0.5, 1.5 and 1.0 lie inside. Painted radii are .5, .5, .5, 48.5,
    # which take 1 and 2 (by 1.5), 0 (by 0.5), and nothing beyond 98.5
    assert precision_recall(painted, real, k=1) == (0.75, 0.5)


def test_one_painting_over_and_over_is_precise_but_recalls_itself_alone():
    real = np.arange(12.0)[:, None] ** 2
    painted = np.full((9, 1), 16.0)
    assert precision_recall(painted, real) == (1.0, 1 / 12)


def test_too_few_pictures():
    with pytest.raises(GarlError, match="more than 3 pictures on each side, not 3"):
        precision_recall(np.zeros((3, 2)), np.zeros((9, 2)))
