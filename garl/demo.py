"""`garl demo`: train on one of the embedded digits, then show what was learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from garl.export.picture import beside, grid, save_png
from garl.sample import paint
from garl.systems.garl import DIGITS, Config, load_agent, load_images, train

LABEL = 5
"""One digit: minutes are enough for it to be read, where all ten would take an hour."""
SHOWN = 64
MEANS = 16


def run_demo(minutes: float, seed: int, out: Path) -> None:
    """Train for `minutes` in the run folder `out`, leave pictures there and print their paths."""
    changed = {"label": LABEL, "minutes": minutes, "seed": seed}
    config = Config(**DIGITS.model_dump() | changed)  # unlike model_copy, this validates
    newest = out / "pictures" / "samples.png"
    print(f"Learning to paint the digit {LABEL} for {minutes:g} minutes; watch {newest}", flush=True)
    train(config, out)
    agent = load_agent(out)
    paintings = paint(agent, SHOWN, seed)
    real = load_images(config, "test").batch(SHOWN, torch.Generator().manual_seed(seed))
    files = {
        "paintings beside real digits": out / "paintings-and-real.png",
        "running mean picture over time": out / "mean-over-time.png",
        "time-lapse": out / "time-lapse.mp4",
        "one painting as SVG": out / "painting.svg",
    }
    save_png(files["paintings beside real digits"], beside(paintings.final, real, scale=2))
    save_png(files["running mean picture over time"], means_over_time(out))
    paintings.save(files["time-lapse"])
    paint(agent, 1, seed).save(files["one painting as SVG"])
    for name, path in files.items():
        print(f"{name}: {path}")
    print(f"more: garl sample {out} --n 256 --out more.png; garl evaluate {out}")


def means_over_time(out: Path) -> np.ndarray:
    """The run's mean pictures side by side, oldest first, at most 16 of them; (H, W, 3) uint8."""
    paths = sorted((out / "pictures").glob("mean-*.png"))
    kept = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, MEANS).round().astype(int))]
    pictures = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in kept])
    return grid(pictures.transpose(0, 3, 1, 2), columns=len(kept))
