"""The bar of a painter, and the small picture above it where a terminal can show one."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import garl.progress
from garl.progress import Progress, painting_bar, preview


def test_half_blocks_hold_two_pixels_each() -> None:
    canvas = np.arange(3 * 4 * 3, dtype=np.uint8).reshape(3, 4, 3) * 7
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=20)
    console.print(preview(canvas, 3, 2))
    lines = console.file.getvalue().split("\n")
    for row, line in enumerate(lines[:2]):
        for column, block in enumerate(line.split("▀")[:3]):
            above, below = canvas[:, 2 * row, column], canvas[:, 2 * row + 1, column]
            assert f"38;2;{above[0]};{above[1]};{above[2]};48;2;{below[0]};{below[1]};{below[2]}m" in block
    assert lines[2:] == [""]


@pytest.mark.parametrize(
    ("size", "text"), [((200, 100), (5, 5)), ((30, 300), (2, 40)), ((1, 1), (1, 1)), ((2, 3), (1, 3))]
)
def test_it_fits_and_keeps_the_shape(size: tuple[int, int], text: tuple[int, int]) -> None:
    lines, columns = text
    shown = "".join(segment.text for segment in preview(np.zeros((3, *size), np.uint8), 40, 5).segments).splitlines()
    assert [len(line) for line in shown] == [columns] * lines


@pytest.mark.parametrize(("color", "blocks"), [("truecolor", True), ("256", False), (None, False)])
def test_only_a_terminal_of_true_colour_shows_the_canvas(
    color: str | None, blocks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = io.StringIO()
    make: Callable[..., Console] = lambda **_: Console(  # noqa: E731
        file=text, force_terminal=color is not None, color_system=color, width=60, height=30
    )
    monkeypatch.setattr(garl.progress, "Console", make)
    with painting_bar() as progress:
        progress(0.5, 3, 0.25, np.zeros((3, 8, 8), np.uint8))
        progress(1.0, 7, float("nan"), np.zeros((3, 8, 8), np.uint8))
    assert ("▀" in text.getvalue()) == blocks
    last = text.getvalue().rpartition("strokes")
    assert last[0].endswith("7 ")
    assert "nan" not in last[2]


def test_what_is_left_goes_by_the_rate_of_the_present_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("garl.progress.LINE_EVERY", -1.0)
    with Progress(tmp_path) as progress:
        for spent, seconds in (
            (0.0, 100.0),
            (0.25, 110.0),
            (0.5, 340.0),
            (0.125, 400.0),
            (0.5625, 460.0),
            (1.0, 600.0),
        ):
            progress.tell({"loss": "0.5"}, spent, seconds)
    assert capsys.readouterr().out.splitlines() == [
        "time 1:40  left ?  loss 0.5",
        "time 1:50  left 0:30  loss 0.5",
        "time 5:40  left 4:00  loss 0.5",
        "time 6:40  left ?  loss 0.5",  # other work
        "time 7:40  left 1:00  loss 0.5",
        "time 10:00  left 0:00  loss 0.5",
    ]


def test_the_distance_is_told_from_when_it_is_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("garl.progress.LINE_EVERY", -1.0)
    record = {"episodes": 1200, "speed/strokes": 1234.5, "entropy/mean": 3.14159}
    with Progress(tmp_path) as progress:
        progress.show(record, 0.0, 10.0)
        progress.show(record | {"frechet": 31.7}, 0.25, 20.0)
        progress.show(record, 0.5, 30.0)
    told = [line.partition("paintings ")[2] for line in capsys.readouterr().out.splitlines()]
    known = "1,200  strokes/s 1,234  distance to the data 32  entropy 3.14"
    assert told == ["1,200  strokes/s 1,234  entropy 3.14", known, known]
