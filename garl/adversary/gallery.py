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
    """The paintings of the last visits, and the mean scores that each visit gave to all that hung there.

    images  (I, 32, C, H, W) uint8     scores  (J, I) float32, NaN where set i came after visit j; J = I
    """

    def __init__(self) -> None:
        self.images: Tensor | None = None
        self.scores = torch.empty(0, 0)

    def visit(self, paintings: Tensor, score: Callable[[Tensor], Tensor]) -> None:
        """Hang the first of `paintings` (N ≥ 32, C, H, W) uint8, and score every set anew."""
        newest = paintings[None, :SHOWN]
        self.images = newest if self.images is None else torch.cat([self.images, newest])[-ROOMS:]
        rooms = len(self.images)
        row = score(self.images.flatten(0, 1)).view(rooms, -1).mean(1)
        before = torch.cat([self.scores, self.scores.new_full((len(self.scores), 1), torch.nan)], 1)[:, -rooms:]
        self.scores = torch.cat([before.to(row.device), row[None]])[-rooms:]

    def state_dict(self) -> dict[str, Tensor]:
        images = torch.empty(0, dtype=torch.uint8) if self.images is None else self.images
        return {"images": images, "scores": self.scores}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.images = state["images"] if len(state["images"]) else None
        self.scores = state["scores"]
