"""Doodle-SDQ: a pen that learns to redraw what it is shown, from demonstrated strokes and by deep Q-learning.

Source: Zhou, Fang, Wang, Nie and Li, "Learning to doodle with deep Q-networks and demonstrated strokes", BMVC 2018.

real strokes, or random ones, become moves of the pen → the network imitates them (pre-training) → then the pen moves by
its Q values, what came of it is remembered, and the Q values learn from that → again.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from garl.brush.geometry import on_curve
from garl.brush.spec import Brush
from garl.data.download import DATASETS
from garl.data.images import load
from garl.data.pen_strokes import Drawing, holds_drawings, load_drawings
from garl.env.pen import PenConfig, PenEnv, demonstrate, draw, pen_brush
from garl.errors import GarlError
from garl.export.picture import grid, save_png
from garl.learners.dqn import DQN, DQNConfig
from garl.learners.replay import Replay, ReplayConfig, Transitions
from garl.machine import keep_freed_memory, use_threads
from garl.policy.two_streams import StreamsConfig, TwoStreams, views
from garl.progress import Progress
from garl.runs import load_checkpoint, open_run, read_settings, save_divergence, stop_requests
from garl.settings import Settings
from garl.systems.garl import report, tell
from garl.systems.state import (
    Parts,
    SizeLimit,
    misfit,
    not_finite,
    restore_module,
    restore_parts,
    share_of_budget,
    size,
    tensors_of,
    under,
)

NAME = "doodle-sdq"
SHOWN = 16
"""Held-out drawings in the sheet."""
THICKNESS = 0.035
"""Of real strokes' lines: near that of Omniglot's own pictures."""


class Config(Settings):
    """Everything that a run depends on."""

    data: str = "digits"
    """Drawings: a zip or folder with Omniglot's strokes, which are demonstrated and redrawn; or any pictures, as a data
    set's name (see `garl data`) or a path: then random strokes are demonstrated."""
    minutes: float | None = Field(None, gt=0)
    """Stop after this time. Without a budget a run takes 10 minutes."""
    updates: int | None = Field(None, ge=1)
    """Stop after so many updates, rounded up to full cycles."""
    thickness: float | None = Field(None, gt=0.0, le=0.5)
    """The lines', as a fraction of the side; by default 0.035 for strokes, and as measured in pictures."""
    doodles: int = Field(2000, ge=1)
    """Random drawings to be demonstrated, for data without strokes."""
    pretraining: float = Field(0.5, ge=0.0, le=1.0)
    """The share of the budget in which all moves are demonstrated, and imitated."""
    demonstrated: float = Field(0.25, ge=0.0, le=1.0)
    """The share of the drawings that are still demonstrated, and imitated, while the pen learns by itself. The paper: 0."""
    calibrate: float = 1.0
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
    seed: int = Field(0, ge=0)
    """Same seed, same machine, same budget in updates: same run."""
    threads: int = Field(0, ge=0)
    """CPU threads; 0: one per core."""
    pen: PenConfig = PenConfig()
    network: StreamsConfig = StreamsConfig()
    dqn: DQNConfig = DQNConfig()
    replay: ReplayConfig = ReplayConfig(capacity=8192)

    def spent(self, seconds: float, updates: int) -> float:
        """The share of the budget that is used up, 0..1 and beyond."""
        return share_of_budget(self.minutes, self.updates, seconds, updates)


@dataclass(frozen=True, eq=False)
class Lessons:
    """What is learned from: drawings that are demonstrated, and pictures that the pen is to redraw by itself."""

    targets: Tensor  # (N, 1, S, S) uint8
    actions: Tensor  # (K, moves) int64: of the first K targets, padded with `done`
    own: int  # the pen itself redraws targets from this number on
    held_out: Tensor  # (M, 1, S, S) uint8
    brush: Brush

    @property
    def identity(self) -> str:
        """A checksum of the pictures."""
        return hashlib.sha256(torch.cat([self.targets, self.held_out]).numpy().data).hexdigest()


def prepare(config: Config) -> Lessons:
    """The lessons of a run. Raises GarlError if the data will not do."""
    path, side = Path(config.data).expanduser(), config.pen.side
    if config.data not in ("digits", *DATASETS) and holds_drawings(path):
        drawings = load_drawings(path, "train")
        brush = pen_brush(config.thickness or THICKNESS)
        targets = draw(drawings, side, brush)
        own, pictures, held_out = 0, targets[:0], draw(load_drawings(path, "test")[: config.validation], side, brush)
    else:
        images = load(config.data, size=(side, side), channels=1)
        report(images)
        pictures = inked(images.array)
        held_out = inked(load(config.data, size=(side, side), channels=1, split="test").array[: config.validation])
        brush = pen_brush(config.thickness or thickness_of(pictures))
        drawings = doodles(config.doodles, np.random.default_rng(config.seed))
        targets, own = draw(drawings, side, brush), config.doodles
    actions = np.full((len(drawings), config.pen.moves), config.pen.done)
    for row, drawing in zip(actions, drawings, strict=True):
        shown = demonstrate(drawing, config.pen)[: config.pen.moves]
        row[: len(shown)] = shown
    everything = torch.from_numpy(np.concatenate([targets, pictures]))
    return Lessons(everything, torch.from_numpy(actions), own, torch.from_numpy(held_out), brush)


def inked(pictures: np.ndarray) -> np.ndarray:
    """Pictures (N, 1, H, W) uint8 as ink: how far each pixel is from the paper, which most of them show, 255 where
    farthest."""
    paper = np.median(pictures, (2, 3), keepdims=True)
    ink = np.abs(pictures - paper)
    return np.rint(255 * ink / np.maximum(1, ink.max((2, 3), keepdims=True))).astype(np.uint8)


def thickness_of(ink: np.ndarray) -> float:
    """How thick the lines in pictures of ink (N, 1, S, S) are, as a fraction of S: twice their area over their outline,
    which is the total variation."""
    levels = np.pad(ink[:1000, 0].astype(np.float32) / 255, ((0, 0), (1, 1), (1, 1)))
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


Act = Callable[[PenEnv, int], Tensor]
"""(environment, moves so far) → actions (B,)."""


def play(env: PenEnv, act: Act, number: Tensor, shown: Tensor) -> Transitions:
    """Draw until all are finished; the moves of drawings (B,) that were not, after targets of that number."""
    moves = []
    for step in range(env.config.moves):
        canvas, pen, alive = env.canvas.clone(), env.pen, env.alive
        action = act(env, step)
        reward = env.move(action)
        move = canvas, pen, number, action, reward, env.canvas, env.pen, env.alive, shown
        moves.append([each[alive] for each in move])
        if not env.alive.any():
            break
    return Transitions(*(torch.cat(field) for field in zip(*moves, strict=True)))


def train(config: Config, out: Path, resume: bool = False) -> None:
    """Train an agent in the run folder `out`; with `resume`, go on from its last checkpoint.

    Raises GarlError if the data or the folder will not do, or if training diverges.
    """
    use_threads(config.threads)
    keep_freed_memory()
    lessons = prepare(config)
    targets, reach = lessons.targets, config.pen.reach
    identity = lessons.identity
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
        cycle, moves, seconds = 0, 0, 0.0
        if run.checkpoint:
            restore_parts(parts, run.checkpoint[0], out)
            about = run.checkpoint[1]
            cycle, moves, seconds = int(about["cycle"]), int(about["moves"]), float(about["seconds"])
            if about.get("data") != identity:
                tell(f"{config.data} has changed since {out} began: the run goes on, but not as it would have")
            run.checkpoint = None
        run.start_after(cycle)

        def save() -> None:
            about = {"cycle": cycle, "moves": moves, "seconds": seconds, "data": identity}
            run.save(tensors_of(parts), about | {"brush": lessons.brush.to_dict()})

        if run.saved is None:
            save()
        started = time.monotonic() - seconds
        while (spent := config.spent(seconds, cycle * config.cycle_updates)) < 1.0 and not stopping():
            imitating = spent < config.pretraining
            falling = 1.0 - 0.9 * spent
            for group in agent.optimizer.param_groups:
                group["lr"] = falling * (config.dqn.imitation_rate if imitating else config.dqn.rate)
            marks = [time.perf_counter()]

            # Draw: as is demonstrated, or by the Q values.
            shown = torch.arange(config.envs) < (1.0 if imitating else config.demonstrated) * config.envs
            demonstrated = torch.randint(len(lessons.actions), (config.envs,), generator=generator)
            own = torch.randint(lessons.own, len(targets), (config.envs,), generator=generator)
            number = torch.where(shown, demonstrated, own)
            env = PenEnv(targets[number], lessons.brush, config.pen)
            blank = env.error().sum()

            def act(env: PenEnv, step: int) -> Tensor:
                action = lessons.actions[demonstrated, step]
                if imitating:
                    return action
                seen = views(env.canvas, env.target, env.pen, reach)
                return torch.where(shown, action, agent.act(seen, falling * config.exploration, generator))

            played = play(env, act, number, shown)
            memory.add(played)
            moves += len(played.action)
            marks.append(time.perf_counter())

            # Learn from what is remembered.
            metrics: dict[str, Tensor] = {}
            for _ in range(config.cycle_updates):
                some, slots, weight = memory.sample(config.dqn.batch_size, generator, spent)
                goal = targets[some.target]
                now = views(some.canvas, goal, some.pen, reach)
                then = views(some.next_canvas, goal, some.next_pen, reach)
                error, metrics = agent.update(now, some.action, some.reward, then, some.alive.float(), weight, some.shown.float(), config.calibrate if imitating else 1.0)
                if config.replay.prioritised:
                    memory.prioritise(slots, error)
            marks.append(time.perf_counter())

            # What it came to.
            cycle += 1
            metrics |= {"reward/mean": played.reward.mean(), "l2/train": env.error().sum() / blank}
            record: dict[str, float] = {"cycle": cycle, "updates": cycle * config.cycle_updates, "steps": moves}
            record |= {name: value.item() for name, value in metrics.items()}
            learned = {name: part for name, part in parts.items() if name != "memory"}
            if not math.isfinite(float(size(tensors_of(learned) | metrics))):
                broken = not_finite(tensors_of(learned) | metrics)
                save_divergence(out, cycle, broken, record, tensors_of(learned))
                raise GarlError(
                    f"training diverged: {broken[0]} is not finite in cycle {cycle} (see {out / 'divergence.json'}); "
                    f"the last good checkpoint is kept: start a new run with lower learning rates"
                )
            if cycle % config.validate_every == 0 or cycle == 1:
                record |= validate(agent, lessons, config, out)
            seconds = time.monotonic() - started
            record |= {"seconds": seconds, "seconds/draw": marks[1] - marks[0], "seconds/learn": marks[2] - marks[1]}
            run.record(record)
            show = {name: f"{record[name]:.4g}" for name in ("updates", "l2/train", "reward/mean", "imitation/loss")}
            progress.tell({"minutes": f"{seconds / 60:.1f}"} | show, spent)
            if cycle % config.checkpoint_every == 0:
                save()
        last = validate(agent, lessons, config, out)
        run.record({"cycle": cycle, "updates": cycle * config.cycle_updates, "steps": moves, "seconds": seconds} | last)
        if run.saved != cycle:
            save()
    print(f"held-out drawings: L2 is {last['l2/ratio']:.1%} of the blank canvas's")


def validate(agent: DQN, lessons: Lessons, config: Config, out: Path) -> dict[str, float]:
    """Redraw held-out targets and save a sheet"""
    env = PenEnv(lessons.held_out, lessons.brush, config.pen)
    blank = env.error()

    def act(env, step):
        with torch.no_grad():
            return agent.network(*views(env.canvas, env.target, env.pen, config.pen.reach)).argmax(1)

    n = len(lessons.held_out)
    played = play(env, act, torch.arange(n), torch.zeros(n, dtype=torch.bool))
    save_png(
        out / "pictures" / "samples.png",
        grid(torch.cat([env.target[:SHOWN], env.canvas[:SHOWN]]), columns=SHOWN, scale=max(1, 96 // config.pen.side)),
    )
    figures = {"l2/ratio": env.error().sum() / blank.sum(), "moves": torch.tensor(len(played.action) / n), "finished": 1 - env.alive.float().mean()}
    return {name: value.item() for name, value in figures.items()}
