"""What the boards are given; Weights & Biases is a module that records its calls, as it is not installed."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from garl.boards import TensorBoard
from garl.errors import GarlError
from garl.runs import records
from garl.systems.garl import Config, train

COUNTS, EDGES = np.array([3, 0, 5]), np.array([-1.0, 0.0, 2.0, 3.0])


def test_tensorboard_shows_figures_pictures_and_histograms(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 8, 3), np.uint8)
    board = TensorBoard(tmp_path, 0)
    board.write(8, {"d/real": 0.25})
    board.show(8, {"pictures/mean": picture}, {"action/red": (COUNTS, EDGES)})
    board.close()
    shown = EventAccumulator(str(tmp_path))
    shown.Reload()
    assert [(event.step, event.value) for event in shown.Scalars("d/real")] == [(8, 0.25)]
    (event,) = shown.Images("pictures/mean")
    assert (event.step, event.height, event.width) == (8, 5, 8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(event.encoded_image_string))), picture)
    (event,) = shown.Histograms("action/red")
    histogram = event.histogram_value
    assert (histogram.min, histogram.max, histogram.num) == (-1.0, 3.0, 8)
    assert (list(histogram.bucket), list(histogram.bucket_limit)) == ([3, 0, 5], [0.0, 2.0, 3.0])
    assert histogram.sum == 3 * -0.5 + 5 * 2.5
    assert histogram.sum_squares == 3 * 0.25 + 5 * 6.25


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any, Any]]:
    """What a module called wandb is asked for."""
    made: list[tuple[str, Any, Any]] = []
    fake = ModuleType("wandb")

    def recording(name: str, answer: Any = None) -> Any:
        def call(*arguments: Any, **settings: Any) -> Any:
            made.append((name, arguments, settings))
            return answer

        return call

    run = SimpleNamespace(log=recording("log"), finish=recording("finish"))
    fake.init, fake.Image, fake.Histogram = (  # type: ignore[attr-defined]
        recording("init", run),
        recording("Image", "picture"),
        recording("Histogram", "histogram"),
    )
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return made


def test_wandb_gets_the_records_offline(calls: list[tuple[str, Any, Any]], tiny_config: Config, tmp_path: Path) -> None:
    train(tiny_config.model_copy(update={"wandb": True}), tmp_path / "mine")
    ((_, _, settings),) = [call for call in calls if call[0] == "init"]
    assert (settings["mode"], settings["project"], settings["group"]) == ("offline", "garl", "mine")
    assert settings["dir"] == str(tmp_path / "mine")
    assert settings["config"]["strokes"] == 2
    logged = [(arguments[0], more["step"]) for name, arguments, more in calls if name == "log"]
    figures = [(values, step) for values, step in logged if "cycle" in values]
    assert figures == [(record, record["steps"]) for record in records(tmp_path / "mine")]
    shown = [(values, step) for values, step in logged if "cycle" not in values]
    assert [step for _, step in shown] == [16, 32, 64]
    assert shown[0][0]["pictures/mean"] == "picture"
    assert shown[0][0]["action/start"] == "histogram"
    assert calls[-1][0] == "finish"


def test_without_wandb_the_remedy_is_told(tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(GarlError, match=r"pip install 'garl\[wandb\]'"):
        train(tiny_config.model_copy(update={"wandb": True}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
