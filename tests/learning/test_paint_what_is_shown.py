"""Pictures of a dot in one of four places: the policy learns to paint the one that it is shown.

Who does not see the target, be it policy or score, paints a quarter of the dots in their places at best.
"""

from __future__ import annotations

import pytest
import torch

from garl.advantage import gae
from garl.adversary.discriminator import DiscriminatorConfig
from garl.adversary.likeness import Likeness
from garl.adversary.memory import FakeMemory, fakes_of
from garl.adversary.update import Adversary, AdversaryConfig
from garl.engine.paint import PaintConfig
from garl.env.canvas import PaintEnv
from garl.learners import ppo
from garl.policy.actor_critic import ActorCritic
from garl.policy.features import PolicyConfig
from garl.reward import adjust, temporal
from garl.rollout import collect

HEIGHT, WIDTH, BATCH, CYCLES = 12, 16, 64, 60
PLACES = torch.tensor([0 * 3 + 2, 2 * 3 + 1, 1 * 3 + 0, 2 * 3 + 2])
"""Cells of 3 × 3."""


@pytest.mark.parametrize("learned", [False, True], ids=["likeness", "discriminator"])
def test_each_dot_is_painted_in_its_place(learned: bool) -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    paint = PaintConfig(
        height=HEIGHT,
        width=WIDTH,
        channels=1,
        background=(0,),
        brush="point",
        color_channels=0,
        thickness=False,
        opacity=False,
        grid=3,
    )
    env = PaintEnv(BATCH, paint, 1)
    env.reset(seed=5)
    pictures = torch.from_numpy(env.step(PLACES.repeat(BATCH // 4)[:, None].numpy())[0].copy())[:4]
    config = PolicyConfig(
        channels=8, blocks=1, features=32, location_channels=8, location_blocks=0, noise=2, embed_noise="none"
    )
    policy = ActorCritic(env.action_spec, (1, HEIGHT, WIDTH), config, 1, target=True)
    learner = ppo.PPOConfig(optimizer="adam", learning_rate=3e-3, epochs=4, entropy_coefficient=0.02)
    optimizer = ppo.make_optimizer(policy, learner)
    network = DiscriminatorConfig(channels=4, spectral_norm=False)
    settings = AdversaryConfig(loss="minimax_logit", optimizer="adam", learning_rate=2e-3, r1=0.1, network=network)
    adversary: Adversary | Likeness = Likeness(torch.zeros(1, 1, HEIGHT, WIDTH, dtype=torch.uint8), 2.0)
    if learned:
        adversary = Adversary((1, HEIGHT, WIDTH), settings, pairs=True)
    memory = FakeMemory(4 * BATCH)
    noise = torch.zeros(BATCH, 2)
    for cycle in range(CYCLES):
        optimizer.param_groups[0]["lr"] = learner.learning_rate * (1 - cycle / CYCLES)
        asked = pictures[torch.randint(4, (BATCH,), generator=generator)]
        rollout = collect(env, policy, noise, generator, condition=asked)
        score = adversary.score(rollout.canvases.flatten(0, 1), asked).view(2, BATCH)
        advantage, target = gae(temporal(adjust(score, score[-1])), rollout.value, 0.99, 0.95)
        ppo.update(policy, optimizer, rollout, advantage, target, learner, generator)
        if isinstance(adversary, Adversary):
            fakes = fakes_of(rollout, "none", generator)
            memory.add(fakes.images, generator, fakes.step, fakes.condition)
            for _ in range(4):
                fake = memory.sample(32, generator)
                adversary.update(fake.condition, fake.images, generator, fake.condition, fake.condition)
    shown = torch.arange(BATCH) % 4
    painted = collect(env, policy, noise, generator, condition=pictures[shown]).action[0, :, 0]
    assert (painted == PLACES[shown]).float().mean() > 0.75


def test_who_is_never_rewarded_learns_in_hindsight() -> None:
    """Every stroke is as good as any other, and no picture is ever asked for that it does not show: what an agent
    paints by chance tells it how such a picture is painted."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    paint = PaintConfig(
        height=HEIGHT,
        width=WIDTH,
        channels=1,
        background=(0,),
        brush="point",
        color_channels=0,
        thickness=False,
        opacity=False,
        grid=3,
    )
    env = PaintEnv(BATCH, paint, 1)
    env.reset(seed=5)
    config = PolicyConfig(channels=8, blocks=0, features=32, location_channels=8, location_blocks=0, location_maps=True)
    policy = ActorCritic(env.action_spec, (1, HEIGHT, WIDTH), config, 1, target=True)
    learner = ppo.PPOConfig(optimizer="adam", learning_rate=3e-3, epochs=4, hindsight=1.0)
    optimizer = ppo.make_optimizer(policy, learner)
    asked, noise, nothing = (
        torch.zeros(BATCH, 1, HEIGHT, WIDTH, dtype=torch.uint8),
        torch.zeros(BATCH, 10),
        torch.zeros(1, BATCH),
    )
    for _ in range(12):
        rollout = collect(env, policy, noise, generator, condition=asked)
        ppo.update(policy, optimizer, rollout, nothing, nothing, learner, generator)
    places = torch.arange(BATCH) % 9
    env.begin()
    shown = env.paint(places[:, None])
    painted = collect(env, policy, noise, generator, condition=shown).action[0, :, 0]
    assert (painted == places).float().mean() > 0.75
