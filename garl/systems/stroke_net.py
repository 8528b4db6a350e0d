"""StrokeNet: a recurrent agent that redraws characters, stroke after stroke, taught by the gradient of its drawings.

Source: Zheng, Jiang and Huang, "StrokeNet: a neural painting environment", ICLR 2019; document 001 §2. No
reinforcement learning and no adversary: the squared error of the canvas goes back through a differentiable model of the
engine, stroke by stroke through time, into the agent.

the agent sees canvas and target → a memory → a stroke → the model paints it → again → error → gradient through it all.

A stroke of the paper is a list of points, each with a pressure, in one colour. Here it is `pieces` Bézier curves that
the pen draws without being lifted: where one ends the next begins, as wide. Such a chain has 2 · pieces + 1 points and
pieces + 1 widths (radius times pressure); eight pieces say what the paper's 16 points do, and three suffice for most
digits' strokes. Between two strokes the pen is lifted, and goes anywhere.

What differs from the paper: the model is the engine's analytic twin, so that nothing has to be learned first, or what
`garl train renderer` has learned (the paper's own way); errors count at several scales, so that a stroke is drawn to
ink that it does not touch yet; what is reported is what the engine paints, and beside it what the model says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from garl.data.images import load
from garl.engine.neural import SHAPE, Pen, Renderer, Twin, pen_of
from garl.engine.paint import PreparedBrushes
from garl.errors import GarlError
from garl.learners.shared import set_rate
from garl.machine import keep_freed_memory, use_threads
from garl.policy.resnet import SEEN, seen
from garl.progress import Progress
from garl.runs import load_checkpoint, open_run, read_settings, stop_requests
from garl.systems.course import Budget, Course, cycles
from garl.systems.garl import report
from garl.systems.learning_to_paint import Act, Easel, unit, validate
from garl.systems.renderer import load_fitting
from garl.systems.state import Parts, misfit, rebuild, saved_brush

NAME = "stroke-net"
CYCLE = 25
"""Updates between two records."""
COUNTED = 1000
"""Pictures in which the commonest value is looked for."""


class Config(Budget):
    """Everything that a run depends on."""

    data: str = "digits"
    """Targets: the name of a data set (see `garl data`), or path of a folder, archive or IDX file of pictures."""
    side: int = Field(32, ge=16, le=256)
    """Canvas height and width in pixels; the agent paints at any size by the same strokes."""
    background: int | None = Field(None, ge=0, le=255)
    """Value of the blank canvas; by default the commonest in the pictures."""
    strokes: int = Field(4, ge=1)
    """Strokes in a drawing."""
    pieces: int = Field(2, ge=1)
    """Curves in a stroke, which the pen draws without being lifted; 8 are as long as the paper's 16 points."""
    color: Literal["ink", "own"] = "ink"
    """ink: every stroke is black on light canvases and white on dark ones, as characters are drawn; own: the agent
    chooses each stroke's colour."""
    renderer_run: Path | None = None
    """The run folder of `garl train renderer --kind bezier`, of the same side; by default the gradient flows through
    the engine's analytic twin."""
    width: int = Field(16, ge=1)
    """Feature maps of the first convolution that looks at canvas and target; the others have twice as many."""
    memory: int = Field(256, ge=1)
    """Numbers that the agent remembers from stroke to stroke."""
    unfinished: float = Field(0.1, ge=0.0, le=1.0)
    """Weight of the error of each unfinished canvas beside the finished one's; the paper's alone: 0."""
    scales: int = Field(3, ge=1, le=8)
    """Errors are taken at so many scales, each of half the pixels a side; the paper's alone: 1."""
    vary: float = Field(0.0, ge=0.0, le=0.5)
    """Targets are seen through affine maps whose numbers differ from the identity's by at most this, drawn anew each
    time: for sets of a few thousand pictures, which an agent would learn by heart; 0: as they are."""
    batch_size: int = Field(32, ge=2)
    """Drawings in an update."""
    learning_rate: float = Field(2e-3, gt=0.0)
    """Step size of Adam, falling to zero over the budget."""
    clip: float = Field(1.0, gt=0.0)
    """Largest norm of a gradient."""
    validation: int = Field(128, ge=1)
    """Held-out pictures that are drawn to see how it goes."""
    validate_every: int = Field(20, ge=1)
    """Records between two validations."""
    checkpoint_every: int = Field(20, ge=1)
    """Records between two checkpoints."""

    @property
    def ink(self) -> float | None:
        """What every stroke's colour is, 0..1; None: each has its own."""
        return None if self.color == "own" else float((self.background or 0) < 128)


class Draughtsman(nn.Module):
    """Sees canvas and target, remembers what it has drawn, and answers with the next stroke."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.pieces, self.ink = config.pieces, config.ink
        self.eye = eye_of(config.side, config.width, config.memory)
        self.memory = nn.GRUCell(config.memory, config.memory)
        self.hand = nn.Linear(config.memory, numbers_of(config.pieces))
        nn.init.orthogonal_(self.hand.weight, 2.0)

    def forward(self, canvas: Tensor, target: Tensor, progress: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor]:
        """(canvas, target (N, 3, S, S), 0..1, share (N,) of the strokes that are drawn, what it remembers (N, M), None
        before the first stroke) → the stroke (N, pieces, 13) and what it remembers now."""
        memory = self.memory(self.eye(seen(canvas, target, progress)), memory)
        action = chain(self.hand(memory).sigmoid(), self.pieces)
        if self.ink is not None:
            action = torch.cat([action[..., SHAPE], torch.full_like(action[..., SHAPE.stop :], self.ink)], -1)
        return action, memory


def eye_of(side: int, width: int, outputs: int) -> nn.Sequential:
    """(N, 9, S, S), as `seen` makes it → (N, outputs): convolutions and a linear layer that keeps all places.

    Few layers, as where ink lies is what counts, and a start that is orthogonal with a ReLU's gain: with PyTorch's own
    the answer depends on the picture by a millionth at first.
    """
    quarter = math.ceil(side / 4)
    layers = [
        nn.Conv2d(SEEN, width, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(2 * width, 2 * width, 3, 1, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * width * quarter**2, outputs),
        nn.ReLU(),
    ]
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(layer.weight, 2**0.5)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def numbers_of(pieces: int) -> int:
    """How many numbers say a stroke of so many pieces: points, widths and a colour."""
    return 2 * (2 * pieces + 1) + (pieces + 1) + 3


def chain(numbers: Tensor, pieces: int) -> Tensor:
    """A stroke (N, numbers_of(pieces)) in 0..1 as the curves (N, pieces, 13) that the pen draws without being lifted.

    Curve i has the points 2i, 2i + 1 and 2i + 2, and is as wide as widths i and i + 1 say at its ends.
    """
    points, widths, color = numbers.split([2 * (2 * pieces + 1), pieces + 1, 3], 1)
    curves = points.unfold(1, 6, 4)  # (N, pieces, 6): each begins at the last point of the one before
    full = torch.ones_like(widths[:, 1:])
    ends = torch.stack([widths[:, :-1], full, widths[:, 1:], full], 2)  # r0 t0 r1 t1
    return torch.cat([curves, ends, color[:, None].expand(-1, pieces, -1)], 2)


def varied(target: Tensor, blank: float, most: float, generator: torch.Generator) -> Tensor:
    """Targets (N, 3, S, S), 0..1, each through an affine map of its own, x ↦ (I + E) x + e, where the numbers of E are
    uniform in ± most, and those of e, in half sides, in ± most / 2; what comes from outside is blank."""
    change = most * (2.0 * torch.rand(len(target), 2, 3, generator=generator) - 1.0)
    change[:, :, 2] /= 2.0
    grid = F.affine_grid(torch.eye(2, 3) + change, list(target.shape), align_corners=False)
    return F.grid_sample(target - blank, grid, align_corners=False) + blank


def drawn(agent: Draughtsman, model: Renderer, target: Tensor, blank: float, strokes: int) -> Tensor:
    """What the model shows after each stroke on targets (N, 3, S, S), 0..1: canvases (T, N, 3, S, S), 0..1."""
    canvas, memory, canvases = torch.full_like(target, blank), None, []
    for stroke in range(strokes):
        progress = torch.full((len(target),), stroke / strokes)
        action, memory = agent(canvas, target, progress, memory)
        canvas = model(action, canvas)
        canvases.append(canvas)
    return torch.stack(canvases)


def error(canvases: Tensor, target: Tensor, unfinished: float, scales: int) -> Tensor:
    """Σₜ wₜ Σₛ mean over pixels of (poolₛ(Cₜ − target))² / Σₜ wₜ, for canvases (T, N, 3, S, S); w is 1 for the finished
    canvas and `unfinished` for the others, poolₛ the mean over squares of 2ˢ pixels a side, s < scales."""
    gap = (canvases - target).flatten(0, 1)
    weight = torch.full((len(canvases),), unfinished)
    weight[-1] = 1.0
    total = torch.zeros(len(canvases))
    for scale in range(scales):
        pooled = F.avg_pool2d(gap, 2**scale, ceil_mode=True)
        total = total + pooled.square().flatten(1).mean(1).unflatten(0, canvases.shape[:2]).mean(1)
    return (weight * total).sum() / weight.sum()


def hand_of(agent: Draughtsman, strokes: int) -> Act:
    """The agent as one that paints step by step: it forgets what it remembers where a drawing begins."""
    memory: Tensor | None = None

    @torch.no_grad()
    def act(canvas: Tensor, target: Tensor, step: Tensor) -> Tensor:
        nonlocal memory
        action, memory = agent(canvas, target, step / strokes, memory if step[0] else None)
        return action

    return act


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
    if config.background is None:
        commonest = int(np.bincount(images.array[:COUNTED].ravel()).argmax())
        config = config.model_copy(update={"background": commonest})
    assert config.background is not None
    blank, validation = config.background / 255, torch.from_numpy(held_out.copy())
    model: Renderer = Twin(pen_of("bezier"))
    if config.renderer_run is not None:
        model = load_fitting(config.renderer_run, kind="bezier", side=config.side)
    easel = Easel(config.background, config.strokes, model.pen, PreparedBrushes(model.pen.brush))
    with (
        open_run(out, {"system": NAME, **config.model_dump(mode="json")}, resume) as run,
        Progress(out) as progress,
        stop_requests() as stopping,
    ):
        torch.manual_seed(config.seed)
        generator = torch.Generator().manual_seed(config.seed)
        agent = Draughtsman(config)
        optimizer = torch.optim.Adam(agent.parameters(), config.learning_rate)
        parts: Parts = {"agent": agent, "optimizer": optimizer, "generator": generator}
        steps = CYCLE * config.batch_size * config.strokes * config.pieces
        course = Course(run, parts, {"brush": model.pen.brush.to_dict()}, CYCLE, steps)
        for spent in cycles(course, config.spent, config.checkpoint_every, stopping):
            set_rate(optimizer, config.learning_rate * max(0.01, 1.0 - spent))
            figures = []
            for _ in range(CYCLE):
                target = unit(images.batch(config.batch_size, generator))
                if config.vary:
                    target = varied(target, blank, config.vary, generator)
                canvases = drawn(agent, model, target, blank, config.strokes)
                loss = error(canvases, target, config.unfinished, config.scales)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), config.clip)
                optimizer.step()
                ends = canvases.detach()[-1] - target, blank - target
                figures.append(torch.stack([loss.detach(), *(end.square().mean() for end in ends)]))
            mean, finished, empty = torch.stack(figures).mean(0).tolist()
            record = course.standing() | {"loss": mean, "l2/train": finished / empty}
            course.check(record)
            if course.cycle % config.validate_every == 0:
                record |= measure(agent, model, validation, easel, out)
            run.record(record)
            show = {name: f"{record[name]:.4g}" for name in ("updates", "loss", "l2/train")}
            progress.tell(show, spent, course.seconds)
        last = measure(agent, model, validation, easel, out)
        run.record(course.standing() | last)
    print(
        f"held-out pictures: L2 is {last['l2/ratio']:.1%} of the blank canvas's, "
        f"and {last['l2/model']:.1%} as the model shows them"
    )


def measure(agent: Draughtsman, model: Renderer, target: Tensor, easel: Easel, out: Path) -> dict[str, float]:
    """`validate`, and as `l2/model` the ratio that the model's own canvases have."""
    figures = validate(hand_of(agent, easel.actions), target, easel, out)
    with torch.no_grad():
        canvas = drawn(agent, model, unit(target), easel.background / 255, easel.actions)[-1]
    return figures | {"l2/model": (canvas - unit(target)).square().mean().item() / figures["l2/blank"]}


def load_config(folder: Path) -> Config:
    """The configuration of the run in `folder`. Raises GarlError if it is another system's."""
    return Config(**read_settings(folder, NAME))


@dataclass(frozen=True, eq=False)
class Agent:
    """A trained agent with all that it needs to paint; what it remembers of a drawing is in `act`."""

    side: int
    actions: int
    background: int
    pen: Pen
    act: Act


def load_agent(folder: Path) -> Agent:
    """The agent that the run in `folder` has trained. Raises GarlError if there is none, or it is damaged."""
    config = load_config(folder)
    tensors, meta = load_checkpoint(folder)
    if config.background is None:
        raise GarlError(misfit(folder))
    agent, pen = rebuild(lambda: Draughtsman(config), "agent.", tensors, folder), Pen(saved_brush(meta, folder))
    act = hand_of(agent.requires_grad_(False).eval(), config.strokes)
    return Agent(config.side, config.strokes, config.background, pen, act)
