"""Where a run's figures are watched while it goes on: TensorBoard, and Weights & Biases if that is wanted."""

from __future__ import annotations

import importlib
import io
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from garl.atomic import writing
from garl.errors import GarlError

Histogram = tuple[np.ndarray, np.ndarray]
"""How many values lie in each of n bins, and the bins' n + 1 edges."""


class Board(Protocol):
    """What takes the records; `step` is the abscissa. A name's part before its "/" is its group."""

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """All figures of a cycle."""

    def show(self, step: int, pictures: dict[str, np.ndarray], histograms: dict[str, Histogram]) -> None:
        """Pictures (H, W, 3) uint8, and histograms."""

    def close(self) -> None: ...


class TensorBoard:
    """The records for TensorBoard. Written here and now: a thread would tell of a full disk late, and lose by a kill.

    `first_step`: TensorBoard forgets what earlier files of the folder say of this step and later ones.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # slow, and only training needs it
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.folder, self.event = folder, Event
        with writing(folder):
            folder.mkdir(exist_ok=True)
            self.file = RecordWriter(open(folder / f"events.out.tfevents.{time.time_ns()}", "xb"))  # noqa: SIM115
        self._append(Event(wall_time=time.time(), file_version="brain.Event:2"))
        session = SessionLog(status=SessionLog.START)
        self._append(Event(wall_time=time.time(), step=first_step, session_log=session))

    def write(self, step: int, metrics: dict[str, float]) -> None:
        event = self.event(wall_time=time.time(), step=step)
        for name, value in metrics.items():
            event.summary.value.add(tag=name, simple_value=value)
        self._append(event)

    def show(self, step: int, pictures: dict[str, np.ndarray], histograms: dict[str, Histogram]) -> None:
        event = self.event(wall_time=time.time(), step=step)
        for name, picture in pictures.items():
            png = io.BytesIO()
            Image.fromarray(picture).save(png, "PNG")
            image = event.summary.value.add(tag=name).image
            image.height, image.width, image.colorspace = picture.shape
            image.encoded_image_string = png.getvalue()
        for name, (counts, edges) in histograms.items():
            middles = (edges[1:] + edges[:-1]) / 2
            histogram = event.summary.value.add(tag=name).histo
            histogram.min, histogram.max, histogram.num = edges[0], edges[-1], counts.sum()
            histogram.sum, histogram.sum_squares = (counts * middles).sum(), (counts * middles**2).sum()
            histogram.bucket_limit.extend(edges[1:].tolist())
            histogram.bucket.extend(counts.tolist())
        self._append(event)

    def _append(self, event: Any) -> None:
        with writing(self.folder):
            self.file.write(event.SerializeToString())
            self.file.flush()

    def close(self) -> None:
        self.file.close()


def load_wandb() -> Any:
    """The package of Weights & Biases. Raises GarlError if it is not installed."""
    try:
        return importlib.import_module("wandb")
    except ImportError as error:
        raise GarlError("wandb is not installed: pip install 'garl[wandb]', or leave out --wandb") from error


class WeightsAndBiases:
    """The records for Weights & Biases, offline: `wandb sync RUN/wandb/…` sends them. Nothing here uses the net.

    Its records cannot be taken back, so each start of a run is one of its own, in the run's group.
    """

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.wandb = load_wandb()
        self.run = self.wandb.init(
            project="garl", group=folder.resolve().name, dir=str(folder), config=config, mode="offline"
        )

    def write(self, step: int, metrics: dict[str, float]) -> None:
        self.run.log(metrics, step=step)

    def show(self, step: int, pictures: dict[str, np.ndarray], histograms: dict[str, Histogram]) -> None:
        shown = {name: self.wandb.Image(picture) for name, picture in pictures.items()}
        shown |= {name: self.wandb.Histogram(np_histogram=histogram) for name, histogram in histograms.items()}
        self.run.log(shown, step=step)

    def close(self) -> None:
        self.run.finish()
