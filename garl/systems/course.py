"""A run that learns in cycles until its budget is used up: what is restored, counted and saved, whatever it learns.

The loop stays the system's own: `for spent in cycles(course, …)`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from garl.errors import GarlError
from garl.runs import Run, save_divergence
from garl.systems.state import Parts, not_finite, restore_parts, tensors_of


class Course:
    """How far a run has come: at first as far as its checkpoint. `about` is what checkpoints tell beside `parts`."""

    def __init__(self, run: Run, parts: Parts, about: dict[str, Any]) -> None:
        self.run, self.parts, self.about = run, parts, about
        self.cycle, before = 0, 0.0
        if run.checkpoint:
            tensors, meta = run.checkpoint
            restore_parts(parts, tensors, run.folder)
            self.cycle, before = int(meta["cycle"]), float(meta["seconds"])
            run.checkpoint = None  # it has been copied, and may be large
        run.start_after(self.cycle)
        self.started = time.monotonic() - before

    @property
    def seconds(self) -> float:
        """How long it has run, in all its parts."""
        return time.monotonic() - self.started

    def check(self, record: dict[str, float]) -> None:
        """Raise GarlError if anything that learns is not finite; the last checkpoint and divergence.json stay."""
        if broken := not_finite(tensors := tensors_of(self.parts)):
            save_divergence(self.run.folder, self.cycle, broken, record, tensors)
            raise GarlError(f"training diverged: {broken[0]} is not finite: lower learning_rate and train anew")

    def save(self) -> None:
        """Write a checkpoint, unless there is one of this cycle."""
        if self.run.saved != self.cycle:
            self.run.save(tensors_of(self.parts), {"cycle": self.cycle, "seconds": self.seconds} | self.about)


def cycles(
    course: Course, spent: Callable[[float, int], float], length: int, every: int, stopping: Callable[[], bool]
) -> Iterator[float]:
    """Begin cycle after cycle of `length` updates until what is `spent`(seconds, updates) reaches 1, or a stop is asked
    for: yields what is spent.

    Saves before the first cycle, so that there is always one to go back to, after each `every`, and after the last.
    """
    course.save()
    while (share := spent(course.seconds, course.cycle * length)) < 1.0 and not stopping():
        course.cycle += 1
        yield share
        if course.cycle % every == 0:
            course.save()
    course.save()
