"""What every engine offers. An engine knows no policy, and a policy knows no engine: they meet in `action_spec`."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from garl.types import ActionSpec


class Engine(Protocol):
    """A batch of canvases that strokes are applied to. Canvases are uint8 (B, C, H, W), on the engine's device."""

    device: torch.device

    @property
    def action_spec(self) -> ActionSpec:
        """The ordered dimensions of an action."""

    def reset(self, n: int, rng: np.random.Generator) -> Tensor:
        """Start `n` blank canvases; `rng` seeds whatever is random in their strokes."""

    def apply(self, canvas: Tensor, action: Tensor) -> Tensor:
        """Return new canvases with one stroke each; `action` is int64 (B, D), bin indices by `action_spec`,
        or float32 (B, K), fractions of each coordinate's range."""
