"""How a long run shows itself: a live table in a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image
from rich.color import Color
from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.segment import Segment, Segments
from rich.style import Style
from rich.table import Table

PaintProgress = Callable[[float, int, float, np.ndarray], None]
"""Told the share of the work done, 0..1, the strokes painted, the mean squared error, 0..1, or NaN where there is no
target, and the canvas (3, H, W) uint8, which its painter will change."""

LINE_EVERY = 10.0
"""Seconds between two lines where nobody watches live."""
PREVIEW_EVERY = 0.5
"""Seconds between two small pictures of a canvas in a terminal."""
PREVIEW = 48, 20
"""Columns and lines of a terminal that one takes at most."""


def clock(seconds: float) -> str:
    """Minutes and seconds, as 3:07."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def left(seconds: float, share: float) -> str:
    """The time that is left of work of which a share, 0..1, took `seconds`."""
    return clock(max(0.0, seconds / share - seconds)) if share > 0 else "?"


class Progress:
    """Shows each cycle's figures; the run's own records hold them all."""

    def __init__(self, out: Path) -> None:
        self.out, self.console = out, Console(stderr=True)
        self.live = Live(console=self.console, refresh_per_second=4) if self.console.is_terminal else None
        self.frechet: float | None = None
        self.last_line = time.monotonic()
        self.share, self.began = 1.0, (1.0, 0.0)  # of the work done; the share at which it began, and seconds then

    def __enter__(self) -> Self:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.live:
            self.live.stop()

    def show(self, record: dict[str, float], spent: float, seconds: float) -> None:
        """`record`: the cycle's figures; `spent`: the share of the budget used, 0..1; `seconds`: since the start."""
        self.frechet = record.get("frechet", self.frechet)
        figures = {"paintings": f"{int(record['episodes']):,}", "strokes/s": f"{record['speed/strokes']:,.0f}"}
        if self.frechet is not None:  # a resumed run does not know it until it is measured
            figures["distance to the data"] = f"{self.frechet:.0f}"
        figures["entropy"] = f"{record['entropy/mean']:.2f}"
        for name, figure in (("D real", "d/real"), ("D fake", "d/fake")):
            if figure in record:
                figures[name] = f"{record[figure]:.2f}"
        if "target/error" in record:
            figures["error"] = f"{record['target/error']:.4f} of {record['target/blank']:.4f}"
        self.tell(figures, spent, seconds)

    def tell(self, figures: dict[str, str], spent: float, seconds: float) -> None:
        """Show any figures by name behind the time and what is left of it, as a table or a line. What is left is told
        by the rate since work began, or other work: the share goes back then."""
        if spent < self.share:
            self.began = spent, seconds
        self.share = spent
        first, before = self.began
        rest = left(seconds - before, (spent - first) / (1.0 - first) if first < 1.0 else 1.0)
        figures = {"time": clock(seconds), "left": rest} | figures
        if self.live:
            table = Table(*figures, title=f"{min(spent, 1.0):.0%}  pictures: {self.out / 'pictures' / 'samples.png'}")
            table.add_row(*figures.values())
            self.live.update(table)
        elif time.monotonic() - self.last_line > LINE_EVERY:
            self.last_line = time.monotonic()
            print("  ".join(f"{name} {value}" for name, value in figures.items()), flush=True)


def silent(share: float, strokes: int, error: float, canvas: np.ndarray) -> None:
    """Show nothing."""


def preview(canvas: np.ndarray, columns: int, lines: int) -> Segments:
    """A canvas (3, H, W) uint8 as text that fits: half blocks, each the colours of a pixel and of the one below."""
    _, height, width = canvas.shape
    shrink = min(1.0, columns / width, 2 * lines / height)
    size = max(1, round(width * shrink)), 2 * max(1, round(height * shrink / 2))
    pixels = np.asarray(Image.fromarray(canvas.transpose(1, 2, 0)).resize(size, Image.Resampling.BOX)).tolist()
    segments = []
    for above, below in zip(pixels[::2], pixels[1::2], strict=True):
        for upper, lower in zip(above, below, strict=True):
            segments.append(Segment("▀", Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower))))
        segments.append(Segment.line())
    return Segments(segments)


class _PaintingBar(Bar):
    """A bar under a small picture, once there is one."""

    picture: Segments | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        if self.picture is not None:
            yield self.picture
        yield from super().get_renderables()


@contextmanager
def bar(doing: str) -> Iterator[Callable[..., None]]:
    """A bar, told the share of the work done, a line about it, and a canvas (3, H, W) uint8 if there is one: live in a
    terminal, its last state elsewhere; over it, in a terminal of true colour, the canvas."""
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    console, shown = Console(stderr=True), 0.0
    watched = console.is_terminal and console.color_system == "truecolor"
    with _PaintingBar(*columns, console=console, refresh_per_second=4) as live:
        task = live.add_task(doing, total=1.0)

        def show(share: float, about: str, canvas: np.ndarray | None = None) -> None:
            nonlocal shown
            now = time.monotonic()
            if canvas is not None and watched and now - shown > PREVIEW_EVERY:
                shown = now
                room = min(PREVIEW[0], console.width), min(PREVIEW[1], console.height - 4)
                live.picture = preview(canvas, *room) if min(room) > 0 else None
            live.update(task, completed=min(share, 1.0), description=about)

        yield show


@contextmanager
def painting_bar() -> Iterator[PaintProgress]:
    """A bar with strokes, rate, error and the time left, and the canvas over it."""
    started = time.monotonic()
    with bar("painting") as update:

        def show(share: float, strokes: int, error: float, canvas: np.ndarray) -> None:
            about = f"{strokes:,} strokes  {strokes / max(1e-9, time.monotonic() - started):,.0f}/s"
            update(share, about + ("" if math.isnan(error) else f"  error {error:.5f}"), canvas)

        yield show
