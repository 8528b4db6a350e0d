"""Draw the textures of the brush library: `python benchmarks/make_textures.py [folder]` (numpy, seeded).

Each function below paints coverage over the square −1…1 (x rightwards, y downwards), where 1 is paint. Brushes that
follow the stroke turn x along it. Shapes are sampled 4 × 4 times per pixel; the outermost ring of pixels stays empty.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

SUPERSAMPLING = 4
Coverage = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def hard_round(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _disc(x, y, 0, 0, 1)


def soft_round(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.clip(1 - x**2 - y**2, 0, 1) ** 2


def hard_square(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.ones_like(x)


def pencil(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A worn graphite tip: a disc with a soft edge, eaten by the paper's grain."""
    grain = _noise(rng, x.shape, 0.1)
    return np.clip(1.2 - np.hypot(x, y) ** 2, 0, 1) * np.clip(2.4 * grain - 0.6, 0, 1) * (np.hypot(x, y) < 1)


def dry_bristle(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ends of a thin row of bristles across the stroke: each one draws its own streak."""
    paint = np.zeros_like(x)
    for centre in np.linspace(-0.93, 0.93, 24) + rng.uniform(-0.03, 0.03, 24):
        bristle = _ellipse(x, y, rng.uniform(-0.3, 0.3), centre, 0.12, rng.uniform(0.02, 0.06))
        paint = np.maximum(paint, bristle * rng.uniform(0.4, 1))
    return paint


def oil(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A full brush's imprint: a ragged bar of paint across the stroke, with ridges and furrows."""
    paint = np.zeros_like(x)
    for centre in np.linspace(-0.94, 0.94, 44) + rng.uniform(-0.015, 0.015, 44):
        reach = rng.uniform(0.2, 0.45) * np.sqrt(1 - 0.7 * centre**2)
        ridge = _ellipse(x, y, rng.uniform(-0.12, 0.12), centre, reach, rng.uniform(0.025, 0.055))
        paint = np.maximum(paint, ridge * rng.uniform(0.55, 1) * (1 - 0.5 * (rng.uniform() < 0.15)))
    return paint


def splatter(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A lobed blob with droplets around it, smaller the farther they flew."""
    drops = [_disc(x, y, 0, 0, 0.4)]
    for _ in range(9):
        drops.append(_droplet(x, y, rng, 0.28, 0.5, 0.1, 0.2))
    for _ in range(26):
        drops.append(_droplet(x, y, rng, 0.6, 0.95, 0.015, 0.09))
    return np.max(drops, axis=0)


def spray(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fine dots, dense in the middle and sparse outside."""
    paint = np.zeros_like(x)
    for _ in range(260):
        cx, cy = rng.normal(0, 0.36, 2)
        if np.hypot(cx, cy) < 0.95:
            paint = np.maximum(paint, _disc(x, y, cx, cy, rng.uniform(0.012, 0.03)) * rng.uniform(0.4, 1))
    return paint


def watercolour(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A grainy wash in a wavering outline, with a darker rim at the stroke's sides, where pigment gathers."""
    angle = np.arctan2(y, x)
    waves = zip((2, 3, 5, 9), rng.uniform(0, 2 * np.pi, 4), strict=True)
    outline = 0.92 + sum(0.03 / np.sqrt(k) * np.sin(k * angle + phase) for k, phase in waves)
    depth = outline - np.hypot(x, y)  # distance from the outline, positive inside
    rim = np.exp(-(((depth - 0.06) / 0.05) ** 2)) * (0.15 + 0.85 * np.sin(angle) ** 2)
    return np.clip(depth / 0.05, 0, 1) * (0.45 + 0.55 * rim) * (0.75 + 0.25 * _noise(rng, x.shape, 0.08))


def marker(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A chisel tip held at 40 degrees: a flat bar with round ends."""
    angle = np.deg2rad(-40)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return (np.hypot(np.maximum(np.abs(along) - 0.76, 0), across) < 0.22).astype(float)


def charcoal(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The side of a stick on rough paper: crumbs with gaps between them, thinning outwards."""
    r = np.hypot(x, y)
    crumbs = _noise(rng, x.shape, 0.07) > 0.45 + 0.5 * r**2
    return crumbs * (0.6 + 0.4 * _noise(rng, x.shape, 0.04)) * (r < 0.98)


TEXTURES: dict[str, tuple[Coverage, int]] = {
    "hard_round": (hard_round, 64),
    "soft_round": (soft_round, 64),
    "hard_square": (hard_square, 64),
    "pencil": (pencil, 64),
    "dry_bristle": (dry_bristle, 64),
    "oil": (oil, 64),
    "splatter": (splatter, 128),
    "spray": (spray, 128),
    "watercolour": (watercolour, 128),
    "marker": (marker, 64),
    "charcoal": (charcoal, 64),
}
"""Each texture's function and its side in pixels."""


def draw(name: str) -> np.ndarray:
    """One texture, uint8 (side, side); the same at every call."""
    coverage, side = TEXTURES[name]
    inner = side - 2
    samples = inner * SUPERSAMPLING
    centres = (np.arange(samples) + 0.5) / samples * 2 - 1
    x, y = np.meshgrid(centres, centres)
    rng = np.random.default_rng(sum(name.encode()))
    fine = np.clip(coverage(x, y, rng), 0, 1)
    pixels = fine.reshape(inner, SUPERSAMPLING, inner, SUPERSAMPLING).mean((1, 3))
    return np.pad(np.round(pixels * 255).astype(np.uint8), 1)


def _disc(x: np.ndarray, y: np.ndarray, cx: float, cy: float, radius: float) -> np.ndarray:
    return _ellipse(x, y, cx, cy, radius, radius)


def _ellipse(x: np.ndarray, y: np.ndarray, cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
    return (((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1).astype(float)


def _droplet(
    x: np.ndarray, y: np.ndarray, rng: np.random.Generator, near: float, far: float, small: float, large: float
) -> np.ndarray:
    """A drop somewhere between the distances `near` and `far` of the middle, the larger the nearer."""
    reach, angle = rng.uniform(0, 1), rng.uniform(0, 2 * np.pi)
    distance, radius = near + (far - near) * reach, large + (small - large) * reach
    radius = min(radius * rng.uniform(0.6, 1.2), 0.98 - distance)
    return _disc(x, y, distance * np.cos(angle), distance * np.sin(angle), radius)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], size: float) -> np.ndarray:
    """Smooth noise with spots of about `size` (the texture is 2 wide); its values are spread evenly over 0..1."""
    fy, fx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]
    sigma = size / 2 * shape[1] / 2
    smooth = np.exp(-2 * (np.pi * sigma) ** 2 * (fx**2 + fy**2))
    values = np.fft.irfft2(np.fft.rfft2(rng.normal(size=shape)) * smooth, shape)
    return values.ravel().argsort().argsort().reshape(shape) / values.size


def main() -> None:
    default = Path(__file__).parents[1] / "garl" / "brush" / "library"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    for name in TEXTURES:
        Image.fromarray(draw(name)).save(folder / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
