"""Several agents that learn side by side, each from its own paintings, rewarded by one adversary (thesis §7.6.2).

One of them may run away: it fools the discriminator, whose scores of the others fall and tell them little.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from garl.advantage import RewardScale
from garl.adversary.memory import FakeMemory, Fakes
from garl.evaluate.frechet import frechet_distance
from garl.learners.shared import Weights
from garl.policy.actor_critic import ActorCritic
from garl.settings import Settings
from garl.types import Rollout


class PopulationConfig(Settings):
    """How many agents learn, and what is done for one that falls behind. The thesis's default is one agent."""

    agents: int = Field(1, ge=1, le=64)
    """Policies that learn side by side, each with `envs` canvases and all of its own but the adversary."""
    rescue_every: int = Field(20, ge=0)
    """Cycles between two looks at whether the worst agent has fallen behind the best: then it becomes a copy of that;
    0: never."""


T = TypeVar("T")

BEHIND = 1.1
"""The worst agent has fallen behind if its distance to the data is more than this many times the best's."""


@dataclass
class Member:
    """One agent of a population as it learns: all that it does not share."""

    policy: ActorCritic
    optimizer: torch.optim.Optimizer
    weights: Weights
    scale: RewardScale
    average: AveragedModel
    memory: FakeMemory
    anchor: ActorCritic | None = None  # what the policy was when it had imitated demonstrations
    prefix: str = ""

    def modules(self) -> dict[str, nn.Module]:
        """What has parameters or buffers, by name."""
        parts = {"policy": self.policy, "average": self.average, "weights": self.weights, "scale": self.scale}
        parts |= {"anchor": self.anchor} if self.anchor is not None else {}
        return {f"{self.prefix}{name}": part for name, part in parts.items()}


def prefix(number: int) -> str:
    """What the names of an agent's tensors begin with; the first one's are those of a run that has no other."""
    return f"agent_{number}." if number else ""


class Turn(NamedTuple):
    """What an agent did in a cycle, and what it came to."""

    score: Tensor  # (T + 1, B) float32
    reward: Tensor  # (T, B) float32, as are the advantage and the critic's target
    advantage: Tensor
    target: Tensor
    rollout: Rollout


def named(records: Iterable[dict[str, T]]) -> dict[str, T]:
    """One record for each agent → one of all, the agent's prefix before each name."""
    return {f"{prefix(i)}{name}": value for i, record in enumerate(records) for name, value in record.items()}


def in_turn(tensors: Sequence[Tensor]) -> Tensor:
    """One tensor for each of A agents, (B, …) → (B · A, …): the first of each, the second of each, …; what is the
    i-th agent's is [i::A]."""
    return torch.stack(list(tensors), 1).flatten(0, 1)


def sample_fakes(agents: Sequence[Member], n: int, generator: torch.Generator) -> Fakes:
    """`n` remembered fakes, equally many of each agent, or one more of the first ones."""
    sizes = [n // len(agents) + (i < n % len(agents)) for i in range(len(agents))]
    parts = [agent.memory.sample(size, generator) for agent, size in zip(agents, sizes, strict=True)]
    return Fakes(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


def compare(turns: Sequence[Turn]) -> dict[str, Tensor]:
    """Of each agent, if there are several: the mean score and return of its paintings, its entropy, and the share of
    pairs in which its painting scores higher than another agent's (Mann & Whitney 1947; a draw is half a win)."""
    figures: dict[str, Tensor] = {}
    for i, turn in enumerate(turns if len(turns) > 1 else ()):
        own = turn.score[-1]
        others = torch.cat([other.score[-1] for other in turns if other is not turn]).sort().values
        lower, not_higher = (torch.searchsorted(others, own, right=right).float() for right in (False, True))
        figures[f"agent/{i}/score"] = own.mean()
        figures[f"agent/{i}/reward"] = turn.reward.sum(0).mean()
        figures[f"agent/{i}/entropy"] = turn.rollout.entropy.mean()
        figures[f"agent/{i}/share"] = (lower + not_higher).mean() / (2 * len(others))
    return figures


def distances(paintings: Tensor, real: np.ndarray, agents: int) -> list[float]:
    """How far each agent's paintings, (N, C, H, W) uint8 in turn, are from real pictures, given as `shrunk` has them.

    Not what the discriminator says of them: an agent that fools it is not a good one, and should not be copied.
    """
    features = shrunk(paintings)
    return [frechet_distance(features[i::agents], real) for i in range(agents)]


def shrunk(images: Tensor) -> np.ndarray:
    """Images (N, C, H, W) uint8 as 8 × 8 pixels, (N, C · 64) in 0..1: features that need no labels."""
    return nn.functional.adaptive_avg_pool2d(images.float() / 255, 8).flatten(1).numpy()


def rescue(agents: Sequence[Member], distance: Sequence[float]) -> None:
    """Let the agent at the largest distance from the data, if it has fallen behind, go on as a copy of that at the
    smallest: the exploit step of population-based training (Jaderberg et al. 2017 §3.1). Its own paintings stay in the
    discriminator's memory."""
    ranked = np.argsort(distance)
    best, worst = agents[ranked[0]], agents[ranked[-1]]
    if max(distance) <= BEHIND * min(distance):
        return
    for own, other in zip(worst.modules().values(), best.modules().values(), strict=True):
        own.load_state_dict(other.state_dict())
    worst.optimizer.load_state_dict(copy.deepcopy(best.optimizer.state_dict()))
