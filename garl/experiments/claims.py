"""The thesis's claims, each with the arms that put it to the test and what it expects of them.

The sizes are such that two cores can run them: grey digits of 28×28 in four strokes, networks of a quarter of the
thesis's width. All else are the thesis's defaults (A.3), but what an arm changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from garl.adversary.discriminator import DiscriminatorConfig
from garl.adversary.update import AdversaryConfig
from garl.experiments.verdict import Alike, Better, Expectation, Learns
from garl.policy.features import PolicyConfig
from garl.systems.garl import DIGITS, Config


@dataclass(frozen=True)
class Claim:
    """What the thesis says, and how it is tested."""

    name: str
    section: str
    """Of the thesis; empty if the claim is ours."""
    says: str
    base: Config
    arms: dict[str, dict[str, Any]]
    """Settings that an arm changes, as on the command line."""
    expects: tuple[Expectation, ...]
    episodes: int = 20_000
    """Paintings of a run."""
    note: str = ""
    """What differs from the thesis's own experiment."""


FIVES = Config(
    data="mnist",
    label=5,
    strokes=4,
    picture_every=16,
    checkpoint_every=1000,
    paint=DIGITS.paint,
    policy=PolicyConfig(channels=16, blocks=2, location_channels=16, location_blocks=1),
    adversary=AdversaryConfig(network=DiscriminatorConfig(channels=8)),
)
"""The thesis's defaults at the size of a digit: MNIST's fives in four hard round strokes (§7.3)."""

WGAN = Claim(
    name="wgan",
    section="7.4.2",
    says="WGAN-GP shows learning after 1,500 paintings; without regularisation the discriminator collapses.",
    base=FIVES,
    arms={"gradient penalty": {}, "no penalty": {"adversary.gradient_penalty": 0.0}},
    expects=(Learns("gradient penalty"), Better("gradient penalty", "no penalty")),
)

FAST = Claim(
    name="fast",
    section="",
    says="What makes `thesis-fast` fast costs no quality at equal steps.",
    base=DIGITS.changed({"data": "mnist", "label": 5, "picture_every": 8, "checkpoint_every": 1000}),
    arms={
        "plain": {"ppo.precision": "float32", "ppo.batch_size": 64, "ppo.learning_rate": 2e-4},
        "fast": {"adversary.precision": "bfloat16"},
    },
    expects=(Alike("fast", "plain"),),
    episodes=60_000,
    note="The arms differ as the presets thesis and thesis-fast do: bfloat16, minibatches of 256 instead of 64, twice\n"
    "the learning rate; in all else they are the digits preset.",
)

CLAIMS = (WGAN, FAST)
