"""`garl demo`: what it leaves, and the time line of mean pictures."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import av
import numpy as np
import pytest
from PIL import Image

from garl import demo
from garl.errors import GarlError
from garl.export.picture import grid, save_png
from garl.runs import load_checkpoint
from garl.sample import paint
from garl.systems.garl import Config, load_agent, load_config


def test_the_demo_leaves_four_files(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "DIGITS", tiny_config)
    out = tmp_path / "demo"
    demo.run_demo(5.0, 7, out)  # the 64 steps end it
    assert load_checkpoint(out)[1]["cycle"] == 4
    assert load_config(out) == tiny_config.model_copy(update={"minutes": 5.0, "seed": 7})
    printed = capsys.readouterr().out
    for name in ("paintings-and-real.png", "mean-over-time.png", "time-lapse.mp4", "painting.svg"):
        assert f": {out / name}\n" in printed

    both = np.asarray(Image.open(out / "paintings-and-real.png"))
    painted = grid(paint(load_agent(out, "cpu"), 64, 7).final, scale=2)
    caption = both.shape[0] - painted.shape[0]
    assert both.shape[1] == 2 * painted.shape[1]
    assert (both[caption:, : painted.shape[1]] == painted).all()
    # Means of cycles 1, 2 and 4, 96 pixels each with a border of 2.
    assert Image.open(out / "mean-over-time.png").size == (3 * 98 + 2, 98 + 2)
    with av.open(str(out / "time-lapse.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) >= 3  # blank, and after each stroke
    assert len(ET.parse(out / "painting.svg").getroot()) == 2 + 2  # a title, the ground and two strokes


@pytest.mark.parametrize("budget", [{"minutes": -1.0, "seed": 0}, {"minutes": float("nan"), "seed": 0}])
def test_a_budget_that_never_ends_is_refused(tmp_path: Path, budget: dict[str, float]) -> None:
    with pytest.raises(GarlError, match="minutes must be"):
        demo.run_demo(**budget, out=tmp_path / "demo")
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(("count", "shown"), [(1, [0]), (3, [0, 1, 2]), (16, list(range(16))), (31, range(0, 31, 2))])
def test_means_over_time_runs_from_the_oldest_to_the_newest(tmp_path: Path, count: int, shown: list[int]) -> None:
    (tmp_path / "pictures").mkdir()
    for cycle in range(count):  # cycle 10 comes after 9: the names have leading zeros
        save_png(tmp_path / "pictures" / f"mean-{cycle:07d}.png", np.full((4, 6, 3), 8 * cycle, np.uint8))
    strip = demo.means_over_time(tmp_path)
    assert strip.shape == (4 + 4, 8 * len(shown) + 2, 3)
    assert strip[4, 5::8, 0].tolist() == [8 * cycle for cycle in shown]
