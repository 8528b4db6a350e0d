import numpy as np
import pytest

from garl.errors import GarlError
from garl.evaluate.pixels import pixel_gaps


def test_gaps_of_places_do_not_cancel():
    painted = np.array([[0, 255], [0, 255]], np.uint8).reshape(2, 1, 1, 2)
    real = np.array([[255, 0], [255, 0], [255, 0]], np.uint8).reshape(3, 1, 1, 2)
    assert pixel_gaps(painted, real) == (1.0, 0.0)


def test_values_of_both_gaps():
    painted = np.array([[10, 20], [30, 20]], np.uint8).reshape(2, 1, 2, 1)  # means 20, 20; deviations 10, 0
    real = np.array([[50, 21], [50, 21]], np.uint8).reshape(2, 1, 2, 1)  # means 50, 21; deviations 0, 0
    assert pixel_gaps(painted, real) == (pytest.approx((30 + 1) / 2 / 255), pytest.approx(10 / 2 / 255))


def test_sizes_must_agree():
    with pytest.raises(GarlError, match=r"paintings are \(1, 4, 6\) but real pictures \(1, 6, 4\)"):
        pixel_gaps(np.zeros((2, 1, 4, 6), np.uint8), np.zeros((2, 1, 6, 4), np.uint8))
