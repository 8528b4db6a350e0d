"""Pictures of a dot in one of four places: the policy learns to paint the one that it is shown.

Who does not see the target, be it policy or score, paints a quarter of the dots in their places at best.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from garl.adversary.likeness import Likeness
from garl.adversary.memory import FakeMemory, fakes_of
from garl.adversary.update import Adversary
from garl.env.canvas import PaintEnv
from garl.learners import ppo
from garl.policy.actor_critic import ActorCritic
from garl.policy.features import PolicyConfig
from garl.rollout import collect

PLACES = torch.tensor([0 * 3 + 2, 2 * 3 + 1, 1 * 3 + 0, 2 * 3 + 2])
"""Cells of 3 × 3."""


@pytest.mark.parametrize("learned", [False, True], ids=["likeness", "discriminator"])
def test_each_dot_is_painted_in_its_place(learned: bool, dots: Callable[..., Any]) -> None:
    task = dots(PLACES, target=True)
    pictures, generator, batch = task.pictures[:4], task.generator, len(task.pictures)
    adversary: Adversary | Likeness = Likeness(torch.zeros_like(pictures[:1]), 2.0)
    if learned:
        adversary = Adversary(pictures.shape[1:], task.adversary, pairs=True)
    memory = FakeMemory(4 * batch)
    for cycle in range(task.cycles):
        asked = pictures[torch.randint(4, (batch,), generator=generator)]
        rollout = task.paint(asked)
        task.learn(rollout, adversary.score(rollout.canvases.flatten(0, 1), asked), cycle)
        if isinstance(adversary, Adversary):
            fakes = fakes_of(rollout, "none", generator, asked)
            memory.add(fakes.images, generator, fakes.step, fakes.condition)
            for _ in range(4):
                fake = memory.sample(32, generator)
                adversary.update(fake.condition, fake.images, generator, fake.condition)
    shown = torch.arange(batch) % 4
    painted = task.paint(pictures[shown]).action[0, :, 0]
    assert (painted == PLACES[shown]).float().mean() > 0.75


def test_who_is_never_rewarded_learns_in_hindsight(env: PaintEnv) -> None:
    """Every stroke is as good as any other, and no picture is ever asked for that it does not show: what an agent
    paints by chance tells it how such a picture is painted."""
    torch.manual_seed(0)
    batch, generator = env.num_envs, torch.Generator().manual_seed(1)
    config = PolicyConfig(channels=8, blocks=0, features=32, location_channels=8, location_blocks=0, location_maps=True)
    policy = ActorCritic(env.action_spec, (1, 12, 16), config, 1, target=True)
    learner = ppo.PPOConfig(optimizer="adam", learning_rate=3e-3, epochs=4, hindsight=1.0)
    optimizer = ppo.make_optimizer(policy, learner)
    asked, noise = torch.zeros(batch, 1, 12, 16, dtype=torch.uint8), torch.zeros(batch, 10)
    nothing = torch.zeros(1, batch)
    for _ in range(12):
        rollout = collect(env, policy, noise, generator, condition=asked)
        ppo.update(policy, optimizer, rollout, nothing, nothing, learner, generator)
    places = torch.arange(batch) % 9
    env.begin()
    shown = env.paint(places[:, None])
    painted = collect(env, policy, noise, generator, condition=shown).action[0, :, 0]
    assert (painted == places).float().mean() > 0.75
