from __future__ import annotations

import itertools

import numpy as np
import pytest

from garl.export.travel import shortened, travel


def drawn(ends: np.ndarray, order: np.ndarray, turned: np.ndarray) -> np.ndarray:
    return np.stack([ends[i][::-1] if back else ends[i] for i, back in zip(order, turned, strict=True)])


def test_travel_goes_from_home_and_back() -> None:
    assert travel(np.array([[[3, 4], [3, 10]], [[6, 10], [0, 2]]])) == pytest.approx(5 + 3 + 2)


def test_paths_on_a_line_are_drawn_on_the_way() -> None:
    rng, starts = np.random.default_rng(0), np.arange(30.0) * 10
    ends = np.stack([np.stack([starts, starts + 6], 1), np.zeros((30, 2))], 2)  # from (x, 0) to (x + 6, 0)
    ends = ends[rng.permutation(30)]
    ends[::2] = ends[::2, ::-1]
    order, turned = shortened(ends)
    assert sorted(order) == list(range(30))
    assert travel(drawn(ends, order, turned)) == pytest.approx(29 * 4 + 296)


def test_never_longer_and_seldom_far_from_the_shortest() -> None:
    rng, ratios = np.random.default_rng(1), []
    for _ in range(20):
        ends = rng.uniform(0, 100, (4, 2, 2))
        before = ends.copy()
        found = travel(drawn(ends, *shortened(ends)))
        shortest = min(
            travel(drawn(ends, np.array(order), np.array(turned)))
            for order in itertools.permutations(range(4))
            for turned in itertools.product([False, True], repeat=4)
        )
        assert np.array_equal(ends, before)
        assert shortest - 1e-9 <= found <= travel(ends) + 1e-9
        ratios.append(found / shortest)
    assert np.mean(ratios) < 1.1
    good = np.stack([np.arange(9.0), np.zeros(9)], 1)[:, None].repeat(2, 1)
    assert travel(drawn(good, *shortened(good))) == pytest.approx(16)


def test_crossings_are_untangled() -> None:
    # Nearest first leaves (0, 9) for the end and has to come back for it.
    places = np.array([[0, 9], [4, 0], [8, 0], [12, 0], [12, 9], [8, 9], [4, 9]], np.float64)
    ends = places[:, None].repeat(2, 1)
    assert travel(drawn(ends, *shortened(ends))) == pytest.approx(9 + 12 + 9 + 12)
