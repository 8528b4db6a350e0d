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
    scores = np.array([[0.0, 1.0, 3.0], [5.0, 5.5, 9.0], [-2.0, 0.0, 0.1]])
    assert flips(scores) == 0.0


def test_a_flip_counts_its_smaller_difference() -> None:
    spread = np.std([0.0, 1.0, 4.0])
    scores = np.array([[0.0, 1.0, 4.0], [1.0, 0.0, 4.0]])
    # One pair of three turns, by 1 on either side.
    assert flips(scores) == pytest.approx(1 / spread / 3)
    # A close call counts less than a full turn.
    assert flips(np.array([[0.0, 1.0, 4.0], [0.1, 0.0, 4.0]])) < flips(np.array([[0.0, 1.0, 4.0], [4.0, 1.0, 0.0]]))


def test_sets_not_yet_seen_are_left_out() -> None:
    late = np.array([[0.0, 2.0, np.nan], [2.0, 0.0, 1.0], [2.0, 0.0, 1.0]])
    assert flips(late) > 0
    assert flips(np.array([[0.0, 1.0, np.nan], [0.0, 1.0, 5.0]])) == 0.0
    assert flips(np.zeros((1, 4))) == 0.0
