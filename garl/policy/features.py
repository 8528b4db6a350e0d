"""What the policy sees, made into a vector: embeddings and the feature extractor (thesis §5.2, §5.5)."""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from garl.errors import GarlError
from garl.policy.chain import residual
from garl.policy.stem import see, stem
from garl.settings import Settings
from garl.types import ActionSpec, Dimension, Location, Observation, coordinates

Place = Literal["extractor", "head", "none"]


class PolicyConfig(Settings):
    """Sizes and embeddings of the actor-critic. The defaults are the thesis's."""

    head: Literal["autoregressive", "categorical", "gaussian", "beta"] = "autoregressive"
    """How an action is chosen: one dimension given those before it, or all at once; by bins, or as real numbers."""
    log_std: Literal["state", "free"] = "state"
    """Whether the gaussian head's standard deviations depend on what is seen, or are parameters of their own."""
    recurrent: int = Field(0, ge=0)
    """Size of an LSTM cell after the extractor, 256 in the thesis's recurrent variant (§7.9); 0: none."""
    channels: int = Field(64, ge=1)
    """Feature maps of the extractor (the thesis's c)."""
    blocks: int = Field(8, ge=0)
    """Residual blocks of the extractor."""
    features: int = Field(256, ge=1)
    """Length of the feature vector."""
    location_channels: int = Field(64, ge=2)
    """Feature maps of a location head."""
    location_blocks: int = Field(8, ge=0)
    """Residual blocks of a location head."""
    location_maps: bool = False
    """Whether the location heads of an autoregressive policy also see the extractor's first feature maps and how far
    each cell is from the places chosen before, and the heads after a location what the maps hold there, so that what is
    where need not pass through the feature vector."""
    frames: int = Field(1, ge=1)
    """Canvases stacked into one observation, the newest first."""
    noise: int = Field(10, ge=1)
    """Length of the normal noise vector, drawn once per episode."""
    embed_noise: Place = "extractor"
    """Where the noise enters: into the first feature maps, before the heads, or nowhere."""
    embed_action: Place = "extractor"
    """Where the previous action enters."""
    embed_condition: Literal["extractor", "head"] = "extractor"
    """Where the class that is asked for enters, if one is; the critic is always told."""
    embed_steps: bool = False
    """Whether the policy is told how many strokes have been painted."""
    value_steps: bool = False
    """Whether the critic is told how many strokes have been painted."""
    value_separate: bool = False
    """Whether the critic has a feature extractor of its own."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.location_maps and self.head != "autoregressive":
            raise GarlError(f"location_maps are for location heads, which head {self.head} has none of: leave it out")
        return self

    @property
    def continuous(self) -> bool:
        """Whether actions are fractions (N, K) rather than bins (N, D)."""
        return self.head in ("gaussian", "beta")


def initialise(module: nn.Module) -> None:
    """Orthogonal weights with the gain of a ReLU, and no bias (Saxe et al. 2014)."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.orthogonal_(module.weight, gain=2**0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if isinstance(module, ResidualBlock):  # `Module.apply` comes here after its convolutions
        with torch.no_grad():
            module.narrow.weight *= min(1.0, 2.0 / module.depth)


class ResidualBlock(nn.Module):
    """Convolutions 3×3 and 1×1, each followed by a ReLU; another after the sum (thesis §5.2).

    It is one of `depth` in a row, which at the start add no more than two whole ones: with eight whole ones the
    features would start 40 times as large as with none, and the first step would break the policy.
    """

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.depth = depth
        self.wide = nn.Conv2d(channels, channels, 3, padding=1)
        self.narrow = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(x + F.relu_(self.narrow(F.relu_(self.wide(x)))))


class ResidualBlocks(nn.Sequential):
    """`depth` of them in a row, for maps that are not negative."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__(*(ResidualBlock(channels, depth) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        return residual(x, [(block.wide, block.narrow) for block in self if isinstance(block, ResidualBlock)])


class SampleEncoder(nn.Module):
    """One action dimension's bin index (N,) → (N, 16), linear, without activation (thesis §5.4.2).

    A scalar goes through a one-hot; a location through its raw (x, y) in −1..1, for a one-hot of 1,024 cells
    would generalise badly. Index −1 (nothing chosen yet) encodes to the bias or, for a scalar, to zero.
    """

    def __init__(self, dimension: Dimension, size: int = 16) -> None:
        super().__init__()
        self.grid = dimension.grid if isinstance(dimension, Location) else 0
        self.linear: nn.Module
        if self.grid:
            self.linear = nn.Linear(2, size)
        else:
            # Row i of the table is the linear map of the i-th one-hot; row 0 stands for "nothing yet".
            self.linear = nn.Embedding(dimension.n + 1, size, padding_idx=0)

    def forward(self, index: Tensor) -> Tensor:
        if not self.grid:
            return self.linear(index + 1)
        chosen = index >= 0
        row, column = index.clamp(min=0) // self.grid, index.clamp(min=0) % self.grid
        xy = (torch.stack([column, row], -1).float() + 0.5) * (2.0 / self.grid) - 1.0
        return self.linear(xy * chosen[..., None])


def rows(condition: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """A vector (N, c) for each canvas as rows (N, c, 1, W) to add to feature maps, since what is added pixel by pixel
    is slow; and in their precision, as a mixed sum takes 17 times as long."""
    row = condition.to(dtype)[:, :, None, None].expand(-1, -1, 1, width)
    return row.contiguous(memory_format=torch.channels_last)


class ActionEncoder(nn.Module):
    """A whole action (N, D) → (N, 16 · D): each dimension encoded, then concatenated (thesis §5.5.2)."""

    def __init__(self, spec: ActionSpec) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(SampleEncoder(dimension) for dimension in spec)

    def forward(self, action: Tensor) -> Tensor:
        return torch.cat([encode(action[:, i]) for i, encode in enumerate(self.encoders)], -1)


class FractionEncoder(nn.Module):
    """An action of fractions (N, K) → (N, 16 · D), linear in what was painted, as −1..1; ½ encodes to the bias."""

    def __init__(self, spec: ActionSpec) -> None:
        super().__init__()
        self.linear = nn.Linear(coordinates(spec), 16 * len(spec))

    def forward(self, action: Tensor) -> Tensor:
        return self.linear(action.clamp(0.0, 1.0) * 2.0 - 1.0)


class Conditions(nn.Module):
    """Noise, previous action, step and class, embedded to one vector of `size` channels each and summed."""

    def __init__(
        self,
        spec: ActionSpec,
        size: int,
        noise: int,
        action: bool,
        max_steps: int,
        classes: int = 0,
        continuous: bool = False,
    ) -> None:
        super().__init__()
        self.max_steps = max_steps
        self.noise = nn.Sequential(nn.Linear(noise, 64), nn.ReLU(), nn.Linear(64, size)) if noise else None
        encoded = 16 * len(spec)
        self.action = (
            nn.Sequential(
                FractionEncoder(spec) if continuous else ActionEncoder(spec),
                nn.Linear(encoded, 64),
                nn.ReLU(),
                nn.Linear(64, size),
            )
            if action
            else None
        )
        self.step = nn.Embedding(max_steps + 1, size) if max_steps else None
        self.condition = nn.Embedding(classes, size) if classes else None

    def forward(self, observation: Observation) -> Tensor | float:
        total: Tensor | float = 0.0
        if self.noise is not None:
            total = total + self.noise(observation.noise)
        if self.action is not None:
            total = total + self.action(observation.last_action)
        if self.step is not None:
            total = total + self.step(observation.step.clamp(max=self.max_steps))
        if self.condition is not None:
            total = total + self.condition(observation.condition)
        return total


class FeatureExtractor(nn.Module):
    """Canvas (N, frames · C, H, W) uint8 and conditions → features (N, features); thesis §5.2, fig. 5.3.

    With `target`, what the painting is to show is seen behind the canvas, as further channels.
    """

    grid: Tensor

    def __init__(
        self,
        spec: ActionSpec,
        canvas: tuple[int, int, int],
        config: PolicyConfig,
        max_steps: int,
        embed_steps: bool,
        classes: int = 0,
        target: bool = False,
    ) -> None:
        super().__init__()
        channels, height, width = canvas
        self.target = target
        c = config.channels
        y, x = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
        grid = torch.stack([x.expand(height, width), y[:, None].expand(height, width)])
        self.register_buffer("grid", grid[None], persistent=False)  # (1, 2, H, W)
        self.first = nn.Conv2d(channels * (config.frames + target) + 2, c, 5, padding=2)
        self.conditions = Conditions(
            spec,
            c,
            config.noise if config.embed_noise == "extractor" else 0,
            config.embed_action == "extractor",
            max_steps if embed_steps else 0,
            classes,
            config.continuous,
        )
        self.down = nn.Sequential(*(nn.Sequential(nn.Conv2d(c, c, 3, 2, 1), nn.ReLU(inplace=True)) for _ in range(3)))
        self.blocks = ResidualBlocks(c, config.blocks)
        for _ in range(3):
            height, width = (height + 1) // 2, (width + 1) // 2
        self.out = nn.Linear(c * height * width, config.features)

    def forward(self, observation: Observation) -> Tensor:
        if observation.canvas.device.type != "cpu":
            return self.features(self.maps(observation))
        canvas, condition = self.seen(observation)
        layers = [self.first, *(layer for layer in self.down.modules() if isinstance(layer, nn.Conv2d))]
        return self.narrow(stem(canvas, self.grid, condition, layers))

    def seen(self, observation: Observation) -> tuple[Tensor, Tensor | None]:
        """The canvas, with the target behind it, and what the policy is told, (N, c) or nothing."""
        canvas = observation.canvas
        if self.target:
            canvas = torch.cat([canvas, observation.condition], 1)
        condition = self.conditions(observation)
        return canvas, condition if isinstance(condition, Tensor) else None

    def maps(self, observation: Observation) -> Tensor:
        """What is where: the first feature maps (N, c, H, W)."""
        canvas, condition = self.seen(observation)
        x = torch.cat([see(canvas, self.grid.dtype), self.grid.expand(len(canvas), -1, -1, -1)], 1)
        x = self.first(x.contiguous(memory_format=torch.channels_last))  # (N, c, H, W)
        if condition is not None:
            x.add_(rows(condition, x.shape[3], x.dtype))  # in place, as these are the largest activations by far
        return F.relu_(x)

    def features(self, maps: Tensor) -> Tensor:
        """The first feature maps to one vector each, (N, features)."""
        return self.narrow(self.down(maps))

    def narrow(self, x: Tensor) -> Tensor:
        """What `down` makes of the first feature maps, (N, c, H/8, W/8), to one vector each, (N, features)."""
        return F.relu(self.out(self.blocks(x).flatten(1)))
