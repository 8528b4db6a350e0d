"""Learning where the best painting is known: environment, policy, rewards, advantages and PPO together.

Each threshold lies between what the intact system reaches and what a broken one does: with the sign of the
policy's gradient flipped, advantages shuffled over the batch, or heads that do not see the samples before them.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from garl.advantage import gae
from garl.engine.paint import PaintConfig
from garl.env.canvas import PaintEnv
from garl.learners import a2c, ppo
from garl.policy.actor_critic import ActorCritic
from garl.policy.features import PolicyConfig
from garl.reward import episodic
from garl.rollout import collect
from garl.types import Rollout

HEIGHT, WIDTH, NOISE = 12, 16, 2
POLICY = PolicyConfig(
    channels=8, blocks=1, features=32, location_channels=8, location_blocks=0, noise=NOISE, embed_noise="none"
)


def make(brush: str, grid: int, strokes: int, batch: int = 64) -> PaintEnv:
    """White on black; an action is the stroke's locations and nothing else."""
    config = PaintConfig(
        height=HEIGHT,
        width=WIDTH,
        channels=1,
        background=(0,),
        brush=brush,
        color_channels=0,
        thickness=False,
        opacity=False,
        grid=grid,
    )
    env = PaintEnv(batch, config, strokes)
    env.reset(seed=5)
    return env


def paint(env: PaintEnv, *actions: tuple[int, ...]) -> Tensor:
    """The picture (C, H, W) uint8 that one action per stroke paints."""
    env.reset()
    for action in actions:
        canvas = env.step(np.tile(np.array(action), (env.num_envs, 1)))[0]
    return torch.from_numpy(canvas[0].copy())


def mean_square(canvases: Tensor, target: Tensor) -> Tensor:
    """(…, C, H, W) → (…): mean squared error on 0..1."""
    return ((canvases.float() - target.float()) / 255).square().mean((-3, -2, -1))


def train(
    env: PaintEnv,
    target: Tensor,
    cycles: int,
    entropy_coefficient: float,
    seed: int = 0,
    learner: ModuleType = ppo,
    **settings: Any,
) -> Rollout:
    """A learner on minus the error of the finished picture; the learning rate falls to 0. Returns a last rollout."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    policy = ActorCritic(env.action_spec, (1, HEIGHT, WIDTH), POLICY, env.strokes)
    given = {"learning_rate": 3e-3, "batch_size": 64, "entropy_coefficient": entropy_coefficient} | settings
    config = (
        a2c.A2CConfig(optimizer="adam", **given)
        if learner is a2c
        else ppo.PPOConfig(optimizer="adam", epochs=4, **given)
    )
    optimizer = learner.make_optimizer(policy, config)
    weights = learner.Weights(config, env.action_spec)
    noise = torch.zeros(env.num_envs, NOISE)
    for cycle in range(cycles):
        optimizer.param_groups[0]["lr"] = config.learning_rate * (1 - cycle / cycles)
        rollout = collect(env, policy, noise, generator)
        reward = episodic(-mean_square(rollout.canvases, target))
        advantage, returns = gae(reward, rollout.value, 0.99, 0.95)
        learner.update(policy, optimizer, rollout, advantage, returns, config, generator, weights)
    return collect(env, policy, noise, generator)


@pytest.mark.parametrize(
    ("learner", "cycles", "settings"),
    [(ppo, 30, {}), (ppo, 30, {"penalty": "kl"}), (a2c, 60, {"batch_size": 32})],
    ids=["ppo", "ppo with a KL penalty", "a2c"],
)
def test_one_dot_is_painted_where_it_belongs(learner: ModuleType, cycles: int, settings: dict[str, Any]) -> None:
    """The best place is column 4, row 1 of 6 × 6; uniform painting scores about −0.5."""
    env = make("point", 6, 1, batch=128)
    target = paint(env, (1 * 6 + 4,))
    rollout = train(env, target, cycles, 0.03, learner=learner, **settings)
    column, row = rollout.action[0, :, 0] % 6, rollout.action[0, :, 0] // 6
    assert ((column == 4) & (row == 1)).float().mean() > 0.85
    centre = rollout.strokes[0, :, :2]  # (B, 2): x, y
    distance = (centre - torch.tensor([4.5 / 6, 1.5 / 6])).norm(dim=1)
    assert distance.mean() < 0.05
    assert mean_square(rollout.final, target).mean() < 0.02


def test_the_end_of_a_line_follows_from_where_it_began() -> None:
    """A line from A to B looks like one from B to A, and the entropy bonus mostly keeps both alive. Heads that choose
    apart, p for A first and q for B second, could hit no more than pq + (1 − p)(1 − q) = 53 % with each order at 15 %
    or more. One run of five lets an order die out, so one of three must do."""
    env = make("line", 3, 1, batch=128)
    a, b = 0 * 3 + 1, 2 * 3 + 2  # upper middle, lower right
    target = paint(env, (a, b))
    assert torch.equal(target, paint(env, (b, a))), "the task needs a picture that both orders paint"

    def both_orders(seed: int) -> bool:
        start, end = train(env, target, 60, 0.45, seed).action[0].T
        forth, back = ((start == a) & (end == b)).float().mean(), ((start == b) & (end == a)).float().mean()
        return bool(forth > 0.15 and back > 0.15 and forth + back > 0.65)

    assert any(both_orders(seed) for seed in range(3))


def test_two_dots_with_a_reward_at_the_end_only() -> None:
    """The first dot earns nothing by itself, and the second must go where the first did not. One run of five or so
    settles on a wrong dot, so one of three must do."""
    env = make("point", 3, 2, batch=128)
    a, b = 0 * 3 + 2, 1 * 3 + 0
    target = paint(env, (a,), (b,))

    def both_dots(seed: int) -> bool:
        first, second = train(env, target, 40, 0.02, seed).action[..., 0]
        right = ((first == a) & (second == b)) | ((first == b) & (second == a))
        return bool(right.float().mean() > 0.85)

    assert any(both_dots(seed) for seed in range(3))
