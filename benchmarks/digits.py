"""The digits bars: learn MNIST for some minutes on several seeds; the judge was not watched in training.

    python benchmarks/digits.py --data ../shared/data/mnist --label 5 --minutes 10 [any flag of `garl train`]
    python benchmarks/digits.py --data ../shared/data/mnist --minutes 20 --out runs/benchmark-all
    python benchmarks/digits.py --data ../shared/data/mnist --minutes 20 --out runs/benchmark-asked --condition label

Each seed is `garl train digits …` in a process of its own, one after the other, and 2,048 paintings against the test
pictures. Prints a line for each; all figures go to OUT/results.json. A run that is there is only measured. Run it on an
idle machine.
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
    parser.add_argument("--preset", default="digits")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-digits"))
    arguments, flags = parser.parse_known_args()
    rows = []
    for seed in arguments.seeds:
        run = arguments.out / f"seed-{seed}"
        if not run.exists():
            command = [sys.executable, "-m", "garl", "train", arguments.preset, *flags]
            subprocess.run([*command, "--seed", str(seed), "--out", str(run)], check=True)
        agent = load_agent(run)
        paint(agent, 64).save(run / "paintings.png")
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        rows.append(
            {
                "seed": seed,
                "episodes": lines[-1]["episodes"],
                "steps_per_second": lines[-1]["steps"] / lines[-1]["seconds"],
                "untrained": lines[0]["frechet"],
                "shipped_judge": measure(agent, 2048),
                "independent_judge": measure(agent, 2048, judge=JUDGE),
            }
        )
        print(describe(rows[-1]), flush=True)
    figures = [row["independent_judge"]["frechet"] for row in rows]
    print(f"independent judge: median {statistics.median(figures):.1f}, range {min(figures):.1f}–{max(figures):.1f}")
    (arguments.out / "results.json").write_text(json.dumps({"command": sys.argv, "rows": rows}, indent=2) + "\n")


def describe(row: dict) -> str:
    """One line for one seed."""
    words = [f"seed {row['seed']}", f"{row['episodes']:,} paintings", f"{row['steps_per_second']:,.0f} strokes/s"]
    words += [f"untrained {row['untrained']:.0f}"]
    for name in ("shipped_judge", "independent_judge"):
        figures = row[name]
        words += [
            f"{name.replace('_', ' ')}: FD {figures['frechet']:.1f} (floor {figures['frechet_floor']:.1f})",
            f"precision {figures['precision']:.2f}, recall {figures['recall']:.2f}",
            f"shares {', '.join(f'{100 * share:.1f}' for share in figures['shares'])} %",
        ]
        words += [f"{key} {figures[key]:.1%}" for key in ("recognised", "met") if key in figures]
    return "; ".join(words)


if __name__ == "__main__":
    main()
