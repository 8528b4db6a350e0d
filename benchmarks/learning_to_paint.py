"""Learning to Paint put to its four tests; each arm is a run of `garl train`, and goes on where it was cut off.

    python benchmarks/learning_to_paint.py train       --data PATH --minutes 60     (a) is L2 below 40 % of the blank's?
    python benchmarks/learning_to_paint.py replay      --data PATH --updates 2000   (b) plain or prioritised replay
    python benchmarks/learning_to_paint.py adversaries --data PATH --updates 2000   (c) the family, one seed and budget
    python benchmarks/learning_to_paint.py renderers   --updates 5000               (d) network, activation, optimiser
    python benchmarks/learning_to_paint.py page                                     docs/learning_to_paint.md

`--side 32 --updates 100` makes all of it short. Runs lie in runs/learning_to_paint/PART-SIDE-BUDGET/ARM-SEED, so that
another budget is another run.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from garl.commission import Commission
from garl.data.images import load
from garl.engine.neural import Renderer, Twin, pen_of
from garl.engine.paint import PreparedBrushes
from garl.errors import GarlError
from garl.evaluate.pixels import mean_squared_error
from garl.paint_picture import lay
from garl.runs import read_config, records
from garl.systems import learning_to_paint as ltp
from garl.systems import renderer
from garl.systems.greedy import greedy
from garl.types import Ground

RUNS = Path("runs/learning_to_paint")
PAGE = Path("docs/learning_to_paint.md")
BAR = 0.4

COMPARED: dict[str, Any] = {"validate_every": 5, "anneal": False}
"""Validations all along, and rates that a longer budget would not change."""
REPLAY: dict[str, dict[str, Any]] = {"plain": {}, "prioritised": {"replay.prioritised": True}}
SPECTRAL: dict[str, Any] = {
    "adversary.loss": "hinge",
    "adversary.network.spectral_norm": True,
    "adversary.gradient_penalty": 0.0,
}
FAMILY: dict[str, dict[str, Any]] = {
    "WGAN-GP": {},
    "DRAGAN": {
        "adversary.loss": "minimax_logit",
        "adversary.penalised": "any",
        "adversary.penalised_at": "around",
    },
    "Fisher": {"adversary.loss": "fisher", "adversary.gradient_penalty": 0.0},
    "Cramér": {"adversary.loss": "cramer", "adversary.network.outputs": 16},
    "SNGAN": SPECTRAL,
    "SAGAN": SPECTRAL | {"adversary.network.attention": 2},
    "none: L2": {"reward": "l2"},
}
RENDERERS: dict[str, dict[str, Any]] = {
    "original, ReLU, Adam": {"network.architecture": "original"},
    "improved, ReLU, Adam": {},
    "improved, leaky ReLU, Adam": {"network.activation": "leaky_relu"},
    "improved, GELU, Adam": {"network.activation": "gelu"},
    "improved, SiLU, Adam": {"network.activation": "silu"},
    "improved, ReLU, RMSprop": {"optimizer": "rmsprop", "learning_rate": 3e-4},
    "improved, ReLU, SGD": {"optimizer": "sgd", "learning_rate": 0.1},
}


def folder_of(part: str, arm: str, config: Any) -> Path:
    budget = "-".join(f"{n}{getattr(config, n):g}" for n in ("minutes", "updates") if getattr(config, n) is not None)
    return RUNS / f"{part}-{config.side}-{budget}" / f"{arm}-{config.seed}"


def run(part: str, arm: str, config: Any, module: Any) -> None:
    """Train one arm, or what is left of it."""
    folder = folder_of(part, arm, config)
    lines = records(folder)
    if lines and done(config, lines[-1]):
        print(f"{folder}: done")
        return
    print(f"{folder}: {config.updates or config.minutes}")
    module.train(config, folder, resume=(folder / "config.json").exists())


def compare(config: ltp.Config, pictures: int) -> None:
    """Write greedy.json: L2 of the agent and of greedy search with as many strokes, over the blank canvas's."""
    folder = folder_of("train", "default", config)
    agent, strokes = ltp.load_agent(folder), config.actions * config.strokes
    brush = agent.pen.brush
    target = load(config.data, size=(config.side, config.side), channels=3, split="test").array[:pictures].copy()
    blank = np.full_like(target, config.background)
    easel = ltp.Easel(config.background, config.actions, agent.pen, PreparedBrushes(brush))
    canvases = ltp.paint(agent.act, torch.from_numpy(target), easel)
    searched = np.empty_like(target)
    for i, picture in enumerate(target):
        ground = Ground(blank[i], np.ones(picture.shape[1:], np.bool_), i)
        found = greedy(Commission(picture, ground, strokes, brush, seed=i))
        searched[i] = blank[i]
        lay(searched[i], found, [PreparedBrushes(brush)], i)
    error = {name: mean_squared_error(x, target) for name, x in (("agent", canvases[-1].numpy()), ("greedy", searched))}
    of_blank = mean_squared_error(blank, target)
    figures = {name: value / of_blank for name, value in error.items()} | {"pictures": pictures, "strokes": strokes}
    (folder / "greedy.json").write_text(json.dumps(figures) + "\n")


def cost(model: Renderer, side: int) -> float:
    """Milliseconds of one core for 64 actions of five strokes, there and back."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    action = torch.rand(64, 5, 13, generator=generator).requires_grad_()
    canvas, spent = torch.rand(64, 3, side, side, generator=generator), []
    for _ in range(4):  # the first one compiles
        started = time.process_time()
        model(action, canvas).sum().backward()
        spent.append(1000 * (time.process_time() - started))
    torch.set_num_threads(threads)
    return min(spent)


def measure_twin(folder: Path, side: int) -> None:
    """The analytic twin's figures, in the form of a run: nothing to train."""
    pen = pen_of("bezier", level=True)
    numbers = torch.rand(renderer.UNSEEN, 10, generator=torch.Generator().manual_seed(0))
    truth, twin = renderer.painted(pen, PreparedBrushes(pen.brush), numbers, side), Twin(pen)
    white = torch.cat([numbers, torch.ones(len(numbers), 3)], 1)[:, None]
    gap = twin(white, torch.zeros(len(numbers), 3, side, side))[:, :1] - truth
    figures = {"test/l1": gap.abs().mean().item(), "test/l2": gap.square().mean().item(), "updates": 0, "seconds": 0}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text(json.dumps(figures) + "\n")
    (folder / "cost.json").write_text(json.dumps(cost(twin, side)))


def done(config: Any, last: dict[str, float]) -> bool:
    """Whether the last record of a run is the one that it ends with."""
    ended = "test/l2" in last if isinstance(config, renderer.Config) else "seconds/learn" not in last
    return ended and config.spent(last["seconds"], int(last["updates"])) >= 1.0


def validations(folder: Path) -> list[tuple[int, float]]:
    """(updates, L2 over the blank canvas's) of each validation."""
    return [(int(r["updates"]), r["l2/ratio"]) for r in records(folder) if "l2/ratio" in r]


def smoothed(values: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Each validation's L2 as the mean of it and the two before: one painting of the set is a noisy figure."""
    return [(u, float(np.mean([x for _, x in values[max(0, i - 2) : i + 1]]))) for i, (u, _) in enumerate(values)]


def page() -> str:
    """What the logs say, in Markdown."""
    text = ["# Learning to Paint", INTRODUCTION]
    for folder in sorted(RUNS.glob("*-*")):
        part = folder.name.split("-")[0]
        arms = sorted(path for path in folder.iterdir() if records(path))
        if arms:
            text += [f"## {TITLES[part]}", f"`{folder.name}` (part, side, budget){shown_to(arms)}", TABLES[part](arms)]
    return "\n\n".join(text) + "\n"


def shown_to(arms: list[Path]) -> str:
    """What the arms learned from, if it was pictures."""
    configs = [read_config(folder) for folder in arms if (folder / "config.json").exists()]
    sources = sorted({Path(config["data"]).name for config in configs if "data" in config})
    return "".join(f", pictures of {source}" for source in sources)


def name_and_seed(folder: Path) -> tuple[str, int]:
    arm, _, seed = folder.name.rpartition("-")
    return arm, int(seed)


def table(head: str, rows: list[str]) -> str:
    columns = head.count("|") - 1
    return "\n".join([head, "|" + "---|" + "---:|" * (columns - 1), *rows])


def training(arms: list[Path]) -> str:
    rows, notes = [], []
    for folder in arms:
        values, last = validations(folder), records(folder)[-1]
        first = next((f"{updates:,}" for updates, ratio in values if ratio < BAR), "never")
        ratio, minutes = last["l2/ratio"], last["seconds"] / 60
        quality = f"{values[0][1]:.3f} | **{ratio:.3f}** | {ratio**0.5:.3f} | {last['l2']:.5f} | {last['l2/blank']:.5f}"
        rows.append(f"| {folder.name} | {quality} | {first} | {last['updates']:,} | {minutes:.1f} |")
        if (folder / "greedy.json").exists():
            versus = json.loads((folder / "greedy.json").read_text())
            notes.append(
                f"{folder.name}: on {versus['pictures']} held-out pictures and {versus['strokes']} strokes the agent's "
                f"ratio is {versus['agent']:.4f}, that of greedy search {versus['greedy']:.4f}."
            )
    head = "| run | first ratio | last | its root | L2 | blank | below 0.40 after | updates | minutes |"
    verdict = "holds" if all(validations(folder)[-1][1] < BAR for folder in arms) else "does not hold"
    bar = f"The bar, L2 below 40 % of the blank canvas's after all actions, **{verdict}**."
    return "\n\n".join([f"{bar} The first ratio is after one cycle.", table(head, rows), *notes])


def replay(arms: list[Path]) -> str:
    """Updates until the prioritised run is as good as the plain one with its seed is at its end."""
    by_arm = {name_and_seed(folder): smoothed(validations(folder)) for folder in arms}
    rows, fewer = [], []
    for seed in sorted({seed for _, seed in by_arm}):
        plain, other = by_arm.get(("plain", seed)), by_arm.get(("prioritised", seed))
        if plain and other:
            goal, budget = plain[-1][1], plain[-1][0]
            needed = next((updates for updates, ratio in other if ratio <= goal), None)
            fewer.append(needed is not None and needed < budget)
            reached = f"{needed:,}" if needed else "not reached"
            rows.append(f"| {seed} | {goal:.4f} | {budget:,} | {other[-1][1]:.4f} | {reached} |")
    head = "| seed | plain, at the end | its updates | prioritised, at the end | reaches plain's end after |"
    verdict = f"Prioritised replay gets there in fewer updates with {sum(fewer)} of {len(fewer)} seeds."
    return f"{verdict} Each figure is the mean of three validations in a row.\n\n" + table(head, rows)


def adversaries(arms: list[Path]) -> str:
    rows = []
    for folder in sorted(arms, key=lambda each: validations(each)[-1][1]):
        values, lines = smoothed(validations(folder)), [r for r in records(folder) if "seconds/learn" in r]
        cost = float(np.median([line["seconds/learn"] for line in lines])) / read_config(folder)["cycle_updates"]
        rows.append(f"| {folder.name} | {values[-1][1]:.4f} | {values[len(values) // 2][1]:.4f} | {1000 * cost:.0f} |")
    return table("| adversary-seed | ratio at the end | half-way | ms an update |", rows)


def renderers(arms: list[Path]) -> str:
    rows = []
    for folder in sorted(arms, key=lambda each: records(each)[-1].get("test/l2", 1.0)):
        last = records(folder)[-1]
        if "test/l2" in last:
            milliseconds = json.loads((folder / "cost.json").read_text())
            errors = f"{last['test/l1']:.5f} | {last['test/l2']:.6f}"
            rows.append(
                f"| {folder.name} | {errors} | {last['updates']:,} | {last['seconds']:.0f} | {milliseconds:.0f} |"
            )
    head = "| network, activation, optimiser-seed | L1 | L2 | updates | seconds | ms for 320 strokes, there and back |"
    return table(head, rows)


TITLES = {
    "train": "One hour of training",
    "replay": "Plain and prioritised replay",
    "adversaries": "The adversary family",
    "renderers": "Renderers",
}
TABLES = {"train": training, "replay": replay, "adversaries": adversaries, "renderers": renderers}
INTRODUCTION = """\
An actor sees canvas and target and paints in the engine; it learns through a model of the engine, from an adversary
that compares the two ([the recipe](../garl/systems/learning_to_paint.py)). L2 is the mean squared error (0–1) over
held-out pictures, painted in the real engine; *ratio* is L2 over that of the blank canvas. This page is written by
`python benchmarks/learning_to_paint.py page` from the logs of the runs that the same script made; its head lists the
commands."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=[*TITLES, "page"])
    parser.add_argument("--data", default="../shared/data/faces/faces-64.zip")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--updates", type=int)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--pictures", type=int, default=16, help="that greedy search paints, too")
    parser.add_argument("--arms", nargs="+", help="some of the arms alone")
    given = parser.parse_args()
    if given.part == "page":
        PAGE.write_text(page())
        print(PAGE)
        return
    budget = {"minutes": given.minutes, "updates": given.updates}
    if budget == {"minutes": None, "updates": None}:
        raise GarlError("a budget is needed: give --minutes or --updates")
    common = {**budget, "side": given.side, "threads": given.threads}
    parts: dict[str, dict[str, dict[str, Any]]] = {
        "train": {"default": {}},
        "replay": REPLAY,
        "adversaries": FAMILY,
        "renderers": RENDERERS,
    }
    for seed in given.seeds:
        for arm, settings in parts[given.part].items():
            if given.arms and arm not in given.arms:
                continue
            if given.part == "renderers":
                made = renderer.Config().changed(common | {"seed": seed} | settings)
                run(given.part, arm, made, renderer)
                folder = folder_of(given.part, arm, made)
                (folder / "cost.json").write_text(json.dumps(cost(renderer.load_renderer(folder)[0], given.side)))
                measure_twin(folder.parent / "analytic twin, level strokes-0", given.side)
            else:
                compared = {} if given.part == "train" else COMPARED
                config = ltp.Config(data=given.data).changed(common | compared | {"seed": seed} | settings)
                run(given.part, arm, config, ltp)
                if given.part == "train":
                    compare(config, given.pictures)


if __name__ == "__main__":
    main()
