"""Does a step cost the same whatever the episode's length and the number of canvases, and does memory stay in bounds?

    python benchmarks/scaling.py [--pictures 200000]

Prints microseconds per stroke of painting and of PPO for 1 to 256 strokes and 16 to 4,096 canvases (the digits preset's
network on 32×32 canvases), then the memory that training on --pictures pictures of 64×64×3 takes (random ones).
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SMALL = [
    *("--data", "digits", "--paint.height", "32", "--paint.width", "32", "--threads", "1", "--device", "cpu"),
    *("--checkpoint-every", "1000", "--picture-every", "1000"),
]


def run(*arguments: str) -> tuple[list[dict[str, float]], int]:
    """`garl train digits …` in a process of its own: its metrics, and its most memory in bytes.

    Memory is what the process has taken for itself (RssAnon): mapped pictures are the kernel's, to drop when it needs.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, most = Path(folder) / "run", 0
        command = [sys.executable, "-m", "garl", "train", "digits", *arguments, "--out", str(out)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None:
                status = Path(f"/proc/{process.pid}/status").read_text().split()
                if "RssAnon:" in status:  # not so while the process ends
                    most = max(most, 1024 * int(status[status.index("RssAnon:") + 1]))
                time.sleep(0.05)
        assert process.returncode == 0, f"failed: {' '.join(command)}"
        return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()], most


def step_cost(strokes: int, envs: int) -> tuple[list[float], int]:
    """Microseconds per stroke of painting and of PPO, over the cycles after the first; and memory in bytes.

    Scoring and teaching the adversary cost the same per painting, however many strokes it has; they are left out.
    """
    cycles = max(3, 8192 // (strokes * envs))
    records, most = run(*SMALL, "--strokes", str(strokes), "--envs", str(envs), "--episodes", str(envs * (1 + cycles)))
    steps = records[-1]["steps"] - records[0]["steps"]
    return [1e6 * sum(r[f"seconds/{part}"] for r in records[1:]) / steps for part in ("collect", "learner")], most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200_000)
    pictures = parser.parse_args().pictures
    print("strokes  canvases  paint µs/stroke  PPO µs/stroke     MB", flush=True)
    for strokes, envs in [(t, 64) for t in (1, 4, 16, 64, 256)] + [(4, b) for b in (16, 64, 256, 1024, 4096)]:
        (paint, learn), most = step_cost(strokes, envs)
        print(f"{strokes:>7} {envs:>9} {paint:>16.0f} {learn:>14.0f} {most / 1e6:>6.0f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path, rng = Path(folder) / "pictures-idx3-ubyte", np.random.default_rng(0)
        with path.open("wb") as file:
            file.write(struct.pack(">4B3i", 0, 0, 8, 3, pictures, 64, 64))  # the IDX header: uint8, three dimensions
            for _ in range(0, pictures, 1000):
                file.write(rng.integers(0, 256, (1000, 64, 64), np.uint8).tobytes())
        os.environ["GARL_CACHE"] = folder
        canvas = ["--paint.height", "64", "--paint.width", "64", "--paint.channels", "3", "--paint.background", "255"]
        records, most = run("--data", str(path), *canvas, "--episodes", "5120", "--threads", "1", "--device", "cpu")
    print(f"{pictures:,} pictures of 64×64×3, {len(records)} cycles: {most / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
