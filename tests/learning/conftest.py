"""What two tests have in common: dots in some of 3 × 3 places, asked for or shown, painted in one stroke."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from garl.advantage import gae
from garl.adversary.discriminator import DiscriminatorConfig
from garl.adversary.update import AdversaryConfig
from garl.engine.paint import PaintConfig
from garl.env.canvas import PaintEnv
from garl.learners import ppo
from garl.policy.actor_critic import ActorCritic
from garl.policy.features import PolicyConfig
from garl.reward import adjust, temporal
from garl.rollout import collect
from garl.types import Rollout

BATCH, CYCLES = 64, 60


class Dots(NamedTuple):
    """A task, its agent and its discriminator's settings."""

    pictures: Tensor  # (64, 1, 12, 16) uint8, one of each place in turn
    paint: Callable[[Tensor], Rollout]  # what is asked for, (64, …) → what the agent makes of it
    learn: Callable[[Rollout, Tensor, int], None]  # from scores of its canvases, (128,), in one of `cycles`
    generator: torch.Generator
    adversary: AdversaryConfig
    cycles: int


@pytest.fixture
def env() -> PaintEnv:
    """64 black canvases of 12×16, on which an action is the place of a dot, of 3 × 3."""
    paint = PaintConfig(
        height=12,
        width=16,
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
    return env


@pytest.fixture
def dots(env: PaintEnv) -> Callable[..., Dots]:
    """Makes the task from the places, and from what a policy is told of what it is asked for."""

    def make(places: Tensor, **told: Any) -> Dots:
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(1)
        pictures = torch.from_numpy(env.step(places.repeat(BATCH // len(places))[:, None].numpy())[0].copy())
        config = PolicyConfig(
            channels=8, blocks=1, features=32, location_channels=8, location_blocks=0, noise=2, embed_noise="none"
        )
        policy = ActorCritic(env.action_spec, (1, 12, 16), config, 1, **told)
        learner = ppo.PPOConfig(optimizer="adam", learning_rate=3e-3, epochs=4, entropy_coefficient=0.02)
        optimizer = ppo.make_optimizer(policy, learner)

        def collected(asked: Tensor) -> Rollout:
            return collect(env, policy, torch.zeros(BATCH, 2), generator, condition=asked)

        def learn(rollout: Rollout, score: Tensor, cycle: int) -> None:
            optimizer.param_groups[0]["lr"] = learner.learning_rate * (1 - cycle / CYCLES)
            score = score.view(2, BATCH)
            advantage, target = gae(temporal(adjust(score, score[-1])), rollout.value, 0.99, 0.95)
            ppo.update(policy, optimizer, rollout, advantage, target, learner, generator)

        network = DiscriminatorConfig(channels=4, spectral_norm=False)
        adversary = AdversaryConfig(loss="minimax_logit", optimizer="adam", learning_rate=2e-3, r1=0.1, network=network)
        return Dots(pictures, collected, learn, generator, adversary, CYCLES)

    return make
