"""Which painter paints a given picture, with what brush and on what paper: the choice of `garl paint` and its like."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from garl.agents import agent_for
from garl.brush.spec import Brush, load_brush
from garl.commission import Painter
from garl.errors import GarlError
from garl.paint_picture import PAINTERS, Painting
from garl.settings import Settings

Paper = tuple[int, int, int]
REDRAWING = 0.3
"""Temperature at which an agent of GARL redraws a picture."""


class TrainedConfig(Settings):
    """What painters that are trained can be told."""

    loss: Literal["pixel", "content", "both"] | None = None
    """What the neural painter makes small: the pixels' error (by default), the distance of a network's view of them, or
    both."""
    features: Path | None = None
    """VGG16 weights for that view (see docs/painters.md); by default a small network."""
    tiles: int | None = Field(None, ge=1, le=16)
    """The agents of Learning to Paint and StrokeNet paint the whole picture first, and then this many tiles a side, by
    default 4; 1: the whole alone."""


OWNERS = {"loss": ("neural",), "features": ("neural",), "tiles": ("learning-to-paint", "stroke-net")}
"""Whom each of these settings is for."""


class Artist(NamedTuple):
    """A painter, and what it paints with."""

    painter: Painter
    brush: Brush
    paper: Paper
    own_colors: bool = False  # whether its strokes are to keep the colours that it gave them
    remark: Callable[[Painting, np.ndarray], str] | None = None  # on a painting of its, and the target


def choose_painter(
    name: str,
    agent: Path | None = None,
    brush: Brush | None = None,
    paper: Paper = (255, 255, 255),
    config: TrainedConfig = TrainedConfig(),  # noqa: B008, it is frozen
) -> Artist:
    """The painter called `name`: one of `PAINTERS`, with hard_round unless there is a brush, or one of `TRAINED`, with
    its own, from the run folder `agent` or the agent that ships for it. Raises GarlError if these do not belong
    together."""
    if name not in (*PAINTERS, *TRAINED):
        raise GarlError(f"'{name}' is not a painter: use one of {', '.join((*PAINTERS, *TRAINED))}")
    if name in TRAINED and agent is None:
        agent = agent_for(name)
    if (name in TRAINED) != (agent is not None):
        trained = ", ".join(TRAINED)
        raise GarlError(f"a painter that is trained ({trained}) and the run of its agent go together: give both")
    for setting, value in config:
        if value is not None and name not in OWNERS[setting]:
            owner = OWNERS[setting][0]
            raise GarlError(f"--{setting} is the {owner} painter's: leave it out, or add --painter {owner} --agent RUN")
    if agent is None:
        return Artist(PAINTERS[name], brush or load_brush("hard_round"), paper)
    if brush is not None:
        raise GarlError("an agent paints with the brush that it has learned: leave out --brush, --min-size, --max-size")
    return TRAINED[name](agent, paper, config)


def _garl(run: Path, paper: Paper, config: TrainedConfig) -> Artist:
    """An agent that is shown pictures; the paper is its own, and so are the colours."""
    from garl.systems import tiles
    from garl.systems.garl import load_agents

    (agent,) = load_agents(run, "cpu", 0, REDRAWING)
    return Artist(partial(tiles.in_tiles, agent), agent.brushes[0], tiles.paper(agent), own_colors=True)


def _neural(run: Path, paper: Paper, config: TrainedConfig) -> Artist:
    """Gradients through a network; colours that please its features are not to be solved anew for the pixels."""
    from garl.evaluate.features import load_features
    from garl.systems.neural_painter import load_strokes, paint, replay_errors

    renderer, loss = load_strokes(run), config.loss or "pixel"
    features = None if loss == "pixel" else load_features(config.features)

    def remark(painting: Painting, target: np.ndarray) -> str:
        shown, real = replay_errors(painting, target, renderer)
        return f"its strokes as the network shows them: {shown:.5f}; as the engine paints them, as small: {real:.5f}"

    painter = partial(paint, renderer=renderer, loss=loss, features=features)
    return Artist(painter, renderer.brush, paper, loss != "pixel", remark)


def _learning_to_paint(run: Path, paper: Paper, config: TrainedConfig) -> Artist:
    """An agent of Learning to Paint; its brush is its own."""
    from garl.systems import tiles
    from garl.systems.learning_to_paint import load_agent

    agent = load_agent(run)
    return Artist(partial(tiles.whole_then_tiles, agent, config.tiles or 4), agent.pen.brush, paper)


def _stroke_net(run: Path, paper: Paper, config: TrainedConfig) -> Artist:
    """An agent of StrokeNet; its brush and its paper are its own."""
    from garl.systems import tiles
    from garl.systems.stroke_net import load_agent

    agent = load_agent(run)
    background = (agent.background,) * 3
    return Artist(partial(tiles.whole_then_tiles, agent, config.tiles or 4), agent.pen.brush, background)


def _doodle_sdq(run: Path, paper: Paper, config: TrainedConfig) -> Artist:
    """A pen that redraws drawings; its lines keep the one colour that it gave them."""
    from garl.systems.doodle_sdq import load_agent, redraw

    agent = load_agent(run)
    return Artist(partial(redraw, agent), agent.brush, paper, own_colors=True)


TRAINED: dict[str, Callable[[Path, Paper, TrainedConfig], Artist]] = {
    "garl": _garl,
    "neural": _neural,
    "learning-to-paint": _learning_to_paint,
    "stroke-net": _stroke_net,
    "doodle-sdq": _doodle_sdq,
}
"""Painters that must be trained: (run folder, paper that is asked for, what they are told) → artist."""
