"""Let the agent of a finished run ship with garl, in place of the one that has its name:

python -m garl.agents.ship RUN NAME

Kept is what painting needs (and the discriminator, by which `garl finish` chooses), read back through the loaders that
read any run, and seen to paint as the run does, to the bit. README.md says whence it is; RUN's data must be here.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import tyro
from torch import Tensor

from garl.agents import SHIPPED, sizes
from garl.atomic import writing
from garl.data.download import describe
from garl.data.images import load
from garl.engine.paint import PreparedBrushes
from garl.errors import GarlError
from garl.export.picture import grid, save_png
from garl.reading import parse_json, read_plain
from garl.runs import MAX_CONFIG_BYTES, load_checkpoint, read_config, records, save_checkpoint
from garl.sample import measure_population, paint_in_turn
from garl.settings import Settings
from garl.systems import garl, learning_to_paint

PAINTINGS = 2048
"""Paintings that are measured, as by `garl evaluate`."""
COPIES = 128
"""Held-out pictures that an agent of Learning to Paint is shown."""
SHOWN = 64
"""Pictures in the sheet."""
ROWS = 12
"""Lines of the log in README.md."""
LOGGED = ("episodes", "updates", "seconds", "frechet", "target/error", "l2/ratio")
"""Figures in it, of those that the system has."""
TWEMOJI = "https://github.com/twitter/twemoji (Copyright Twitter, Inc and other contributors)", "CC BY 4.0"


class System(NamedTuple):
    """How a system's agents are stripped, shown and described."""

    load_config: Callable[[Path], Settings]
    presets: dict[str, Settings]
    parts: str  # what the names of the tensors begin with that painting needs: a regular expression
    look: Callable[[Path, str], tuple[np.ndarray, dict[str, Any]]]  # run, its pictures → sheet (H, W, 3) uint8, figures
    describe: Callable[[str, Any, list[str]], dict[str, Any]]  # name, configuration, classes → what it paints, and how


def ship(run: Path, name: str, /, folder: Path = SHIPPED) -> None:
    """Make `folder`/NAME of the finished run in RUN.

    Raises GarlError if it cannot be read, does not hold all that painting needs, or learned from pictures that may not
    be passed on.
    """
    if not re.fullmatch("[a-z][a-z0-9-]*", name):
        raise GarlError(f"{name!r} is not a name for an agent: use small letters, digits and hyphens")
    kind = read_config(run).get("system", "garl")
    if kind not in SYSTEMS:
        raise GarlError(f"{run} is a run of `garl train {kind}`, which ships no agents: only {', '.join(SYSTEMS)} do")
    system, config = SYSTEMS[kind], SYSTEMS[kind].load_config(run)
    data = config.model_dump()["data"]
    known, source, licence = whence(data)
    public = config.changed({"data": known})
    tensors, meta = load_checkpoint(run)
    needed = {name: tensor for name, tensor in tensors.items() if re.match(system.parts, name)}
    about = parse_json(read_plain(run / "config.json", MAX_CONFIG_BYTES))
    about["config"] = ({} if kind == "garl" else {"system": kind}) | public.model_dump(mode="json")
    card = system.describe(name, public, meta.get("classes", []))
    about["card"] = card | {"data": known, "source": source, "licence": licence}
    shown, figures = system.look(run, data)
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary) / name
        made.mkdir()
        (made / "config.json").write_text(json.dumps(about, indent=1) + "\n", "utf-8")
        for weights in storable(needed, config):
            save_checkpoint(made, weights, {key: meta[key] for key in KEPT & meta.keys()})
            again, its_figures = system.look(made, data)
            if np.array_equal(again, shown) and its_figures == figures:
                break
        else:
            raise GarlError(f"what was kept of {run} does not paint as it does: see `parts` in {__file__}")
        save_png(made / "paintings.png", shown)
        page = readme(name, about, command(public, system.presets), measurements(run), figures)
        (made / "README.md").write_text(page, "utf-8")
        with writing(folder / name):
            shutil.rmtree(folder / name, ignore_errors=True)
            shutil.copytree(
                made, folder / name, copy_function=shutil.copyfile, ignore=shutil.ignore_patterns("previous*")
            )
    each = sizes(folder)
    print(f"{folder / name}: {each[name]:,} bytes; all agents: {sum(each.values()):,}")
    print(f"for docs/agents.md: | `{name}` | {card['paints']} | {known}, {licence} | `{card['example']}` |")


KEPT = {"cycle", "brushes", "brush", "classes"}
"""What of a checkpoint's meta data painting needs."""


def storable(tensors: dict[str, Tensor], config: Settings) -> list[dict[str, Tensor]]:
    """How the tensors may be stored, the smallest first: a policy that computes in bfloat16 rounds its matrices and
    kernels to that anyway."""
    if not isinstance(config, garl.Config) or config.learning.precision != "bfloat16":
        return [tensors]
    inexact = {name for name, tensor in tensors.items() if tensor.ndim > 1 and "average.module." in name}
    return [{name: tensors[name].bfloat16() if name in inexact else tensors[name] for name in tensors}, tensors]


def whence(data: str) -> tuple[str, str, str]:
    """What a data set is called by everyone, whose it is, and its licence. Raises GarlError if it may not be passed on,
    or is not known."""
    if re.search("face|celeb", data, re.IGNORECASE):
        raise GarlError(f"{data} looks like pictures of faces, which are not to be passed on: train on others")
    known = {str(row["name"]): (str(row["source"]), str(row["licence"])) for row in describe()} | {"twemoji": TWEMOJI}
    name = re.split(r"-?\d|\.", Path(data).name.lower())[0]  # without a size and an ending, as of twemoji-64.zip
    if name not in known:
        raise GarlError(f"the licence of {data} is not known: name a set of `garl data`, or add it in {__file__}")
    return name, *known[name]


def command(config: Settings, presets: dict[str, Settings]) -> str:
    """The shortest `garl train …` that makes this configuration."""
    given = flat(config.model_dump(mode="json"))
    changes = {
        preset: {name: value for name, value in given.items() if flat(settings.model_dump(mode="json"))[name] != value}
        for preset, settings in presets.items()
    }
    preset = min(changes, key=lambda name: len(changes[name]))
    return " ".join([f"garl train {preset}", *(option(name, value) for name, value in changes[preset].items())])


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as on the command line: {"ppo.epochs": 2}."""
    parts: dict[str, Any] = {}
    for name, value in settings.items():
        parts |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return parts


def option(name: str, value: Any) -> str:
    """A setting as the command line takes it."""
    section, dot, field = name.replace("_", "-").rpartition(".")
    if isinstance(value, bool):
        return f"--{section}{dot}{'' if value else 'no-'}{field}"
    words = [str(word) for word in value] if isinstance(value, list) else [str(value)]
    return shlex.join([f"--{section}{dot}{field}", *words])


def measurements(run: Path) -> list[dict[str, Any]]:
    """Lines of the run's log in which its paintings were measured, evenly spaced, the first and the last among them."""
    lines = list({line["cycle"]: line for line in records(run) if "frechet" in line or "l2/ratio" in line}.values())
    if not lines:
        raise GarlError(f"{run / 'metrics.jsonl'} has no line in which paintings were measured: let the run go on")
    return [lines[i] for i in np.unique(np.linspace(0, len(lines) - 1, ROWS).round().astype(int))]


def readme(
    name: str, about: dict[str, Any], trained_by: str, log: list[dict[str, Any]], figures: dict[str, Any]
) -> str:
    """The card for people."""
    card, columns = about["card"], [name for name in LOGGED if name in log[-1]]
    floors = {key.removesuffix("_floor"): value for key, value in figures.items() if key.endswith("_floor")}
    measured = [[key, figures[key], floors.get(key, "")] for key in figures if not key.endswith("_floor")]
    return f"""# {name}

Paints {card["paints"]}.

    {card["example"]}

![what it paints](paintings.png)

Learned from {card["data"]}: {card["source"]}, {card["licence"]}. The weights are garl's own, and under its licence.

Trained by

    {trained_by}

with garl {about["git_commit"]}, torch {about["torch"]}; stripped by `python -m garl.agents.ship RUN {name}`.

## Log

{table(columns, [[record[column] for column in columns] for record in log])}

## Figures

Against held-out pictures, beside the floor of real ones where there is one ([docs/runs.md](../../../docs/runs.md)).

{table(["figure", "here", "floor"], measured)}
"""


def table(head: list[str], rows: list[list[Any]]) -> str:
    """A table in Markdown."""

    def cell(value: Any) -> str:
        if isinstance(value, list | tuple):
            return ", ".join(map(cell, value))
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    lines = [head, ["---"] * len(head), *(list(map(cell, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def sheet(pictures: np.ndarray) -> np.ndarray:
    """Pictures (N, C, H, W) uint8 in rows of 16, (H, W, 3) uint8."""
    return grid(pictures, columns=16, scale=max(1, 64 // pictures.shape[-1]))


# GARL.


def look_at_paintings(run: Path, data: str) -> tuple[np.ndarray, dict[str, Any]]:
    """What agents of GARL paint, each painting behind its target if it has one."""
    loaded = garl.load_agents(run, "cpu")
    agents = [replace(agent, config=agent.config.model_copy(update={"data": data})) for agent in loaded]
    paintings = paint_in_turn(agents, SHOWN)
    shown = paintings.final
    if paintings.targets is not None:
        shown = np.stack([paintings.targets, shown], 1).reshape(-1, *shown.shape[1:])
    else:
        garl.load_adversary(run, loaded[0])  # its absence must be found, too
    return sheet(shown), measure_population(agents, PAINTINGS)


def describe_agent(name: str, config: garl.Config, classes: list[str]) -> dict[str, Any]:
    canvas = f"{config.paint.height}×{config.paint.width} in {config.strokes} strokes"
    if config.condition == "picture":
        example = f"garl paint photo.jpg --painter garl --agent {name} --out painting.png"
        return {"paints": f"what it is shown, {canvas}", "painter": "garl", "example": example}
    which, example = "", f"garl sample {name} --n 64 --out sheet.png"
    if classes:
        which, example = ", of the class that is asked for", f"garl sample {name} --class {classes[-1]} --out sheet.png"
    elif config.label is not None:
        which = f", of class {config.label}"
    return {"paints": f"pictures like those of {config.data}{which}, {canvas}", "painter": None, "example": example}


# Learning to Paint.


def look_at_copies(run: Path, data: str) -> tuple[np.ndarray, dict[str, Any]]:
    """What an agent of Learning to Paint makes of held-out pictures, each behind its target; mean squared error, 0..1,
    that of the blank canvas, and the ratio of the two."""
    agent = learning_to_paint.load_agent(run)
    size = agent.config.side, agent.config.side
    pictures = load(data, size=size, channels=3, split="test").array
    spread = np.linspace(0, len(pictures) - 1, COPIES).round().astype(int)  # neighbours by name may be alike
    target, prepared = torch.from_numpy(pictures[spread]), PreparedBrushes(agent.pen.brush)
    easel = learning_to_paint.Easel(agent.config.background, agent.actions, agent.pen, prepared)
    canvases = learning_to_paint.paint(agent.act, target, easel)
    blank, error = learning_to_paint.squared_error(canvases[[0, -1]], target).mean(1).tolist()
    figures = {"pictures": COPIES, "target_error": error, "target_error_blank": blank, "ratio": error / blank}
    return sheet(torch.stack([target, canvases[-1]], 1)[:: 2 * COPIES // SHOWN].flatten(0, 1).numpy()), figures


def describe_copyist(name: str, config: learning_to_paint.Config, classes: list[str]) -> dict[str, Any]:
    example = f"garl paint photo.jpg --painter learning-to-paint --agent {name} --out painting.png"
    canvas = f"{config.side}×{config.side} in {config.actions * config.strokes} strokes, and larger pictures in tiles"
    return {"paints": f"what it is shown, {canvas}", "painter": "learning-to-paint", "example": example}


SYSTEMS = {
    "garl": System(
        garl.load_config,
        dict(garl.PRESETS),
        r"(agent_\d+\.)?average\.module\.|adversary(_average|_previous|_running)?\.",
        look_at_paintings,
        describe_agent,
    ),
    learning_to_paint.NAME: System(
        learning_to_paint.load_config,
        {learning_to_paint.NAME: learning_to_paint.Config()},
        r"actor\.",
        look_at_copies,
        describe_copyist,
    ),
}


if __name__ == "__main__":
    try:
        tyro.cli(ship)
    except GarlError as error:
        sys.exit(f"garl.agents.ship: {error}")
