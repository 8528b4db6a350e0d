"""The portable stroke file: paintings as strokes, in JSON, that replay at any size.

    {"schema": "garl-strokes/3", "height": 28, "width": 28, "channels": 1, "background": [0], "render_scale": 1,
     "canvas": "iVBORw0…", "free": "iVBORw0…", "free_from": 0,
     "brushes": [{…a complete brush…}, …],
     "paintings": [{"seed": 7, "strokes": [{"points": [[x, y], [x, y], [x, y]], "color": [r, g, b],
                                            "thickness": 0.1, "opacity": 1.0, "pressure": [1.0, 1.0],
                                            "brush": 0}, …]}, …]}

Units are those of `garl.brush.geometry`. Every painting has the same number of strokes. `canvas` and `free` may be
absent: the picture that was painted on instead of the background, and a mask, white where paint stays, that the strokes
from number `free_from` on keep to; both are PNG in base64, of the file's height and width. A file without them is
written as version 2, which knows neither. Files of version 1, which are read as well, have one `brush` instead of
`brushes`, and their strokes neither pressure nor brush.
"""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from garl.atomic import replacing
from garl.brush.geometry import BRUSH, COLOR, END_PRESSURE, OPACITY, POINTS, START_PRESSURE, STROKE_SIZE, THICKNESS
from garl.data.decode import decode
from garl.data.sources import open_content
from garl.errors import GarlError
from garl.reading import read_plain

SCHEMA = "garl-strokes/3"
MAX_BYTES = 32 * 2**20  # a hostile file of this size takes 1.5 GB and 4 s to refuse
MAX_STROKES = 10**6
MAX_BRUSHES = 64

Unit = Annotated[float, Field(ge=0, le=1)]
Byte = Annotated[int, Field(ge=0, le=255)]
Side = Annotated[int, Field(ge=1, le=2**15)]
Scale = Annotated[int, Field(ge=1, le=64)]
Brushes = Annotated[tuple[dict[str, Any], ...], Field(min_length=1, max_length=MAX_BRUSHES)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Stroke(_Model):
    points: tuple[tuple[Unit, Unit], tuple[Unit, Unit], tuple[Unit, Unit]]
    color: tuple[Unit, Unit, Unit]
    thickness: Unit
    opacity: Unit
    pressure: tuple[Unit, Unit] = (1.0, 1.0)
    brush: Annotated[int, Field(ge=0, lt=MAX_BRUSHES)] = 0


class _Painting(_Model):
    seed: Seed
    strokes: Annotated[list[_Stroke], FailFast()]  # else every wrong entry would be remembered


class _Canvas(_Model):
    height: Side
    width: Side
    channels: Literal[1, 3]
    background: Annotated[tuple[Byte, ...], FailFast()]
    render_scale: Scale


class _Header(_Canvas):
    """Everything but the paintings."""

    brushes: Brushes


class _Document(_Canvas):
    schema_: Literal["garl-strokes/1", "garl-strokes/2", "garl-strokes/3"] = Field(alias="schema")
    brush: dict[str, Any] | None = None  # of version 1
    brushes: Brushes | None = None  # since version 2
    canvas: str | None = None  # since version 3, as are the next two
    free: str | None = None
    free_from: Annotated[int, Field(ge=0, le=MAX_STROKES)] = 0
    paintings: Annotated[list[_Painting], FailFast()]


@dataclass(frozen=True, eq=False)
class StrokeFile:
    """N paintings of T strokes each. Raises GarlError where a field breaks its comment."""

    height: int  # 1..32768 pixels, as is the width: the size painted at
    width: int
    channels: int  # 1 or 3
    background: tuple[int, ...]  # (channels,) in 0..255
    brushes: tuple[dict[str, Any], ...]  # 1 to 64 complete brushes, opaque here; JSON-able
    render_scale: int  # 1..64, supersampling of the painter
    strokes: np.ndarray  # (N, T, 14) float32, N and T ≥ 1, N · T ≤ 1e6; in 0..1, the last column in brushes
    seeds: np.ndarray  # (N,) int64, each painting's jitter seed
    canvas: np.ndarray | None = None  # (channels, height, width) uint8: what is painted on instead of the background
    free: np.ndarray | None = None  # (height, width) bool: where paint stays; everywhere if None
    free_from: int = 0  # 0..T: the first stroke that keeps to it

    def __post_init__(self) -> None:
        try:
            _Header(**self._header())
            json.dumps(self.brushes, allow_nan=False)
        except ValidationError as error:
            raise GarlError(f"stroke file: {_first(error)}") from error
        except (TypeError, ValueError, RecursionError) as error:
            raise GarlError(
                f"stroke file: a brush is not JSON ({error}): use finite numbers, texts and lists"
            ) from error
        if len(self.background) != self.channels:
            raise GarlError(f"stroke file: background has {len(self.background)} values: give {self.channels}")
        shape = self.strokes.shape
        if self.strokes.dtype != np.float32 or len(shape) != 3 or shape[2] != STROKE_SIZE or 0 in shape:
            raise GarlError(
                f"stroke file: strokes are {shape} {self.strokes.dtype}: give (N, T, {STROKE_SIZE}) float32, not empty"
            )
        if shape[0] * shape[1] > MAX_STROKES:
            raise GarlError(f"stroke file: {shape[0] * shape[1]} strokes: split it into files of {MAX_STROKES} at most")
        numbers = self.strokes[..., :BRUSH]
        if not ((numbers >= 0) & (numbers <= 1)).all():  # also refuses nan
            raise GarlError("stroke file: a stroke has a number outside 0..1: see garl.brush.geometry for the units")
        if not np.isin(self.strokes[..., BRUSH], np.arange(len(self.brushes))).all():
            raise GarlError(f"stroke file: a stroke has a brush other than 0 to {len(self.brushes) - 1}: add its brush")
        if self.seeds.dtype != np.int64 or self.seeds.shape != shape[:1]:
            found = f"{self.seeds.shape} {self.seeds.dtype}"
            raise GarlError(f"stroke file: seeds are {found}: give one int64 for each of {shape[0]} paintings")
        if not 0 <= self.free_from <= shape[1]:
            raise GarlError(f"stroke file: free_from is {self.free_from}: give 0 to {shape[1]}, the number of strokes")
        size = self.height, self.width
        for name, kind, wanted in (("canvas", np.uint8, (self.channels, *size)), ("free", np.bool_, size)):
            array = getattr(self, name)
            if array is not None and (array.dtype != kind or array.shape != wanted):
                found = f"{array.shape} {array.dtype}"
                raise GarlError(f"stroke file: {name} is {found}: give {wanted} {np.dtype(kind)}, or None")

    def save(self, path: str | Path) -> None:
        """Write the file. Raises GarlError if it would exceed 32 MiB or the folder cannot be written."""
        pictures = {name: as_png(array) for name in ("canvas", "free") if (array := getattr(self, name)) is not None}
        begun = pictures | {"free_from": self.free_from} if pictures else {}
        head = {"schema": SCHEMA if pictures else "garl-strokes/2"} | self._header() | begun
        header = "\n".join(f"{json.dumps(key)}: {json.dumps(value)}," for key, value in head.items())
        paintings = ",\n".join(map(_painting_json, self.seeds, self.strokes))
        text = f'{{{header}\n"paintings": [\n{paintings}\n]}}\n'
        if len(text) > MAX_BYTES:
            remedy = "begin from a smaller picture" if pictures else "save fewer paintings in a file"
            raise GarlError(f"{path} would exceed {MAX_BYTES // 2**20} MiB: {remedy}")
        with replacing(path) as temporary:
            temporary.write_text(text, "ascii")

    @classmethod
    def load(cls, path: str | Path) -> StrokeFile:
        """Read and validate a file of at most 32 MiB. Raises GarlError, and nothing else, whatever the file holds."""
        try:
            text = read_plain(path, MAX_BYTES)
        except (OSError, ValueError) as error:
            raise GarlError(
                f"cannot read {path} ({error}): give a stroke file of at most {MAX_BYTES // 2**20} MiB"
            ) from error
        try:
            document = _Document.model_validate_json(text)
        except ValidationError as error:
            raise GarlError(f"{path} is not a {SCHEMA} file: {_first(error)}") from error
        old, given = document.schema_ == "garl-strokes/1", (document.brush is not None, document.brushes is not None)
        if given != (old, not old):
            raise GarlError(
                f"{path}: version 1 has one `brush`, later ones a list of `brushes`: give what belongs there"
            )
        if document.schema_ != SCHEMA and (document.canvas, document.free) != (None, None):
            raise GarlError(f"{path}: only version 3 has a `canvas` or what of it is `free`: write it as {SCHEMA}")
        canvas = free = None
        if document.canvas is not None:
            canvas = _from_png(document.canvas, document, document.channels, f"{path}: canvas")
        if document.free is not None:
            free = _from_png(document.free, document, 1, f"{path}: free")[0] > 127
        lengths = {len(painting.strokes) for painting in document.paintings}
        if len(lengths) != 1:
            raise GarlError(f"{path}: paintings have {sorted(lengths)} strokes: give at least one, all equally long")
        rows = [_stroke_row(stroke) for painting in document.paintings for stroke in painting.strokes]
        return cls(
            strokes=np.array(rows, np.float32).reshape(len(document.paintings), lengths.pop(), STROKE_SIZE),
            seeds=np.array([painting.seed for painting in document.paintings], np.int64),
            brushes=document.brushes or (document.brush or {},),
            canvas=canvas,
            free=free,
            free_from=document.free_from,
            **{name: getattr(document, name) for name in _Canvas.model_fields},
        )

    def _header(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _Header.model_fields}


def as_png(picture: np.ndarray) -> str:
    """A picture (1 or 3, H, W) uint8, or a mask (H, W) bool, as PNG in base64."""
    layers = [Image.fromarray(layer) for layer in (picture if picture.ndim == 3 else picture[None])]
    file = io.BytesIO()
    (Image.merge("RGB", layers) if len(layers) == 3 else layers[0]).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")


def _from_png(text: str, canvas: _Canvas, channels: int, where: str) -> np.ndarray:
    """The picture (channels, H, W) uint8 that `as_png` wrote. Raises GarlError, which begins with `where`."""
    try:
        image = open_content(base64.b64decode(text, validate=True))
        if image.size != (canvas.width, canvas.height):
            raise ValueError(f"{image.width}×{image.height} pixels instead of {canvas.width}×{canvas.height}")
        return decode(image, None, channels)
    except Exception as error:  # Pillow meets damaged bytes with exceptions of nearly every kind
        reason = str(error) or type(error).__name__
        raise GarlError(f"{where} is not a picture of the file's size ({reason}): write it anew") from error


def _painting_json(seed: np.int64, strokes: np.ndarray) -> str:
    """One painting (T, 14), a stroke a line."""
    lines = ",\n".join(map(_stroke_json, strokes))
    return f'{{"seed": {seed}, "strokes": [\n{lines}\n]}}'


def _stroke_json(stroke: np.ndarray) -> str:
    """One line of JSON. `str` of a float32 is the shortest decimal that reads back as that float32."""
    numbers = np.array([float(str(number)) for number in stroke])
    fields = {"points": numbers[POINTS].reshape(3, 2).tolist(), "color": numbers[COLOR].tolist()}
    fields |= {"thickness": numbers[THICKNESS], "opacity": numbers[OPACITY]}
    pressure = [numbers[START_PRESSURE], numbers[END_PRESSURE]]
    return json.dumps(fields | {"pressure": pressure, "brush": int(numbers[BRUSH])})


def _stroke_row(stroke: _Stroke) -> np.ndarray:
    """The inverse of `_stroke_json`, (14,) float32."""
    row = np.empty(STROKE_SIZE, np.float32)
    row[POINTS], row[COLOR] = np.ravel(stroke.points), stroke.color
    row[THICKNESS], row[OPACITY] = stroke.thickness, stroke.opacity
    row[[START_PRESSURE, END_PRESSURE]], row[BRUSH] = stroke.pressure, stroke.brush
    return row


def _first(error: ValidationError) -> str:
    """The first complaint of pydantic, with the place it is about."""
    complaint = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, complaint["loc"]))
    return f"{place}: {complaint['msg']}" if place else complaint["msg"]
