"""A memory of fakes, so that the discriminator does not forget what it has learned to reject (thesis §7.6)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor


class FakeMemory:
    """The last `capacity` paintings, uint8 (N, C, H, W); sampled uniformly, or the most recent ones only.

    `priority="recent"`: batches come from the newest `capacity` paintings ever added (a ring). `"uniform"`:
    each painting ever added is kept with equal probability (reservoir sampling, Vitter 1985).
    """

    def __init__(self, capacity: int, priority: Literal["recent", "uniform"] = "recent") -> None:
        self.capacity, self.priority = capacity, priority
        self.images: Tensor | None = None  # (capacity, C, H, W), allocated when the first painting comes
        self.seen = 0

    def __len__(self) -> int:
        return min(self.seen, self.capacity)

    def add(self, paintings: Tensor, generator: torch.Generator) -> None:
        """Take in finished paintings (N, C, H, W) uint8."""
        assert paintings.dtype == torch.uint8, "canvases at rest are uint8"
        if self.images is None:
            self.images = paintings.new_zeros((self.capacity, *paintings.shape[1:]))
        order = torch.arange(self.seen, self.seen + len(paintings))
        if self.priority == "recent":
            slots = order % self.capacity
        else:
            draw = (torch.rand(len(paintings), generator=generator, dtype=torch.float64) * (order + 1)).long()
            slots = torch.where(order < self.capacity, order, draw)
        # Where a slot is drawn twice, the later painting stays.
        where, from_the_end = np.unique(slots.numpy()[::-1], return_index=True)
        kept = where < self.capacity
        source = len(paintings) - 1 - from_the_end[kept]
        self.images[self._index(where[kept])] = paintings[self._index(source)]
        self.seen += len(paintings)

    def batch(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, C, H, W) uint8, uniform with replacement over what is kept."""
        assert self.images is not None, "the memory is empty"
        return self.images[self._index(torch.randint(len(self), (n,), generator=generator).numpy())]

    def _index(self, numbers: np.ndarray) -> Tensor:
        """Numbers drawn on the CPU, where the paintings are; a GPU is not waited for."""
        assert self.images is not None
        return torch.from_numpy(numbers).to(self.images.device, non_blocking=True)

    def state_dict(self) -> dict[str, Tensor]:
        images = self.images[: len(self)] if self.images is not None else torch.empty(0, dtype=torch.uint8)
        return {"images": images, "seen": torch.tensor(self.seen)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.seen = int(state["seen"])
        if self.seen:
            images = state["images"]
            self.images = images.new_zeros((self.capacity, *images.shape[1:]))
            self.images[: len(images)] = images
