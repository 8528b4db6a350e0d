"""Neural painter: a network learns an engine's strokes, and all strokes of a painting are optimised through it at once.

Source: thesis §3.4.1; Nakano 2019, "Neural Painters", https://arxiv.org/abs/1904.08410. No reinforcement learning.

1. `train`: the engine paints random strokes, and a network learns to paint them alike, as one of
   gan   a generator told the stroke; the critic sees the picture and the stroke (Wasserstein loss with gradient
         penalty); the generator's features in the critic are drawn to the real picture's, and the picture itself is
   vae   first an autoencoder of pictures of strokes; then a map from strokes to the encoder's means
2. `paint`: strokes are laid where the picture differs, coarse to fine, and all of them moved together by gradient, for
   the pixels' squared error, or for a classifier's view of them (content loss: intrinsic style transfer), or for both.
   They replay in the real engine, and `replay_errors` tells what that costs.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from garl.adversary.losses import gradient_penalty, wasserstein
from garl.brush.geometry import STROKE_SIZE
from garl.brush.spec import Brush, load_brush
from garl.commission import Commission
from garl.engine.neural_strokes import (
    Decoder,
    Encoder,
    Frame,
    NeuralStrokes,
    gap,
    painted,
    place,
    points_of,
    random_strokes,
)
from garl.engine.paint import PreparedBrushes, untinted
from garl.errors import GarlError
from garl.evaluate.features import Features
from garl.evaluate.pixels import mean_squared_error
from garl.export.picture import grid, save_png
from garl.machine import use_threads
from garl.paint_picture import Painting, replay, resized, shrunk, working_size
from garl.progress import bar
from garl.runs import load_checkpoint, open_run, read_settings, stop_requests
from garl.settings import Settings
from garl.systems.course import Course, cycles
from garl.systems.refine import RefineConfig, as_tensors, descend, propose, thickness_at
from garl.systems.state import Parts, rebuild, saved_brush, share_of_budget
from garl.types import Ground

NAME = "neural-painter"
Loss = Literal["pixel", "content", "both"]
CYCLE = 25
"""Steps between two records, and two looks at the clock."""
UNSEEN = 256
"""Strokes of the test, which none of the training is."""
SIDE = 128
"""The painter sees the picture with at most as many pixels as a square of this side."""
PAINTING = RefineConfig(stages=6, steps=25, last_steps=100, fineness=1.0)
"""How `paint` spreads its strokes over stages, and moves them; nothing is renewed."""
CONTENT = 0.1
"""Weight of the content loss beside the pixels' under `both`."""


class NeuralPainterConfig(Settings):
    """How a network learns a brush's strokes."""

    brush: str = "charcoal"
    """A brush of the library (see `garl brushes`) or the path of a brush file (.yaml)."""
    kind: Literal["gan", "vae"] = "gan"
    """What learns: a generative adversarial network, or a variational autoencoder and a map to its codes."""
    frame: Frame = "canvas"
    """What a patch shows: the whole canvas, as in the paper, or the square about the stroke, whatever its place."""
    side: Literal[16, 32, 64, 128] = 64
    """Pixels of a patch's side."""
    width: int = Field(16, ge=1, le=256)
    """Channels of the first convolution of critic and encoder, and half those of the decoder's."""
    code: int = Field(32, ge=1, le=1024)
    """Numbers in the autoencoder's code."""
    minutes: float | None = Field(None, gt=0)
    """Stop after this time. Without a budget a run takes 10 minutes."""
    steps: int | None = Field(None, ge=1)
    """Stop after this many steps, rounded up to 25."""
    batch_size: int = Field(64, ge=2)
    """Strokes in a step."""
    learning_rate: float = Field(1e-3, gt=0)
    """Of Adam, falling to zero over the last half of the budget."""
    adversarial: float = Field(0.01, ge=0)
    """Weight of the critic's opinion in the generator's loss."""
    gradient_penalty: float = Field(10.0, ge=0)
    """λ of WGAN-GP."""
    divergence: float = Field(0.1, ge=0)
    """Weight of the code's divergence from a Gaussian in the autoencoder's loss (β of β-VAE)."""
    pictures: float = Field(0.5, gt=0, lt=1)
    """Share of the budget in which the autoencoder learns the pictures; in the rest, the map learns its codes."""
    checkpoint_every: int = Field(20, ge=1)
    """Cycles of 25 steps between two checkpoints, tests and sample pictures."""
    seed: int = Field(0, ge=0)
    """Same seed, same machine, same budget in steps: same run."""
    threads: int = Field(0, ge=0)
    """CPU threads; 0: one per core."""

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if self.minutes is not None and self.steps is not None:
            raise GarlError("minutes and steps are two budgets: leave out one")
        return self

    def spent(self, seconds: float, steps: int) -> float:
        """The share of the budget that is used up."""
        return share_of_budget(self.minutes, self.steps, seconds, steps)


class Networks(nn.Module):
    """All that learns. What it is for: forms of strokes (N, 2K + 1) → masks (N, 1, side, side)."""

    def __init__(self, config: NeuralPainterConfig, brush: Brush) -> None:
        super().__init__()
        told = 2 * points_of(brush) + 1
        if config.kind == "gan":
            self.map: nn.Module = nn.Identity()
            self.decoder = Decoder(told, config.side, config.width)
            self.critic = Encoder(1, config.side, config.width, told)
        else:
            self.map = nn.Sequential(
                nn.Linear(told, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, config.code)
            )
            self.decoder = Decoder(config.code, config.side, config.width)
            self.encoder = Encoder(2 * config.code, config.side, config.width)

    def forward(self, form: Tensor) -> Tensor:
        return self.decoder(self.map(form))


def train(config: NeuralPainterConfig, out: Path, resume: bool = False) -> None:
    """Learn a brush's strokes in the run folder `out`; with `resume`, go on from its last checkpoint.

    Raises GarlError if the brush or the folder will not do, or if training diverges.
    """
    use_threads(config.threads)
    if not resume:
        load_brush(config.brush)  # a mistake must be found before the folder is made
    folder = open_run(out, {"system": NAME, **config.model_dump(mode="json")}, resume)
    with folder as run, bar("training") as show, stop_requests() as stopping:
        torch.manual_seed(config.seed)
        generator = torch.Generator().manual_seed(config.seed)
        brush = saved_brush(run.checkpoint[1], out) if run.checkpoint else load_brush(config.brush)
        networks = Networks(config, brush)
        if config.kind == "gan":
            learning: dict[str, list[nn.Module]] = {"generator": [networks.decoder], "critic": [networks.critic]}
        else:
            learning = {"autoencoder": [networks.decoder, networks.encoder], "map": [networks.map]}
        optimizers = {
            name: torch.optim.Adam([p for module in modules for p in module.parameters()], betas=(0.5, 0.99))
            for name, modules in learning.items()
        }
        named = {f"{name}_optimizer": optimizer for name, optimizer in optimizers.items()}
        parts: Parts = {"networks": networks, "generator": generator, **named}
        prepared, course = untinted(brush), Course(run, parts, {"brush": brush.to_dict()}, CYCLE, CYCLE)
        unseen_form, unseen = draw(config, brush, prepared, UNSEEN, torch.Generator().manual_seed(config.seed + 2**32))
        for spent in cycles(course, config.spent, config.checkpoint_every, stopping):
            for optimizer in optimizers.values():
                optimizer.param_groups[0]["lr"] = config.learning_rate * min(1.0, 2.02 - 2.0 * spent)
            for _ in range(CYCLE):
                form, picture = draw(config, brush, prepared, config.batch_size, generator)
                if config.kind == "gan":
                    metrics = critic_step(networks, form, picture, config, optimizers["critic"], generator)
                    metrics |= generator_step(networks, form, picture, config, optimizers["generator"])
                elif spent < config.pictures:
                    metrics = autoencoder_step(networks, picture, config, optimizers["autoencoder"], generator)
                else:
                    metrics = map_step(networks, form, picture, optimizers["map"])
            record = course.standing()
            figures = {name: value.item() for name, value in metrics.items()}
            course.check(record | figures)
            after = config.spent(course.seconds, course.updates)
            if course.cycle % config.checkpoint_every == 0 or after >= 1.0:
                with torch.inference_mode():
                    made = networks(unseen_form)
                figures["test/error"] = F.mse_loss(made, unseen).item()
                figures["test/gap"] = gap(made, unseen)
                sheet = torch.stack([unseen[:32], made[:32]], 1).flatten(0, 1)
                save_png(out / "pictures" / "samples.png", grid((255 * sheet).round().byte(), columns=16, scale=2))
            run.record(record | figures)
            about = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
            show(after, f"{course.updates:,} steps  {about}")


def draw(
    config: NeuralPainterConfig, brush: Brush, prepared: PreparedBrushes, n: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Random strokes as the network is told them, (n, 2K + 1), and as the engine paints them, (n, 1, side, side)."""
    strokes = random_strokes(n, brush, generator)
    _, _, form = place(strokes, (1, 1), config.frame, brush)
    seeds = torch.randint(2**62, (n,), generator=generator).numpy()
    return form, painted(form, config.side, prepared, seeds)


def critic_step(
    networks: Networks,
    form: Tensor,
    picture: Tensor,
    config: NeuralPainterConfig,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """E[D(G(s), s)] − E[D(x, s)] + λ · gradient penalty (logits_real_is_high; Gulrajani et al. 2017, eq. 3)."""
    with torch.no_grad():
        made = networks(form)
    mix = torch.rand(len(form), 1, 1, 1, generator=generator)
    loss = wasserstein(networks.critic(picture, form)[0], networks.critic(made, form)[0])
    penalty = gradient_penalty(lambda x: networks.critic(x, form)[0], picture, made, mix)
    _step(optimizer, loss + config.gradient_penalty * penalty)
    return {"critic": loss.detach()}


def generator_step(
    networks: Networks, form: Tensor, picture: Tensor, config: NeuralPainterConfig, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """−a E[D(G(s), s)] − E[log P(x|s)] + Σₗ E[(fₗ(x) − fₗ(G(s)))²], P: G(s) as each pixel's chance of paint, fₗ: the
    critic's maps (after feature matching, Salimans et al. 2016, §3.1).

    Absolute errors would stay blank: a pixel's median over all strokes is 0.
    """
    logits = networks.decoder.logits(networks.map(form))
    opinion, maps = networks.critic(logits.sigmoid(), form)
    with torch.no_grad():
        _, real_maps = networks.critic(picture, form)
    error = F.binary_cross_entropy_with_logits(logits, picture)
    features = torch.stack([F.mse_loss(a, b) for a, b in zip(maps, real_maps, strict=True)]).sum()
    _step(optimizer, error + features - config.adversarial * opinion.mean())
    return {"features": features.detach(), "error": error.detach()}


def autoencoder_step(
    networks: Networks,
    picture: Tensor,
    config: NeuralPainterConfig,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """E[−log P(x|z)] + β KL(N(μ, σ²) ‖ N(0, 1)) for z = μ + σε (Kingma & Welling 2014, eq. 10), per picture."""
    mean, log_variance = networks.encoder(picture)[0].chunk(2, 1)
    noise = torch.randn(mean.shape, generator=generator)
    logits = networks.decoder.logits(mean + (0.5 * log_variance).exp() * noise)
    likely = F.binary_cross_entropy_with_logits(logits, picture, reduction="sum") / len(picture)
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(1).mean()
    _step(optimizer, likely + config.divergence * divergence)
    return {"autoencoder": likely.detach(), "divergence": divergence.detach()}


def map_step(networks: Networks, form: Tensor, picture: Tensor, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """E‖map(s) − μ(x)‖²: strokes are to have the codes of their pictures."""
    with torch.no_grad():
        mean, _ = networks.encoder(picture)[0].chunk(2, 1)
    loss = F.mse_loss(networks.map(form), mean)
    _step(optimizer, loss)
    return {"map": loss.detach()}


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def load_config(folder: Path) -> NeuralPainterConfig:
    """The configuration that the run in `folder` started with. Raises GarlError if it is no neural painter's."""
    return NeuralPainterConfig(**read_settings(folder, NAME))


def load_strokes(folder: Path) -> NeuralStrokes:
    """What the run in `folder` has learned. Raises GarlError if it is no neural painter's, or damaged."""
    tensors, meta = load_checkpoint(folder)
    config = load_config(folder)
    brush = saved_brush(meta, folder)
    networks = rebuild(lambda: Networks(config, brush), "networks.", tensors, folder)
    return NeuralStrokes(networks.eval().requires_grad_(False), brush, config.frame)


def paint(
    asked: Commission,
    renderer: NeuralStrokes,
    loss: Loss = "pixel",
    features: Features | None = None,
    config: RefineConfig = PAINTING,
) -> np.ndarray:
    """A painter: as many strokes of the renderer's brush as it may paint. If its time is limited, each stage stops
    after its share of that."""
    ground, count, brush, seconds = asked.ground, asked.count, asked.brush, asked.seconds
    if brush.to_dict() != renderer.brush.to_dict():
        raise GarlError(f"the network has learned the brush '{renderer.brush.name}': give that one, not '{brush.name}'")
    rng, started = np.random.default_rng(asked.seed), time.monotonic()
    height, width = ground.free.shape
    size = working_size(height, width, SIDE)
    small = replace(ground, canvas=resized(ground.canvas, size), free=shrunk(ground.free, size))
    picture, paper, free = as_tensors(resized(asked.target, size), small)
    maps = [] if features is None else features(picture[None])

    def shown(strokes: Tensor) -> tuple[Tensor, Tensor]:
        canvas = torch.where(free, renderer.paint(strokes, paper), paper)
        pixels = (canvas - picture).square().mean()
        if features is None or loss == "pixel":
            return canvas, pixels
        content = features.distance(features(canvas[None]), maps)[0]
        return canvas, content if loss == "content" else pixels + CONTENT * content

    strokes = torch.empty(0, STROKE_SIZE)
    for stage in range(config.stages):
        after = (stage + 1) / config.stages
        wanted = max(1, round(count * after**2))
        with torch.no_grad():
            canvas, _ = shown(strokes)
        thickness = thickness_at(brush, after, count, config)
        new = propose(picture, canvas, wanted - len(strokes), thickness, brush, config, rng)
        strokes = torch.cat([strokes, new])
        deadline = math.inf if seconds is None else started + after * seconds
        steps = config.last_steps if stage == config.stages - 1 else config.steps

        def show(share: float, error: float, canvas: Tensor, stage: int = stage, n: int = len(strokes)) -> None:
            asked.progress((stage + share) / config.stages, n, error, (255 * canvas + 0.5).byte().numpy())

        strokes = descend(strokes, shown, size, brush, steps, deadline, config, show)
    return strokes.numpy()


def replay_errors(painting: Painting, target: np.ndarray, renderer: NeuralStrokes) -> tuple[float, float]:
    """The mean squared error to `target` (3, H, W) uint8 of a painting's strokes as the network shows them, and as the
    engine paints them, both at the size that the painter sees."""
    _, height, width = target.shape
    small = resized(target, size := working_size(height, width, SIDE))
    _, paper, _ = as_tensors(small, Ground.blank(np.array(painting.strokes.background, np.uint8), size))
    with torch.inference_mode():
        shown = renderer.paint(torch.from_numpy(painting.strokes.strokes[0]), paper)
    *_, real = replay(painting.strokes, size)
    return mean_squared_error((255 * shown).round().byte().numpy(), small), mean_squared_error(real, small)
