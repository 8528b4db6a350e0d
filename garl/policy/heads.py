"""The autoregressive policy head: P(a|s) = Π P(a_i | a_<i, s) (thesis §5.4, eq. 5.1).

A chain over the action's dimensions: decode the features to a categorical, sample, encode the sample, embed it
into the features for the next decoder. Given the whole action, the chain of features is known before any
decoder runs; sampling and evaluating still take the same path here, so that they cannot differ.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from garl.policy.features import PolicyConfig, ResidualBlock, SampleEncoder
from garl.policy.upsample import Upsample
from garl.types import ActionSpec, Location


class LocationDecoder(nn.Module):
    """Features (N, F) → logits (N, grid²) of one categorical over the cells; x and y are never split."""

    def __init__(self, grid: int, config: PolicyConfig) -> None:
        super().__init__()
        # As many doublings as bring the start to at most 8 cells a side: 32 → 8, 16 → 4.
        doublings = max(1, math.ceil(math.log2(grid / 8))) if grid > 16 else (2 if grid >= 8 else 1)
        self.grid, self.start, c = grid, math.ceil(grid / 2**doublings), config.location_channels
        self.channels = c
        self.project = nn.Linear(config.features, c * self.start**2)
        self.blocks = nn.Sequential(*(ResidualBlock(c, config.location_blocks) for _ in range(config.location_blocks)))
        up: list[nn.Module] = []
        for _ in range(doublings - 1):
            up += [Upsample(c, c), nn.ReLU(inplace=True)]
        up += [Upsample(c, c // 2), nn.ReLU(inplace=True), nn.Conv2d(c // 2, 1, 1)]
        self.up = nn.Sequential(*up)

    def forward(self, features: Tensor) -> Tensor:
        x = F.relu(self.project(features)).view(-1, self.start, self.start, self.channels).permute(0, 3, 1, 2)
        x = self.up(self.blocks(x))  # (N, 1, ≥ grid, ≥ grid)
        return x[:, 0, : self.grid, : self.grid].flatten(1)


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
            LocationDecoder(d.grid, config) if isinstance(d, Location) else nn.Linear(config.features, d.n)
            for d in spec
        )
        self.encoders = nn.ModuleList(SampleEncoder(d) for d in spec[:-1])
        self.embedders = nn.ModuleList(FeatureEmbedder(config.features) for _ in spec[:-1])

    def forward(
        self, features: Tensor, action: Tensor | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sample an action, or evaluate the one given. The entropy is the sum over the heads, each given the
        dimensions before it. Log-probabilities are float32 whatever the network's precision."""
        chosen: list[Tensor] = []
        log_prob = entropy = torch.zeros(len(features), device=features.device)
        for i, decoder in enumerate(self.decoders):
            log_p = F.log_softmax(decoder(features).float(), -1)  # (N, n)
            p = log_p.exp()
            index = torch.multinomial(p, 1, generator=generator)[:, 0] if action is None else action[:, i]
            chosen.append(index)
            log_prob = log_prob + log_p.gather(1, index[:, None])[:, 0]
            entropy = entropy - (p * log_p).sum(-1)
            if i < len(self.encoders):
                features = self.embedders[i](features, self.encoders[i](index).to(features.dtype))
        return torch.stack(chosen, 1), log_prob, entropy
