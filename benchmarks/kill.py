"""Kill a run again and again, and see whether what it comes to is what it would have come to.

python benchmarks/kill.py [--kills 20] [--seed 0] [--cycles 400]

Trains once without interruption, then once more with `kill -9` at random moments: at start-up, between two cycles,
and while a checkpoint is being written. Compares metrics, pictures, and every bit of the last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from garl.runs import load_checkpoint

# Everything that has a state is in it: Adam, dropout, power iterations, a reservoir, a schedule, averages, jitter.
FLAGS = """\
--envs 16 --picture-every 20 --checkpoint-every 2 --brush splatter --device cpu --noise-per-step
--policy.channels 8 --policy.blocks 1 --policy.features 64 --adversary.updates 2 --adversary.batch-size 16
--adversary.memory 300 --adversary.memory-priority uniform --adversary.network.channels 4
--adversary.network.dropout 0.3 --adversary.network.spectral-norm --adversary.network.norm batch
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cycles", type=int, default=400)
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        budget = ["--episodes", str(16 * arguments.cycles)]
        new = [*budget, *FLAGS.split()]
        began = time.monotonic()
        train(whole, new).wait()
        reach = (
            1.5 * (time.monotonic() - began) / arguments.kills
        )  # kills spread over the run, and it does not end first
        print(f"uninterrupted: {len(records(whole))} cycles in {time.monotonic() - began:.0f} s", flush=True)
        for kill in range(arguments.kills):
            begun = (killed / "config.json").exists()
            process = train(killed, ["--resume"] if begun else new)
            kind = moments.choice(("at start-up", "in training", "in training", "in a checkpoint"))
            wait_for(kind, killed, process, moments.random() * reach)
            if process.poll() is not None:
                raise SystemExit(f"the run ended by itself after {kill} kills: use more --cycles")
            process.kill()
            process.wait()
            print(f"kill {kill + 1:2} {kind:16} {len(records(killed)):4} cycles recorded", flush=True)
        if train(killed, ["--resume"]).wait() != 0:
            raise SystemExit("the last resumed run failed")
        differences = compare(whole, killed)
        left = [str(path.relative_to(killed)) for path in killed.rglob(".*")]
    print("\n".join(differences + [f"left behind: {name}" for name in left]) or "no difference in any figure or bit")
    raise SystemExit(1 if differences or left else 0)


def train(out: Path, flags: list[str]) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-m", "garl", "train", "digits", "--out", str(out)]
    return subprocess.Popen([*program, *flags], stdout=subprocess.DEVNULL)


def wait_for(kind: str, run: Path, process: subprocess.Popen[bytes], delay: float) -> None:
    """Return at the moment to kill."""
    if kind == "at start-up":
        time.sleep(min(delay, 4.0))
        return
    before = sessions(run)
    while sessions(run) == before and process.poll() is None:  # until it trains
        time.sleep(0.001)
    time.sleep(delay)
    while kind == "in a checkpoint" and not list(run.glob(".next.*")) and process.poll() is None:
        time.sleep(0.0005)


def sessions(run: Path) -> int:
    return len(list((run / "tensorboard").glob("*")))


def records(run: Path) -> list[dict[str, float]]:
    """The metrics without what the clock decides; a line that was being written is no record yet."""
    path = run / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    clock = ("seconds", "speed")
    return [{name: x for name, x in json.loads(line).items() if not name.startswith(clock)} for line in lines]


def compare(a: Path, b: Path) -> list[str]:
    """What differs between two finished runs."""
    differences = []
    for ours, theirs in zip(records(a), records(b), strict=False):
        differences += [f"metrics: {name} in cycle {ours['cycle']}" for name in ours if ours[name] != theirs.get(name)]
    if len(records(a)) != len(records(b)):
        differences.append(f"metrics: {len(records(a))} and {len(records(b))} cycles")
    (ours, meta), (theirs, its_meta) = load_checkpoint(a), load_checkpoint(b)
    if ours.keys() != theirs.keys():
        differences.append(f"tensors: {sorted(ours.keys() ^ theirs.keys())} in one only")
    differences += [
        f"tensor {name}" for name in ours.keys() & theirs.keys() if not torch.equal(ours[name], theirs[name])
    ]
    if meta | {"seconds": 0} != its_meta | {"seconds": 0}:
        differences.append("the checkpoint's counters or random states")
    ours, theirs = pictures(a), pictures(b)
    differences += [f"picture {name}" for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)]
    print(f"compared: {len(records(a))} cycles, {len(meta)} counters, pictures: {len(ours)}")
    return differences


def pictures(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "pictures").iterdir()}


if __name__ == "__main__":
    main()
