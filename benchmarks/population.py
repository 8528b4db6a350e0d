"""Does one agent of a population run away? Each agent's distance to the data, without and with the cure.

    python benchmarks/population.py --data ../shared/data/mnist --label 5 --minutes 10 [any flag of `garl train`]

For each seed `garl train digits --population.agents N` runs twice, the second time with agents that fall behind
becoming copies of the best, and `garl evaluate` measures 2,048 paintings of every agent against the test pictures, by a
judge that was not watched in training. A budget in --episodes instead of --minutes gives both arms the same paintings.
What is trained already is kept.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from digits import JUDGE

GARL = [sys.executable, "-m", "garl"]
ARMS = {"without": ["--population.rescue-every", "0"], "with": []}


def train(run: Path, flags: list[str]) -> None:
    """`garl train digits` in the folder `run`, unless it is there."""
    if not run.exists():
        subprocess.run([*GARL, "train", "digits", "--out", str(run), *flags], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-population"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/population.json"))
    arguments, flags = parser.parse_known_args()
    rows = []
    print("| cure | seed | paintings | distance of each agent | worst / best | of all together |")
    print("|---|---:|---:|---|---:|---:|")
    for seed in arguments.seeds:
        for arm in arguments.arms:
            run = arguments.out / f"{arm}-{seed}"
            train(run, ["--seed", str(seed), "--population.agents", str(arguments.agents), *ARMS[arm], *flags])
            measured = json.loads(subprocess.check_output([*GARL, "evaluate", str(run), "--judge", str(JUDGE)]))
            last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
            rows.append({"arm": arm, "seed": seed, "episodes": last["episodes"], **measured})
            distances = ", ".join(f"{distance:.1f}" for distance in measured["frechet_by_agent"])
            ratio, together = measured["worst_to_best"], measured["frechet"]
            print(f"| {arm} | {seed} | {last['episodes']:,} | {distances} | {ratio:.2f} | {together:.1f} |", flush=True)
    for arm in arguments.arms:
        ratios = [row["worst_to_best"] for row in rows if row["arm"] == arm]
        print(f"{arm}: worst / best {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})")
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    arguments.results.write_text(json.dumps({"command": sys.argv, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
