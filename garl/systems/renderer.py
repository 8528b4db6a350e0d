"""A renderer for Learning to Paint: a network learns from random strokes what the engine paints.

Source: Huang et al. 2019 §4.2: the squared error of random strokes, each drawn anew, so that there is nothing to
overfit. `garl train renderer --kind bezier`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from garl.engine.neural import NUMBERS, Kind, NetworkConfig, NeuralRenderer, Pen, draw, network_of, pen_of
from garl.engine.paint import PreparedBrushes
from garl.errors import GarlError
from garl.export.picture import grid, save_png
from garl.learners.shared import set_rate
from garl.machine import keep_freed_memory, use_threads
from garl.progress import Progress
from garl.runs import load_checkpoint, open_run, read_settings, stop_requests
from garl.systems.course import Budget, Course, cycles
from garl.systems.state import Parts, rebuild, saved_brush

NAME = "renderer"
UNSEEN = 2048
"""Strokes of the final test, and a quarter of it of the validation."""
CYCLE = 50
"""Updates between two records."""


class Config(Budget):
    """Everything that a renderer depends on."""

    kind: Kind = "bezier"
    """Strokes to learn: of hard_round, triangles, circles, or squares that fill one of cells × cells."""
    cells: int = Field(16, ge=2, le=64)
    """Cells per side for pixels."""
    side: int = Field(64, ge=16, le=256, multiple_of=8)
    """Canvas height and width in pixels."""
    network: NetworkConfig = NetworkConfig()
    optimizer: Literal["adam", "rmsprop", "sgd"] = "adam"
    """Adam and RMSprop with PyTorch's defaults; SGD with momentum 0.9."""
    learning_rate: float = Field(1e-3, gt=0.0)
    """Step size at the start; it falls to zero over the budget."""
    batch_size: int = Field(64, ge=2)
    """Strokes in an update."""
    picture_every: int = Field(20, ge=1)
    """Records between two pictures and validations."""
    checkpoint_every: int = Field(20, ge=1)
    """Records between two checkpoints."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind == "pixel" and self.side % self.cells:
            raise GarlError(f"cells must divide side {self.side}, so that a cell is whole pixels, not be {self.cells}")
        return self


def optimizer_of(network: nn.Module, config: Config) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), config.learning_rate, momentum=0.9)
    make = torch.optim.Adam if config.optimizer == "adam" else torch.optim.RMSprop
    return make(network.parameters(), config.learning_rate)


def painted(pen: Pen, prepared: PreparedBrushes, numbers: Tensor, side: int) -> Tensor:
    """What the engine paints for the numbers (N, 10): alphas (N, 1, side, side)."""
    white = torch.cat([numbers, torch.ones(len(numbers), NUMBERS - numbers.shape[1])], 1)
    return draw(pen.strokes(white), side, prepared)


@torch.no_grad()
def measure(network: nn.Module, numbers: Tensor, alpha: Tensor) -> dict[str, float]:
    """Mean absolute and mean squared error over all pixels of strokes (N, 10) with alphas (N, 1, S, S)."""
    parts = [network.eval()(chunk) for chunk in numbers.split(256)]
    gap = torch.cat(parts) - alpha
    return {"l1": gap.abs().mean().item(), "l2": gap.square().mean().item()}


def train(config: Config, out: Path, resume: bool = False) -> None:
    """Train a renderer in the run folder `out`; with `resume`, go on from its last checkpoint."""
    use_threads(config.threads)
    keep_freed_memory()
    pen = pen_of(config.kind, cells=config.cells)
    prepared = PreparedBrushes(pen.brush)
    # Of a seed that no run has of its own.
    unseen = torch.rand(UNSEEN, 10, generator=torch.Generator().manual_seed(2**53 + config.seed))
    truth = painted(pen, prepared, unseen, config.side)
    few = UNSEEN // 4
    with (
        open_run(out, {"system": NAME, **config.model_dump(mode="json")}, resume) as run,
        Progress(out) as progress,
        stop_requests() as stopping,
    ):
        torch.manual_seed(config.seed)
        generator = torch.Generator().manual_seed(config.seed)
        network = network_of(config.network, config.side)
        optimizer = optimizer_of(network, config)
        parts: Parts = {"network": network, "optimizer": optimizer, "generator": generator}
        course = Course(run, parts, {"brush": pen.brush.to_dict()}, CYCLE, CYCLE * config.batch_size)
        for spent in cycles(course, config.spent, config.checkpoint_every, stopping):
            set_rate(optimizer, config.learning_rate * max(0.01, 1.0 - spent))
            losses = []
            for _ in range(CYCLE):
                numbers = torch.rand(config.batch_size, 10, generator=generator)
                gap = network.train()(numbers) - painted(pen, prepared, numbers, config.side)
                loss = gap.square().mean()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
            record = course.standing() | {"loss": torch.stack(losses).mean().item()}
            course.check(record)
            if course.cycle % config.picture_every == 0:
                figures = measure(network, unseen[:few], truth[:few])
                record |= {f"validation/{name}": value for name, value in figures.items()}
                picture(out, network, unseen, truth)
            run.record(record)
            progress.tell({name: f"{record[name]:.5g}" for name in ("updates", "loss")}, spent, course.seconds)
        record = course.standing() | {f"test/{name}": value for name, value in measure(network, unseen, truth).items()}
        run.record(record)
        picture(out, network, unseen, truth)
    print(f"{UNSEEN:,} strokes never seen: L1 {record['test/l1']:.5f}, L2 {record['test/l2']:.6f}")


@torch.no_grad()
def picture(out: Path, network: nn.Module, numbers: Tensor, alpha: Tensor) -> None:
    """Sixteen strokes of the engine (above) and of the network."""
    both = torch.cat([alpha[:16], network.eval()(numbers[:16])])
    save_png(out / "pictures" / "samples.png", grid((255 * both).round().to(torch.uint8), columns=16))


def load_config(folder: Path) -> Config:
    """The configuration of the renderer in `folder`."""
    return Config(**read_settings(folder, NAME))


def load_renderer(folder: Path) -> tuple[NeuralRenderer, Config]:
    """The renderer that the run in `folder` has trained. Raises GarlError if there is none, or it is damaged."""
    config = load_config(folder)
    tensors, meta = load_checkpoint(folder)
    network = rebuild(lambda: network_of(config.network, config.side), "network.", tensors, folder)
    pen = pen_of(config.kind, cells=config.cells)
    renderer = NeuralRenderer(Pen(saved_brush(meta, folder), pen.level, pen.cells), network)
    return renderer.requires_grad_(False).eval(), config


def load_fitting(folder: Path, **wanted: Any) -> NeuralRenderer:
    """The renderer that the run in `folder` has trained. Raises GarlError if it was made for other than `wanted`."""
    renderer, made = load_renderer(folder)
    for name, value in wanted.items():
        if getattr(made, name) != value:
            raise GarlError(f"{folder} is of {name} {getattr(made, name)}: set {name} to that")
    return renderer
