"""Replay memory of states or transitions: plain, or prioritised by a sum-tree (Schaul et al. 2016).

A state is all that model-based learning has to remember: what an action would do there, the model tells. Without a
model, memory holds transitions.
"""

from __future__ import annotations

import math
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from garl.settings import Settings


class States(NamedTuple):
    """Canvases on the way to their targets."""

    canvas: Tensor  # (N, C, H, W) uint8
    target: Tensor  # (N,) int64, the number of the target picture in the data
    step: Tensor  # (N,) int64, actions painted so far


class Transitions(NamedTuple):
    """Moves of a pen, each with what was seen before and after it."""

    canvas: Tensor  # (N, 1, H, W) uint8
    pen: Tensor  # (N, 3) int64: column, row, down
    target: Tensor  # (N,) int64, the number of the target picture in the data
    action: Tensor  # (N,) int64
    reward: Tensor  # (N,) float32
    next_canvas: Tensor  # (N, 1, H, W) uint8
    next_pen: Tensor  # (N, 3) int64
    alive: Tensor  # (N,) bool: whether another move could follow
    shown: Tensor  # (N,) bool: whether it was demonstrated


Record = TypeVar("Record", States, Transitions)


class Sample(NamedTuple, Generic[Record]):
    """Records drawn from the memory."""

    states: Record
    slots: np.ndarray  # (N,) int64: where they lie
    weight: Tensor  # (N,) float32: what each counts in the loss


class ReplayConfig(Settings):
    """How many states are remembered, and how they are drawn."""

    capacity: int = Field(8192, ge=1)
    """States remembered; the oldest go first."""
    prioritised: bool = False
    """Draw a state with probability P(i) = p_i^α / Σ_k p_k^α, where p_i = |δ_i| + ε; otherwise all alike."""
    alpha: float = Field(0.7, ge=0.0, le=1.0)
    """α: 0 draws all alike."""
    beta: float = Field(0.5, ge=0.0, le=1.0)
    """β at the start, 1 at the end of the budget: a state counts (1 / (N · P(i)))^β, over the batch's largest."""
    epsilon: float = Field(1e-3, gt=0.0)
    """ε: what states without any error keep of a chance."""


class SumTree:
    """Numbers ≥ 0 whose sum up to any place is found in log₂ N steps: node i is the sum of nodes 2i and 2i + 1."""

    def __init__(self, capacity: int) -> None:
        self.leaves = 1 << max(0, math.ceil(math.log2(capacity)))
        self.nodes = np.zeros(2 * self.leaves, np.float64)

    def __getitem__(self, slots: np.ndarray) -> np.ndarray:
        return self.nodes[slots + self.leaves]

    def __setitem__(self, slots: np.ndarray, values: np.ndarray | float) -> None:
        at = slots + self.leaves
        self.nodes[at] = values
        while len(at) and at[0] > 1:
            at = np.unique(at >> 1)
            self.nodes[at] = self.nodes[2 * at] + self.nodes[2 * at + 1]

    @property
    def total(self) -> float:
        return float(self.nodes[1])

    def find(self, mass: np.ndarray) -> np.ndarray:
        """The slots (N,) where the running sum first exceeds each `mass` (N,), 0 ≤ mass < total."""
        at, mass = np.ones(len(mass), np.int64), mass.copy()
        while at[0] < self.leaves:
            left = self.nodes[2 * at]
            # Rounding may leave a mass that is no less than all that is left: nothing lies in an empty branch.
            right = (mass >= left) & (self.nodes[2 * at + 1] > 0)
            mass -= np.where(right, left, 0.0)
            at = 2 * at + right
        return at - self.leaves


class Replay(Generic[Record]):
    """The newest records of a kind, on the CPU."""

    def __init__(self, config: ReplayConfig, kind: type[Record]) -> None:
        self.config, self.seen, self.highest = config, 0, 1.0
        self.kind: type[Record] = kind
        self.kept: Record | None = None
        self.tree = SumTree(config.capacity)  # p_i^α

    def __len__(self) -> int:
        return min(self.seen, self.config.capacity)

    def add(self, states: Record) -> None:
        """Remember states; each has the highest priority so far, so that it is seen soon."""
        if self.kept is None:
            self.kept = self.kind(*map(self._room, states))
        newest = self.kind(*(field[-self.config.capacity :] for field in states))
        count = len(newest[0])
        slots = (self.seen + len(states[0]) - count + np.arange(count)) % self.config.capacity
        for room, field in zip(self.kept, newest, strict=True):
            room[torch.from_numpy(slots)] = field
        self.tree[slots] = self.highest**self.config.alpha
        self.seen += len(states[0])

    def _room(self, field: Tensor) -> Tensor:
        """Zeros for all that may be remembered of a field."""
        return field.new_zeros((self.config.capacity, *field.shape[1:]))

    def sample(self, n: int, generator: torch.Generator, annealed: float = 1.0) -> Sample[Record]:
        """`n` states, with replacement; `annealed`, 0..1, is how far β has come from its start to 1.

        Prioritised, one is drawn from each of n parts of equal mass (Schaul et al. 2016, B.2.1).
        """
        assert self.kept is not None, "the memory is empty"
        random = torch.rand(n, generator=generator, dtype=torch.float64).numpy()
        if self.config.prioritised:
            total = self.tree.total
            slots = self.tree.find((np.arange(n) + random) / n * total)
            beta = self.config.beta + annealed * (1.0 - self.config.beta)
            weight = (len(self) * self.tree[slots] / total) ** -beta
        else:
            slots, weight = (random * len(self)).astype(np.int64), np.ones(n)
        index = torch.from_numpy(slots)
        states = self.kind(*(field[index] for field in self.kept))
        return Sample(states, slots, torch.from_numpy((weight / weight.max()).astype(np.float32)))

    def prioritise(self, slots: np.ndarray, error: Tensor) -> None:
        """Give the states in `slots` (N,) the priorities |δ| + ε of their errors δ (N,)."""
        priority = error.detach().abs().double().cpu().numpy() + self.config.epsilon
        self.highest = max(self.highest, float(priority.max()))
        self.tree[slots] = priority**self.config.alpha

    def state_dict(self) -> dict[str, Tensor]:
        if self.kept is None:
            return {"seen": torch.tensor(0)}
        count = len(self)
        fields = {name: field[:count] for name, field in self.kept._asdict().items()}
        mass = torch.from_numpy(self.tree[np.arange(count)])
        return {
            **fields,
            "mass": mass,
            "highest": torch.tensor(self.highest, dtype=torch.float64),
            "seen": torch.tensor(self.seen),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if not int(state["seen"]):
            return
        self.seen = 0
        self.add(self.kind(*(state[name] for name in self.kind._fields)))
        self.seen, self.highest = int(state["seen"]), float(state["highest"])
        self.tree[np.arange(len(state["mass"]))] = state["mass"].numpy()
