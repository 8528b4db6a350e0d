"""Two classes of pictures, a dot here or a dot there: the policy learns which of them it is asked for.

Its only reward is a discriminator that knows the classes. Who does not see the class, be it policy or discriminator,
meets half of what is asked for at best.
"""

from __future__ import annotations

import torch

from garl.advantage import gae
from garl.adversary.discriminator import DiscriminatorConfig
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
PLACES = torch.tensor([0 * 3 + 2, 2 * 3 + 1])
"""Cells of 3 × 3: upper right and lower middle."""


def test_each_class_is_painted_in_its_place() -> None:
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
    pictures = torch.from_numpy(env.step(PLACES.repeat(BATCH // 2)[:, None].numpy())[0].copy())  # here, there, here, …
    assert not torch.equal(pictures[0], pictures[1]), "the classes must differ"
    config = PolicyConfig(
        channels=8, blocks=1, features=32, location_channels=8, location_blocks=0, noise=2, embed_noise="none"
    )
    policy = ActorCritic(env.action_spec, (1, HEIGHT, WIDTH), config, 1, classes=2)
    learner = ppo.PPOConfig(optimizer="adam", learning_rate=3e-3, epochs=4, entropy_coefficient=0.02)
    optimizer = ppo.make_optimizer(policy, learner)
    network = DiscriminatorConfig(channels=4, spectral_norm=False)
    adversary_config = AdversaryConfig(
        loss="minimax_logit", optimizer="adam", learning_rate=2e-3, r1=0.1, network=network
    )
    adversary = Adversary((1, HEIGHT, WIDTH), adversary_config, classes=2)
    memory = FakeMemory(4 * BATCH)
    noise = torch.zeros(BATCH, 2)
    for cycle in range(CYCLES):
        optimizer.param_groups[0]["lr"] = learner.learning_rate * (1 - cycle / CYCLES)
        asked = torch.randint(2, (BATCH,), generator=generator)
        rollout = collect(env, policy, noise, generator, condition=asked)
        score = adversary.score(rollout.canvases.flatten(0, 1), asked.repeat(2)).view(2, BATCH)
        advantage, target = gae(temporal(adjust(score, score[-1])), rollout.value, 0.99, 0.95)
        ppo.update(policy, optimizer, rollout, advantage, target, learner, generator)
        fakes = fakes_of(rollout, "none", generator, asked)
        memory.add(fakes.images, generator, fakes.step, fakes.condition)
        for _ in range(4):
            fake = memory.sample(32, generator)
            adversary.update(pictures[fake.condition], fake.images, generator, fake.condition)
    asked = torch.arange(BATCH) % 2
    painted = collect(env, policy, noise, generator, condition=asked).action[0, :, 0]
    met = (painted == PLACES[asked]).float()
    assert met[0::2].mean() > 0.75
    assert met[1::2].mean() > 0.75
