"""Two classes of pictures, a dot here or a dot there: the policy learns which of them it is asked for.

Its only reward is a discriminator that knows the classes. Who does not see the class, be it policy or discriminator,
meets half of what is asked for at best.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from garl.adversary.memory import FakeMemory, fakes_of
from garl.adversary.update import Adversary

PLACES = torch.tensor([0 * 3 + 2, 2 * 3 + 1])
"""Cells of 3 × 3: upper right and lower middle."""


def test_each_class_is_painted_in_its_place(dots: Callable[..., Any]) -> None:
    task = dots(PLACES, classes=2)
    pictures, generator, batch = task.pictures, task.generator, len(task.pictures)  # here, there, here, …
    assert not torch.equal(pictures[0], pictures[1]), "the classes must differ"
    adversary = Adversary(pictures.shape[1:], task.adversary, classes=2)
    memory = FakeMemory(4 * batch)
    for cycle in range(task.cycles):
        asked = torch.randint(2, (batch,), generator=generator)
        rollout = task.paint(asked)
        task.learn(rollout, adversary.score(rollout.canvases.flatten(0, 1), asked.repeat(2)), cycle)
        fakes = fakes_of(rollout, "none", generator, asked)
        memory.add(fakes.images, generator, fakes.step, fakes.condition)
        for _ in range(4):
            fake = memory.sample(32, generator)
            adversary.update(pictures[fake.condition], fake.images, generator, fake.condition)
    asked = torch.arange(batch) % 2
    painted = task.paint(asked).action[0, :, 0]
    met = (painted == PLACES[asked]).float()
    assert met[0::2].mean() > 0.75
    assert met[1::2].mean() > 0.75
