"""Model-based DDPG where the best painting is known: one circle, of the target's own colour, where the target has it.

A gradient of the wrong sign, a target that the actor does not see, or strokes whose numbers are swapped miss the
threshold; an actor that paints the mean of all targets reaches about 0.75.
"""

from __future__ import annotations

import pytest
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


@pytest.mark.parametrize("critics", [1, 2], ids=["ddpg", "td3"])
def test_a_circle_is_painted_where_the_target_has_it(critics: int) -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    network = ResNetConfig(width=8)
    config = DDPGConfig(network=network, actor_rate=3e-3, critics=critics, actor_delay=critics, smoothing=0.0)
    agent, twin = DDPG(SIDE, 1, 1, config), Twin(pen_of("circle"))

    def score(canvas: Tensor, target: Tensor) -> Tensor:
        return -10 * (canvas - target).square().mean((1, 2, 3))

    step, weight = torch.zeros(32), torch.ones(32)
    for update in range(150 * critics):
        target = circles(32, generator)
        blank = torch.ones_like(target)
        agent.update_critics(blank, target, step, weight, twin, score, generator)
        if (update + 1) % critics == 0:
            agent.update_actor(blank, target, step, twin, score)
    target = circles(64, generator)
    blank = torch.ones_like(target)
    with torch.no_grad():
        painted = twin(agent.act(agent.actor.eval(), blank, target, torch.zeros(64)), blank)
    ratio = (painted - target).square().mean() / (blank - target).square().mean()
    assert ratio < 0.35
