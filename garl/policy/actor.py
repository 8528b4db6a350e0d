"""The actor of Learning to Paint: sees canvas and target, and answers with an action of k strokes.

The paper's is a residual network alone. Trained for hours instead of weeks it finds one action that is good on any
canvas, and paints it over and over: where a stroke lies on its own colour, to make it finer, or to move it a little,
changes nothing, so that no gradient leads on. With a plan every action of a painting begins with strokes in places of
its own, short ones, later ones finer, in the colours that the target has there; what to change is learned.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from garl.brush.geometry import on_curve
from garl.engine.neural import NUMBERS, SHAPE, Kind
from garl.policy.resnet import ResNet, ResNetConfig, seen

WIDTHS, OPACITIES = [6, 8], [7, 9]
"""Which of a stroke's numbers these are."""
RATE = 30.0
"""How many times as fast as the network's weights a plan is learned."""
NARROWEST = 0.25
"""Width of strokes at the end of a painting; at its beginning it is 1."""
READ: dict[Kind, list[list[float]]] = {
    "bezier": on_curve(np.eye(3), 20)[[3, 10, 17]].tolist(),
    "triangle": [[1 / 3, 1 / 3, 1 / 3]],
    "circle": [[1.0, 0.0, 0.0]],
    "pixel": [[1.0, 0.0, 0.0]],
}
"""Where a stroke's colour is read: the mean over places that are weighted sums of its three points."""


class Actor(ResNet):
    """Actions (N, k, 13) in 0..1, for a painting of so many; a ResNet by its weights' names, as it was before plans."""

    narrow: Tensor
    read: Tensor

    def __init__(
        self, strokes: int, actions: int, side: int, config: ResNetConfig, plan: bool, kind: Kind = "bezier"
    ) -> None:
        super().__init__(NUMBERS * strokes, side, config, batch_norm=True)
        self.strokes, self.actions = strokes, actions
        self.plan = nn.Parameter(first_plan(actions, strokes) / RATE) if plan else None
        if plan:  # what is planned is painted first
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)
        narrow = torch.ones(NUMBERS)
        narrow[WIDTHS] = NARROWEST
        self.register_buffer("narrow", narrow, persistent=False)
        self.register_buffer("read", torch.tensor(READ[kind]), persistent=False)

    def forward(self, canvas: Tensor, target: Tensor, progress: Tensor) -> Tensor:  # type: ignore[override]
        """canvas and target (N, 3, S, S), 0..1; progress (N,): the share of the actions that are painted."""
        logits = super().forward(seen(canvas, target, progress)).unflatten(1, (self.strokes, NUMBERS))
        if self.plan is None:
            return logits.sigmoid()
        step = (progress * self.actions).round().long().clamp(max=self.actions - 1)
        logits = logits + RATE * self.plan[step]
        there = under(target, logits[..., :6].detach().sigmoid(), self.read).clamp(0.02, 0.98)
        action = torch.cat([logits[..., SHAPE], logits[..., SHAPE.stop :] + there.logit()], -1).sigmoid()
        return action * self.narrow ** progress.view(-1, 1, 1)


def first_plan(actions: int, strokes: int) -> Tensor:
    """Logits (T, k, 13) of short strokes in random places, rather opaque, in the colours that are there."""
    logits = 1.2 * torch.randn(actions, strokes, NUMBERS)
    logits[..., 2:6] = logits[..., :2].repeat(1, 1, 2) + 0.5 * torch.randn(actions, strokes, 4)
    logits[..., OPACITIES] = 1.0
    logits[..., SHAPE.stop :] = 0.0
    return logits


def under(target: Tensor, points: Tensor, weights: Tensor) -> Tensor:
    """Colours (N, k, 3) of targets (N, 3, S, S), blurred, at places that are sums, by weights (R, 3), of each stroke's
    points (N, k, 6): the mean over these places."""
    reach = max(2, target.shape[-1] // 16)
    blurred = F.avg_pool2d(target, 2 * reach + 1, 1, reach, count_include_pad=False)
    places = weights @ points.unflatten(-1, (3, 2))  # (N, k, R, 2)
    read = F.grid_sample(blurred, 2 * places - 1, padding_mode="border", align_corners=False)  # (N, 3, k, R)
    return read.mean(-1).transpose(1, 2)
