"""Run the arms of an experiment, each with every seed, and read what they logged.

FOLDER/DIGEST is an ordinary run folder, named after its settings, FOLDER/DIGEST.log what it said. A run that is
complete is not run again, not for another claim either; one that was cut off goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from garl.errors import GarlError
from garl.evaluate.oscillation import slow_power
from garl.experiments.claims import Claim
from garl.experiments.verdict import Curve, Curves
from garl.progress import left
from garl.runs import records
from garl.systems.garl import Config, train

WAVES = (8, 64)
"""The lengths of the waves that are looked for, in cycles: 500 to 4,000 paintings of 64 canvases."""

Runs = dict[str, list[Config]]
"""Of each arm, the settings of one run for each seed."""


def configurations(claim: Claim, seeds: int, episodes: int, data: str | None) -> Runs:
    """What to run."""
    given = {"data": data} if data else {}
    shared = {"episodes": episodes, "minutes": None, "steps": None, "threads": 1, "device": "cpu"} | given
    return {
        arm: [claim.base.changed(shared | settings | {"seed": seed}) for seed in range(seeds)]
        for arm, settings in claim.arms.items()
    }


def run_folder(folder: Path, config: Config) -> Path:
    """Where a run with these settings lies; settings that come to garl later, at their defaults, change nothing."""
    text = config.model_dump_json(exclude_defaults=True)
    return folder / hashlib.sha256(text.encode()).hexdigest()[:12]


def train_runs(runs: Runs, folder: Path, jobs: int) -> None:
    """Train what is not yet trained, `jobs` runs side by side on a core each; a line as each ends.

    All arms of one seed come before the next, so that what there is can be compared.
    """
    named = [(f"{arm}, seed {config.seed}", config) for arm, configs in runs.items() for config in configs]
    named = sorted(named, key=lambda pair: pair[1].seed)
    waiting = [(name, config) for name, config in named if not complete(run_folder(folder, config), config)]
    started = time.monotonic()
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        futures = {
            pool.submit(train_quietly, config, run_folder(folder, config)): (name, config) for name, config in waiting
        }
        for done, future in enumerate(as_completed(futures), 1):
            future.result()
            spent = time.monotonic() - started
            name, config = futures[future]
            curve = read_curve(run_folder(folder, config))
            print(
                f"{done}/{len(futures)} {name}: distance {curve.untrained:.0f} → {curve.final:.0f}, "
                f"flips {curve.flips:.3f}{' (diverged)' if curve.diverged else ''}, {curve.minutes[-1]:.1f} min; "
                f"left about {left(spent, done / len(futures))}",
                flush=True,
            )


def train_quietly(config: Config, out: Path) -> None:
    """Train in `out`, or go on there; what it says goes to OUT.log. A run that diverges has ended, too."""
    out.parent.mkdir(parents=True, exist_ok=True)
    log = open(f"{out}.log", "a", encoding="utf-8")  # noqa: SIM115
    with log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        try:
            train(config, out, resume=(out / "config.json").exists())
        except GarlError as error:
            if not diverged(out):
                raise
            print(error)


def diverged(out: Path) -> bool:
    """Whether the run ended as something was no longer finite."""
    return (out / "divergence.json").exists()


def complete(out: Path, config: Config) -> bool:
    """Whether the run has ended: with its last painting, or because it diverged."""
    last = records(out)[-1:]
    return diverged(out) or any(each["episodes"] >= (config.episodes or 0) for each in last)


def read_curve(out: Path) -> Curve:
    """How the run's distance to the data fell. Raises GarlError if it was never measured."""
    lines = records(out)
    measured = [record for record in lines if "frechet" in record]
    if not measured:
        raise GarlError(f"{out} has no measurement: run the experiment first")
    diversity = np.array([record["pixels/diversity_gap"] for record in lines[len(lines) // 2 :]])
    steps, seconds, frechet = (
        np.array([record[name] for record in measured]) for name in ("steps", "seconds", "frechet")
    )
    return Curve(
        steps,
        seconds / 60,
        frechet,
        flips=measured[-1]["d/flips"],
        waves=slow_power(diversity, *WAVES),
        diverged=diverged(out),
    )


def read_curves(runs: Runs, folder: Path) -> Curves:
    """The curves of all runs, by arm."""
    return {arm: [read_curve(run_folder(folder, config)) for config in configs] for arm, configs in runs.items()}
