"""What becomes of strokes: how far a replay and an SVG are from the painting, and what order, palette and sizes cost.

    python benchmarks/replay.py PICTURE [--strokes 300] [--brushes hard_round …] [--quick] [--costs] [--sheet sheet.png]

The picture is painted square, SIZE × SIZE, and cropped to SIZE × 2/3 SIZE, by the default painter with each brush, or
by a greedy search of little patience. The SVG is drawn by resvg (pip install resvg-py). Differences are means of
|difference| in steps of 1/255; "coarse" is the replay without a render scale.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from garl.brush.spec import load_brush
from garl.evaluate.pixels import mean_squared_error
from garl.export.picture import grid, save_png
from garl.export.strokefile import StrokeFile
from garl.paint_picture import Painting, default, paint_picture, read_picture
from garl.replay import replay
from garl.strokes import ORDERS
from garl.systems.greedy import GreedyConfig, greedy

SIZE = 240


def cropped(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The picture in a file, (3, height, width) uint8, for a size of (width, height)."""
    pixels, _ = read_picture(path)
    return np.asarray(ImageOps.fit(Image.fromarray(pixels.transpose(1, 2, 0)), size)).transpose(2, 0, 1).copy()


def averaged_down(picture: np.ndarray, times: int) -> np.ndarray:
    channels, height, width = picture.shape
    return picture.reshape(channels, height // times, times, width // times, times).mean((2, 4))


def enlarged(file: StrokeFile) -> np.ndarray:
    """The painting 4 times larger, averaged down."""
    return averaged_down(replay(file, size=4 * max(file.height, file.width)).picture, 4)


quick = partial(greedy, config=GreedyConfig(proposals=30, patience=8))


def as_svg(painting: Painting, times: int = 4) -> np.ndarray:
    """The painting's SVG, drawn by resvg `times` larger and averaged down."""
    import resvg_py

    with tempfile.TemporaryDirectory() as folder:
        painting.save(path := Path(folder) / "painting.svg")
        text = path.read_text()
    _, height, width = painting.picture.shape
    png = bytes(resvg_py.svg_to_bytes(svg_string=text, width=times * width, height=times * height))
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).transpose(2, 0, 1)
    return averaged_down(picture, times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--strokes", type=int, default=300)
    parser.add_argument("--brushes", nargs="+", default=["hard_round", "ink", "charcoal", "splatter"])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--costs", action="store_true")
    parser.add_argument("--sheet", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    shown = []
    print("| brush | size | 4 × replay | coarse | SVG |\n|---|---|---:|---:|---:|")
    for name in given.brushes:
        for size in ((SIZE, SIZE), (SIZE, SIZE * 2 // 3)):
            painter = quick if given.quick else default
            painting = paint_picture(cropped(given.picture, size), given.strokes, load_brush(name), painter)
            picture, drawn = painting.picture.astype(float), as_svg(painting)
            large = enlarged(painting.strokes)
            coarse = replace(painting.strokes, render_scale=1)
            differences = (
                np.abs(large - picture).mean(),
                np.abs(enlarged(coarse) - replay(coarse).picture).mean(),
                np.abs(drawn - picture).mean(),
            )
            print(f"| {name} | {size[0]}×{size[1]} | {' | '.join(f'{each:.2f}' for each in differences)} |", flush=True)
            if size == (SIZE, SIZE):
                shown += [painting.picture, large.astype(np.uint8), drawn.astype(np.uint8)]
    if given.sheet:
        save_png(given.sheet, grid(np.stack(shown), columns=3))
    if given.costs:
        costs(cropped(given.picture, (SIZE, SIZE)), given.strokes)


def costs(target: np.ndarray, count: int) -> None:
    """Print what orders, palettes and sizes cost with hard_round, with and without their colours fitted anew."""
    brush = load_brush("hard_round")
    painting = paint_picture(target, count, brush)

    def again(*_: object) -> np.ndarray:
        return painting.strokes.strokes[0]

    print("\n| hard_round | error | by `garl replay`, not fitted |\n|---|---:|---:|")
    for choice in [{"order": order} for order in ORDERS] + [{"palette": count} for count in ("32", "16", "8", "4")]:
        fitted = paint_picture(target, count, brush, again, **choice).error
        plain = mean_squared_error(replay(painting.strokes, **choice).picture, target)
        print(f"| {' '.join(*choice.items())} | {fitted:.5f} | {plain:.5f} |", flush=True)
    for low, high in ((0.01, 0.25), (0.04, 0.25), (0.02, 0.05)):
        limited = brush.with_settings(control={"min_thickness": low, "max_thickness": high})
        print(f"| sizes {low} to {high} | {paint_picture(target, count, limited).error:.5f} | |", flush=True)


if __name__ == "__main__":
    main()
