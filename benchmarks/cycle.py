"""Speed of the whole training cycle: strokes a second of a preset, without start-up, and where the time goes.

    python benchmarks/cycle.py [--preset digits] [--cycles 60] [any flag of `garl train`]
    python benchmarks/cycle.py --preset thesis-fast --plain thesis --cycles 1 --warm-up 1 --data PICTURES

With --plain, another preset is measured before and after it, on PyTorch as it comes (see plain.py). The flags count for
both.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

GARL = ("-m", "garl")
PLAIN = (str(Path(__file__).with_name("plain.py")),)


def measure(
    garl: tuple[str, ...], preset: str, flags: list[str], cycles: int, warm_up: int
) -> tuple[float, dict[str, float]]:
    """Strokes a second of `garl train PRESET`, where Python runs `garl`, and the share of each part's time."""
    program = [sys.executable, *garl, "train", preset]
    dry = subprocess.run([*program, "--dry-run", *flags], check=True, capture_output=True)
    episodes = (cycles + warm_up) * json.loads(dry.stdout)["envs"]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [*program, "--episodes", str(episodes), "--out", str(run), *flags]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    first, last = records[warm_up - 1], records[-1]
    seconds = last["seconds"] - first["seconds"]
    shares = {
        part: sum(record[f"seconds/{part}"] for record in records[warm_up:]) / seconds
        for part in ("collect", "score", "learner", "adversary")
    }
    return (last["steps"] - first["steps"]) / seconds, shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="digits")
    parser.add_argument("--plain")
    parser.add_argument("--cycles", type=int, default=60)
    parser.add_argument("--warm-up", type=int, default=10)
    arguments, flags = parser.parse_known_args()

    def report(name: str, garl: tuple[str, ...], preset: str) -> float:
        rate, shares = measure(garl, preset, flags, arguments.cycles, arguments.warm_up)
        parts = ", ".join(f"{part} {share:.1%}" for part, share in shares.items())
        print(f"{name}: {rate:,.1f} strokes/s ({parts})", flush=True)
        return rate

    def plain() -> float:
        return report(f"{arguments.plain}, plain", PLAIN, arguments.plain)

    before = plain() if arguments.plain else 0.0
    rate = report(arguments.preset, GARL, arguments.preset)
    if arguments.plain:
        print(f"{rate / (0.5 * (before + plain())):.2f} × plain")


if __name__ == "__main__":
    main()
