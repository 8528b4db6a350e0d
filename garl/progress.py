"""How a long run shows itself: a live table in a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

PaintProgress = Callable[[float, int, float], None]
"""Told the share of the work done, 0..1, the strokes on the canvas, and the mean squared error, 0..1."""

LINE_EVERY = 10.0
"""Seconds between two lines where nobody watches live."""


def clock(seconds: float) -> str:
    """Minutes and seconds, as 3:07."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Progress:
    """Shows each cycle's figures; the run's own records hold them all."""

    def __init__(self, out: Path) -> None:
        self.out, self.console = out, Console(stderr=True)
        self.live = Live(console=self.console, refresh_per_second=4) if self.console.is_terminal else None
        self.frechet = float("nan")
        self.last_line = time.monotonic()

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
        figures = {
            "time": clock(seconds),
            "left": clock(seconds / spent - seconds if spent > 0 else 0.0),
            "paintings": f"{int(record['episodes']):,}",
            "strokes/s": f"{record['steps'] / seconds:,.0f}",
            "distance to the data": f"{self.frechet:.0f}",
            "entropy": f"{record['entropy/mean']:.2f}",
            "D real": f"{record['d/real']:.2f}",
            "D fake": f"{record['d/fake']:.2f}",
        }
        self.tell(figures, spent)

    def tell(self, figures: dict[str, str], spent: float) -> None:
        """Show any figures by name, as a table or a line."""
        if self.live:
            table = Table(*figures, title=f"{min(spent, 1.0):.0%}  pictures: {self.out / 'pictures' / 'samples.png'}")
            table.add_row(*figures.values())
            self.live.update(table)
        elif time.monotonic() - self.last_line > LINE_EVERY:
            self.last_line = time.monotonic()
            print("  ".join(f"{name} {value}" for name, value in figures.items()), flush=True)


def silent(share: float, strokes: int, error: float) -> None:
    """Show nothing."""


@contextmanager
def painting_bar() -> Iterator[PaintProgress]:
    """A bar with strokes, rate, error and the time left: live in a terminal, its last state elsewhere."""
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    started = time.monotonic()
    with Bar(*columns, console=Console(stderr=True), refresh_per_second=4) as bar:
        task = bar.add_task("painting", total=1.0)

        def show(share: float, strokes: int, error: float) -> None:
            rate = strokes / max(1e-9, time.monotonic() - started)
            about = f"{strokes:,} strokes  {rate:,.0f}/s  error {error:.5f}"
            bar.update(task, completed=min(share, 1.0), description=about)

        yield show
