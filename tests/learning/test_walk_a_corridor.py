"""Q-learning where Q is known: the corridor of ten cells of the course chapter, with holes in cells 3 and 6.

Action 0 moves one cell to the right, action 1 jumps over one. A hole costs −10, the end gives 10, any other cell 1.
"""

from __future__ import annotations

import torch
from torch import nn

from garl.learners.dqn import DQN, DQNConfig

CELLS, DISCOUNT = 10, 0.9


def walk(cell: int, action: int) -> tuple[int, float]:
    """The next cell and the reward."""
    following = min(CELLS - 1, cell + 1 + action)
    return following, 10.0 if following == CELLS - 1 else -10.0 if following in (3, 6) else 1.0


def true_values() -> torch.Tensor:
    """Q (9, 2) by going back from the end."""
    values = torch.zeros(CELLS, 2)
    for cell in reversed(range(CELLS - 1)):
        for action in (0, 1):
            following, reward = walk(cell, action)
            values[cell, action] = reward + DISCOUNT * values[following].max()
    return values[:-1]


def test_q_values_become_those_of_the_best_way() -> None:
    torch.manual_seed(0)
    config = DQNConfig(rate=0.1, discount=DISCOUNT, polyak=0.2)
    agent, places = DQN(nn.Linear(CELLS, 2, bias=False), config), torch.eye(CELLS)
    steps = [(cell, action, *walk(cell, action)) for cell in range(CELLS - 1) for action in (0, 1)]
    cell, action, following, reward = (torch.tensor(each) for each in zip(*steps, strict=True))
    alive, ones, zeros = (following != CELLS - 1).float(), torch.ones(18), torch.zeros(18)
    for _ in range(700):
        agent.update((places[cell],), action, reward, (places[following],), alive, ones, zeros)
    found = agent.network(places[:-1])
    torch.testing.assert_close(found, true_values(), atol=0.05, rtol=0.0)
    way, cell_now = [0], 0
    while cell_now != CELLS - 1:
        cell_now, _ = walk(cell_now, int(found[cell_now].argmax()))
        way.append(cell_now)
    assert not {3, 6} & set(way)
