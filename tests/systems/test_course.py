"""What is counted, saved and restored, whatever learns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from garl.errors import GarlError
from garl.runs import load_checkpoint, open_run, records
from garl.systems.course import Course, cycles


class Counter(torch.nn.Module):
    """What a cycle changes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("sum", torch.zeros(2))


def follow(
    folder: Path, budget: int, stop_after: int | None = None, resume: bool = False
) -> tuple[list[tuple[int, float]], list[int], torch.Tensor]:
    """A run in cycles of 5 updates, a checkpoint every third: what each cycle was told, the cycles saved, the sum."""
    told: list[tuple[int, float]] = []
    saved: list[int] = []
    with open_run(folder, {"system": "test"}, resume) as run:
        keep: Callable[..., None] = run.save
        run.save = lambda tensors, meta: (saved.append(meta["cycle"]), keep(tensors, meta))  # type: ignore[method-assign]
        counter = Counter()
        course = Course(run, {"counter": counter}, {"brush": "b"}, 5, 7)
        for spent in cycles(course, lambda seconds, updates: updates / budget, 3, lambda: len(told) == stop_after):
            told.append((course.cycle, spent))
            counter.sum += course.cycle
            run.record(course.standing())
    return told, saved, counter.sum


def test_cycles_end_with_the_budget_and_are_saved_at_first_at_times_and_at_last(tmp_path: Path) -> None:
    told, saved, total = follow(tmp_path / "run", 23)
    assert told == [(1, 0.0), (2, 5 / 23), (3, 10 / 23), (4, 15 / 23), (5, 20 / 23)]
    assert saved == [0, 3, 5]
    assert total.tolist() == [15.0, 15.0]
    tensors, meta = load_checkpoint(tmp_path / "run")
    assert torch.equal(tensors["counter.sum"], total)
    assert (meta["cycle"], meta["brush"]) == (5, "b")


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path) -> None:
    assert follow(tmp_path / "run", 30, stop_after=2)[1] == [0, 2]
    told, saved, total = follow(tmp_path / "run", 30, resume=True)
    assert [cycle for cycle, _ in told] == [3, 4, 5, 6]
    assert saved == [3, 6]
    assert total.tolist() == [21.0, 21.0]
    assert follow(tmp_path / "run", 30, resume=True)[:2] == ([], [])
    written = [(record["cycle"], record["updates"], record["steps"]) for record in records(tmp_path / "run")]
    assert written == [(k, 5 * k, 7 * k) for k in range(1, 7)]


def test_what_is_not_finite_is_told_and_not_saved(tmp_path: Path) -> None:
    def diverge() -> None:
        with open_run(tmp_path / "run", {"system": "test"}) as run:
            counter = Counter()
            course = Course(run, {"counter": counter}, {}, 1, 1)
            for _ in cycles(course, lambda seconds, updates: 0.0, 1, lambda: False):
                counter.sum[course.cycle - 2] = float("inf") if course.cycle == 2 else 1.0
                course.check({"loss": 0.5})
                run.record({"cycle": course.cycle, "steps": course.cycle})

    with pytest.raises(GarlError, match=r"diverged: counter\.sum is not finite"):
        diverge()
    assert load_checkpoint(tmp_path / "run")[0]["counter.sum"].tolist() == [0.0, 1.0]
    assert json.loads((tmp_path / "run" / "divergence.json").read_text())["not_finite"] == ["counter.sum"]
