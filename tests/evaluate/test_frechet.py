import numpy as np
import pytest
from scipy.linalg import sqrtm

from garl.errors import GarlError
from garl.evaluate.frechet import frechet_distance


def test_one_dimension_matches_the_closed_form():
    a, b = np.array([[0.0], [2.0], [4.0]]), np.array([[10.0], [16.0]])
    # (μa − μb)² + (σa − σb)², unbiased: σa = 2, σb = √18
    assert frechet_distance(a, b) == pytest.approx((2 - 13) ** 2 + (2 - np.sqrt(18)) ** 2)


def test_diagonal_covariances_match_the_closed_form():
    corners = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], float)  # unbiased variance 4/3 on both axes, uncorrelated
    a, b = corners * [1, 5] + [3, 0], corners * [2, 3]
    expected = 3**2 + 4 / 3 * ((1 - 2) ** 2 + (5 - 3) ** 2)
    assert frechet_distance(a, b) == pytest.approx(expected)


def test_a_shift_costs_its_squared_length_even_where_the_covariance_is_singular():
    features = np.random.default_rng(0).normal(size=(7, 20))  # N < F
    shift = np.linspace(-1, 2, 20)
    assert frechet_distance(features, features + shift) == pytest.approx((shift**2).sum(), abs=1e-10)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-12)


def test_equals_the_formula_as_written_and_is_symmetric_for_unequal_counts():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6)), rng.normal(size=(90, 6)) @ rng.normal(size=(6, 6)) + 1
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    slow = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)
    assert frechet_distance(a, b) == pytest.approx(slow, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-12)


def test_one_picture_has_no_spread():
    with pytest.raises(GarlError, match="at least 2 pictures"):
        frechet_distance(np.zeros((5, 3)), np.zeros((1, 3)))
