"""A run that learns in cycles until its budget is used up: what is restored, counted and saved, whatever it learns.

The loop stays the system's own: `for spent in cycles(course, …)`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from pydantic import Field

from garl.errors import GarlError
from garl.runs import Run, save_divergence
from garl.settings import Settings
from garl.systems.state import Parts, not_finite, restore_parts, share_of_budget, size, tensors_of


class Budget(Settings):
    """What every run of a system that counts updates is told."""

    minutes: float | None = Field(None, gt=0)
    """Stop after this time. Without a budget a run takes 10 minutes."""
    updates: int | None = Field(None, ge=1)
    """Stop after so many updates, rounded up to full cycles."""
    seed: int = Field(0, ge=0)
    """Same seed, same machine, same budget in updates: same run."""
    threads: int = Field(0, ge=0)
    """CPU threads; 0: one per core."""

    def spent(self, seconds: float, updates: int) -> float:
        """The share of the budget that is used up, 0..1 and beyond; what runs out first counts."""
        return share_of_budget(self.minutes, self.updates, seconds, updates)


class Course:
    """How far a run has come: at first as far as its checkpoint. `about` is what checkpoints tell beside `parts`; a
    cycle is so many `updates` and `steps`."""

    def __init__(self, run: Run, parts: Parts, about: dict[str, Any], updates: int, steps: int) -> None:
        self.run, self.parts, self.about = run, parts, about
        self.length, self.steps = updates, steps
        self.cycle, before = 0, 0.0
        if run.checkpoint:
            tensors, meta = run.checkpoint
            restore_parts(parts, tensors, run.folder)
            self.cycle, before = int(meta["cycle"]), float(meta["seconds"])
            run.checkpoint = None  # it has been copied, and may be large
        run.start_after(self.cycle)
        self.started = time.monotonic() - before
        self.read: float | None = before

    @property
    def seconds(self) -> float:
        """How long it has run, in all its parts. The clock is read once a cycle, so that its record, its checkpoint and
        its budget tell the same."""
        if self.read is None:
            self.read = time.monotonic() - self.started
        return self.read

    @property
    def updates(self) -> int:
        """How many it has made, in all its parts."""
        return self.cycle * self.length

    def standing(self) -> dict[str, float]:
        """What every record begins with."""
        steps = self.cycle * self.steps
        return {"cycle": self.cycle, "updates": self.updates, "steps": steps, "seconds": self.seconds}

    def check(self, record: dict[str, float]) -> None:
        """Raise GarlError if a figure, or anything that learns, is not finite; the last checkpoint stays."""
        learn = torch.nn.Module, torch.optim.Optimizer
        tensors = tensors_of({name: part for name, part in self.parts.items() if isinstance(part, learn)})
        broken = [] if math.isfinite(size(tensors)) else not_finite(tensors)
        broken += [name for name, figure in record.items() if not math.isfinite(figure)]
        if broken:
            save_divergence(self.run.folder, self.cycle, broken, record, tensors)
            raise GarlError(
                f"training diverged: {broken[0]} is not finite in cycle {self.cycle} (see "
                f"{self.run.folder / 'divergence.json'}); the last good checkpoint is kept: start a new run with lower "
                "learning rates"
            )

    def save(self) -> None:
        """Write a checkpoint, unless there is one of this cycle."""
        if self.run.saved != self.cycle:
            self.run.save(tensors_of(self.parts), {"cycle": self.cycle, "seconds": self.seconds} | self.about)


def cycles(
    course: Course, spent: Callable[[float, int], float], every: int, stopping: Callable[[], bool]
) -> Iterator[float]:
    """Begin cycle after cycle until what is `spent`(seconds, updates) reaches 1, or a stop is asked for: yields what is
    spent.

    Saves before the first cycle, so that there is always one to go back to, after each `every`, and after the last.
    """
    course.save()
    while (share := spent(course.seconds, course.updates)) < 1.0 and not stopping():
        course.cycle, course.read = course.cycle + 1, None
        yield share
        if course.cycle % every == 0:
            course.save()
    course.save()
