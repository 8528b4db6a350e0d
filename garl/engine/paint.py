"""The brush engine on the CPU: bins → physical strokes (`StrokeCodec`) → pixels (`render_strokes`).

    engine = PaintEngine(PaintConfig(height=64, width=64, channels=3, brush="splatter", color_channels=3))
    canvas = engine.reset(16, np.random.default_rng(0))                   # (16, 3, 64, 64) uint8
    canvas = engine.apply(canvas, actions)                                # (16, D) int64, see engine.action_spec

Source: thesis §4 and A.1 (PaintGym). The pixels are drawn in `garl.engine.kernels`.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from garl.brush.geometry import COLOR, OPACITY, POINTS_PER_TYPE, STROKE_SIZE, THICKNESS
from garl.brush.spec import Brush, load_brush
from garl.engine import kernels
from garl.errors import GarlError
from garl.settings import Settings
from garl.types import ActionSpec, Dimension, Location, Scalar

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
    color_channels: Literal[0, 1, 3] = 3
    """Channels of the colour in an action; with 0 every stroke is white."""
    hsv: bool = False
    """Read the three colour channels as hue, saturation, value."""
    thickness: bool = True
    """Whether actions choose the thickness (otherwise the brush's largest). Triangles have none."""
    opacity: bool = True
    """Whether actions choose the opacity (otherwise the brush's largest)."""
    contiguous: bool = False
    """Each stroke starts where the last one ended; the first at the canvas's centre."""
    render_scale: int = Field(1, ge=1, le=8)
    """Strokes are drawn this many times larger and averaged down. 1: anti-aliasing by mip-mapped textures."""
    grid: int = Field(32, ge=2, le=128)
    """Cells per side of the grid that a location is chosen from."""
    bins: int = Field(16, ge=2, le=1024)
    """Bins of a scalar dimension: each colour channel, the thickness, the opacity."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.background) not in (1, self.channels) or not all(0 <= v <= 255 for v in self.background):
            raise GarlError(f"background takes 1 or {self.channels} values from 0 to 255, not {self.background}")
        if self.hsv and self.color_channels != 3:
            raise GarlError(f"hsv needs color_channels 3, not {self.color_channels}")
        if self.color_channels == 3 and self.channels == 1:
            raise GarlError("color_channels 3 needs channels 3: a grey canvas takes color_channels 0 or 1")
        return self


def hsv_to_rgb(hsv: np.ndarray) -> np.ndarray:
    """(…, 3) hue, saturation, value in 0..1 → (…, 3) red, green, blue in 0..1 (Smith 1978, the hexcone)."""
    hue, saturation, value = hsv[..., 0:1], hsv[..., 1:2], hsv[..., 2:3]
    offset = np.array([5.0, 3.0, 1.0], hsv.dtype)
    k = (offset + hue * 6.0) % 6.0
    return value * (1.0 - saturation * np.clip(np.minimum(k, 4.0 - k), 0.0, 1.0))


class StrokeCodec:
    """Bin indices ↔ physical strokes, for one brush and one choice of controlled properties."""

    def __init__(self, config: PaintConfig, brush: Brush) -> None:
        kind, control = brush.spec.stroke.type, brush.spec.control
        if config.contiguous and kind == "point":
            raise GarlError(f"brush '{brush.name}' paints points, which have no end to go on from: drop contiguous")
        self.config = config
        self.points = POINTS_PER_TYPE[kind]
        self.default_thickness, self.default_opacity = control.max_thickness, control.max_opacity
        locations = LOCATION_NAMES[kind][1 if config.contiguous else 0 :]
        spec: list[Dimension] = [Location(name, config.grid) for name in locations]
        colors = {0: (), 1: ("grey",), 3: ("hue", "saturation", "value") if config.hsv else ("red", "green", "blue")}
        spec += [Scalar(name, config.bins) for name in colors[config.color_channels]]
        if config.thickness and kind != "triangle":
            spec.append(Scalar("thickness", config.bins, control.min_thickness, control.max_thickness))
        if config.opacity:
            spec.append(Scalar("opacity", config.bins, control.min_opacity, control.max_opacity))
        self.action_spec: ActionSpec = tuple(spec)

    def decode(self, action: np.ndarray, pen: np.ndarray) -> np.ndarray:
        """Physical strokes (B, 11) float32 of actions (B, D) int64; `pen` (B, 2) is where the last ones ended."""
        config = self.config
        strokes = np.empty((len(action), STROKE_SIZE), np.float32)
        places: list[np.ndarray] = [pen] if config.contiguous else []
        scalars: dict[str, np.ndarray] = {}
        for column, dimension in zip(action.T, self.action_spec, strict=True):
            if isinstance(dimension, Location):
                row, col = np.divmod(column, dimension.grid)
                places.append((np.stack([col, row], 1) + 0.5) / dimension.grid)
            elif isinstance(dimension, Scalar):
                scalars[dimension.name] = (
                    dimension.low + column * (dimension.high - dimension.low) / (dimension.n - 1)
                )  # fmt: skip
        places += [places[-1]] * (3 - len(places))
        strokes[:, :6] = np.concatenate(places, 1)
        if config.color_channels == 3:
            names = ("hue", "saturation", "value") if config.hsv else ("red", "green", "blue")
            color = np.stack([scalars[name] for name in names], 1)
            strokes[:, COLOR] = hsv_to_rgb(color) if config.hsv else color
        else:
            strokes[:, COLOR] = scalars["grey"][:, None] if config.color_channels else 1.0
        strokes[:, THICKNESS] = scalars.get("thickness", self.default_thickness)
        strokes[:, OPACITY] = scalars.get("opacity", self.default_opacity)
        return strokes

    def pen(self, strokes: np.ndarray) -> np.ndarray:
        """Where strokes (B, 11) end, (B, 2): the last point that the stroke type reads."""
        return strokes[:, 2 * self.points - 2 : 2 * self.points]


class PreparedBrush:
    """A brush packed for the kernels: parameters, and the texture's mip levels in one flat array of words."""

    def __init__(self, brush: Brush) -> None:
        spec, jitter, post = brush.spec, brush.spec.dab.jitter, brush.spec.post_processing
        texture = brush.texture
        size = texture.shape[0]
        self.kind = KINDS[spec.stroke.type]
        self.follow = spec.dab.follow_stroke_angle
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
    brush: PreparedBrush,
    render_scale: int = 1,
    threads: int = CORES,
) -> None:
    """Paint stroke number `index` of each painting onto `canvas` (B, C, H, W) uint8, in place.

    strokes: (B, 11) float32; seeds: (B,) int64, one for each painting, for the brush's jitter. The picture does not
    depend on `threads`.
    """
    assert canvas.dtype == np.uint8, "canvases at rest are uint8"
    n = canvas.shape[0]
    assert n == strokes.shape[0] == seeds.shape[0], "one stroke and one seed for each canvas"
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
                brush.kind,
                brush.follow,
                render_scale,
                brush.parameters,
                brush.texture,
                brush.levels,
                brush.reach,
            )

    helpers = [_helpers.submit(paint) for _ in range(threads - 1)]
    paint()
    # This thread never waits for one that has not begun, as when other programs keep the cores busy.
    for helper in helpers:
        if not helper.cancel():
            helper.result()


def blank(config: PaintConfig, n: int) -> np.ndarray:
    """`n` empty canvases, (n, C, H, W) uint8."""
    canvas = np.empty((n, config.channels, config.height, config.width), np.uint8)
    canvas[:] = np.array(config.background, np.uint8)[None, :, None, None]
    return canvas


class PaintEngine:
    """Applies one stroke per canvas and call; remembers where each pen stands and what it has painted."""

    def __init__(self, config: PaintConfig, brush: Brush | None = None, threads: int = CORES) -> None:
        self.config, self.threads = config, threads
        self.brush = brush or load_brush(config.brush)
        self.codec = StrokeCodec(config, self.brush)
        self.prepared = PreparedBrush(self.brush)
        self.seeds = np.empty(0, np.int64)  # (B,), one for each painting
        self._pen = np.empty((0, 2), np.float32)
        self._painted: list[np.ndarray] = []

    @property
    def action_spec(self) -> ActionSpec:
        return self.codec.action_spec

    def reset(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Start `n` paintings; returns their blank canvases (n, C, H, W) uint8."""
        self.seeds = rng.integers(0, 2**62, n)
        self._pen = np.full((n, 2), 0.5, np.float32)
        self._painted = []
        return blank(self.config, n)

    def apply(self, canvas: np.ndarray, action: np.ndarray) -> np.ndarray:
        """New canvases (B, C, H, W): `canvas` with the strokes of `action` (B, D) int64 painted on."""
        strokes = self.codec.decode(action, self._pen)
        self._pen = self.codec.pen(strokes)
        canvas = canvas.copy()
        index, scale = len(self._painted), self.config.render_scale
        render_strokes(canvas, strokes, self.seeds, index, self.prepared, scale, self.threads)
        self._painted.append(strokes)
        return canvas

    @property
    def painted(self) -> np.ndarray:
        """The strokes since the last reset, (B, T, 11) float32."""
        return np.stack(self._painted, 1) if self._painted else np.empty((len(self.seeds), 0, STROKE_SIZE), np.float32)
