"""Doodle-SDQ: a pen that learns to redraw what it is shown, from demonstrated strokes and by deep Q-learning.

Source: Zhou, Fang, Wang, Nie and Li, "Learning to doodle with deep Q-networks and demonstrated strokes", BMVC 2018.

real strokes, or random ones, become moves of the pen → the network imitates them (pre-training) → then the pen moves by
its Q values, what came of it is remembered, and the Q values learn from that → again.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from garl.brush.geometry import COLOR, OPACITY, THICKNESS, on_curve
from garl.brush.spec import Brush
from garl.commission import Commission
from garl.data.decode import luma
from garl.data.download import DATASETS
from garl.data.images import load
from garl.data.pen_strokes import Drawing, holds_drawings, load_drawings
from garl.engine.paint import PreparedBrushes
from garl.env.pen import PenConfig, PenEnv, demonstrate, draw, pen_brush
from garl.errors import GarlError
from garl.evaluate.pixels import mean_squared_error
from garl.export.picture import grid, save_png
from garl.learners.dqn import DQN, DQNConfig
from garl.learners.replay import Replay, ReplayConfig, Transitions
from garl.learners.shared import set_rate
from garl.machine import keep_freed_memory, use_threads
from garl.paint_picture import lay, resized
from garl.policy.two_streams import StreamsConfig, TwoStreams, views
from garl.progress import Progress
from garl.runs import load_checkpoint, open_run, read_settings, stop_requests
from garl.systems.course import Budget, Course, cycles
from garl.systems.garl import report, tell
from garl.systems.state import Parts, rebuild, saved_brush

NAME = "doodle-sdq"
SHOWN = 16
"""Held-out drawings in the sheet."""
MEASURED = 1000
"""Pictures whose lines' thickness is measured."""
LINE = 0.035
"""Thickness of real strokes' lines: about that of Omniglot's own pictures."""


class Config(Budget):
    """Everything that a run depends on."""

    data: str = "digits"
    """Drawings: a zip or folder with Omniglot's strokes, which are demonstrated and redrawn; or any pictures, as a data
    set's name (see `garl data`) or a path: then random strokes are demonstrated."""
    thickness: float | None = Field(None, gt=0.0, le=0.5)
    """The lines', as a fraction of the side; by default 0.035 for strokes, and as measured in pictures."""
    doodles: int = Field(2000, ge=1)
    """Random drawings to be demonstrated, for data without strokes."""
    pretraining: float = Field(0.5, ge=0.0, le=1.0)
    """The share of the budget in which all moves are demonstrated, and imitated."""
    demonstrated: float = Field(0.25, ge=0.0, le=1.0)
    """The share of drawings that are demonstrated, and imitated, while the pen learns by itself. The paper: 0."""
    exploration: float = Field(0.05, ge=0.0, le=1.0)
    """ε: the share of the pen's own moves that are random, at first; it falls to a tenth with the learning rate."""
    envs: int = Field(32, ge=1)
    """Drawings made in a cycle."""
    cycle_updates: int = Field(24, ge=1)
    """Updates in a cycle."""
    validation: int = Field(128, ge=1)
    """Held-out drawings that are redrawn to see how it goes."""
    validate_every: int = Field(50, ge=1)
    """Cycles between two validations; the first is the untrained network's."""
    checkpoint_every: int = Field(100, ge=1)
    """Cycles between two checkpoints."""
    pen: PenConfig = PenConfig()
    network: StreamsConfig = StreamsConfig()
    dqn: DQNConfig = DQNConfig()
    replay: ReplayConfig = ReplayConfig(capacity=8192)


@dataclass(frozen=True, eq=False)
class Lessons:
    """What is learned from: drawings that are demonstrated, and pictures that the pen is to redraw by itself."""

    drawn: Tensor  # (K, 1, S, S) uint8
    actions: Tensor  # (K, moves) int64: how, padded with `done`
    starts: Tensor  # (K, 2) int64: where the pen starts: anywhere, so that ways back from anywhere are shown
    pictures: np.ndarray  # (N, 1, S, S) uint8; without any, the pen redraws the drawings
    held_out: Tensor  # (M, 1, S, S) uint8
    brush: Brush

    def targets(self, number: Tensor) -> Tensor:
        """The targets (B, 1, S, S) uint8 of these numbers (B,): the drawings come first, then the pictures."""
        of_picture = number >= len(self.drawn)
        targets = self.drawn[torch.where(of_picture, 0, number)]
        if of_picture.any():
            some = self.pictures[(number[of_picture] - len(self.drawn)).numpy()]
            targets[of_picture] = torch.from_numpy(inked(some))
        return targets

    @property
    def own(self) -> tuple[int, int]:
        """The first number of the targets that the pen redraws by itself, and the one behind the last."""
        return (len(self.drawn) if len(self.pictures) else 0), len(self.drawn) + len(self.pictures)


def prepare(config: Config) -> Lessons:
    """The lessons of a run. Raises GarlError if the data will not do."""
    path, side = Path(os.path.expanduser(config.data)), config.pen.side
    if config.data not in ("digits", *DATASETS) and holds_drawings(path):
        brush, pictures = pen_brush(config.thickness or LINE), np.empty((0, 1, side, side), np.uint8)
        drawings = load_drawings(path, "train")
        held_out = draw(evenly(load_drawings(path, "test"), config.validation), side, brush)
    else:
        images = load(config.data, size=(side, side), channels=1)
        test = load(config.data, size=(side, side), channels=1, split="test")
        report(images)
        brush = pen_brush(config.thickness or thickness_of(inked(evenly(images.array, MEASURED))))
        pictures, held_out = images.array, inked(evenly(test.array, config.validation))
        drawings = doodles(config.doodles, np.random.default_rng(config.seed))
    starts = np.random.default_rng(config.seed).integers(0, side, (len(drawings), 2))
    actions = np.full((len(drawings), config.pen.moves), config.pen.done)
    for row, drawing, start in zip(actions, drawings, starts, strict=True):
        shown = demonstrate(drawing, config.pen, start)[: config.pen.moves]
        row[: len(shown)] = shown
    drawn = torch.from_numpy(draw(drawings, side, brush))
    how = torch.from_numpy(actions), torch.from_numpy(starts)
    return Lessons(drawn, *how, pictures, torch.from_numpy(held_out), brush)


def evenly(items: Any, most: int) -> Any:
    """At most so many of a list, an array or a tensor, from all over it."""
    return items[:: math.ceil(len(items) / most)]


def inked(pictures: np.ndarray) -> np.ndarray:
    """Pictures (N, 1, H, W) uint8 as ink: how far each pixel is from the paper, which most of them show, 255 where
    farthest."""
    paper = np.median(pictures, (2, 3), keepdims=True)
    ink = np.abs(pictures - paper)
    return np.rint(255 * ink / np.maximum(1, ink.max((2, 3), keepdims=True))).astype(np.uint8)


def thickness_of(ink: np.ndarray) -> float:
    """How thick the lines in pictures of ink (N, 1, S, S) are, as a fraction of S: twice their area over their outline,
    which is the total variation."""
    levels = np.pad(ink[:, 0].astype(np.float32) / 255, ((0, 0), (1, 1), (1, 1)))
    across, down = np.diff(levels, axis=2)[:, :-1], np.diff(levels, axis=1)[:, :, :-1]
    outline = np.hypot(across, down).sum()
    if not outline:
        raise GarlError("the pictures show nothing but paper: give others, or set thickness")
    return min(0.5, float(2 * levels.sum() / outline) / ink.shape[-1])


def doodles(count: int, rng: np.random.Generator) -> list[Drawing]:
    """Random drawings of one to three strokes, each of one to three Bézier curves that go on from each other."""
    drawings = []
    for _ in range(count):
        strokes = []
        for _ in range(rng.integers(1, 4)):
            pieces, points = rng.integers(1, 4), rng.uniform(0.1, 0.9, (7, 2))
            curves = [on_curve(points[2 * i : 2 * i + 3], 16) for i in range(pieces)]
            strokes.append(np.concatenate(curves).astype(np.float32))
        drawings.append(tuple(strokes))
    return drawings


def play(env: PenEnv, number: Tensor, shown: Tensor, plan: Tensor, decide: Callable[[PenEnv], Tensor]) -> Transitions:
    """Draw until all drawings (B,) are finished: those that are `shown` by the plan (B, moves), the others as `decide`
    says. Returns the moves of those that were not finished, after targets of that number."""
    moves = []
    for planned in plan.unbind(1):
        canvas, pen, alive = env.canvas.clone(), env.pen, env.alive
        action = planned if shown.all() else torch.where(shown, planned, decide(env))
        reward = env.move(action)
        move = canvas, pen, number, action, reward, env.canvas, env.pen, env.alive, shown
        moves.append([each[alive] for each in move])
        if not env.alive.any():
            break
    return Transitions(*(torch.cat(field) for field in zip(*moves, strict=True)))


def seen_in(env: PenEnv) -> tuple[Tensor, Tensor]:
    """What the network sees of an environment."""
    return views(env.canvas, env.target, env.pen, env.config.reach)


def best(network: nn.Module, env: PenEnv) -> Tensor:
    """The actions (B,) of the highest Q values."""
    with torch.no_grad():
        return network(*seen_in(env)).argmax(1)


def explore(agent: DQN, exploration: float, generator: torch.Generator, env: PenEnv) -> Tensor:
    """The same, but for a share that are random."""
    return agent.act(seen_in(env), exploration, generator)


def train(config: Config, out: Path, resume: bool = False) -> None:
    """Train an agent in the run folder `out`; with `resume`, go on from its last checkpoint.

    Raises GarlError if the data or the folder will not do, or if training diverges.
    """
    use_threads(config.threads)
    keep_freed_memory()
    lessons = prepare(config)
    reach, identity = config.pen.reach, hashlib.sha256(lessons.held_out.numpy().data).hexdigest()
    with (
        open_run(out, {"system": NAME, **config.model_dump(mode="json")}, resume) as run,
        Progress(out) as progress,
        stop_requests() as stopping,
    ):
        torch.manual_seed(config.seed)
        generator = torch.Generator().manual_seed(config.seed)
        agent = DQN(TwoStreams(config.pen.side, reach, config.network), config.dqn)
        memory = Replay(config.replay, Transitions)
        parts: Parts = {**agent.parts(), "memory": memory, "generator": generator}
        moves = 0
        if run.checkpoint:
            moves = int(run.checkpoint[1]["moves"])
            if run.checkpoint[1].get("data") != identity:
                tell(f"{config.data} has changed since {out} began: the run goes on, but not as it would have")
        about = {"brush": lessons.brush.to_dict(), "data": identity, "moves": moves}
        course = Course(run, parts, about, config.cycle_updates, 0)  # its steps are moves, more or less of them a cycle
        latest: dict[str, float] = {}
        for spent in cycles(course, config.spent, config.checkpoint_every, stopping):
            imitating = spent < config.pretraining
            falling = 1.0 - 0.9 * spent
            set_rate(agent.optimizer, falling * (config.dqn.imitation_rate if imitating else config.dqn.rate))
            marks = [time.perf_counter()]

            # Draw: as is demonstrated, or by the Q values.
            shown = torch.arange(config.envs) < (1.0 if imitating else config.demonstrated) * config.envs
            lesson = torch.randint(len(lessons.actions), (config.envs,), generator=generator)
            free = torch.randint(*lessons.own, (config.envs,), generator=generator)
            number = torch.where(shown, lesson, free)
            start = torch.where(shown[:, None], lessons.starts[lesson], torch.tensor(config.pen.middle))
            env = PenEnv(lessons.targets(number), lessons.brush, config.pen, start=start)
            blank = env.error().sum()
            own_way = partial(explore, agent, falling * config.exploration, generator)
            played = play(env, number, shown, lessons.actions[lesson], own_way)
            memory.add(played)
            moves += len(played.action)
            marks.append(time.perf_counter())

            # Learn from what is remembered.
            metrics: dict[str, Tensor] = {}
            for _ in range(config.cycle_updates):
                some, slots, weight = memory.sample(config.dqn.batch_size, generator, spent)
                goal = lessons.targets(some.target)
                now = views(some.canvas, goal, some.pen, reach)
                then = views(some.next_canvas, goal, some.next_pen, reach)
                alive, imitated = some.alive.float(), some.shown.float()
                error, metrics = agent.update(now, some.action, some.reward, then, alive, weight, imitated)
                if config.replay.prioritised:
                    memory.prioritise(slots, error)
            marks.append(time.perf_counter())

            # What it came to.
            metrics |= {"reward/mean": played.reward.mean(), "l2/train": env.error().sum() / blank}
            record = course.standing() | {"steps": moves} | {name: value.item() for name, value in metrics.items()}
            record |= {"pretraining": float(imitating)}
            record |= {"seconds/draw": marks[1] - marks[0], "seconds/learn": marks[2] - marks[1]}
            course.check(record)
            course.about["moves"] = moves
            spent = config.spent(course.seconds, course.updates)
            pretrained = imitating and spent >= config.pretraining
            if pretrained or course.cycle % config.validate_every == 0 or course.cycle == 1:
                record |= validate(agent, lessons, config, out)
            run.record(record)
            seconds = course.seconds
            figures = {"doing": "imitating" if imitating else "learning", "moves/s": f"{moves / seconds:,.0f}"}
            latest |= record
            watched = "updates", "reward/mean", "imitation/loss", "l2/train", "l2/ratio"
            figures |= {name: f"{latest[name]:.4g}" for name in watched if name in latest}
            progress.tell(figures, spent, seconds)
        last = validate(agent, lessons, config, out)
        run.record(course.standing() | {"steps": moves} | last)
    print(f"held-out drawings: L2 is {last['l2/ratio']:.1%} of the blank canvas's")


def validate(agent: DQN, lessons: Lessons, config: Config, out: Path) -> dict[str, float]:
    """Redraw held-out targets by the best of the Q values, and save a sheet: mean squared error (0..1) of the blank
    canvas and of the drawing, the ratio of the two; moves of a drawing, and the share that the pen finished."""
    env = PenEnv(lessons.held_out, lessons.brush, config.pen)
    blank, moves = env.error().mean(), torch.tensor(0)
    for _ in range(config.pen.moves):
        moves = moves + env.alive.sum()
        env.move(best(agent.network, env))
    wanted, drawn = evenly(env.target, SHOWN), evenly(env.canvas, SHOWN)
    sheet = grid(torch.cat([wanted, drawn]), len(wanted), max(1, 96 // config.pen.side))
    save_png(out / "pictures" / "samples.png", sheet)
    error, pixels = env.error().mean(), config.pen.side**2
    figures = {"l2": error / pixels, "l2/blank": blank / pixels, "l2/ratio": error / blank}
    figures |= {"moves": moves / len(env.alive), "finished": (~env.alive).float().mean()}
    return {name: value.item() for name, value in figures.items()}


def load_config(folder: Path) -> Config:
    """The configuration of the run in `folder`. Raises GarlError if it is another system's."""
    return Config(**read_settings(folder, NAME))


@dataclass(frozen=True, eq=False)
class Agent:
    """A trained network with all that it needs to draw."""

    config: Config
    brush: Brush
    network: nn.Module


def load_agent(folder: Path) -> Agent:
    """The agent that the run in `folder` has trained. Raises GarlError if there is none, or it is damaged."""
    config = load_config(folder)
    tensors, meta = load_checkpoint(folder)
    pen = config.pen
    network = rebuild(lambda: TwoStreams(pen.side, pen.reach, config.network), "network.", tensors, folder)
    return Agent(config, saved_brush(meta, folder), network.requires_grad_(False))


def redraw(agent: Agent, asked: Commission) -> np.ndarray:
    """A painter: lines after a drawing, all in the colour of its ink.

    The pen sees it small, in a square. It is stopped where it would do for ever what it has done. Raises GarlError if
    it draws nothing."""
    target, ground, brush = asked.target, asked.ground, asked.brush
    _, height, width = target.shape
    longer = max(height, width)
    wanted, begun = (ink_of(picture, agent.config.pen.side) for picture in (target, ground.canvas))
    env, states = PenEnv(wanted, brush, agent.config.pen, begun), set[bytes]()
    drawn: list[np.ndarray] = []
    while env.alive.all() and len(drawn) < asked.count:
        state = env.canvas.numpy().tobytes() + env.pen.numpy().tobytes()
        if state in states:
            break
        states.add(state)
        env.move(best(agent.network, env))
        stroke = env.strokes[-1][0]
        if stroke[OPACITY] > 0:  # a lifted pen may have far to go to the ink
            drawn.append(stroke)
    if not drawn:
        raise GarlError("the agent finds nothing to draw in this picture: give it a drawing of lines on plain paper")
    strokes = np.stack(drawn)
    for column, side in enumerate((width, height)):
        strokes[:, column:6:2] = ((strokes[:, column:6:2] * longer - (longer - side) // 2) / side).clip(0.0, 1.0)
    strokes[:, THICKNESS] *= longer / min(height, width)
    ink = inked(luma(target)[None])[0, 0] > 192
    strokes[:, COLOR] = target[:, ink].mean(1) / 255
    canvas = ground.canvas.copy()
    lay(canvas, strokes, [PreparedBrushes(brush)], ground.seed, ground.painted, ground.free)
    asked.progress(1.0, len(strokes), mean_squared_error(canvas, target), canvas)
    return strokes


def ink_of(picture: np.ndarray, side: int) -> Tensor:
    """The ink (1, 1, side, side) of a picture (3, H, W) uint8, with paper added to make it a square."""
    levels = luma(picture)[0]
    longer = max(levels.shape)
    square = np.full((longer, longer), np.median(levels).astype(np.uint8))
    top, left = ((longer - length) // 2 for length in levels.shape)
    square[top : top + levels.shape[0], left : left + levels.shape[1]] = levels
    return torch.from_numpy(inked(resized(square[None], (side, side))[None]))
