"""Verdicts on curves whose answer is known."""

import numpy as np
import pytest

from garl.experiments.verdict import Alike, Better, Curve, Learns, NoBetter, overall, p_better


def curve(final: float, untrained: float = 1000.0, diverged: bool = False, flips: float = 0.0) -> Curve:
    steps = np.arange(1, 9)
    frechet = np.linspace(untrained, final, 9)[1:]
    frechet[0], frechet[-2:] = untrained, final
    return Curve(steps, steps / 10, frechet, flips, diverged=diverged)


def arm(*finals: float) -> list[Curve]:
    return [curve(final) for final in finals]


def test_final_is_the_median_of_the_last_quarter() -> None:
    frechet = np.array([900.0, 500, 400, 300, 200, 100, 70, 80, 30, 50, 400, 60])
    assert Curve(np.arange(12), np.arange(12), frechet).final == 60.0  # of 50, 400 and 60
    assert curve(10, 800, diverged=True).final == 800


def test_p_is_one_in_twenty_when_three_seeds_beat_three() -> None:
    assert p_better(arm(1, 2, 3), arm(4, 5, 6)) == pytest.approx(1 / 20)
    assert p_better(arm(4, 5, 6), arm(1, 2, 3)) == pytest.approx(1.0)
    # By hand: of the 20 ways to split {1, 2, 4, 3, 5, 6}, two have a mean logarithm as low as (1, 2, 4).
    assert p_better(arm(1, 2, 4), arm(3, 5, 6)) == pytest.approx(2 / 20)


def test_better() -> None:
    curves = {"a": arm(10, 12, 11), "b": arm(20, 22, 13), "c": arm(11, 30, 12)}
    assert Better("a", "b").judge(curves)[0] == "confirmed"
    assert Better("b", "a").judge(curves)[0] == "not confirmed"
    found, sentence = Better("a", "c").judge(curves)
    assert found == "undecided"
    assert "11 against 12" in sentence


def test_better_by_a_factor_and_by_flips() -> None:
    still, turning = ([curve(10, flips=value) for value in values] for values in ((0.01, 0.0, 0.02), (0.3, 0.1, 0.2)))
    curves = {"still": still, "turning": turning}
    assert Better("still", "turning", "flips", times=15).judge(curves)[0] == "confirmed"  # 0.01 against 0.2
    assert Better("still", "turning", "flips", times=25).judge(curves)[0] == "not confirmed"
    assert Better("turning", "still", "flips").judge(curves)[0] == "not confirmed"
    assert Better("still", "turning").judge(curves)[0] == "undecided"  # their distances are the same


def test_no_better() -> None:
    curves = {"a": arm(10, 12, 11), "b": arm(20, 22, 13), "c": arm(11, 10, 12)}
    assert NoBetter("b", "a").judge(curves)[0] == "confirmed"
    assert NoBetter("c", "a").judge(curves)[0] == "confirmed"
    assert NoBetter("a", "b").judge(curves)[0] == "not confirmed"
    assert NoBetter("a", "d").judge(curves | {"d": arm(11, 30, 20)})[0] == "undecided"


def test_learns() -> None:
    curves = {"all": arm(100, 200, 499), "some": arm(100, 501, 200), "none": arm(501, 900, 1100)}
    assert [Learns(name).judge(curves)[0] for name in curves] == ["confirmed", "undecided", "not confirmed"]
    assert [Learns(name, no=True).judge(curves)[0] for name in curves] == ["not confirmed", "undecided", "confirmed"]


def test_alike() -> None:
    curves = {"a": arm(100, 120, 110), "b": arm(105, 115, 119), "far": arm(300, 310, 290), "wide": arm(90, 200, 150)}
    assert Alike("a", "b").judge(curves)[0] == "confirmed"
    assert Alike("a", "far").judge(curves)[0] == "not confirmed"
    assert Alike("a", "wide").judge(curves)[0] == "undecided"


def test_overall() -> None:
    assert overall(["confirmed", "confirmed"]) == "confirmed"
    assert overall(["confirmed", "undecided"]) == "undecided"
    assert overall(["confirmed", "undecided", "not confirmed"]) == "not confirmed"
