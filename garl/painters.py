"""Which painter paints a given picture, with what brush and on what paper: the choice of `garl paint` and its like."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from garl.brush.spec import Brush, load_brush
from garl.errors import GarlError
from garl.paint_picture import PAINTERS, Painter
from garl.systems import tiles
from garl.systems.garl import load_agent

Paper = tuple[int, int, int]


class Artist(NamedTuple):
    """A painter, and what it paints with."""

    painter: Painter
    brush: Brush
    paper: Paper
    own_colors: bool = False  # whether its strokes are to keep the colours that it gave them


def _garl(run: Path, paper: Paper) -> Artist:
    """An agent that is shown pictures; brush, paper and colours are its own."""
    agent = load_agent(run, "cpu")
    return Artist(partial(tiles.in_tiles, agent), agent.brushes[0], tiles.paper(agent), own_colors=True)


TRAINED: dict[str, Callable[[Path, Paper], Artist]] = {"garl": _garl}
"""Painters that must be trained: (run folder, paper that is asked for) → artist."""


def choose_painter(name: str, agent: Path | None, brush: Brush | None, paper: Paper) -> Artist:
    """The painter called `name`: one of `PAINTERS`, with hard_round unless there is a brush, or one of `TRAINED`, from
    the run folder `agent`, with its own. Raises GarlError if these do not belong together."""
    if name not in (*PAINTERS, *TRAINED):
        raise GarlError(f"'{name}' is not a painter: use one of {', '.join((*PAINTERS, *TRAINED))}")
    if (name in TRAINED) != (agent is not None):
        trained = ", ".join(TRAINED)
        raise GarlError(f"a painter that is trained ({trained}) and --agent RUN go together: give both, or neither")
    if agent is None:
        return Artist(PAINTERS[name], brush or load_brush("hard_round"), paper)
    if brush is not None:
        raise GarlError("an agent paints with the brush that it has learned: leave out --brush, --min-size, --max-size")
    return TRAINED[name](agent, paper)
