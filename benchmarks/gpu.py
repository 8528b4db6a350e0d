"""Everything that is to be known from a GPU, in one call of under 8 minutes: are the strokes right, how fast are they,
what does a training cycle wait for, and how fast is it?

    python benchmarks/gpu.py              tables to stdout, all figures to $OUT/gpu.json
    python benchmarks/gpu.py --dry-run    the same in tiny sizes without a GPU, by numba's simulator

A section that fails prints its traceback, and the next one begins.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

# Before numba is imported. The simulator runs the kernels as Python, and so must run what they call.
os.environ |= {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"} if "--dry-run" in sys.argv else {}

import numpy as np
import torch

from garl.bench import EVERYTHING
from garl.brush.geometry import PLAIN_SIZE, fully_pressed
from garl.brush.spec import Brush, library, load_brush
from garl.engine.paint import PaintConfig, PaintEngine, PreparedBrushes, render_strokes
from garl.engine.paint_cuda import CudaBrushes
from garl.engine.paint_cuda import render_strokes as render_on_gpu
from garl.engine.reference import render_strokes_slow
from garl.env.canvas import PaintEnv
from garl.policy.actor_critic import ActorCritic
from garl.systems import garl as system

DRY = "--dry-run" in sys.argv
DEVICE = "cpu" if DRY else "cuda"
SECONDS = 450
STARTED = time.monotonic()
# Compiled functions do not run in the simulator's process.
render_on_cpu = render_strokes_slow if DRY else render_strokes


def left() -> float:
    """Seconds that are left of SECONDS."""
    return SECONDS - (time.monotonic() - STARTED)


def random_strokes(n: int, brush: Brush, seed: int = 0) -> np.ndarray:
    """(n, 14) float32: points over all of the canvas and a little beyond it, thickness in the brush's range."""
    rng, control = np.random.default_rng(seed), brush.spec.control
    strokes = rng.uniform(0, 1, (n, PLAIN_SIZE)).astype(np.float32)
    strokes[:, :6] = rng.uniform(-0.05, 1.05, (n, 6))
    strokes[:, 9] = rng.uniform(control.min_thickness, control.max_thickness, n)
    return fully_pressed(strokes)


def milliseconds(work: Callable[[], object], repeats: int = 7) -> float:
    """Median of the device's time for `work`, after two runs to warm up."""
    times = []
    for i in range(1 if DRY else repeats + 2):
        if DRY:
            start = time.perf_counter()
            work()
            times.append(1e3 * (time.perf_counter() - start))
            continue
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        if i >= 2:
            times.append(begin.elapsed_time(end))
    return statistics.median(times)


def machine() -> Iterator[dict[str, Any]]:
    """What this runs on, and its two ceilings."""
    from importlib.metadata import version

    found = {"python": sys.version.split()[0]}
    for package in ("torch", "numba", "numba-cuda", "cuda-bindings", "triton"):
        try:
            found[package] = version(package)
        except Exception:
            found[package] = "none"
    if not DRY:
        found["gpu"] = torch.cuda.get_device_name()
        source = torch.randint(0, 255, (2**32,), dtype=torch.uint8, device=DEVICE)
        target = torch.empty_like(source)
        found["copy TB/s"] = f"{2 * 2**32 / milliseconds(lambda: target.copy_(source)) / 1e9:.2f}"
        a = torch.randn(8192, 8192, device=DEVICE, dtype=torch.bfloat16)
        found["bf16 TFLOP/s"] = f"{2 * 8192**3 / milliseconds(lambda: a @ a) / 1e9:.0f}"
    yield found


def parity() -> Iterator[dict[str, Any]]:
    """GPU against CPU: the largest difference, of 255, and the share of values that differ by more than one."""
    brushes = {name: load_brush(name) for name in library()[:: 7 if DRY else 1]}
    for kind in ("bezier", "line", "triangle", "point"):
        brushes[f"everything, {kind}"] = load_brush("oil").with_settings(
            stroke={"type": kind, "step": 0.4}, texture={"opacity": 0.6}, **EVERYTHING
        )
    for size, n, scale in ((6, 1, 1),) if DRY else ((64, 256, 1), (64, 64, 4), (256, 64, 1)):
        for name, brush in brushes.items():
            prepared, strokes = PreparedBrushes(brush), random_strokes(n, brush)
            seeds = np.random.default_rng(1).integers(0, 2**62, n)
            before = np.random.default_rng(2).integers(0, 256, (n, 3, size, size + size // 4), np.uint8)
            expected, canvas = before.copy(), torch.from_numpy(before.copy()).to(DEVICE)
            render_on_cpu(expected, strokes, seeds, 5, prepared, scale)
            tensors = [torch.from_numpy(array).to(DEVICE) for array in (strokes, seeds)]
            render_on_gpu(canvas, *tensors, 5, CudaBrushes(prepared, DEVICE), scale)
            difference = np.abs(canvas.cpu().numpy().astype(int) - expected)
            yield {
                "brush": name,
                "size": size,
                "scale": scale,
                "largest difference": int(difference.max()),
                "share over 1": f"{(difference > 1).mean():.1e}",
                "painted": f"{(expected != before).mean():.3f}",
            }


def speed() -> Iterator[dict[str, Any]]:
    """Strokes a second: of the kernel alone, and of `PaintEngine.apply`, which decodes actions and copies canvases."""
    brushes = {name: load_brush(name) for name in ("splatter", "hard_round", "oil", "line", "triangle")}
    brushes["oil, blurred"] = load_brush("oil").with_settings(post_processing={"blur": 0.05})
    for size in (6,) if DRY else (64, 256):
        for batch in (1,) if DRY else (1024, 4096, 16384):
            for name, brush in list(brushes.items())[: 1 if DRY else None]:
                if left() < 200:
                    return
                on_gpu = CudaBrushes(PreparedBrushes(brush), DEVICE)
                strokes = torch.from_numpy(random_strokes(batch, brush)).to(DEVICE)
                seeds = torch.arange(batch, device=DEVICE)
                canvas = torch.full((batch, 3, size, size), 255, dtype=torch.uint8, device=DEVICE)
                kernel = milliseconds(partial(render_on_gpu, canvas, strokes, seeds, 0, on_gpu))
                engine = make_engine(PaintConfig(height=size, width=size), (brush,))
                engine.reset(batch, np.random.default_rng(0))
                bins = [torch.randint(d.n, (batch,), device=DEVICE) for d in engine.action_spec]
                whole = milliseconds(partial(engine.apply, canvas, torch.stack(bins, 1)))
                yield {
                    "brush": name,
                    "size": size,
                    "batch": batch,
                    "kernel strokes/s": round(1e3 * batch / kernel),
                    "apply strokes/s": round(1e3 * batch / whole),
                }


def make_engine(config: PaintConfig, brushes: Sequence[Brush] | None = None) -> PaintEngine:
    """An engine whose strokes the GPU's kernels draw, also in the simulator."""
    engine = PaintEngine(config, brushes, device=DEVICE)
    engine._draw = partial(render_on_gpu, brushes=CudaBrushes(engine.prepared, DEVICE))
    return engine


def settings(envs: int, precision: str = "float32", strokes: int = 16, cycles: int = 3) -> system.Config:
    """The thesis's preset in short episodes, with as many minibatches in an epoch as it has strokes."""
    thesis = system.THESIS
    small = {"height": 8, "width": 8, "grid": 4, "bins": 3} if DRY else {}
    shallow = {"channels": 4, "blocks": 0, "location_channels": 4, "location_blocks": 0} if DRY else {}
    return thesis.model_copy(
        update={
            "data": "digits",
            "envs": envs,
            "strokes": strokes,
            "steps": envs * strokes * cycles,
            "device": DEVICE,
            "picture_every": 10**9,
            "checkpoint_every": 10**9,
            "paint": thesis.paint.model_copy(update=small),
            "policy": thesis.policy.model_copy(update=shallow),
            "ppo": thesis.ppo.model_copy(update={"batch_size": envs, "precision": precision}),
            "adversary": thesis.adversary.model_copy(update={"batch_size": min(envs, 256)}),
        }
    )


def waits() -> Iterator[dict[str, Any]]:
    """The lines in a training cycle at which the CPU waits for the GPU."""
    seen: dict[str, int] = {}

    def note(message: Any, category: Any, file: str, line: int, *_: Any) -> None:
        if "synchronizing" not in str(message):
            return
        frames = [f for f in traceback.extract_stack() if "/garl/" in f.filename]
        where = f"{Path(frames[-1].filename).name}: {frames[-1].line}" if frames else f"{file}:{line}"
        seen[where] = seen.get(where, 0) + 1

    show, collect, cycles = system.Progress.show, system.collect, []

    def begin(*arguments: Any, **named: Any) -> Any:
        if not DRY:
            torch.cuda.set_sync_debug_mode("warn")
        return collect(*arguments, **named)

    def end(*arguments: Any) -> None:
        if not DRY:
            torch.cuda.set_sync_debug_mode("default")
        cycles.append(dict(seen))
        seen.clear()
        show(*arguments)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        system.collect, system.Progress.show = begin, end
        try:
            train(settings(2, strokes=2, cycles=2) if DRY else settings(64))
        finally:
            system.collect, system.Progress.show = collect, show
            if not DRY:
                torch.cuda.set_sync_debug_mode("default")
    for where, times in cycles[-1].items():
        yield {"line": where, "times in a cycle": times}


def cycles() -> Iterator[dict[str, Any]]:
    """Strokes a second of the whole training cycle, from the run's own records; the first cycle is left out."""
    tries = [(2, "float32", "eager")]
    if not DRY:
        tries = [(envs, precision, "eager") for envs in (256, 1024, 4096) for precision in ("float32", "bfloat16")]
        tries += [(1024, "float32", "tf32"), (1024, "bfloat16", "default"), (4096, "bfloat16", "default")]
        tries += [(1024, "bfloat16", "reduce-overhead")]
    for envs, precision, mode in tries:
        if left() < 45 and not DRY:
            return
        row: dict[str, Any] = {"envs": envs, "precision": precision, "mode": mode}
        try:
            if not DRY:
                torch.cuda.reset_peak_memory_stats()
                torch.set_float32_matmul_precision("high" if mode == "tf32" else "highest")
            strokes = 2 if DRY else 8
            records = train(settings(envs, precision, strokes=strokes), mode)
            seconds = records[-1]["seconds"] - records[0]["seconds"]
            row["strokes/s"] = round((records[-1]["steps"] - records[0]["steps"]) / seconds)
            for part in ("collect", "score", "learner", "adversary"):
                row[part] = f"{sum(record[f'seconds/{part}'] for record in records[1:]) / seconds:.0%}"
            if not DRY:
                row["GB"] = round(torch.cuda.max_memory_allocated() / 1e9, 1)
        except Exception:
            traceback.print_exc()
            row["strokes/s"] = "failed"
        yield row


def train(config: system.Config, mode: str = "eager") -> list[dict[str, float]]:
    """The records of a run, whose networks are compiled unless `mode` is eager or tf32."""
    make_policy, make_env = system.make_policy, system.make_env

    def compiled(config: system.Config, env: PaintEnv, classes: int = 0) -> ActorCritic:
        policy = make_policy(config, env, classes)
        for part in (policy.extractor, *policy.head.decoders):
            part.compile(mode=mode, dynamic=False)
        return policy

    def simulated(config: system.Config, canvases: int, brushes: Sequence[Brush] | None, *_: Any) -> PaintEnv:
        return PaintEnv(canvases, make_engine(config.paint, brushes), config.strokes)

    try:
        if mode not in ("eager", "tf32"):
            system.make_policy = compiled
        if DRY:
            system.make_env = simulated
        with tempfile.TemporaryDirectory() as folder:
            system.train(config, Path(folder) / "run")
            return [json.loads(line) for line in (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()]
    finally:
        system.make_policy, system.make_env = make_policy, make_env


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes, without a GPU")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", ".")) / "gpu.json")
    out = parser.parse_args().out
    warnings.filterwarnings("ignore", "overflow encountered")  # the simulator's hashes overflow, as they should
    figures: dict[str, list[dict[str, Any]]] = {}
    for section in (machine, parity, speed, waits, cycles):
        print(f"\n{section.__name__} ({time.monotonic() - STARTED:.0f} s): {section.__doc__}", flush=True)
        rows = figures[section.__name__] = []
        try:
            for row in section():
                rows.append(row)
                print("  " + "  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        except Exception:
            traceback.print_exc(file=sys.stdout)
        out.write_text(json.dumps(figures, indent=1))  # what was found so far outlives a time limit
    print(f"\n{time.monotonic() - STARTED:.0f} s; {out}")


if __name__ == "__main__":
    main()
