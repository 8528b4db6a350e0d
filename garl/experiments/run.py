"""Run the arms of an experiment, each with every seed, and read what they logged.

FOLDER/NAME/ARM-SEED is an ordinary run folder, FOLDER/NAME/ARM-SEED.log what it said. A run that is complete is not
run again, one that was cut off goes on: the same command may be given any number of times.
"""

from __future__ import annotations

import contextlib
import json
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from garl.errors import GarlError
from garl.experiments.claims import Claim
from garl.experiments.verdict import Curve, Curves
from garl.progress import clock
from garl.systems.garl import Config, train


def configurations(claim: Claim, seeds: int, episodes: int, data: str | None) -> dict[tuple[str, int], Config]:
    """What to run, by arm and seed; all arms of one seed before the next, so that what there is can be compared."""
    given = {"data": data} if data else {}
    shared = {"episodes": episodes, "minutes": None, "steps": None, "threads": 1, "device": "cpu"} | given
    return {
        (arm, seed): claim.base.changed(shared | settings | {"seed": seed})
        for seed in range(seeds)
        for arm, settings in claim.arms.items()
    }


def run_claim(claim: Claim, folder: Path, seeds: int, episodes: int, data: str | None, jobs: int) -> None:
    """Train what is not yet trained, `jobs` runs side by side on a core each; a line as each ends."""
    waiting = {
        run_folder(folder, claim, arm, seed): config
        for (arm, seed), config in configurations(claim, seeds, episodes, data).items()
        if not complete(run_folder(folder, claim, arm, seed), episodes)
    }
    started = time.monotonic()
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        futures = {pool.submit(train_quietly, config, out): out for out, config in waiting.items()}
        for done, future in enumerate(as_completed(futures), 1):
            future.result()
            spent = time.monotonic() - started
            left = clock(spent / done * (len(futures) - done))
            curve = read_curve(futures[future])
            print(
                f"{done}/{len(futures)} {futures[future].name}: distance {curve.untrained:.0f} → {curve.final:.0f}"
                f"{' (diverged)' if curve.diverged else ''}, {curve.minutes[-1]:.1f} min; left about {left}",
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
            if not (out / "divergence.json").exists():
                raise
            print(error)


def run_folder(folder: Path, claim: Claim, arm: str, seed: int) -> Path:
    return folder / claim.name / f"{arm.replace(' ', '-')}-{seed}"


def records(out: Path) -> list[dict[str, float]]:
    """The run's metrics, a record for each cycle."""
    path = out / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def complete(out: Path, episodes: int) -> bool:
    lines = records(out)
    return (out / "divergence.json").exists() or bool(lines and lines[-1]["episodes"] >= episodes)


def read_curve(out: Path) -> Curve:
    """How the run's distance to the data fell. Raises GarlError if it was never measured."""
    measured = [record for record in records(out) if "frechet" in record]
    if not measured:
        raise GarlError(f"{out} has no measurement: run the experiment first")
    columns = (np.array([record[name] for record in measured]) for name in ("steps", "seconds", "frechet"))
    steps, seconds, frechet = columns
    return Curve(steps, seconds / 60, frechet, diverged=(out / "divergence.json").exists())


def read_curves(claim: Claim, folder: Path, seeds: int) -> Curves:
    """The curves of all runs, by arm."""
    return {arm: [read_curve(run_folder(folder, claim, arm, seed)) for seed in range(seeds)] for arm in claim.arms}
