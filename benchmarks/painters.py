"""Mean squared error of each painter against strokes and seconds, as a table and as pictures side by side.

    python benchmarks/painters.py PICTURE … [--strokes 100 300 1000] [--brush hard_round] [--sheet sheet.png]

Pictures are cropped to SIZE × SIZE. Every painter gets the same strokes, brush and seed; seconds are CPU time of this
process, replay at full size included, compilation not.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from garl.brush.spec import load_brush
from garl.export.picture import grid, save_png
from garl.paint_picture import paint_picture, read_picture
from garl.systems.greedy import greedy
from garl.systems.refine import refine

SIZE = 512
PAINTERS = {"refine": refine, "greedy": greedy}


def cropped(path: Path) -> np.ndarray:
    """The picture in a file, (3, SIZE, SIZE) uint8."""
    pixels, _ = read_picture(path)
    return np.asarray(ImageOps.fit(Image.fromarray(pixels.transpose(1, 2, 0)), (SIZE, SIZE))).transpose(2, 0, 1).copy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--strokes", nargs="+", type=int, default=[100, 300, 1000])
    parser.add_argument("--brush", default="hard_round")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    brush, shown = load_brush(given.brush), []
    for painter in PAINTERS.values():  # compiles
        paint_picture(np.zeros((3, 32, 32), np.uint8), 2, brush, painter, seconds=0.1)
    print("| picture | strokes | " + " | ".join(f"{name}, error | s" for name in PAINTERS) + " | refine / greedy |")
    print("|---|---:|" + "---:|---:|" * len(PAINTERS) + "---:|")
    for path in given.pictures:
        target = cropped(path)
        shown.append(target)
        for count in given.strokes:
            errors, cells = {}, []
            for name, painter in PAINTERS.items():
                started = time.process_time()
                painting = paint_picture(target, count, brush, painter, seed=given.seed)
                errors[name] = painting.error
                cells.append(f"{painting.error:.6f} | {time.process_time() - started:.1f}")
                if count == max(given.strokes):
                    shown.append(painting.picture)
            ratio = errors["refine"] / errors["greedy"]
            print(f"| {path.stem} | {count:,} | {' | '.join(cells)} | {ratio:.2f} |", flush=True)
    if given.sheet:
        save_png(given.sheet, grid(np.stack(shown)[:, :, ::2, ::2], columns=1 + len(PAINTERS)))


if __name__ == "__main__":
    main()
