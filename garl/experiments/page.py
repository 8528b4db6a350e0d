"""The page of an experiment, made from its logs alone: claim, arms, curves, pictures, tests, verdict."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from garl.experiments.claims import Claim
from garl.experiments.run import Runs, read_curves, run_folder
from garl.experiments.verdict import Curves, Verdict, finals, overall
from garl.export.curves import Panel, draw_panels
from garl.export.picture import captioned, save_png

SHOWN = 16
"""Paintings of an arm in the picture: a row of the run's own sheet of samples."""


def write_page(claim: Claim, runs: Runs, folder: Path, out: Path) -> Verdict:
    """Write OUT/NAME.md, OUT/NAME-curves.svg and OUT/NAME-paintings.png from the runs in `folder`.

    Raises GarlError if a run is missing, or matplotlib is.
    """
    curves = read_curves(runs, folder)
    judged = [expectation.judge(curves) for expectation in claim.expects]
    verdict = overall([found for found, _ in judged])
    out.mkdir(parents=True, exist_ok=True)
    draw_curves(curves, out / f"{claim.name}-curves.svg")
    save_png(out / f"{claim.name}-paintings.png", paintings(runs, curves, folder))
    config, seeds = next(iter(runs.values()))[0], len(next(iter(runs.values())))
    settings = {arm: ", ".join(f"`{k} {v}`" for k, v in changed.items()) for arm, changed in claim.arms.items()}
    rows = [
        f"| {arm} | {settings[arm] or '—'} | {_spread(finals(each))} | {_spread(finals(each, 'flips'))} | "
        f"{_spread(1e4 * finals(each, 'waves'))} | {_spread([curve.minutes[-1] for curve in each])} | "
        f"{sum(curve.diverged for curve in each) or '—'} |"
        for arm, each in curves.items()
    ]
    untrained = [curve.untrained for each in curves.values() for curve in each]
    parts = "\n".join(f"* {sentence}: **{found}**." for found, sentence in judged)
    text = f"""# {claim.name}: {verdict}

Claim ({f"thesis §{claim.section}" if claim.section else "ours"}): {claim.says}

`garl experiment {claim.name} --seeds {seeds} --budget {config.episodes} --data {config.data}`;
{seeds} seeds for every arm, {config.episodes:,} paintings of {config.strokes} strokes in each run.
{claim.note}

| arm | settings that differ | final distance: median (range) | flips | waves · 10⁴ | minutes | diverged |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

The distance is Fréchet's, of 1,024 paintings to the training pictures in the features of the shipped judge; the
final one is the median of the last quarter of a run. The untrained agents': {_spread(untrained)}. Two
[measures of oscillation](../../garl/evaluate/oscillation.py): *flips*, how much the discriminator's ranking of old
paintings turned (0: never); *waves*, the power of slow waves in how much paintings differ, over the second half.

{parts}

![distance against steps and minutes]({claim.name}-curves.svg)

Median and range over the seeds. Below, paintings of the median run of each arm, taken as they came:

![paintings of every arm]({claim.name}-paintings.png)
"""
    (out / f"{claim.name}.md").write_text(text, "utf-8")
    return verdict


def write_index(out: Path) -> None:
    """Write OUT/README.md: every page there, with its claim and its verdict."""
    rows = []
    for page in sorted(out.glob("*.md")):
        head = re.match(r"# (.+): (.+)\n\nClaim \((?:thesis )?(.+?)\): ([^\n]+(?:\n[^\n]+)*)", page.read_text("utf-8"))
        if head:
            name, verdict, source, says = head.groups()
            rows.append(f"| [{name}]({page.name}) | {source} | {' '.join(says.split())} | {verdict} |")
    text = f"""# Claims, put to the test

Each page has its command, the curves, paintings of every arm, and the tests that its verdict is made of: *confirmed* if
all that is expected of the arms is, *undecided* if something is open at this size, *not confirmed* if something is
contradicted.

| claim | thesis | says | verdict |
|---|---|---|---|
{chr(10).join(rows)}
"""
    (out / "README.md").write_text(text, "utf-8")


def draw_curves(curves: Curves, path: Path) -> None:
    """Distance against steps and against minutes, a line for each arm's median and a band for its range."""
    panels = []
    for abscissa in ("steps", "minutes"):
        lines = {
            arm: _common([(getattr(curve, abscissa), curve.frechet) for curve in each]) for arm, each in curves.items()
        }
        panels.append(Panel(abscissa, "Fréchet distance", lines))
    draw_panels([panels], path)


def paintings(runs: Runs, curves: Curves, folder: Path) -> np.ndarray:
    """A row of paintings for each arm, of the seed whose final distance is the median; (H, W, 3) uint8."""
    rows = []
    for arm, each in curves.items():
        seed = int(np.argsort(finals(each))[(len(each) - 1) // 2])
        picture = run_folder(folder, runs[arm][seed]) / "pictures" / "samples.png"
        sheet = np.asarray(Image.open(picture).convert("RGB"))
        rows.append(captioned(sheet[: sheet.shape[1] // SHOWN], f"{arm}: {finals(each)[seed]:.0f}"))
    width = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows])


def _common(runs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Runs (x, y) on one abscissa (M,), as far as the shortest goes: (M,) and (runs, M)."""
    x = runs[0][0][runs[0][0] <= min(x[-1] for x, _ in runs)]
    return x, np.stack([np.interp(x, *run) for run in runs])


def _spread(values: Sequence[float] | np.ndarray) -> str:
    """Median and range."""
    digits = 0 if np.median(values) >= 10 else 1 if np.median(values) >= 1 else 3
    return f"{np.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"
