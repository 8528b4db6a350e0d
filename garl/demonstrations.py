"""Demonstrations: how greedy search redraws examples, for a policy to imitate before it learns from its adversary.

Search is slow, needs a picture to redraw, and knows no better picture than that one; but its strokes are good ones, and
from them a policy learns in minutes what a first stroke, a second stroke, … of such a picture looks like (behaviour
cloning, Pomerleau 1989). Reinforcement learning then goes on from there, as AlphaGo's did (Silver et al. 2016).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from garl.brush.geometry import BRUSH
from garl.brush.spec import Brush
from garl.commission import Commission
from garl.engine.paint import PaintConfig, PaintEngine, StrokeCodec, blank
from garl.env.canvas import PaintEnv
from garl.errors import GarlError
from garl.learners.ppo import improve
from garl.learners.shared import LearnerConfig, Weights, make_optimizer, set_rate
from garl.policy.actor_critic import ActorCritic
from garl.rollout import collect
from garl.settings import Settings
from garl.strokes import rightwards
from garl.systems.greedy import GreedyConfig, greedy
from garl.types import Ground

Tell = Callable[[dict[str, str], float, float], None]
"""Told, every now and then, how far the work is, as `Progress.tell`: figures by name, the share done, and seconds."""


class DemonstrationsConfig(Settings):
    """How many demonstrations there are, how good they are, and how they are imitated."""

    pictures: int = Field(0, ge=0)
    """Examples, drawn at random, that are redrawn; 0: the policy learns from its adversary alone."""
    proposals: int = Field(50, ge=1)
    """Random strokes of which the search keeps the best."""
    patience: int = Field(20, ge=0)
    """Mutations of it in a row that may fail before it is painted."""
    plan: bool = False
    """Give every stroke a part of the canvas, the same in all demonstrations, coarse to fine (`planned`), and paint it
    from left to right: what comes next is less of a gamble then, and there is less to learn."""
    epochs: int = Field(6, ge=1)
    """Passes over the demonstrations."""
    batch_size: int = Field(256, ge=2)
    """Strokes in a minibatch."""
    learning_rate: float = Field(1e-3, gt=0.0)
    """Adam's step size at first; it falls to a tenth."""
    temperature: float = Field(1.0, gt=0.0, le=1.0)
    """It goes on as what it would be at this temperature: what it has imitated are accidents of the search, too, and at
    a lower one it does what it has seen most often."""


@dataclass(frozen=True, eq=False)
class Lessons:
    """N demonstrations."""

    actions: Tensor  # (T, N, D) int64
    condition: Tensor | None  # (N,) int64, the class of what each shows, or (N, C, H, W) uint8, the picture itself
    generator: torch.Generator  # of all that is random when they are imitated


def check_demonstrable(paint: PaintConfig, continuous: bool) -> None:
    """Raise GarlError if greedy search cannot paint with the strokes that the actions of `paint` stand for."""
    unfit = {
        "paint.contiguous": paint.contiguous,
        "grey strokes on a canvas in colour (paint.color_channels)": paint.color_channels == 1 < paint.channels,
        "a policy.head without bins": continuous,
    }
    for reason in (reason for reason, found in unfit.items() if found):
        raise GarlError(f"greedy search cannot demonstrate under {reason}: change it, or demonstrations.pictures to 0")


def planned(count: int) -> np.ndarray:
    """The parts of the canvas (count, 4) in which a plan's strokes lie: left, top, right and bottom, 0..1.

    2×2 cells in rows, then 3×3, … as long as there are strokes for a whole grid; each part is half as large again as
    its cell. The strokes that are left over lie anywhere.
    """
    parts: list[tuple[float, float, float, float]] = []
    side = 2
    while len(parts) + side**2 <= count:
        middles, reach = (np.arange(side) + 0.5) / side, 0.75 / side
        parts += [(x - reach, y - reach, x + reach, y + reach) for y in middles for x in middles]
        side += 1
    parts += [(0.0, 0.0, 1.0, 1.0)] * (count - len(parts))
    return np.array(parts).clip(0.0, 1.0)


def demonstrate(
    picture: np.ndarray,
    codec: StrokeCodec,
    brushes: Sequence[Brush],
    count: int,
    number: int,
    effort: GreedyConfig,
    plan: bool = False,
) -> Tensor:
    """The actions (T, D) int64 by which greedy search redraws `picture` (C, H, W) uint8 in `count` strokes.

    Each stroke is searched for on the canvas that the actions before it have painted, so that it mends what the cells
    and bins of those were too coarse for. `number` seeds the search, and chooses the brush, one for all strokes. With a
    `plan`, every stroke lies in the part of the canvas that `planned` gives it, and goes from left to right.
    """
    paint, own = codec.config, number % len(brushes)
    control = brushes[own].spec.control
    fixed = {} if paint.thickness else {"min_thickness": control.max_thickness}
    fixed |= {} if paint.opacity else {"min_opacity": control.max_opacity}
    brush = brushes[own].with_settings(control=fixed)

    def encoded(strokes: np.ndarray) -> Tensor:
        strokes = rightwards(strokes, brush.spec.stroke.type) if plan else strokes.copy()
        strokes[:, BRUSH] = own
        return codec.encode(torch.from_numpy(strokes))

    def rounded(stroke: np.ndarray) -> np.ndarray:
        painted = codec.decode(encoded(stroke[None]), torch.zeros(1, 2))[0].numpy()
        painted[BRUSH] = 0  # of the search, which knows but one
        return painted

    ground = Ground(blank(paint, 1)[0], np.ones(picture.shape[1:], np.bool_), number)
    asked = Commission(picture, ground, count, brush, seed=number)
    return encoded(greedy(asked, effort, rounded, not paint.color_channels, planned(count) if plan else None))


def demonstrate_all(
    pictures: np.ndarray, engine: PaintEngine, count: int, config: DemonstrationsConfig, seed: int, tell: Tell
) -> Tensor:
    """Actions (T, N, D) int64 for pictures (N, C, H, W) uint8, found on all of the engine's threads."""
    effort = GreedyConfig(proposals=config.proposals, patience=config.patience)
    started, shown = time.monotonic(), []

    def one(i: int) -> Tensor:
        number = seed * len(pictures) + i
        return demonstrate(pictures[i], engine.codec, engine.brushes, count, number, effort, config.plan)

    with ThreadPoolExecutor(engine.threads) as pool:
        try:
            for actions in pool.map(one, range(len(pictures))):
                shown.append(actions)
                figures = {"demonstrations": f"{len(shown):,} of {len(pictures):,}"}
                tell(figures, len(shown) / len(pictures), time.monotonic() - started)
        finally:
            pool.shutdown(cancel_futures=True)  # an interrupt does not wait for the rest
    return torch.stack(shown, 1)


def imitate(
    policy: ActorCritic,
    env: PaintEnv,
    lessons: Lessons,
    noise: Callable[[], Tensor],
    learning: LearnerConfig,
    config: DemonstrationsConfig,
    tell: Tell,
) -> None:
    """Make the policy likelier to take the demonstrated actions, each on the canvas that those before it paint:
    E[−log π(a|s)] is minimised, by Adam. `noise` draws what a batch of paintings begins with."""
    update = {"batch_size": config.batch_size, "learning_rate": config.learning_rate, "optimizer": "adam"}
    update |= {"value_coefficient": 0.0, "entropy_coefficient": 0.0, "entropy_target": 0.0, "hindsight": 0.0}
    settings = learning.model_copy(update=update)
    device, batch, count = next(policy.parameters()).device, env.num_envs, lessons.actions.shape[1]
    adam, weights = make_optimizer(policy, settings), Weights(settings, env.action_spec).to(device)
    unused = torch.Generator(device)  # the actions are given
    rounds, started = math.ceil(config.epochs * count / batch), time.monotonic()
    passes = math.ceil(rounds * batch / count)
    order = torch.cat([torch.randperm(count, generator=lessons.generator) for _ in range(passes)])

    def likelier(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return -log_prob.mean(), {}

    for i, some in enumerate(order[: rounds * batch].split(batch)):
        set_rate(adam, config.learning_rate * (1.0 - 0.9 * i / rounds))
        told = None if lessons.condition is None else lessons.condition[some].to(device)
        actions = lessons.actions[:, some].to(device)
        rollout = collect(env, policy, noise().to(device), unused, settings.dtype, told, actions=actions)
        no = torch.zeros_like(rollout.value)
        figures = improve(policy, adam, rollout, no, no, settings, lessons.generator, weights, likelier)
        done, likelihood = (i + 1) / rounds, -float(figures["policy_loss"])
        tell({"imitated": f"{done:.0%}", "log-likelihood": f"{likelihood:.2f}"}, done, time.monotonic() - started)
    policy.temper(config.temperature)
