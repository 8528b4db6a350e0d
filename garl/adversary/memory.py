"""A memory of fakes, so that the discriminator does not forget what it has learned to reject (thesis §7.6)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from garl.types import Rollout

Priority = Literal["recent", "uniform", "mixed"]
Intermediate = Literal["none", "all", "mixed", "weighted"]


class Fakes(NamedTuple):
    """Canvases that a policy painted."""

    images: Tensor  # (N, C, H, W) uint8
    step: Tensor  # (N,) int64, strokes on each
    condition: Tensor
    """(N,) int64 on the CPU, the class that each was to show, −1: none; or (N, C, H, W) uint8, the target."""

    def at(self, index: Tensor) -> Fakes:
        """Those with these numbers, drawn on the CPU, wherever the fields are; a GPU is not waited for."""
        there = {field.device: index.to(field.device, non_blocking=True) for field in self}
        return Fakes(*(field[there[field.device]] for field in self))


def fakes_of(
    rollout: Rollout, intermediate: Intermediate, generator: torch.Generator, asked: Tensor | None = None
) -> Fakes:
    """What the discriminator learns to reject of an episode (thesis §7.4.4), in one batch; `asked` (B, …) is what each
    painting was to show.

    "none": the B finished paintings. "all", "weighted": every canvas C_1 … C_T. "mixed": the finished ones, and one
    unfinished canvas C_1 … C_{T−1} of each painting, drawn at random; the others are discarded. More than the finished
    ones come shuffled, so that a memory too small for all keeps no step rather than another.
    """
    strokes, batch = rollout.log_prob.shape
    device = rollout.canvases.device
    asked = torch.full((batch,), -1) if asked is None else asked
    if intermediate in ("all", "weighted"):
        step = torch.arange(1, strokes + 1, device=device)[:, None].expand(-1, batch)
        each = asked.repeat(strokes, *[1] * (asked.ndim - 1))
        fakes = Fakes(rollout.canvases[1:].flatten(0, 1), step.flatten(), each)
        return fakes.at(torch.randperm(strokes * batch, generator=generator))
    finished = Fakes(rollout.final, torch.full((batch,), strokes, device=device), asked)
    if intermediate == "none":
        return finished
    step = torch.randint(1, strokes, (batch,), generator=generator).to(device, non_blocking=True)
    unfinished = Fakes(rollout.canvases[step, torch.arange(batch, device=device)], step, asked)
    fakes = Fakes(*(torch.cat(fields) for fields in zip(finished, unfinished, strict=True)))
    return fakes.at(torch.randperm(2 * batch, generator=generator))


def canvases_of(episodes: int, strokes: int, intermediate: Intermediate) -> int:
    """How many canvases `fakes_of` takes from so many episodes."""
    return episodes * {"none": 1, "mixed": 2, "all": strokes, "weighted": strokes}[intermediate]


class FakeMemory:
    """At most `capacity` canvases, sampled uniformly.

    `priority="recent"`: the newest `capacity` ever added (a ring). `"uniform"`: each canvas ever added is kept with
    equal probability (reservoir sampling, Vitter 1985). `"mixed"`: half of a batch comes from such a reservoir, half
    from what was added last.
    """

    def __init__(self, capacity: int, priority: Priority = "recent") -> None:
        self.capacity, self.priority = capacity, priority
        self.kept: Fakes | None = None  # each field (capacity, …), allocated when the first painting comes
        self.newest: Fakes | None = None  # what "mixed" added last: no state, as each cycle adds before it samples
        self.seen = 0

    def __len__(self) -> int:
        return min(self.seen, self.capacity)

    def add(
        self, paintings: Tensor, generator: torch.Generator, step: Tensor | None = None, condition: Tensor | None = None
    ) -> None:
        """Take in canvases (N, C, H, W) uint8, with the strokes on each, (N,) int64, and what was asked for."""
        assert paintings.dtype == torch.uint8, "canvases at rest are uint8"
        unknown = torch.full((len(paintings),), -1)
        fakes = Fakes(paintings, unknown if step is None else step, unknown if condition is None else condition)
        if self.kept is None:
            self.kept = self._room(fakes)
        order = torch.arange(self.seen, self.seen + len(paintings))
        if self.priority == "recent":
            slots = order % self.capacity
        else:
            draw = (torch.rand(len(paintings), generator=generator, dtype=torch.float64) * (order + 1)).long()
            slots = torch.where(order < self.capacity, order, draw)
        # Where a slot is drawn twice, the later painting stays.
        where, from_the_end = np.unique(slots.numpy()[::-1], return_index=True)
        kept = where < self.capacity
        fakes_kept = fakes.at(torch.from_numpy(len(paintings) - 1 - from_the_end[kept]))
        target = torch.from_numpy(where[kept])
        for room, field in zip(self.kept, fakes_kept, strict=True):
            room[target.to(room.device, non_blocking=True)] = field
        self.newest = fakes if self.priority == "mixed" else None
        self.seen += len(paintings)

    def sample(self, n: int, generator: torch.Generator) -> Fakes:
        """`n` canvases with what is known of them, uniform with replacement over what is kept."""
        assert self.kept is not None, "the memory is empty"
        new = n // 2 if self.newest is not None else 0
        sampled = self.kept.at(torch.randint(len(self), (n - new,), generator=generator))
        if self.newest is None:
            return sampled
        newest = self.newest.at(torch.randint(len(self.newest.step), (new,), generator=generator))
        return Fakes(*(torch.cat(pair) for pair in zip(newest, sampled, strict=True)))

    def batch(self, n: int, generator: torch.Generator) -> Tensor:
        """The images alone of a sample, (n, C, H, W) uint8."""
        return self.sample(n, generator).images

    def _room(self, fakes: Fakes) -> Fakes:
        """Zeros for `capacity` canvases like these."""
        return Fakes(*(field.new_zeros((self.capacity, *field.shape[1:])) for field in fakes))

    def state_dict(self) -> dict[str, Tensor]:
        nothing = torch.empty(0, dtype=torch.uint8)
        fields = Fakes(*(field[: len(self)] for field in self.kept)) if self.kept else Fakes(nothing, nothing, nothing)
        return {**fields._asdict(), "seen": torch.tensor(self.seen)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.seen = int(state["seen"])
        if self.seen:
            images = state["images"]
            unknown = torch.full((len(images),), -1)  # in checkpoints of older versions
            condition = state.get("condition", unknown)
            condition = condition.cpu() if condition.ndim == 1 else condition
            fakes = Fakes(images, state.get("step", unknown), condition)
            self.kept = self._room(fakes)
            for room, field in zip(self.kept, fakes, strict=True):
                room[: len(images)] = field
