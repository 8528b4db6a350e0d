"""Curves as a vector picture: the median of some runs and the band of their range, panel beside panel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from garl.atomic import replacing
from garl.errors import GarlError

FEW = 10
"""Points of a line up to which each is marked."""


class Panel(NamedTuple):
    """Lines on one pair of axes."""

    abscissa: str
    ordinate: str
    lines: dict[str, tuple[np.ndarray, np.ndarray]]  # by name: x (M,), and y (runs, M)
    scales: tuple[str, str] = ("linear", "log")  # of the abscissa and the ordinate


def load_figure() -> Any:
    """Matplotlib's Figure. Raises GarlError if it is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise GarlError("the curves need matplotlib: pip install 'garl[experiments]'") from error
    return Figure


def draw_panels(rows: Sequence[Sequence[Panel]], path: Path) -> None:
    """Write an SVG: one row of panels below the other. Raises GarlError if matplotlib or the folder is missing."""
    figure = load_figure()(figsize=(5.5 * len(rows[0]), 4 if len(rows) == 1 else 3 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(rows[0]), sharey="row", squeeze=False)
    for row, panels in zip(grid, rows, strict=True):
        for axes, panel in zip(row, panels, strict=True):
            for name, (x, y) in panel.lines.items():
                marker = "o" if len(x) < FEW else None  # one point alone would not be seen
                (line,) = axes.plot(x, np.median(y, 0), label=name, marker=marker, markersize=4)
                axes.fill_between(x, y.min(0), y.max(0), alpha=0.2, color=line.get_color(), linewidth=0)
            axes.set(xlabel=panel.abscissa, xscale=panel.scales[0], yscale=panel.scales[1])
            axes.grid(alpha=0.3, which="both")
        row[0].set_ylabel(panels[0].ordinate)
    grid[0][-1].legend(loc="upper right")
    with replacing(path) as temporary:
        figure.savefig(temporary, metadata={"Date": None})
