"""Paintings from a trained agent, and the files that they can become."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from garl.atomic import replacing
from garl.brush.geometry import COLOR
from garl.data.decode import luma
from garl.errors import GarlError
from garl.evaluate.eye import choose_eye
from garl.evaluate.frechet import frechet_distance
from garl.evaluate.pixels import mean_squared_error
from garl.evaluate.report import Value, evaluate
from garl.export.picture import grid, save_png
from garl.export.plotter import save_plot
from garl.export.strokefile import StrokeFile
from garl.export.svg import save_svg
from garl.export.video import save_video, time_lapse
from garl.rollout import collect
from garl.systems.garl import Agent, Config, draw_noise, load_images, make_env

BATCH = 256
"""Canvases painted at a time."""
MOST_FILMED = 64
"""Paintings in a time-lapse."""


ENDINGS = (".png", ".npz", ".mp4", ".gif", ".svg", ".json", ".gcode", ".hpgl")


def check_ending(path: Path) -> None:
    """Raise GarlError unless `path` ends like a file that paintings can become."""
    if path.suffix.lower() not in ENDINGS:
        raise GarlError(f"{path} ends in {path.suffix or 'nothing'}: use one of {', '.join(ENDINGS)}")


@dataclass(frozen=True)
class Paintings:
    """N finished paintings in the polarity of the training data."""

    final: np.ndarray  # (N, C, H, W) uint8
    filmed: np.ndarray  # (T + 1, M, C, H, W) uint8: how the first M ≤ 64 came to be
    strokes: StrokeFile
    targets: np.ndarray | None = None  # (N, C, H, W) uint8, what each was to show

    def save(self, path: Path) -> list[Path]:
        """Write them in the form that the ending of `path` names; returns the files written.

        .png a grid, each painting behind its target if it has one · .npz `images` uint8 (N, H, W, C), `strokes` float32
        (N, T, 14), `seeds` int64 (N,) · .mp4 .gif a time-lapse of the first 64 · .json a stroke file · .svg .gcode
        .hpgl one file a painting.
        """
        check_ending(path)
        ending = path.suffix.lower()
        if ending == ".png":
            shown, columns = self.final, None
            if self.targets is not None:
                shown = np.stack([self.targets, self.final], 1).reshape(-1, *self.final.shape[1:])
                columns = 2 * math.ceil(math.sqrt(len(self.final) / 2))
            save_png(path, grid(shown, columns, scale=max(1, 96 // shown.shape[-1])))
        elif ending == ".npz":
            images = np.ascontiguousarray(self.final.transpose(0, 2, 3, 1))
            with replacing(path) as temporary:
                np.savez_compressed(temporary, images=images, strokes=self.strokes.strokes, seeds=self.strokes.seeds)
        elif ending in (".mp4", ".gif"):
            fps = float(np.clip(len(self.filmed) / 3, 1.5, 12.0))
            save_video(path, time_lapse(self.filmed, fps), fps)
        elif ending == ".json":
            self.strokes.save(path)
        else:
            count = len(self.final)
            digits = len(str(count - 1))
            numbered = [path.with_stem(f"{path.stem}-{i:0{digits}d}") for i in range(count)]
            paths = [path] if count == 1 else numbered
            for i, each in enumerate(paths):
                (save_svg if ending == ".svg" else save_plot)(each, self.strokes, i)
            return paths
        return [path]


def asked_for(agent: Agent, n: int, name: str | None = None) -> np.ndarray | None:
    """The places in `agent.classes` of what `n` paintings are asked for, (n,) int64: the class called `name`, or all in
    turn; None for an agent that cannot be asked. Raises GarlError if it does not know the class."""
    if name is not None and name not in agent.classes:
        known = ", ".join(agent.classes[:10]) + (", …" if len(agent.classes) > 10 else "")
        learned = f"give one of {known}" if known else "it was trained without `--condition label`"
        raise GarlError(f"the agent cannot be asked for class {name!r}: {learned}")
    if not agent.classes:
        return None
    return np.arange(n) % len(agent.classes) if name is None else np.full(n, agent.classes.index(name))


def as_seen(config: Config, picture: np.ndarray) -> np.ndarray:
    """A picture (3, H, W) uint8 in the colours and in the polarity that an agent learned on, (C, H, W)."""
    if config.paint.channels == 1:
        picture = luma(picture)
    return 255 - picture if config.invert else picture


def held_out(agent: Agent, n: int, seed: int = 0, split: str = "test") -> np.ndarray | None:
    """Pictures (n, C, H, W) uint8 for an agent to paint that is shown what, each once before one comes again; None for
    any other agent."""
    if agent.config.condition != "picture":
        return None
    pictures = load_images(agent.config, split).array
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed)).numpy()
    return pictures[np.resize(order, n)]


def paint(agent: Agent, n: int, seed: int = 0, name: str | None = None, targets: np.ndarray | None = None) -> Paintings:
    """Let a trained agent paint `n` pictures of the class called `name`, or of all classes in turn if it knows any; the
    same seed gives the same pictures.

    An agent that is shown what to paint is shown `targets` (n, C, H, W) uint8, or else held-out pictures.
    """
    config, policy = agent.config, agent.policy
    device = next(policy.parameters()).device
    seed = seed * config.population.agents + agent.number  # or agents that know little would paint the same
    generator, sampler = torch.Generator().manual_seed(seed), torch.Generator(device).manual_seed(seed)
    env = make_env(config, min(n, BATCH), agent.brushes)
    env.reset(seed=seed)
    asked = asked_for(agent, n, name)
    targets = held_out(agent, n, seed) if targets is None else targets
    asked = asked if targets is None else targets
    finals, films, all_strokes, seeds = [], [], [], []
    for start in range(0, n, env.num_envs):
        noise = draw_noise(config, env.num_envs, generator).to(device)
        part = None
        if asked is not None:  # the last batch paints more than are wanted
            part = torch.from_numpy(np.take(asked, range(start, start + env.num_envs), 0, mode="wrap")).to(device)
        rollout = collect(env, policy, noise, sampler, config.learning.dtype, part)
        finals.append(rollout.final.cpu())
        all_strokes.append(rollout.strokes.transpose(0, 1))
        seeds.append(rollout.seeds)
        if start < MOST_FILMED:
            films.append(rollout.canvases[:, :MOST_FILMED].cpu())
    final, filmed = torch.cat(finals)[:n].numpy(), torch.cat(films, 1)[:, : min(n, MOST_FILMED)].numpy()
    strokes = torch.cat(all_strokes)[:n].numpy()
    background = config.paint.background * (config.paint.channels // len(config.paint.background))
    if config.invert:
        # Compositing is linear: inverted paint on inverted paper is the inverted picture.
        targets = None if targets is None else 255 - targets
        final, filmed, background = 255 - final, 255 - filmed, tuple(255 - value for value in background)
        strokes[..., COLOR] = 1.0 - strokes[..., COLOR]
    file = StrokeFile(
        height=config.paint.height,
        width=config.paint.width,
        channels=config.paint.channels,
        background=background,
        brushes=tuple(brush.to_dict() for brush in agent.brushes),
        render_scale=config.paint.render_scale,
        strokes=strokes,
        seeds=torch.cat(seeds)[:n].numpy(),
    )
    return Paintings(final, filmed, file, targets)


def in_turn(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """One array for each of A agents, (N, …) → (N · A, …): the first of each, the second of each, …"""
    return np.stack(arrays, 1).reshape(-1, *arrays[0].shape[1:])


def paint_in_turn(agents: Sequence[Agent], n: int, seed: int = 0, name: str | None = None) -> Paintings:
    """`n` pictures by the agents of a population, the first by the first, the second by the second, …; each agent's are
    those that `paint` has it paint alone."""
    each = [paint(agent, math.ceil(n / len(agents)), seed, name) for agent in agents]
    strokes, seeds = (in_turn([getattr(own.strokes, field) for own in each])[:n] for field in ("strokes", "seeds"))
    filmed = in_turn([own.filmed.swapaxes(0, 1) for own in each]).swapaxes(0, 1)[:, : min(n, MOST_FILMED)]
    final = in_turn([own.final for own in each])[:n]
    shown = [own.targets for own in each if own.targets is not None]
    targets = in_turn(shown)[:n] if shown else None
    return Paintings(final, filmed, replace(each[0].strokes, strokes=strokes, seeds=seeds), targets)


def measure(agent: Agent, n: int, seed: int = 0, split: str = "test", judge: Path | None = None) -> dict[str, Value]:
    """Every metric of `n` paintings against the pictures of the agent's data, beside the floor of real ones.

    Of an agent that is shown what to paint also the mean squared error, 0..1, to those targets, `target_error`, and
    that of a blank canvas, `target_error_blank`.
    """
    return measure_population((agent,), n, seed, split, judge)


def measure_population(
    agents: Sequence[Agent], n: int, seed: int = 0, split: str = "test", judge: Path | None = None
) -> dict[str, Value]:
    """What `measure` says of `n` paintings by the agents in turn; if there are several, also the Fréchet distance of
    `n` paintings by each, and the largest in units of the smallest."""
    agent = agents[0]
    config = agent.config
    real = load_images(config, split)
    eye = choose_eye(real.array.shape, judge)
    floor = load_images(config).batch(n, torch.Generator().manual_seed(seed))
    # The judge of digits sees light ink on a dark ground: what the agent paints before an inverted set is turned back.
    name = None if config.label is None or not agent.classes else str(config.label)
    plain = config.model_copy(update={"invert": False})
    targets = held_out(agent, n, seed, split)
    each = [paint(replace(agent, config=plain), n, seed, name, targets) for agent in agents]
    painted = [paintings.final for paintings in each]
    label = config.label if isinstance(config.label, int) and not real.label_names else None
    asked = asked_for(agent, n, name)
    if asked is not None:  # the digit that each was to show, if classes are digits
        digits = not real.label_names and all(each.isdecimal() for each in agent.classes)
        asked = np.array([int(each) for each in agent.classes])[asked] if digits else None
    asked = None if asked is None else in_turn([asked] * len(agents))[:n]
    record = evaluate(in_turn(painted)[:n], real.array, label=label, asked=asked, floor=floor, eye=eye)
    if targets is not None:
        record["target_error"] = float(np.mean([mean_squared_error(own, targets) for own in painted]))
        blank = np.broadcast_to(each[0].filmed[0, :1], targets.shape)
        record["target_error_blank"] = mean_squared_error(blank, targets)
    if len(agents) > 1:
        seen = eye.look(real.array)[0]
        distances = [frechet_distance(eye.look(own)[0], seen) for own in painted]
        record |= {"frechet_by_agent": distances, "worst_to_best": max(distances) / min(distances)}
    return record
