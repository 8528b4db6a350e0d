"""Break valid files at random and give them to every reader: each must read something sound or raise GarlError.

    python benchmarks/fuzz.py --inputs 100000                     # every reader; about half an hour on two cores
    python benchmarks/fuzz.py --readers tar zip --inputs 1000

Input i of a reader is made from the seed (reader, i), so a failure repeats anywhere; it is also saved, with its
traceback, in a folder of its own under --out. A crash or an input that takes a minute ends its process, not the run.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "fuzz"))
HANG = 60.0
CURRENT, LOADED, REFUSED, FAILED, SECONDS, SLOWEST, PEAK = range(7)
MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir())


def work(name: str, indices: range, tally: Any, out: Path) -> None:
    """Try the inputs of these indices, and keep `tally` up to date, which outlives this process."""
    folder = Path(tempfile.mkdtemp(dir=MEMORY, prefix="garl-fuzz-"))
    os.environ["GARL_CACHE"] = str(folder / "cache")
    import numba
    import torch
    from readers import READERS

    torch.set_num_threads(1)
    numba.set_num_threads(1)
    reader = READERS[name]
    for files in reader.seeds():  # the first call imports and compiles
        reader.loads(files, folder / "input")
    for index in indices:
        tally[CURRENT] = index
        files = reader.make(Random(f"{name} {index}"))
        started = time.process_time()
        try:
            tally[LOADED if reader.loads(files, folder / "input") else REFUSED] += 1
        except BaseException:
            tally[FAILED] += 1
            save(files, traceback.format_exc(), out / f"{name}-{index}".replace(" ", "-"))
        if (seconds := time.process_time() - started) > tally[SECONDS]:
            tally[SECONDS], tally[SLOWEST] = seconds, index
        tally[PEAK] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    shutil.rmtree(folder)
    tally[CURRENT] = indices.stop


def save(files: dict[str, bytes], story: str, folder: Path) -> None:
    for name, content in {**files, "traceback.txt": story.encode(errors="replace")}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def attend(name: str, indices: range, out: Path) -> Any:
    """Run `work` in a process; go on behind an input that kills it or that does not end. Returns the tally."""
    context = multiprocessing.get_context("spawn")
    tally = context.Array("d", 7, lock=False)
    while indices:
        tally[CURRENT] = indices.start
        process = context.Process(target=work, args=(name, indices, tally, out))
        process.start()
        last, since = indices.start, time.monotonic()
        while process.is_alive() and time.monotonic() - since < HANG:
            process.join(1.0)
            if tally[CURRENT] != last:
                last, since = tally[CURRENT], time.monotonic()
        process.kill()
        process.join()
        if tally[CURRENT] == indices.stop:
            break
        tally[FAILED] += 1
        print(f"{name} {tally[CURRENT]:.0f} ended its process ({process.exitcode})", file=sys.stderr, flush=True)
        indices = range(int(tally[CURRENT]) + indices.step, indices.stop, indices.step)
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, help="inputs for each reader")
    parser.add_argument("--readers", nargs="*", help="names of readers; all by default")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=Path("fuzz-failures"), help="where inputs that fail are saved")
    arguments = parser.parse_args()
    from concurrent.futures import ThreadPoolExecutor

    names = arguments.readers or NAMES
    print("| reader | inputs | loaded | refused | failed | slowest (s) | its input | peak memory (MiB) | minutes |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    failures = 0
    for name in names:
        started = time.monotonic()
        parts = [range(i, arguments.inputs, arguments.processes) for i in range(arguments.processes)]
        with ThreadPoolExecutor(arguments.processes) as pool:
            tallies = list(pool.map(lambda part, name=name: attend(name, part, arguments.out), parts))
        loaded, refused, failed = (int(sum(tally[i] for tally in tallies)) for i in (LOADED, REFUSED, FAILED))
        seconds, slowest = max((tally[SECONDS], int(tally[SLOWEST])) for tally in tallies)
        peak, minutes = max(tally[PEAK] for tally in tallies), (time.monotonic() - started) / 60
        total = loaded + refused + failed
        row = name, f"{total:,}", f"{loaded:,}", f"{refused:,}", failed, f"{seconds:.2f}", slowest, f"{peak:.0f}"
        print("|", " | ".join(map(str, row)), f"| {minutes:.1f} |", flush=True)
        failures += failed
    sys.exit(f"{failures} inputs failed: see {arguments.out}" if failures else 0)


NAMES = (
    *("brush", "stored brush", "picture", "photo", "zip", "tar", "IDX", "CelebA", "cache", "stroke file", "checkpoint"),
    *("config", "agent", "judge"),
)


if __name__ == "__main__":
    main()
