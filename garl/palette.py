"""Few colours instead of many: palettes found in a picture, or read from a file; what is near is near to the eye.

Distances are Euclidean in Oklab (B. Ottosson, *A perceptual color space for image processing*, 2020).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import ImageColor
from scipy.spatial import cKDTree

from garl.errors import GarlError
from garl.reading import read_plain

MAX_COLORS = 256
MAX_BYTES = 64 * 1024
ROUNDS = 30
"""Of k-means: after so many its colours hardly move."""

TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def to_oklab(rgb: np.ndarray) -> np.ndarray:
    """sRGB colours (…, 3) in 0..1 as lightness, green–red, blue–yellow (…, 3)."""
    rgb = np.asarray(rgb, np.float64)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ TO_CONES.T) @ TO_LAB.T


def from_oklab(lab: np.ndarray) -> np.ndarray:
    """The inverse of `to_oklab`, clipped to 0..1."""
    linear = np.clip((lab @ np.linalg.inv(TO_LAB).T) ** 3 @ np.linalg.inv(TO_CONES).T, 0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def nearest(colors: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Which of the palette's colours (K, 3) is nearest to each of the colours (N, 3): (N,) int64."""
    return cKDTree(to_oklab(palette)).query(to_oklab(colors))[1]


def find_palette(colors: np.ndarray, count: int, weights: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
    """At most `count` colours (K, 3), 0..1, lightest first, that stand for the colours (N, 3), which may have weights
    (N,) above 0: those themselves where they are so few, else k-means (Lloyd 1982), begun as k-means++ (Arthur and
    Vassilvitskii 2007)."""
    bytes_, at = np.unique(np.rint(np.asarray(colors) * 255).astype(np.uint8), axis=0, return_inverse=True)
    times = np.bincount(at.ravel(), weights)
    points, rng = to_oklab(bytes_ / 255), np.random.default_rng(seed)
    if len(points) <= count:
        return (bytes_ / 255)[np.argsort(-points[:, 0], kind="stable")]
    centres = points[rng.choice(len(points), 1, p=times / times.sum())]
    while len(centres) < count:
        worth = times * cKDTree(centres).query(points)[0] ** 2
        centres = np.concatenate([centres, points[rng.choice(len(points), 1, p=worth / worth.sum())]])
    for _ in range(ROUNDS):
        group = cKDTree(centres).query(points)[1]
        weight = np.bincount(group, times, count)
        mean = np.stack([np.bincount(group, times * points[:, axis], count) for axis in range(3)], 1)
        centres = np.where(weight[:, None] > 0, mean / np.maximum(weight, 1e-12)[:, None], centres)
    return from_oklab(centres[np.argsort(-centres[:, 0], kind="stable")])


def parse_color(text: str) -> tuple[int, int, int]:
    """Red, green, blue in 0..255 of a colour's name or its #rrggbb."""
    try:
        return ImageColor.getrgb(text)[:3]
    except ValueError:
        raise GarlError(f"{text!r} is not a colour: give a name as white, or #rrggbb") from None


def load_palette(path: Path) -> np.ndarray:
    """The colours (K, 3), 0..1, of a text with a #rrggbb or a name in each line, or of a GIMP palette (.gpl).

    Raises GarlError, and nothing else, whatever the file holds.
    """
    try:
        lines = read_plain(path, MAX_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise GarlError(
            f"cannot read the palette {path} ({error}): give a number of colours, or a text with one in each line"
        ) from error
    gimp = lines[:1] == ["GIMP Palette"]
    beside = re.compile(r"\s*($|#|Name:|Columns:|GIMP Palette)" if gimp else r"\s*$")
    colors = []
    for number, line in enumerate(lines, 1):
        if beside.match(line):
            continue
        found = re.match(r"\s*(\d{1,3})\s+(\d{1,3})\s+(\d{1,3})(\s|$)", line, re.ASCII) if gimp else None
        try:
            color = tuple(map(int, found.groups()[:3])) if found else parse_color("" if gimp else line.strip())
        except GarlError:
            color = ()
        if not color or max(color) > 255:
            wanted = "three numbers from 0 to 255" if gimp else "a name as white, or #rrggbb"
            raise GarlError(f"{path}, line {number}: {line.strip()!r} is not a colour: give {wanted}")
        colors.append(color)
    if not 1 <= len(colors) <= MAX_COLORS:
        raise GarlError(f"the palette {path} holds {len(colors)} colours: give from 1 to {MAX_COLORS}")
    return np.array(colors) / 255


def choose_palette(wanted: str, colors: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The palette (K, 3) that `wanted` means: a number of colours to find among `colors` (N, 3), or a palette file."""
    if not re.fullmatch("-?[0-9]+", wanted):
        return load_palette(Path(wanted))
    if len(wanted) > 9 or not 1 <= int(wanted) <= MAX_COLORS:
        raise GarlError(f"a palette has from 1 to {MAX_COLORS} colours, not {wanted}")
    return find_palette(colors, int(wanted), weights)
