"""Moving pictures of paintings as they come to be."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image
from torch import Tensor

from garl.atomic import replacing
from garl.errors import GarlError
from garl.export.picture import grid

FPS = 12.0
HOLD_SECONDS = 1.5
WATCHABLE = 256


def time_lapse(canvases: Tensor | np.ndarray, fps: float = FPS, columns: int | None = None) -> Iterator[np.ndarray]:
    """Canvases (T + 1, B, C, H, W) uint8 → frames (height, width, 3) uint8, a grid of B canvases after each stroke.

    Both sides are magnified to at least 256 pixels, and the last frame is held for 1.5 s at `fps`.
    """
    scale = math.ceil(WATCHABLE / min(grid(canvases[0], columns).shape[:2]))
    for moment in canvases:
        frame = grid(moment, columns, scale)
        yield frame
    yield from itertools.repeat(frame, round(HOLD_SECONDS * fps) - 1)


def save_video(path: str | Path, frames: Iterable[np.ndarray], fps: float = FPS) -> None:
    """Write frames (H, W, 3) uint8, all of one size, as .mp4 (sides padded to even) or .gif (looping).

    Raises GarlError for another ending, no or unequal frames, an fps outside 1..60, or a folder that cannot be written.
    """
    writers = {".mp4": _write_mp4, ".gif": _write_gif}
    ending = Path(path).suffix.lower()
    if ending not in writers:
        raise GarlError(f"cannot tell the video format of {path}: end its name in .mp4 or .gif")
    if not 1 <= fps <= 60:
        raise GarlError(f"a video plays 1 to 60 frames per second, not {fps:g}: change fps")
    with replacing(path) as temporary:
        writers[ending](temporary, _equal(frames), fps)


def _equal(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The same frames, refused where there is none or one differs in size from the first."""
    shape = None
    for frame in frames:
        shape = shape or frame.shape
        if frame.shape != shape or frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise GarlError(
                f"video frames are (H, W, 3) uint8 of one size, not {frame.shape} {frame.dtype}: convert them"
            )
        yield frame
    if shape is None:
        raise GarlError("a video needs at least one frame: give some")


def _write_mp4(path: Path, frames: Iterator[np.ndarray], fps: float) -> None:
    first = next(frames)
    height, width, _ = first.shape
    codec, options = ("libx264", {"crf": "18"}) if "libx264" in av.codecs_available else ("mpeg4", {"qscale": "3"})
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(codec, Fraction(fps).limit_denominator(1000), options=options)
        assert isinstance(stream, av.VideoStream)
        # yuv420p halves the colour planes, so both sides must be even
        stream.height, stream.width, stream.pix_fmt = height + height % 2, width + width % 2, "yuv420p"
        for frame in itertools.chain([first], frames):
            even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode(None))


def _write_gif(path: Path, frames: Iterator[np.ndarray], fps: float) -> None:
    first, *rest = (Image.fromarray(frame) for frame in frames)
    # browsers slow down frames shorter than 20 ms
    first.save(path, "GIF", save_all=True, append_images=rest, duration=max(20, round(1000 / fps)), loop=0)
