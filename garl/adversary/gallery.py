"""Old paintings that are kept to ask the discriminator again and again what it thinks of them (thesis §7.6)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SHOWN = 32
"""Paintings of a visit that are kept."""
ROOMS = 24
"""Visits that are remembered; the oldest goes first."""


class Gallery:
    """The paintings of the last J visits, and the mean scores that each visit gave to all that hung there.

    images     (J, 32, C, H, W) uint8      scores  (J, J) float32; set i came with visit i, before it stands 0
    condition  (J, 32) int64, the classes that the paintings were asked for; −1: none; or the targets, as the images
    """

    def __init__(self) -> None:
        self.images = torch.empty(0, dtype=torch.uint8)
        self.condition = torch.empty(0, dtype=torch.int64)
        self.scores = torch.empty(0, 0)

    def visit(
        self, paintings: Tensor, condition: Tensor | None, score: Callable[[Tensor, Tensor | None], Tensor]
    ) -> None:
        """Hang the first 32 of `paintings` (N, C, H, W) uint8, asked for `condition` (N, …); score every set anew."""
        asked = paintings.new_full((len(paintings),), -1, dtype=torch.int64) if condition is None else condition
        self.images, self.condition = _hung(self.images, paintings), _hung(self.condition, asked)
        rooms = len(self.images)
        told = None if condition is None else self.condition.flatten(0, 1)
        row = score(self.images.flatten(0, 1), told).view(rooms, -1).mean(1)
        before = torch.nn.functional.pad(self.scores.to(row.device), (0, 1))[:, -rooms:]
        self.scores = torch.cat([before, row[None]])[-rooms:] if len(before) else row[None]

    def state_dict(self) -> dict[str, Tensor]:
        return {"images": self.images, "condition": self.condition, "scores": self.scores}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if state:  # older runs had no gallery
            self.images, self.condition, self.scores = state["images"], state["condition"], state["scores"]


def _hung(kept: Tensor, new: Tensor) -> Tensor:
    """`kept` (J, 32, …) with the first of `new` (N, …) behind it, as far as there are rooms."""
    new = new[None, :SHOWN]
    return torch.cat([kept, new])[-ROOMS:] if len(kept) else new
