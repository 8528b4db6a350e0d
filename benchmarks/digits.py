"""The digits bar: learn one class of MNIST for some minutes on several seeds; the judge was not watched in training.

    python benchmarks/digits.py --data ../shared/data/mnist --label 5 --minutes 10 --seeds 0 1 2

Each seed is `garl train digits …` in a process of its own, one after the other, and 2,048 paintings against the test
pictures of the class. Prints a table; the figures of every seed go to --results. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from garl.sample import measure, paint
from garl.systems.garl import load_agent

JUDGE = Path(__file__).with_name("judge_independent.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="../shared/data/mnist")
    parser.add_argument("--label", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-digits"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/digits.json"))
    arguments, extra = parser.parse_known_args()
    rows = []
    for seed in arguments.seeds:
        run = arguments.out / f"seed-{seed}"
        command = ["garl.cli", "train", "digits", "--data", arguments.data, "--label", str(arguments.label)]
        command += ["--minutes", str(arguments.minutes), "--seed", str(seed), "--out", str(run), *extra]
        subprocess.run([sys.executable, "-c", "from garl.cli import main; main()", *command[1:]], check=True)
        agent = load_agent(run)
        paint(agent, 64).save(run / "paintings.png")
        last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
        shipped, independent = measure(agent, 2048), measure(agent, 2048, judge=JUDGE)
        rows.append(
            {
                "seed": seed,
                "episodes": last["episodes"],
                "steps_per_second": last["steps"] / last["seconds"],
                "shipped_judge": shipped,
                "independent_judge": independent,
            }
        )
        print(describe(rows[-1]), flush=True)
    figures = [row["independent_judge"]["frechet"] for row in rows]
    print(f"independent judge: median {statistics.median(figures):.1f}, range {min(figures):.1f}–{max(figures):.1f}")
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    arguments.results.write_text(json.dumps({"command": sys.argv, "rows": rows}, indent=2) + "\n")


def describe(row: dict) -> str:
    """One line for one seed."""
    words = [f"seed {row['seed']}", f"{row['episodes']:,} paintings", f"{row['steps_per_second']:,.0f} strokes/s"]
    for name in ("shipped_judge", "independent_judge"):
        figures = row[name]
        words.append(
            f"{name.replace('_', ' ')}: FD {figures['frechet']:.1f} (floor {figures['frechet_floor']:.1f}), "
            f"recognised {figures.get('recognised', float('nan')):.1%}, "
            f"precision {figures['precision']:.2f}, recall {figures['recall']:.2f}"
        )
    return "; ".join(words)


if __name__ == "__main__":
    main()
