"""The way of a pen between the paths that it draws: found greedily, then untangled by 2-opt (Croes 1958)."""

from __future__ import annotations

import numpy as np
from numba import njit

WINDOW = 1000
"""Paths in a row that are tried to be drawn the other way round."""
SWEEPS = 20
"""Passes over all paths at most."""


def travel(ends: np.ndarray) -> float:
    """How far the lifted pen goes from the origin by way of paths, `ends` (N, 2, 2) their first and last points in the
    order drawn, and back to the origin."""
    home = np.zeros((1, 2))
    return float(np.linalg.norm(np.concatenate([ends[:, 0], home]) - np.concatenate([home, ends[:, 1]]), axis=1).sum())


def shortened(ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An order (N,) of the paths and which of them to draw backwards (N,), so that the travel is short and never longer
    than in the order given."""
    stops, order, turned = ends.astype(np.float64), np.arange(len(ends)), np.zeros(len(ends), np.bool_)
    chain(stops, order, turned)
    if travel(stops) > travel(ends):
        stops, order, turned = ends.astype(np.float64), np.arange(len(ends)), np.zeros(len(ends), np.bool_)
    untangle(stops, order, turned)
    return order, turned


@njit(cache=True)
def _turn(stops, order, turned, first, last):
    """Draw the paths first..last in the opposite order, and each backwards, in place."""
    stops[first : last + 1] = stops[first : last + 1][::-1, ::-1].copy()
    order[first : last + 1] = order[first : last + 1][::-1].copy()
    turned[first : last + 1] = ~turned[first : last + 1][::-1].copy()


@njit(cache=True)
def _far(a, b):
    return np.hypot(a[0] - b[0], a[1] - b[1])


@njit(cache=True)
def chain(stops, order, turned):
    """Always go on with the nearest end: brings stops (N, 2, 2), order and turned into that order, in place."""
    here = np.zeros(2)
    for i in range(len(stops)):
        best, found, end = np.inf, i, 0
        for k in range(i, len(stops)):
            for side in range(2):
                x, y = stops[k, side, 0] - here[0], stops[k, side, 1] - here[1]
                if x * x + y * y < best:
                    best, found, end = x * x + y * y, k, side
        stop = stops[found].copy()
        stops[found], stops[i] = stops[i], stop
        order[found], order[i] = order[i], order[found]
        turned[found], turned[i] = turned[i], turned[found]
        if end == 1:
            _turn(stops, order, turned, i, i)
        here = stops[i, 1].copy()


@njit(cache=True)
def untangle(stops, order, turned):
    """2-opt: turn runs of paths as long as the way becomes shorter, in place."""
    home, n = np.zeros(2), len(stops)
    for _ in range(SWEEPS):
        better = False
        for i in range(n):
            for j in range(i, min(n, i + WINDOW)):
                before = stops[i - 1, 1] if i > 0 else home
                after = stops[j + 1, 0] if j + 1 < n else home
                old = _far(before, stops[i, 0]) + _far(stops[j, 1], after)
                if _far(before, stops[j, 1]) + _far(stops[i, 0], after) < old - 1e-9:
                    _turn(stops, order, turned, i, j)
                    better = True
        if not better:
            return
