"""Demonstrations: how examples are redrawn, for a policy to imitate before it learns from its adversary.

Who redraws is slow, needs a picture for it, and knows no better one than that; but the strokes are good ones, and from
them a policy learns in minutes what a first stroke, a second stroke, … of such a picture looks like (behaviour cloning,
Pomerleau 1989). Reinforcement learning then goes on from there, as AlphaGo's did (Silver et al. 2016).

Greedy search redraws with any brush. Where the engine has a twin that is like the brush, a gradient can do it: all
strokes of an example move together, from where they lie in the mean of all examples, so that what is an eyebrow there
is one in most of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from garl.brush.geometry import BRUSH
from garl.brush.spec import Brush
from garl.commission import Commission
from garl.engine.differentiable import Tip, tip_of
from garl.engine.paint import PaintConfig, PaintEngine, StrokeCodec, blank
from garl.env.canvas import PaintEnv
from garl.errors import GarlError
from garl.learners.ppo import improve
from garl.learners.shared import LearnerConfig, Weights, make_optimizer, set_rate
from garl.paint_picture import is_smooth
from garl.policy.actor_critic import ActorCritic
from garl.rollout import collect
from garl.settings import Settings
from garl.strokes import coarse_to_fine, rightwards
from garl.systems.greedy import GreedyConfig, greedy
from garl.systems.refine import RefineConfig, as_tensors, descend, recolor, refine, through_twin
from garl.types import Ground

Tell = Callable[[dict[str, str], float, float], None]
"""Told, every now and then, how far the work is, as `Progress.tell`: figures by name, the share done, and seconds."""


class DemonstrationsConfig(Settings):
    """How many demonstrations there are, how good they are, and how they are imitated."""

    pictures: int = Field(0, ge=0)
    """Examples, drawn at random, that are redrawn; 0: the policy learns from its adversary alone."""
    method: Literal["search", "gradient"] = "search"
    """search: greedy search redraws them, stroke by stroke. gradient: all strokes of an example are moved together
    through the engine's twin, from where they lie in the mean of all; for brushes without texture or jitter."""
    moves: int = Field(200, ge=1)
    """Steps of the gradient."""
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


def check_demonstrable(paint: PaintConfig, continuous: bool, config: DemonstrationsConfig) -> None:
    """Raise GarlError if nothing can be demonstrated with the strokes that the actions of `paint` stand for."""
    by_gradient = config.method == "gradient"
    unfit = {
        "paint.contiguous": paint.contiguous,
        "grey strokes on a canvas in colour (paint.color_channels)": paint.color_channels == 1 < paint.channels,
        "a policy.head without bins": continuous,
        "several brushes (paint.brushes)": by_gradient and bool(paint.brushes),
        "strokes without colour (paint.color_channels)": by_gradient and not paint.color_channels,
        "a demonstrations.plan": by_gradient and config.plan,
    }
    for reason in (reason for reason, found in unfit.items() if found):
        who = "gradient" if by_gradient else "greedy search"
        raise GarlError(f"{who} cannot demonstrate under {reason}: change it, or demonstrations.pictures to 0")


def check_twin(brush: Brush) -> None:
    """Raise GarlError if no gradient moves the brush's strokes."""
    if not is_smooth(brush):
        raise GarlError(
            f"no gradient knows the texture or jitter of the brush '{brush.name}': set demonstrations.method to search"
        )


def chosen_from(brush: Brush, paint: PaintConfig) -> Brush:
    """The brush, whose thickness and opacity are at their largest where actions do not choose them."""
    control = brush.spec.control
    fixed = {} if paint.thickness else {"min_thickness": control.max_thickness}
    return brush.with_settings(control=fixed | ({} if paint.opacity else {"min_opacity": control.max_opacity}))


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
    brush = chosen_from(brushes[own], paint)

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


def in_colour(picture: np.ndarray) -> np.ndarray:
    """(1 or 3, H, W) → (3, H, W)."""
    return np.repeat(picture, 3 // len(picture), 0)


def empty(paint: PaintConfig) -> Ground:
    return Ground.blank(np.array(paint.background, np.uint8), (paint.height, paint.width))


def mean_strokes(pictures: np.ndarray, brush: Brush, paint: PaintConfig, count: int, seed: int) -> np.ndarray:
    """Strokes (count, 14) that paint the mean of pictures (N, C, H, W) uint8, the thickest first."""
    mean = pictures.mean(0).round().astype(np.uint8)
    strokes = refine(Commission(in_colour(mean), empty(paint), count, brush, seed))
    return strokes[coarse_to_fine(strokes, brush.spec.stroke.type)]


def demonstrate_by_gradient(
    picture: np.ndarray, begun: np.ndarray, codec: StrokeCodec, brush: Brush, tip: Tip, moves: int
) -> Tensor:
    """The actions (T, D) int64 that paint `picture` (C, H, W) uint8 with strokes moved there from `begun` (T, 14).

    First all numbers of all strokes move together; then, where actions round them, the colours that suit the rounded
    strokes best are solved for in the engine, and rounded, too.
    """
    ground, target = empty(codec.config), in_colour(picture)
    wanted, paper, free = as_tensors(target, ground)
    painted = through_twin(wanted, paper, tip, free)

    def untold(share: float, error: float, canvas: Tensor) -> None: ...

    size, settings = wanted.shape[1:], RefineConfig()
    strokes = descend(torch.from_numpy(begun), painted, size, brush, moves, math.inf, settings, untold)
    rounded = codec.decode(codec.encode(strokes), torch.zeros(len(begun), 2)).numpy()
    return codec.encode(torch.from_numpy(recolor(rounded, target, ground, brush)))


def demonstrate_all(
    pictures: np.ndarray, engine: PaintEngine, count: int, config: DemonstrationsConfig, seed: int, tell: Tell
) -> Tensor:
    """Actions (T, N, D) int64 for pictures (N, C, H, W) uint8, found on all of the engine's threads."""
    started, shown = time.monotonic(), []
    if config.method == "gradient":
        brush = chosen_from(engine.brushes[0], engine.config)
        begun, tip = mean_strokes(pictures, brush, engine.config, count, seed), tip_of(brush)

        def one(i: int) -> Tensor:
            return demonstrate_by_gradient(pictures[i], begun, engine.codec, brush, tip, config.moves)
    else:
        effort = GreedyConfig(proposals=config.proposals, patience=config.patience)

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
