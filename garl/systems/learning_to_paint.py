"""Learning to Paint: an actor that sees canvas and target, and learns through a model of the engine; the loop in full.

Source: Huang, Heng and Zhou, "Learning to paint with model-based deep reinforcement learning", ICCV 2019, and their
code; what was tried on top of it (prioritised replay, parameter noise, TD3, other adversaries, pixel strokes) is of a
student report (document 001 of the specification).

the actor paints in the engine → its canvases are remembered → of each, the model tells where an action leads, the
adversary, which compares canvas and target, how much nearer to the target → critics, actor, adversary → again.

What differs from the paper: the engine paints, not the model, so that what is learned from is what will be seen; so
memory holds states alone, for the model tells the rest. A small network in place of ResNet-18, that a CPU may do.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from garl.adversary.discriminator import DiscriminatorConfig
from garl.adversary.update import Adversary, AdversaryConfig
from garl.data.images import load
from garl.engine.neural import Kind, Pen, Renderer, Twin, pen_of
from garl.engine.paint import PreparedBrushes, render_strokes
from garl.errors import GarlError
from garl.export.picture import grid, save_png
from garl.learners.ddpg import DDPG, DDPGConfig
from garl.learners.replay import Replay, ReplayConfig, States
from garl.learners.shared import set_rate
from garl.machine import keep_freed_memory, use_threads
from garl.policy.actor import Actor
from garl.progress import Progress
from garl.runs import load_checkpoint, open_run, read_settings, stop_requests
from garl.systems.course import Budget, Course, cycles
from garl.systems.garl import report, tell
from garl.systems.renderer import load_fitting
from garl.systems.state import Parts, rebuild, saved_brush

NAME = "learning-to-paint"
SHOWN = 16
"""Validation pictures in the sheet."""


class Config(Budget):
    """Everything that a run depends on."""

    data: str = "celeba"
    """Targets: the name of a data set (see `garl data`), or path of a folder, archive or IDX file of pictures."""
    side: int = Field(64, ge=16, le=256)
    """Canvas height and width in pixels; the agent paints at any size by the same strokes."""
    background: int = Field(255, ge=0, le=255)
    """Value of the blank canvas."""
    kind: Kind = "bezier"
    """Strokes: of hard_round, triangles, circles, or squares that fill one of cells × cells."""
    cells: int = Field(16, ge=2, le=64)
    """Cells per side for pixels."""
    actions: int = Field(40, ge=1)
    """Actions in a painting."""
    strokes: int = Field(5, ge=1)
    """Strokes in an action, the paper's k."""
    renderer: Literal["twin", "neural"] = "twin"
    """The model that the gradient flows through: the engine's analytic twin, or a network that `renderer_run` holds."""
    renderer_run: Path | None = None
    """The run folder of `garl train renderer`."""
    reward: Literal["adversary", "l2", "log_l2"] = "adversary"
    """What makes a canvas score high: the adversary takes (canvas, target) for (target, target); −‖canvas − target‖²
    over the blank canvas's; or −log ‖canvas − target‖², so that details count as much as the first strokes."""
    envs: int = Field(16, ge=2)
    """Canvases painted in a cycle."""
    cycle_updates: int = Field(20, ge=1)
    """Updates in a cycle."""
    anneal: bool = True
    """Let the learning rates fall to a tenth over the budget."""
    validation: int = Field(64, ge=1)
    """Held-out pictures that are painted to see how it goes."""
    validate_every: int = Field(20, ge=1)
    """Cycles between two validations; the first is the untrained agent's."""
    checkpoint_every: int = Field(50, ge=1)
    """Cycles between two checkpoints."""
    ddpg: DDPGConfig = DDPGConfig()
    replay: ReplayConfig = ReplayConfig()
    adversary: AdversaryConfig = AdversaryConfig(
        optimizer="adam",
        learning_rate=3e-4,
        batch_size=32,
        average=0.99,
        network=DiscriminatorConfig(channels=8, spectral_norm=False),
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind == "pixel" and self.side % self.cells:
            raise GarlError(f"cells must divide side {self.side}, so that a cell is whole pixels, not be {self.cells}")
        if (self.renderer == "neural") != (self.renderer_run is not None):
            raise GarlError("renderer neural and renderer_run belong together: give both, or neither")
        if self.renderer == "twin" and self.kind == "pixel":
            raise GarlError("kind pixel has no twin: train a renderer of that kind, and set renderer to neural")
        if self.adversary.networks > 1 or self.adversary.intermediate != "none" or self.adversary.mask:
            raise GarlError("adversary.networks must be 1, intermediate none and mask 0: pairs know no others")
        if self.adversary.batch_size > self.ddpg.batch_size:
            raise GarlError(f"adversary.batch_size must be at most ddpg.batch_size, {self.ddpg.batch_size}: it is part")
        return self


def make_renderer(config: Config) -> Renderer:
    """The model that the configuration names. Raises GarlError if it was made for another canvas or kind."""
    if config.renderer_run is None:
        return Twin(pen_of(config.kind, level=True))
    names = {"kind", "side", "cells"} if config.kind == "pixel" else {"kind", "side"}
    return load_fitting(config.renderer_run, **config.model_dump(include=names))


Act = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(canvas, target (N, 3, S, S), 0..1, step (N,)) → actions (N, k, 13)."""


@dataclass(frozen=True, eq=False)
class Easel:
    """What agents that see their target paint with: so many actions on a canvas of one value, by one pen."""

    background: int
    actions: int
    pen: Pen
    prepared: PreparedBrushes


def paint(act: Act, target: Tensor, easel: Easel) -> Tensor:
    """Paint targets (N, 3, S, S) uint8 in the engine: the canvases (T + 1, N, 3, S, S) uint8, the blank one first."""
    canvas = np.full(target.shape, easel.background, np.uint8)
    seeds, canvases, wanted = np.arange(len(target)), [torch.from_numpy(canvas.copy())], unit(target)
    for step in range(easel.actions):
        action = act(unit(canvases[-1]), wanted, torch.full((len(target),), step))
        strokes = easel.pen.strokes(action).transpose(0, 1).numpy()  # (k, N, 14)
        for number, stroke in enumerate(strokes, step * len(strokes)):
            render_strokes(canvas, stroke, seeds, number, easel.prepared, threads=torch.get_num_threads())
        canvases.append(torch.from_numpy(canvas.copy()))
    return torch.stack(canvases)


def unit(pictures: Tensor) -> Tensor:
    """uint8 0..255 → float32 0..1."""
    return pictures.float() / 255


def distance(canvas: Tensor, target: Tensor) -> Tensor:
    """Mean squared error (…,) of canvases (…, 3, S, S), 0..1."""
    return (canvas - target).square().mean((-3, -2, -1))


def squared_error(canvas: Tensor, target: Tensor) -> Tensor:
    """The same of canvases (…, 3, S, S) uint8."""
    return distance(unit(canvas), unit(target))


def pairs(canvas: Tensor, target: Tensor) -> Tensor:
    """What the adversary sees: canvas and target beside each other, (N, 6, S, S)."""
    return torch.cat([canvas, target], 1)


def train(config: Config, out: Path, resume: bool = False) -> None:
    """Train an agent in the run folder `out`; with `resume`, go on from its last checkpoint.

    Raises GarlError if the data, the folder or the renderer will not do, or if training diverges.
    """
    use_threads(config.threads)
    keep_freed_memory()
    shape = (config.side, config.side)
    images = load(config.data, size=shape, channels=3)
    held_out = load(config.data, size=shape, channels=3, split="test").array[: config.validation]
    report(images)
    model = make_renderer(config)
    pen, validation = model.pen, torch.from_numpy(held_out.copy())
    easel = Easel(config.background, config.actions, pen, PreparedBrushes(pen.brush))
    identity = hashlib.sha256(validation.numpy().data).hexdigest()
    with (
        open_run(out, {"system": NAME, **config.model_dump(mode="json")}, resume) as run,
        Progress(out) as progress,
        stop_requests() as stopping,
    ):
        torch.manual_seed(config.seed)
        generator = torch.Generator().manual_seed(config.seed)
        agent = DDPG(config.side, config.strokes, config.actions, config.ddpg, config.kind)
        adversary = Adversary((6, *shape), config.adversary)
        memory = Replay(config.replay, States)
        parts: Parts = {
            **agent.parts(),
            **adversary.modules(),
            "adversary_optimizer": adversary.optimizer,
            "memory": memory,
            "generator": generator,
        }
        rates = [
            (agent.actor_optimizer, config.ddpg.actor_rate),
            (agent.critic_optimizer, config.ddpg.critic_rate),
            (adversary.optimizer, config.adversary.learning_rate),
        ]
        if run.checkpoint and run.checkpoint[1].get("data") != identity:
            tell(f"{images.name} has changed since {out} began: the run goes on, but not as it would have")
        strokes = config.envs * config.actions * config.strokes
        course = Course(run, parts, {"brush": pen.brush.to_dict(), "data": identity}, config.cycle_updates, strokes)

        def judged(canvas: Tensor, target: Tensor) -> Tensor:
            return adversary.judge(2.0 * pairs(canvas, target) - 1.0)

        def compared(canvas: Tensor, target: Tensor) -> Tensor:
            blank = (config.background / 255 - target).square().mean((1, 2, 3))
            return -distance(canvas, target) / (blank + 1e-3)

        def compared_by_ratio(canvas: Tensor, target: Tensor) -> Tensor:
            return -(distance(canvas, target) + 1e-3).log()

        score = {"adversary": judged, "l2": compared, "log_l2": compared_by_ratio}[config.reward]

        @torch.no_grad()
        def act(canvas: Tensor, target: Tensor, step: Tensor) -> Tensor:
            return agent.act(agent.actor.eval(), canvas, target, step)

        def explore(canvas: Tensor, target: Tensor, step: Tensor) -> Tensor:
            return agent.explore(canvas, target, step, generator)

        for spent in cycles(course, config.spent, config.checkpoint_every, stopping):
            for optimizer, rate in rates:
                set_rate(optimizer, rate * (1.0 - 0.9 * spent if config.anneal else 1.0))
            marks = [time.perf_counter()]

            # Paint in the engine, and remember every canvas but the finished ones.
            number = torch.randint(len(images), (config.envs,), generator=generator)
            target = torch.from_numpy(images.array[number.numpy()])
            blank = torch.full(target.shape, config.background / 255)
            agent.begin_episode(blank, unit(target), generator)
            canvases = paint(explore, target, easel)  # (T + 1, B, 3, S, S)
            steps = torch.arange(config.actions).repeat_interleave(config.envs)
            memory.add(States(canvases[:-1].flatten(0, 1), number.repeat(config.actions), steps))
            marks.append(time.perf_counter())

            # Learn from what is remembered.
            metrics: dict[str, Tensor] = {}
            for update in range((course.cycle - 1) * config.cycle_updates, course.cycle * config.cycle_updates):
                states, slots, weight = memory.sample(config.ddpg.batch_size, generator, spent)
                pictures = torch.from_numpy(images.array[states.target.numpy()])
                now = unit(states.canvas), unit(pictures), states.step
                error, figures = agent.update_critics(*now, weight, model, score, generator)
                metrics |= figures
                if config.replay.prioritised:
                    memory.prioritise(slots, error)
                if (update + 1) % config.ddpg.actor_delay == 0:
                    painted, figures = agent.update_actor(*now, model, score)
                    metrics |= figures
                elif config.reward == "adversary":
                    painted = agent.painted(*now, model)
                if config.reward == "adversary":
                    some = slice(config.adversary.batch_size)
                    fake = pairs((255 * painted[some]).round().to(torch.uint8), pictures[some])
                    metrics |= adversary.update(pairs(pictures[some], pictures[some]), fake, generator)
            marks.append(time.perf_counter())

            # What it came to.
            error = squared_error(canvases[-1], target).mean() / squared_error(canvases[0], target).mean()
            metrics |= {"l2/train": error, "noise/spread": agent.spread.now}
            record = course.standing() | {name: value.item() for name, value in metrics.items()}
            record |= {"seconds/paint": marks[1] - marks[0], "seconds/learn": marks[2] - marks[1]}
            course.check(record)
            if course.cycle % config.validate_every == 0 or course.cycle == 1:
                record |= validate(act, validation, easel, out)
            run.record(record)
            show = {name: f"{record[name]:.4g}" for name in ("updates", "l2/train", "reward/mean", "critic/loss")}
            progress.tell(show, spent, course.seconds)
        last = validate(act, validation, easel, out)
        run.record(course.standing() | last)
    print(f"held-out pictures: L2 is {last['l2/ratio']:.1%} of the blank canvas's")


def validate(act: Act, target: Tensor, easel: Easel, out: Path) -> dict[str, float]:
    """Paint held-out targets (N, 3, S, S) uint8 in the engine and save a sheet: mean squared error (0..1) of the blank
    canvas and of the painting, the ratio of the two, and the same after each quarter of the actions."""
    canvases = paint(act, target, easel)
    save_png(
        out / "pictures" / "samples.png",
        grid(torch.cat([target[:SHOWN], canvases[-1, :SHOWN]]), columns=SHOWN, scale=max(1, 96 // target.shape[-1])),
    )
    error = squared_error(canvases, target).mean(1)  # (T + 1,)
    figures = {"l2": error[-1], "l2/blank": error[0], "l2/ratio": error[-1] / error[0]}
    quarters = {f"l2/ratio_{quarter}": error[quarter * easel.actions // 4] / error[0] for quarter in (1, 2, 3)}
    return {name: value.item() for name, value in (figures | quarters).items()}


def load_config(folder: Path) -> Config:
    """The configuration of the run in `folder`. Raises GarlError if it is another system's."""
    return Config(**read_settings(folder, NAME))


@dataclass(frozen=True, eq=False)
class Agent:
    """A trained actor with all that it needs to paint."""

    config: Config
    pen: Pen
    actor: nn.Module

    @property
    def actions(self) -> int:
        """In a painting."""
        return self.config.actions

    @property
    def side(self) -> int:
        """Of the canvas that it learned on, in pixels."""
        return self.config.side

    def act(self, canvas: Tensor, target: Tensor, step: Tensor) -> Tensor:
        """What the actor does: (N, k, 13)."""
        with torch.no_grad():
            return self.actor(canvas, target, step / self.config.actions)


def load_agent(folder: Path) -> Agent:
    """The agent that the run in `folder` has trained. Raises GarlError if there is none, or it is damaged."""
    config = load_config(folder)
    tensors, meta = load_checkpoint(folder)
    sizes = config.strokes, config.actions, config.side, config.ddpg.network, config.ddpg.plan, config.kind
    actor = rebuild(lambda: Actor(*sizes), "actor.", tensors, folder)
    level, cells = config.renderer == "twin", config.cells if config.kind == "pixel" else 0
    return Agent(config, Pen(saved_brush(meta, folder), level, cells), actor.requires_grad_(False).eval())
