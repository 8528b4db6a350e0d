"""Speed of the whole training cycle: strokes a second of a preset, without start-up, and where the time goes.

python benchmarks/cycle.py [--preset digits] [--cycles 60] [any flag of `garl train`]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="digits")
    parser.add_argument("--cycles", type=int, default=60)
    parser.add_argument("--warm-up", type=int, default=10)
    arguments, extra = parser.parse_known_args()
    program = [sys.executable, "-c", "from garl.cli import main; main()", "train", arguments.preset]
    config = json.loads(subprocess.run([*program, "--dry-run", *extra], check=True, capture_output=True).stdout)
    episodes = (arguments.cycles + arguments.warm_up) * config["envs"]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        subprocess.run(
            [*program, "--episodes", str(episodes), "--out", str(run), *extra], check=True, stdout=subprocess.DEVNULL
        )
        records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    first, last = records[arguments.warm_up - 1], records[-1]
    seconds = last["seconds"] - first["seconds"]
    print(f"{arguments.preset}: {(last['steps'] - first['steps']) / seconds:,.0f} strokes/s over {seconds:.1f} s")
    for part in ("collect", "score", "ppo", "adversary"):
        spent = sum(record[f"seconds/{part}"] for record in records[arguments.warm_up :])
        print(f"  {part:10} {spent / seconds:6.1%}")


if __name__ == "__main__":
    main()
