"""The autoregressive policy head: P(a|s) = Π P(a_i | a_<i, s) (thesis §5.4, eq. 5.1).

A chain over the action's dimensions: decode the features to a categorical, sample, encode the sample, embed it
into the features for the next decoder. Given the whole action, the chain of features is known before any
decoder runs; sampling and evaluating still take the same path here, so that they cannot differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from garl.policy.chain import Convolutions
from garl.policy.features import PolicyConfig, ResidualBlocks, SampleEncoder
from garl.types import ActionSpec, Location


def centre(index: Tensor, grid: int) -> Tensor:
    """Where the cells `index` (N,) of a grid lie, (x, y) in 0..1, (N, 2)."""
    return (torch.stack([index % grid, index // grid], 1) + 0.5) / grid


def offsets(place: Tensor, grid: int) -> Tensor:
    """How far each cell of a grid lies to the right of `place` (N, 2) and below it, (N, 2, grid, grid)."""
    along = (torch.arange(grid, device=place.device) + 0.5) / grid
    right, below = along - place[:, :1], along - place[:, 1:]  # (N, grid)
    return torch.stack([right[:, None].expand(-1, grid, -1), below[:, :, None].expand(-1, -1, grid)], 1)


def draw(log_p: Tensor, generator: torch.Generator | None, temperature: float) -> Tensor:
    """An index (N,) for each of the log-probabilities (N, n), raised to the power of 1 / temperature; at 0 the
    likeliest."""
    if temperature == 0.0:
        return log_p.argmax(-1)
    p = log_p.exp() if temperature == 1.0 else (log_p / temperature).softmax(-1)
    return torch.multinomial(p, 1, generator=generator)[:, 0]


def at(maps: Tensor, index: Tensor) -> Tensor:
    """What maps (N, c, grid, grid) hold in the cells `index` (N,), (N, c)."""
    return maps.flatten(2).gather(2, index[:, None, None].expand(-1, maps.shape[1], 1))[..., 0]


def shrink(maps: Tensor, grid: int) -> Tensor:
    """Maps (N, c, H, W) as their means over the cells of a grid, (N, c, grid, grid)."""
    with torch.autocast(maps.device.type, enabled=False):  # which would make float32 of the largest activations
        return F.adaptive_avg_pool2d(maps, grid)


def upsample(channels: int, out_channels: int) -> nn.ConvTranspose2d:
    """(N, C, H, W) → (N, C', 2H, 2W)."""
    return nn.ConvTranspose2d(channels, out_channels, 4, 2, 1)


class LocationDecoder(nn.Module):
    """Features (N, F) → logits (N, grid²) of one categorical over the cells; x and y are never split.

    With `location_maps` the extractor's maps, shrunk to the grid, and the offsets from the `places` that were chosen
    before join what the features say of each cell and of its neighbours.
    """

    def __init__(self, grid: int, config: PolicyConfig, places: int = 0) -> None:
        super().__init__()
        # As many doublings as bring the start to at most 8 cells a side: 32 → 8, 16 → 4.
        doublings = max(1, math.ceil(math.log2(grid / 8))) if grid > 16 else (2 if grid >= 8 else 1)
        self.grid, self.start, c = grid, math.ceil(grid / 2**doublings), config.location_channels
        self.channels = c
        self.project = nn.Linear(config.features, c * self.start**2)
        self.blocks = ResidualBlocks(c, config.location_blocks)
        up: list[nn.Module] = []
        for _ in range(doublings - 1):
            up += [upsample(c, c), nn.ReLU(inplace=True)]
        up += [upsample(c, c // 2), nn.ReLU(inplace=True), nn.Conv2d(c // 2, 1, 1)]
        self.up = Convolutions(*up)
        joined = c // 2 + config.channels + 2 * places
        self.join = nn.Conv2d(joined, c // 2, 3, padding=1) if config.location_maps else None

    def forward(self, features: Tensor, maps: Tensor | None = None, places: Sequence[Tensor] = ()) -> Tensor:
        """maps: (N, c, grid, grid); places: each (N, 2), as `centre` gives them."""
        x = F.relu(self.project(features)).view(-1, self.start, self.start, self.channels).permute(0, 3, 1, 2)
        x = self.blocks(x)
        x = (self.up if self.join is None else self.up[:-1])(x)[:, :, : self.grid, : self.grid]
        if self.join is not None:  # x: (N, c / 2, grid, grid)
            assert maps is not None, "a head with location_maps needs the extractor's maps"
            seen = [maps, *(offsets(place, self.grid) for place in places)]
            x = self.up[-1](F.relu(self.join(torch.cat([x, *(each.to(x.dtype) for each in seen)], 1))))
        # Flat by a way on which the gradient comes back channels last: else a CPU takes three times as long for it.
        return x.permute(0, 2, 3, 1).flatten(1)  # (N, grid²)


class FeatureEmbedder(nn.Module):
    """ReLU(features + MLP(features ‖ encoded sample)), hidden layers 32 and 64 (thesis §5.4.3, fig. 5.6)."""

    def __init__(self, features: int, encoding: int = 16) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(features + encoding, 32), nn.ReLU(), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, features)
        )

    def forward(self, features: Tensor, encoding: Tensor) -> Tensor:
        return F.relu(features + self.mlp(torch.cat([features, encoding], -1)))


class AutoregressiveHead(nn.Module):
    """Features (N, F) → an action (N, D), its log-probability (N,) and entropy (N,)."""

    def __init__(self, spec: ActionSpec, config: PolicyConfig) -> None:
        super().__init__()
        self.decoders = nn.ModuleList(
            LocationDecoder(d.grid, config, sum(isinstance(before, Location) for before in spec[:i]))
            if isinstance(d, Location)
            else nn.Linear(config.features, d.n)
            for i, d in enumerate(spec)
        )
        self.grids = sorted({d.grid for d in spec if isinstance(d, Location)} if config.location_maps else ())
        self.encoders = nn.ModuleList(SampleEncoder(d) for d in spec[:-1])
        seen = config.channels if config.location_maps else 0
        self.embedders = nn.ModuleList(
            FeatureEmbedder(config.features, 16 + (seen if isinstance(d, Location) else 0)) for d in spec[:-1]
        )

    def forward(
        self,
        features: Tensor,
        action: Tensor | None = None,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
        maps: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sample an action, or evaluate the one given. The entropy is the sum over the heads, each given the
        dimensions before it. Log-probabilities are float32 whatever the network's precision.

        maps: (N, c, H, W), which the location heads see if `location_maps` is set, and those after them where the
        places lie that were chosen."""
        chosen: list[Tensor] = []
        places: list[Tensor] = []
        shrunk = {} if maps is None else {grid: shrink(maps, grid) for grid in self.grids}
        log_prob = entropy = torch.zeros(len(features), device=features.device)
        for i, decoder in enumerate(self.decoders):
            if isinstance(decoder, LocationDecoder):
                logits = decoder(features, shrunk.get(decoder.grid), places)
            else:
                logits = decoder(features)
            log_p = F.log_softmax(logits.float(), -1)  # (N, n)
            p = log_p.exp()
            index = draw(log_p, generator, temperature) if action is None else action[:, i]
            chosen.append(index)
            log_prob = log_prob + log_p.gather(1, index[:, None])[:, 0]
            entropy = entropy - (p * log_p).sum(-1)
            if isinstance(decoder, LocationDecoder):
                places.append(centre(index, decoder.grid))
            if i < len(self.encoders):
                told = [self.encoders[i](index)]
                if isinstance(decoder, LocationDecoder) and shrunk:
                    told.append(at(shrunk[decoder.grid], index))
                features = self.embedders[i](features, torch.cat([each.to(features.dtype) for each in told], -1))
        return torch.stack(chosen, 1), log_prob, entropy
