"""Agents that are shown what to paint: the adversary, masked or not, against L2 as the reward; PaintBot with and
without its curriculum. Every arm and seed paints the same number of pictures; then each is measured on held-out ones.

    python benchmarks/conditional.py --data ../shared/data/mnist --episodes 150000 --seeds 0 1 2
    python benchmarks/conditional.py --data ../shared/data/emoji/twemoji-64.zip --pictures --episodes 150000

The runs lie in --runs, each named after its settings, and go on where they were cut off; those that are complete are
only measured. Prints a table and, with --sheet, draws the first targets of the split over what the first seed of each
arm paints of them. While settings are chosen, --split train measures on training pictures.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from garl.evaluate.pixels import mean_squared_error
from garl.experiments.run import complete, diverged, run_folder, train_quietly
from garl.export.picture import grid, save_png
from garl.sample import held_out, paint
from garl.systems.garl import CONDITIONAL, PAINTBOT, Agent, Config, load_agent, make_adversary

ARMS: dict[str, tuple[Config, dict[str, Any]]] = {
    "adversary": (CONDITIONAL, {"adversary.mask": 0.0}),
    "adversary, half masked": (CONDITIONAL, {"adversary.mask": 0.5}),
    "adversary, masked": (CONDITIONAL, {"adversary.mask": 1.0}),
    "L2": (CONDITIONAL, {"reward.source": "l2"}),
    "L2, no maps": (CONDITIONAL, {"reward.source": "l2", "policy.location_maps": False}),
    "L2, hindsight, no demonstrations": (
        CONDITIONAL,
        {"reward.source": "l2", "ppo.hindsight": 1.0, "demonstrations.pictures": 0, "warm_up": 0},
    ),
    "PaintBot": (PAINTBOT, {}),
    "PaintBot, no curriculum": (PAINTBOT, {"curriculum": {}}),
    "PaintBot, uniform targets": (PAINTBOT, {"curriculum.targets": "uniform"}),
    "PaintBot, no hindsight": (PAINTBOT, {"ppo.hindsight": 0.0}),
}
PICTURES = {
    "strokes": 12,
    "paint": {"height": 32, "width": 32, "background": [255], "brush": "hard_round", "grid": 16, "bins": 8},
}
"""Colour pictures of 32×32 in twelve strokes, instead of digits in few."""
MEASURED = 2048
SHOWN = 16


def objective(agent: Agent, paintings: np.ndarray, targets: np.ndarray) -> float:
    """The share of the blank canvas's loss that is left, by PaintBot's loss."""
    config = agent.config.changed({"reward.source": "l_half", "reward.perceptual": 1.0})
    score = make_adversary(config, torch.device("cpu"), 0).score(*map(torch.from_numpy, (paintings, targets)))
    return 1.0 - score.mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--pictures", action="store_true")
    parser.add_argument("--episodes", type=int, default=150_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--split", choices=("train", "test"), default="test")
    parser.add_argument("--runs", type=Path, default=Path("runs/conditional"))
    parser.add_argument("--sheet", type=Path)
    given = parser.parse_args()
    shared = {"data": given.data, "episodes": given.episodes, "threads": 1, "device": "cpu"}
    rows: list[np.ndarray] = []
    print("| arm | seed | error | blank canvas | share left | PaintBot's loss left |\n|---|---|---:|---:|---:|---:|")
    for arm in given.arms:
        preset, changes = ARMS[arm]
        for seed in given.seeds:
            config = preset.changed((PICTURES if given.pictures else {}) | changes | shared | {"seed": seed})
            out = run_folder(given.runs, config)
            if not complete(out, config):
                train_quietly(config, out)
            agent = load_agent(out, "cpu")
            targets = held_out(agent, MEASURED, split=given.split)
            assert targets is not None
            paintings = paint(agent, MEASURED, targets=targets)
            error = mean_squared_error(paintings.final, targets)
            blank = mean_squared_error(np.broadcast_to(paintings.filmed[0, :1], targets.shape), targets)
            left = objective(agent, paintings.final, targets)
            named = f"{arm} (diverged)" if diverged(out) else arm
            print(f"| {named} | {seed} | {error:.4f} | {blank:.4f} | {error / blank:.2f} | {left:.3f} |", flush=True)
            if seed == given.seeds[0]:
                rows += [paintings.final[:SHOWN]] if rows else [targets[:SHOWN], paintings.final[:SHOWN]]
    if given.sheet:
        save_png(given.sheet, grid(np.concatenate(rows), columns=SHOWN, scale=2))


if __name__ == "__main__":
    main()
