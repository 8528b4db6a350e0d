"""Waves of known power are found; rankings that turn are counted."""

import numpy as np
import pytest

from garl.evaluate.oscillation import flips, slow_power


@pytest.mark.parametrize(("amplitude", "period"), [(1.0, 20.0), (3.0, 37.0)])
def test_a_wave_in_the_band_has_half_its_squared_amplitude(amplitude: float, period: float) -> None:
    x = np.arange(600)
    wave = amplitude * np.sin(2 * np.pi * x / period + 0.7)
    assert slow_power(wave + 5 + 0.02 * x, 10, 60) == pytest.approx(amplitude**2 / 2, rel=0.03)


def test_waves_outside_the_band_and_trends_do_not_count() -> None:
    x = np.arange(600)
    assert slow_power(np.sin(2 * np.pi * x / 4), 10, 60) < 1e-3
    assert slow_power(np.sin(2 * np.pi * x / 300), 10, 60) < 1e-2
    assert slow_power(7 - 0.3 * x, 10, 60) < 1e-12


def test_of_white_noise_the_band_s_share_counts() -> None:
    noise = np.random.default_rng(0).normal(0, 2, 20_000)
    assert slow_power(noise, 10, 50) == pytest.approx(4 * (2 / 10 - 2 / 50), rel=0.1)


def test_rankings_that_stay_do_not_flip() -> None:
    assert flips(np.array([[0.0, 0.0, 0.0], [5.0, 5.5, 0.0], [-2.0, 0.0, 0.1]])) == 0.0


def test_a_flip_counts_its_smaller_difference() -> None:
    # The only pair that two neighbouring rows have seen is (0, 1), in rows 1 and 2; each in units of its row's spread.
    before, after = np.std([0.0, 1.0]), np.std([3.0, 1.0, 4.0])
    scores = np.array([[9.0, 7.0, 7.0], [0.0, 1.0, 7.0], [3.0, 1.0, 4.0]])
    assert flips(scores) == pytest.approx(min(1 / before, 2 / after))
    # A close call counts less than a full turn.
    close = np.array([[9.0, 7.0, 7.0], [0.0, 1.0, 7.0], [1.1, 1.0, 4.0]])
    assert 0 < flips(close) < flips(scores)


def test_what_stands_before_a_set_was_there_does_not_count() -> None:
    scores = np.array([[0.0, 2.0, 5.0], [2.0, 0.0, -5.0], [2.0, 0.0, 1.0]])
    assert flips(scores) == 0.0  # the pair (0, 1) is first ranked by row 1
    assert flips(np.zeros((1, 1))) == 0.0
