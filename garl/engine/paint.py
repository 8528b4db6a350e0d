"""The brush engine: bins → physical strokes (`StrokeCodec`) → pixels (`render_strokes`).

    engine = PaintEngine(PaintConfig(height=64, width=64, channels=3, brush="splatter", color_channels=3))
    canvas = engine.reset(16, np.random.default_rng(0))                   # (16, 3, 64, 64) uint8
    canvas = engine.apply(canvas, actions)                                # (16, D) int64, see engine.action_spec

Source: thesis §4 and A.1 (PaintGym); pressure, the pen and a choice of brushes go beyond it. The pixels are drawn in
`garl.engine.kernels` and, where the canvases lie on a GPU, in `garl.engine.paint_cuda`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from garl.brush.geometry import (
    BRUSH,
    COLOR,
    END_PRESSURE,
    OPACITY,
    POINTS,
    POINTS_PER_TYPE,
    START_PRESSURE,
    STROKE_SIZE,
    THICKNESS,
)
from garl.brush.spec import Brush, load_brush
from garl.engine import kernels
from garl.errors import GarlError
from garl.settings import Settings
from garl.types import ActionSpec, Choice, Dimension, Flag, Location, Scalar, coordinates

KINDS = {"bezier": kernels.BEZIER, "line": kernels.LINE, "triangle": kernels.TRIANGLE, "point": kernels.POINT}
LOCATION_NAMES = {
    "bezier": ("start", "control", "end"),
    "line": ("start", "end"),
    "triangle": ("first", "second", "third"),
    "point": ("place",),
}


class PaintConfig(Settings):
    """The canvas, the brush, and which of the brush's properties an action controls."""

    height: int = Field(64, ge=1, le=8192)
    """Canvas height in pixels."""
    width: int = Field(64, ge=1, le=8192)
    """Canvas width in pixels."""
    channels: Literal[1, 3] = 3
    """Channels of the canvas: 1 grey, 3 RGB."""
    background: tuple[int, ...] = (255,)
    """Value 0..255 of the blank canvas: one for all channels, or one for each."""
    brush: str = "splatter"
    """A brush of the library (see `garl brushes`) or the path of a brush file (.yaml)."""
    brushes: tuple[str, ...] = Field((), max_length=63)
    """Further brushes of the same stroke type; if there are any, actions choose one for each stroke."""
    color_channels: Literal[0, 1, 3] = 3
    """Channels of the colour in an action; with 0 every stroke is white."""
    hsv: bool = False
    """Read the three colour channels as hue, saturation, value."""
    thickness: bool = True
    """Whether actions choose the thickness (otherwise the brush's largest). Triangles have none."""
    opacity: bool = True
    """Whether actions choose the opacity (otherwise the brush's largest)."""
    pressure: bool = False
    """Whether actions choose the pressure at the stroke's start and end, which scales its width between them."""
    pen: bool = False
    """Whether actions lift the pen, which then moves without painting."""
    contiguous: bool = False
    """Each stroke starts where the last one ended; the first at the canvas's centre."""
    render_scale: int = Field(1, ge=1, le=8)
    """Strokes are drawn this many times larger and averaged down. 1: anti-aliasing by mip-mapped textures."""
    grid: int = Field(32, ge=2, le=128)
    """Cells per side of the grid that a location is chosen from."""
    bins: int = Field(16, ge=2, le=1024)
    """Bins of a scalar dimension: each colour channel, the thickness, the opacity, each pressure."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.background) not in (1, self.channels) or not all(0 <= v <= 255 for v in self.background):
            raise GarlError(f"background takes 1 or {self.channels} values from 0 to 255, not {self.background}")
        if self.hsv and self.color_channels != 3:
            raise GarlError(f"hsv needs color_channels 3, not {self.color_channels}")
        if self.color_channels == 3 and self.channels == 1:
            raise GarlError("color_channels 3 needs channels 3: a grey canvas takes color_channels 0 or 1")
        return self


def hsv_to_rgb(hsv: Tensor) -> Tensor:
    """(…, 3) hue, saturation, value in 0..1 → (…, 3) red, green, blue in 0..1 (Smith 1978, the hexcone)."""
    hue, saturation, value = hsv.unbind(-1)
    k = torch.stack([(offset + hue * 6.0) % 6.0 for offset in (5.0, 3.0, 1.0)], -1)
    return value[..., None] * (1.0 - saturation[..., None] * torch.minimum(k, 4.0 - k).clamp(0.0, 1.0))


def rgb_to_hsv(rgb: Tensor) -> Tensor:
    """(…, 3) red, green, blue in 0..1 → (…, 3) hue, saturation, value in 0..1; of grey the hue is 0 (Smith 1978)."""
    value, largest = rgb.max(-1)
    chroma = value - rgb.amin(-1)
    red, green, blue = rgb.unbind(-1)
    some = chroma.clamp(min=1e-12)
    sixths = torch.stack([(green - blue) / some % 6.0, (blue - red) / some + 2.0, (red - green) / some + 4.0], -1)
    hue = sixths.gather(-1, largest[..., None])[..., 0] / 6.0
    return torch.stack([torch.where(chroma > 0, hue, 0.0), chroma / value.clamp(min=1e-12), value], -1)


def load_brushes(config: PaintConfig) -> tuple[Brush, ...]:
    """The brushes that `config` names, in the order of their numbers. Raises GarlError."""
    return tuple(load_brush(name) for name in (config.brush, *config.brushes))


class StrokeCodec:
    """Bin indices ↔ physical strokes, for some brushes and one choice of controlled properties."""

    def __init__(self, config: PaintConfig, brushes: Sequence[Brush]) -> None:
        first, kind = brushes[0].name, brushes[0].spec.stroke.type
        if config.contiguous and kind == "point":
            raise GarlError(f"brush '{first}' paints points, which have no end to go on from: drop contiguous")
        if config.pressure and kind in ("triangle", "point"):
            raise GarlError(f"brush '{first}' paints {kind}s, along which no pressure can change: drop pressure")
        for brush in brushes:
            if brush.spec.stroke.type != kind:
                raise GarlError(
                    f"brushes must have one stroke type, but '{first}' is of type {kind} and '{brush.name}' of type "
                    f"{brush.spec.stroke.type}: choose others"
                )
        self.config = config
        self.points = POINTS_PER_TYPE[kind]
        controls = [brush.spec.control for brush in brushes]
        self.ranges = {
            "thickness": [(control.min_thickness, control.max_thickness) for control in controls],
            "opacity": [(control.min_opacity, control.max_opacity) for control in controls],
        }  # of each brush
        locations = LOCATION_NAMES[kind][1 if config.contiguous else 0 :]
        spec: list[Dimension] = [Location(name, config.grid) for name in locations]
        if config.pen:
            spec.append(Flag("pen"))
        if len(brushes) > 1:
            spec.append(Choice("brush", len(brushes)))
        colors = {0: (), 1: ("grey",), 3: ("hue", "saturation", "value") if config.hsv else ("red", "green", "blue")}
        spec += [Scalar(name, config.bins) for name in colors[config.color_channels]]
        controlled = {"thickness": config.thickness and kind != "triangle", "opacity": config.opacity}
        for name in (name for name, chosen in controlled.items() if chosen):
            # Where there are several brushes: a fraction of the range of the one that is chosen.
            low, high = self.ranges[name][0] if len(brushes) == 1 else (0.0, 1.0)
            spec.append(Scalar(name, config.bins, low, high))
        if config.pressure:
            spec += [Scalar("start_pressure", config.bins), Scalar("end_pressure", config.bins)]
        self.action_spec: ActionSpec = tuple(spec)

    def decode(self, action: Tensor, pen: Tensor) -> Tensor:
        """Physical strokes (B, 14) float32 of actions; `pen` (B, 2) is where the last ones ended.

        Actions are bins, (B, D) int64, or fractions of each coordinate's range, (B, K) float32, clipped to 0..1.
        """
        config = self.config
        places = [pen.double()] if config.contiguous else []
        scalars: dict[str, Tensor] = {}
        continuous = action.is_floating_point()
        sizes = [coordinates((dimension,)) if continuous else 1 for dimension in self.action_spec]
        action = action.double().clamp(0.0, 1.0) if continuous else action
        for columns, dimension in zip(action.split(sizes, 1), self.action_spec, strict=True):
            if isinstance(dimension, Location):
                cell = torch.cat([columns % dimension.grid, columns // dimension.grid], 1)
                places.append(columns if continuous else (cell.double() + 0.5) / dimension.grid)
            elif isinstance(dimension, Scalar):
                span, most = dimension.high - dimension.low, 1 if continuous else dimension.n - 1
                scalars[dimension.name] = dimension.low + columns[:, 0].double() * span / most
            else:
                bins = (columns * dimension.n).floor().clamp(max=dimension.n - 1) if continuous else columns
                scalars[dimension.name] = bins[:, 0].double()
        places += [places[-1]] * (3 - len(places))
        constant = places[0].new_ones(len(action))
        if config.color_channels == 3:
            names = ("hue", "saturation", "value") if config.hsv else ("red", "green", "blue")
            color = torch.stack([scalars[name] for name in names], 1)
            color = hsv_to_rgb(color) if config.hsv else color
        else:
            color = scalars.get("grey", constant)[:, None].expand(-1, 3)
        brush = scalars.get("brush", constant * 0)
        thickness, opacity = (self._in_range(name, scalars.get(name), brush) for name in ("thickness", "opacity"))
        if config.pen:
            opacity = opacity * scalars["pen"]
        start, end = (scalars.get(name, constant) for name in ("start_pressure", "end_pressure"))
        rest = torch.stack([thickness, opacity, start, end, brush], 1)
        return torch.cat([*places, color, rest], 1).float()

    def encode(self, strokes: Tensor) -> Tensor:
        """The bins (B, D) int64 whose strokes come nearest to `strokes` (B, 14), in each dimension by itself.

        What no dimension stands for is lost; so is the place where a contiguous stroke starts.
        """
        strokes = strokes.double()
        points = strokes[:, POINTS].unflatten(1, (3, 2))[:, 1 if self.config.contiguous else 0 : self.points]
        color = strokes[:, COLOR]
        names = ("hue", "saturation", "value") if self.config.hsv else ("red", "green", "blue")
        scalars = dict(zip(names, (rgb_to_hsv(color) if self.config.hsv else color).unbind(1), strict=True))
        scalars |= {"grey": color[:, 0], "start_pressure": strokes[:, START_PRESSURE]}
        scalars |= {"end_pressure": strokes[:, END_PRESSURE], "brush": strokes[:, BRUSH]}
        scalars["pen"] = (strokes[:, OPACITY] > 0.0).double()
        for name, column in (("thickness", THICKNESS), ("opacity", OPACITY)):
            low, high = torch.tensor(self.ranges[name], dtype=torch.float64)[strokes[:, BRUSH].long()].unbind(1)
            share = (strokes[:, column] - low) / (high - low).clamp(min=1e-12)
            scalars[name] = strokes[:, column] if len(self.ranges[name]) == 1 else share
        bins, places = [], iter(points.unbind(1))
        for dimension in self.action_spec:
            if isinstance(dimension, Location):
                column, row = (next(places) * dimension.grid).floor().clamp(0, dimension.grid - 1).unbind(1)
                bins.append(row * dimension.grid + column)
            elif isinstance(dimension, Scalar):
                share = (scalars[dimension.name] - dimension.low) / max(1e-12, dimension.high - dimension.low)
                bins.append((share * (dimension.n - 1)).round().clamp(0, dimension.n - 1))
            else:
                bins.append(scalars[dimension.name])
        return torch.stack(bins, 1).long()

    def _in_range(self, name: str, chosen: Tensor | None, brush: Tensor) -> Tensor:
        """The thickness or opacity (B,) that `chosen` (B,) means to the brushes (B,); without one, their largest."""
        ranges = self.ranges[name]
        if chosen is not None and len(ranges) == 1:
            return chosen  # the dimension has the brush's own range
        low = high = torch.zeros_like(brush)
        for number, (least, most) in enumerate(ranges):
            low, high = torch.where(brush == number, least, low), torch.where(brush == number, most, high)
        return high if chosen is None else low + chosen * (high - low)

    def pen(self, strokes: Tensor) -> Tensor:
        """Where strokes (B, 11) end, (B, 2): the last point that the stroke type reads."""
        return strokes[:, 2 * self.points - 2 : 2 * self.points]


class PreparedBrush:
    """One brush as numbers: parameters, and the texture's mip levels in one flat array of words."""

    def __init__(self, brush: Brush) -> None:
        spec, jitter, post = brush.spec, brush.spec.dab.jitter, brush.spec.post_processing
        texture = brush.texture
        size = texture.shape[0]
        self.kind = KINDS[spec.stroke.type]
        self.parameters = np.array(
            [
                spec.texture.opacity,
                spec.stroke.step,
                spec.dab.start_scale,
                spec.dab.end_scale,
                jitter.scale,
                np.deg2rad(jitter.rotation),
                jitter.position,
                jitter.color,
                jitter.opacity,
                post.blur,
                post.noise,
                post.edge_blend,
                spec.dab.follow_stroke_angle,
            ],
            np.float64,
        )
        # Sides are made powers of two, so that each level halves the one before exactly.
        side = 1 << max(0, int(np.ceil(np.log2(size))))
        level = np.zeros((side, side), np.float32)
        level[:] = texture if side == size else _resize(texture, side)
        flat, levels, reach, offset = [], [], [], 0
        while True:
            flat.append(_packed(level).ravel())
            levels.append((offset, level.shape[0]))
            reach.append(_reach(level))
            offset += len(flat[-1])
            if level.shape[0] == 1:
                break
            half = level.shape[0] // 2
            level = level.reshape(half, 2, half, 2).mean((1, 3))
        self.texture = np.concatenate(flat)
        self.levels = np.array(levels, np.int64)
        self.reach = np.array(reach, np.float64)


class PreparedBrushes:
    """Brushes of one stroke type packed for the kernels, in arrays that a stroke's brush number indexes."""

    def __init__(self, *brushes: Brush) -> None:
        self.each = [PreparedBrush(brush) for brush in brushes]
        self.kind = self.each[0].kind
        offsets = np.cumsum([0] + [len(brush.texture) for brush in self.each])
        most = max(len(brush.levels) for brush in self.each)
        self.parameters = np.stack([brush.parameters for brush in self.each])  # (N, 13)
        self.texture = np.concatenate([brush.texture for brush in self.each])
        # Smaller textures have fewer levels. They repeat the last, of one texel, which is never too fine to be read.
        self.levels = np.stack([_lengthened(b.levels, most) for b in self.each])  # (N, L, 2)
        self.levels[:, :, 0] += offsets[:-1, None]
        self.reach = np.stack([_lengthened(brush.reach, most) for brush in self.each])  # (N, L)


def untinted(brush: Brush) -> PreparedBrushes:
    """The brush for the engine, with every dab in the stroke's own colour: white strokes on black are masks."""
    prepared = PreparedBrushes(brush)
    prepared.parameters[:, kernels.JITTER_COLOR] = 0.0
    return prepared


def _lengthened(array: np.ndarray, length: int) -> np.ndarray:
    """`array` with its last entry repeated."""
    return np.concatenate([array, np.repeat(array[-1:], length - len(array), axis=0)])


def _packed(level: np.ndarray) -> np.ndarray:
    """`level` (S, S), 0..1, as words (S + 2, S + 2) int32: a texel, its right neighbour, the two below, a byte each.

    A border of zeros surrounds the level. A byte is as fine as texture files are.
    """
    texels = np.pad(np.rint(level * 255).astype(np.uint32), ((1, 2), (1, 2)))
    right, below, both = texels[:-1, 1:], texels[1:, :-1], texels[1:, 1:]
    return (texels[:-1, :-1] | right << 8 | below << 16 | both << 24).view(np.int32)


def _reach(level: np.ndarray) -> float:
    """How far from its centre `level` (S, S) reads above 1/512 (half a step of uint8), in units of its side."""
    size = level.shape[0]
    y, x = np.nonzero(level > 1 / 512)
    if not len(x):
        return 0.0
    # Bilinear reading carries a texel's value as far as the centres of its neighbours.
    return float(np.hypot(np.abs(x + 0.5 - size / 2) + 1, np.abs(y + 0.5 - size / 2) + 1).max()) / size


def _resize(texture: np.ndarray, side: int) -> np.ndarray:
    """`texture` (S, S), stretched to (side, side) by bilinear interpolation."""
    at = (np.arange(side) + 0.5) * texture.shape[0] / side - 0.5
    low = np.clip(np.floor(at).astype(int), 0, texture.shape[0] - 1)
    high = np.minimum(low + 1, texture.shape[0] - 1)
    weight = np.clip(at - low, 0.0, 1.0)
    rows = texture[low] * (1 - weight)[:, None] + texture[high] * weight[:, None]
    return rows[:, low] * (1 - weight) + rows[:, high] * weight


CORES = os.cpu_count() or 1
_helpers = ThreadPoolExecutor(max(1, CORES - 1), "garl-engine")


def render_strokes(
    canvas: np.ndarray,
    strokes: np.ndarray,
    seeds: np.ndarray,
    index: int,
    brushes: PreparedBrushes,
    render_scale: int = 1,
    threads: int = CORES,
) -> None:
    """Paint stroke number `index` of each painting onto `canvas` (B, C, H, W) uint8, in place.

    strokes: (B, 14) float32; seeds: (B,) int64, one for each painting, for the brush's jitter. The picture does not
    depend on `threads`.
    """
    assert canvas.dtype == np.uint8, "canvases at rest are uint8"
    n = canvas.shape[0]
    assert n == strokes.shape[0] == seeds.shape[0], "one stroke and one seed for each canvas"
    assert strokes.shape[1] == STROKE_SIZE, "strokes are laid out as garl.brush.geometry says"
    assert 0 <= strokes[:, BRUSH].min(initial=0) <= strokes[:, BRUSH].max(initial=0) < len(brushes.each), (
        "no such brush"
    )
    strokes, seeds = np.ascontiguousarray(strokes, np.float32), np.ascontiguousarray(seeds, np.int64)
    threads = min(threads, n, CORES)
    bounds = np.linspace(0, n, 1 + (4 * threads if threads > 1 else 1)).astype(int)
    parts = iter([slice(start, end) for start, end in pairwise(bounds)])

    def paint() -> None:
        for part in parts:  # shared by the threads: each takes what comes next
            kernels.paint_batch(
                canvas[part],
                strokes[part],
                seeds[part],
                index,
                brushes.kind,
                render_scale,
                brushes.parameters,
                brushes.texture,
                brushes.levels,
                brushes.reach,
            )

    helpers = [_helpers.submit(paint) for _ in range(threads - 1)]
    paint()
    # This thread never waits for one that has not begun, as when other programs keep the cores busy.
    for helper in helpers:
        if not helper.cancel():
            helper.result()


def _render_tensors(canvas: Tensor, strokes: Tensor, seeds: Tensor, index: int, **settings: Any) -> None:
    render_strokes(canvas.numpy(), strokes.numpy(), seeds.numpy(), index, **settings)


def blank(config: PaintConfig, n: int) -> np.ndarray:
    """`n` empty canvases, (n, C, H, W) uint8."""
    canvas = np.empty((n, config.channels, config.height, config.width), np.uint8)
    canvas[:] = np.array(config.background, np.uint8)[None, :, None, None]
    return canvas


def choose_paint_device(device: torch.device) -> torch.device:
    """Where strokes are drawn for networks on `device`: there, or on the CPU if a GPU's kernels cannot be compiled."""
    if device.type == "cuda":
        from numba import cuda  # looks for a driver

        if not cuda.is_available():
            print("strokes are drawn on the CPU: for those on the GPU, pip install 'garl[cuda]'", file=sys.stderr)
            return torch.device("cpu")
    return device


class PaintEngine:
    """Applies one stroke per canvas and call; remembers where each pen stands and what it has painted.

    All that it takes and returns lies on `device`; on a GPU, nothing here waits for it.
    """

    def __init__(
        self,
        config: PaintConfig,
        brushes: Sequence[Brush] | None = None,
        threads: int = CORES,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config, self.threads, self.device = config, threads, torch.device(device)
        self.brushes = tuple(brushes or load_brushes(config))
        self.codec = StrokeCodec(config, self.brushes)
        self.prepared = PreparedBrushes(*self.brushes)
        self.seeds = torch.empty(0, dtype=torch.int64)  # (B,), one for each painting
        self._blank = torch.from_numpy(blank(config, 1)).to(self.device)
        self._pen = torch.empty(0, 2)
        self._painted: list[Tensor] = []
        if self.device.type == "cuda":
            from garl.engine import paint_cuda  # compiles for a GPU: only where there is one

            self._draw = partial(paint_cuda.render_strokes, brushes=paint_cuda.CudaBrushes(self.prepared, self.device))
        else:
            self._draw = partial(_render_tensors, brushes=self.prepared, threads=threads)

    @property
    def action_spec(self) -> ActionSpec:
        return self.codec.action_spec

    def reset(self, n: int, rng: np.random.Generator) -> Tensor:
        """Start `n` paintings; returns their blank canvases (n, C, H, W) uint8."""
        self.seeds = torch.from_numpy(rng.integers(0, 2**62, n)).to(self.device, non_blocking=True)
        self._pen = torch.full((n, 2), 0.5, device=self.device)
        self._painted = []
        return self._blank.repeat(n, 1, 1, 1)

    def apply(self, canvas: Tensor, action: Tensor) -> Tensor:
        """New canvases (B, C, H, W): `canvas` with the strokes of `action`, (B, D) or (B, K), painted on."""
        strokes = self.codec.decode(action, self._pen)
        self._pen = self.codec.pen(strokes)
        canvas = canvas.clone()
        self._draw(canvas, strokes, self.seeds, len(self._painted), render_scale=self.config.render_scale)
        self._painted.append(strokes)
        return canvas

    @property
    def painted(self) -> Tensor:
        """The strokes since the last reset, (B, T, 14) float32."""
        empty = torch.empty(len(self.seeds), 0, STROKE_SIZE, device=self.device)
        return torch.stack(self._painted, 1) if self._painted else empty
