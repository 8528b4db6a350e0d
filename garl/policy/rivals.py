"""What the autoregressive head is compared with: heads that choose all dimensions at once (thesis §7.3, A.2).

Each is an MLP over the features with linear layers on top, and is called as `AutoregressiveHead` is. The thesis does
not give the MLP's size: here it is one hidden layer as wide as the features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Beta, Distribution, Normal
from torch.nn import functional as F

from garl.policy.features import PolicyConfig
from garl.policy.heads import draw
from garl.types import ActionSpec, Location, coordinates


def perceptron(config: PolicyConfig) -> nn.Sequential:
    return nn.Sequential(nn.Linear(config.features, config.features), nn.ReLU())


def evaluate(distribution: Distribution, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The action (N, K) with its log-density (N,) and entropy (N,), summed over independent coordinates."""
    return action, distribution.log_prob(action).sum(-1), distribution.entropy().sum(-1)


class CategoricalHead(nn.Module):
    """A categorical for each coordinate, all independent; of a location x and y each have one of `grid` bins."""

    def __init__(self, spec: ActionSpec, config: PolicyConfig) -> None:
        super().__init__()
        self.spec = spec
        self.hidden = perceptron(config)
        self.decoders = nn.ModuleList(
            nn.Linear(config.features, bins)
            for d in spec
            for bins in ([d.grid, d.grid] if isinstance(d, Location) else [d.n])
        )

    def forward(
        self,
        features: Tensor,
        action: Tensor | None = None,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sample an action (N, D) int64, or evaluate the one given; also its log-probability and entropy (N,)."""
        hidden = self.hidden(features)
        log_ps = [F.log_softmax(decoder(hidden).float(), -1) for decoder in self.decoders]  # K × (N, bins)
        if action is None:
            bins = [draw(log_p, generator, temperature) for log_p in log_ps]
            action = self.join(bins)
        else:
            bins = self.split(action)
        chosen = [log_p.gather(1, index[:, None])[:, 0] for log_p, index in zip(log_ps, bins, strict=True)]
        entropies = [-(log_p.exp() * log_p).sum(-1) for log_p in log_ps]
        return action, torch.stack(chosen).sum(0), torch.stack(entropies).sum(0)

    def join(self, bins: list[Tensor]) -> Tensor:
        """A bin for each coordinate, x before y → an index for each dimension, (N, D)."""
        rest = iter(bins)
        return torch.stack(
            [next(rest) + d.grid * next(rest) if isinstance(d, Location) else next(rest) for d in self.spec], 1
        )

    def split(self, action: Tensor) -> list[Tensor]:
        """The inverse of `join`."""
        bins: list[Tensor] = []
        for index, d in zip(action.unbind(1), self.spec, strict=True):
            bins += [index % d.grid, index // d.grid] if isinstance(d, Location) else [index]
        return bins


class GaussianHead(nn.Module):
    """A normal distribution for each coordinate, over fractions of its range; what lies outside 0..1 is clipped by
    the engine, while the log-density is that of the unclipped sample.

    It starts at the centre with a standard deviation of a quarter: 95 % of the first samples lie inside.
    """

    LEAST, MOST = 0.02, 0.5
    """Bounds of the standard deviation. A finer choice cannot be seen, a wider one is clipped; without them the density
    of a stroke, and the entropy, have none either, and both are learned from."""

    def __init__(self, spec: ActionSpec, config: PolicyConfig) -> None:
        super().__init__()
        size = coordinates(spec)
        self.hidden = perceptron(config)
        self.decoders = nn.ModuleList(
            nn.Linear(config.features, size) for _ in range(2 if config.log_std == "state" else 1)
        )
        quarter = torch.tensor(math.log(0.25 / self.LEAST) / math.log(self.MOST / self.LEAST))
        self.log_std = nn.Parameter(quarter.logit().repeat(size))

    def distribution(self, features: Tensor) -> Normal:
        hidden = self.hidden(features)
        mean, *log_std = (decoder(hidden).float() for decoder in self.decoders)  # (N, K)
        share = sum(log_std, self.log_std).sigmoid().expand_as(mean)  # of the way between the bounds' logarithms
        return Normal(0.5 + mean, self.LEAST * (self.MOST / self.LEAST) ** share, validate_args=False)

    def forward(
        self,
        features: Tensor,
        action: Tensor | None = None,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sample an action (N, K) float32, or evaluate the one given; also its log-density and entropy (N,)."""
        distribution = self.distribution(features)
        if action is None:
            mean = distribution.mean.detach()
            normal = torch.randn(mean.shape, generator=generator, device=mean.device)
            action = mean + temperature * distribution.stddev.detach() * normal
        return evaluate(distribution, action)


class BetaHead(nn.Module):
    """A Beta distribution for each coordinate, over fractions of its range; α, β > 1, so that it has one peak."""

    def __init__(self, spec: ActionSpec, config: PolicyConfig) -> None:
        super().__init__()
        self.hidden = perceptron(config)
        self.decoders = nn.ModuleList(nn.Linear(config.features, coordinates(spec)) for _ in range(2))

    def distribution(self, features: Tensor) -> Beta:
        hidden = self.hidden(features)
        alpha, beta = (F.softplus(decoder(hidden).float()) + 1.0 for decoder in self.decoders)  # (N, K)
        return Beta(alpha, beta, validate_args=False)

    def forward(
        self,
        features: Tensor,
        action: Tensor | None = None,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sample an action (N, K) float32, or evaluate the one given; also its log-density and entropy (N,)."""
        distribution = self.distribution(features)
        if action is None:
            # A Beta variate is X / (X + Y) of two gamma variates; `Beta.sample` would take no generator.
            alpha, beta = distribution.concentration1.detach(), distribution.concentration0.detach()
            if temperature > 0.0:  # the density to the power of 1 / temperature is that of another Beta distribution
                drawn = (1.0 + (a - 1.0) / temperature for a in (alpha, beta))
                x, y = (torch._standard_gamma(a, generator=generator) for a in drawn)
            else:
                x, y = alpha - 1.0, beta - 1.0  # the peak
            action = (x / (x + y)).clamp(1e-6, 1 - 1e-6)  # at 0 and 1 the density's logarithm is −∞
        return evaluate(distribution, action)
