"""Model-based DDPG where the best painting is known: one circle, of the target's own colour, where the target has it.

The best that an actor could paint that does not see its target is the mean of all: it must be half as wrong at most.
"""

from __future__ import annotations

import torch
from torch import Tensor

from garl.engine.neural import Twin, draw, pen_of
from garl.engine.paint import PreparedBrushes
from garl.learners.ddpg import DDPG, DDPGConfig
from garl.policy.resnet import ResNetConfig

SIDE = 16


def circles(n: int, generator: torch.Generator) -> Tensor:
    """Black circles of one size anywhere on white, (n, 3, SIDE, SIDE) in 0..1, as the engine paints them."""
    pen = pen_of("circle")
    numbers = torch.rand(n, 13, generator=generator)
    numbers[:, :2] = 0.25 + 0.5 * numbers[:, :2]
    numbers[:, 6:10] = 1.0
    return (1 - draw(pen.strokes(numbers), SIDE, PreparedBrushes(pen.brush))).expand(n, 3, SIDE, SIDE)


def test_a_circle_is_painted_where_the_target_has_it() -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    config = DDPGConfig(network=ResNetConfig(width=8), actor_rate=5e-3)
    agent, twin = DDPG(SIDE, 1, 1, config), Twin(pen_of("circle"))

    def score(canvas: Tensor, target: Tensor) -> Tensor:
        return -10 * (canvas - target).square().mean((1, 2, 3))

    step, weight = torch.zeros(16), torch.ones(16)
    for _ in range(60):
        target = circles(16, generator)
        blank = torch.ones_like(target)
        agent.update_critics(blank, target, step, weight, twin, score, generator)
        agent.update_actor(blank, target, step, twin, score)
    target = circles(64, generator)
    blank = torch.ones_like(target)
    with torch.no_grad():
        painted = twin(agent.act(agent.actor.eval(), blank, target, torch.zeros(64)), blank)
    blind = (target - target.mean(0)).square().mean()
    assert (painted - target).square().mean() < 0.5 * blind
