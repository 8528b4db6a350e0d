"""What all tests share: a cache of their own, one thread, and one small run that was trained once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from garl.adversary.discriminator import DiscriminatorConfig
from garl.adversary.update import AdversaryConfig
from garl.engine.paint import PaintConfig
from garl.learners.ppo import PPOConfig
from garl.policy.features import PolicyConfig
from garl.systems.garl import Config, train

# The networks are tiny: more threads would only wait for each other.
torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GARL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    """Four cycles of 8 paintings of 2 strokes, in well under a second."""
    return Config(
        data="digits",
        label=5,
        steps=64,
        strokes=2,
        envs=8,
        picture_every=2,
        checkpoint_every=2,
        device="cpu",
        threads=1,  # runs in other tests may have set more, which rounds otherwise
        paint=PaintConfig(
            height=28,
            width=28,
            channels=1,
            background=(0,),
            brush="hard_round",
            color_channels=0,
            opacity=False,
            grid=8,
            bins=4,
        ),
        policy=PolicyConfig(channels=4, blocks=0, features=16, location_channels=4, location_blocks=0, noise=3),
        adversary=AdversaryConfig(updates=2, batch_size=4, memory=20, network=DiscriminatorConfig(channels=2)),
        ppo=PPOConfig(epochs=1, batch_size=8, learning_rate=1e-3),
    )


@pytest.fixture(scope="session")
def tiny_run(tiny_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of `tiny_config`; to be read, never to be written to."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    train(tiny_config, folder)
    return folder
