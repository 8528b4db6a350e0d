"""A fixed adversary of (canvas, target) pairs: how alike they are, in pixels and in features. It learns nothing.

The negative L2 distance is an optimal discriminator of such pairs, though not the only one (SPIRAL, Ganin et al. 2018;
thesis §3.1). Half a power and a perceptual loss are PaintBot's (Jia et al. 2019; thesis §3.3.1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Features = Callable[[Tensor], Sequence[Tensor]]
"""Pictures (N, C, H, W) uint8 → feature maps, each (N, d, h, w) float32."""
LEAST = 1e-3
"""Of a blank canvas's loss: where a target is as good as blank, no stroke earns or costs a fortune."""


def pixel_loss(picture: Tensor, target: Tensor, power: float) -> Tensor:
    """Mean of |I − I_ref|^p over the places of pictures (N, C, H, W) in 0..1 → (N,); PaintBot's L^½ has p = ½."""
    return (picture - target).abs().pow(power).flatten(1).mean(1)


def perceptual_loss(maps: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """Σ_n ‖φ_n(I) − φ_n(I_ref)‖² / (h_n w_n d_n) of feature maps (N, d, h, w) → (N,) (thesis eq. 3.1)."""
    return torch.stack([(a - b).square().flatten(1).mean(1) for a, b in zip(maps, target, strict=True)]).sum(0)


class Likeness:
    """Scores canvases by the share of the blank canvas's loss that they have removed: 0 for it, 1 for the target.

    blank: (1, C, H, W) uint8. The loss is the pixel loss of the power and, `perceptual` times as heavy, the perceptual
    one by `features`; each counts as a share of its own, as their scales have nothing to do with each other. Rewards by
    the differences of these scores are PaintBot's (L_{t−1} − L_t) / L_0.
    """

    def __init__(self, blank: Tensor, power: float, perceptual: float = 0.0, features: Features | None = None) -> None:
        assert (features is not None) == (perceptual > 0), "the perceptual loss needs features, and they a weight"
        self.blank, self.power, self.perceptual, self.features = blank, power, perceptual, features
        self.network = nn.Module()
        self.optimizer = torch.optim.SGD([{"params": []}])

    def modules(self) -> dict[str, nn.Module]:
        """What changes: nothing."""
        return {}

    @torch.no_grad()
    def score(
        self, images: Tensor, condition: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Canvases (N, C, H, W) uint8 and their targets (M, C, H, W), of which N is a multiple → (N,), 1 at most."""
        assert condition is not None, "likeness needs a target"
        target = self._seen(condition)
        before = [loss.clamp(min=LEAST) for loss in self._losses(self._seen(self.blank.expand_as(condition)), target)]
        scores = []
        for part in images.split(len(condition)):
            losses = self._losses(self._seen(part), target)
            pixels, *maps = (1.0 - loss / blank for loss, blank in zip(losses, before, strict=True))
            scores.append((pixels + self.perceptual * maps[0]) / (1.0 + self.perceptual) if maps else pixels)
        return torch.cat(scores)

    def _seen(self, images: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        return images.float() / 255, self.features(images) if self.features else ()

    def _losses(
        self, picture: tuple[Tensor, Sequence[Tensor]], target: tuple[Tensor, Sequence[Tensor]]
    ) -> list[Tensor]:
        losses = [pixel_loss(picture[0], target[0], self.power)]
        return [*losses, perceptual_loss(picture[1], target[1])] if self.features else losses
