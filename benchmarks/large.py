"""A large picture: what painters lose by seeing it small, and whether a seam shows where tiles would end.

    python benchmarks/large.py PHOTO [--strokes 1000 5000] [--sides 256 512] [--short] [--sheet sheet.png]

For each number of strokes and each `WORKING_SIDE`: mean squared error at full size; `seam_ratio` across the borders of
4 × 4 tiles (1: none); CPU seconds, compilation not. With --short a tenth of the steps.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from garl import paint_picture as painting
from garl.brush.spec import load_brush
from garl.evaluate.seams import seam_ratio
from garl.export.picture import grid, save_png
from garl.systems.refine import RefineConfig, refine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--strokes", nargs="+", type=int, default=[1000, 5000])
    parser.add_argument("--sides", nargs="+", type=int, default=[256, 512])
    parser.add_argument("--brush", default="hard_round")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--sheet", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    brush, (target, _) = load_brush(given.brush), painting.read_picture(given.photo)
    config = RefineConfig(stages=8, steps=10, last_steps=60) if given.short else RefineConfig()
    painter, shown = partial(refine, config=config), [target]
    painting.paint_picture(np.zeros((3, 32, 32), np.uint8), 2, brush, painter, seconds=0.1)  # compiles
    borders = [[side * i // 4 for i in (1, 2, 3)] for side in target.shape[:0:-1]]
    print("| strokes | working side | error | seam | s |\n|---:|---:|---:|---:|---:|", flush=True)
    for count in given.strokes:
        for side in given.sides:
            painting.WORKING_SIDE, started = side, time.process_time()
            done = painting.paint_picture(target, count, brush, painter)
            seconds, seam = time.process_time() - started, seam_ratio(done.picture, target, *borders)
            print(f"| {count:,} | {side} | {done.error:.6f} | {seam:.3f} | {seconds:.1f} |", flush=True)
            shown.append(done.picture)
    if given.sheet:
        save_png(given.sheet, grid(np.stack(shown)))


if __name__ == "__main__":
    main()
