"""Q-learning's target and loss against arithmetic, and its choices."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from garl.learners.dqn import DQN, DQNConfig, q_target

REWARD, ALIVE = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([1.0, 1.0, 0.0])
CHOOSING = torch.tensor([[0.0, 3.0], [5.0, -1.0], [2.0, 1.0]])
JUDGING = torch.tensor([[10.0, 20.0], [30.0, 40.0], [50.0, 60.0]])


def test_the_double_target_by_hand() -> None:
    """The second chooses what the judge takes for the worse; the third ends."""
    assert q_target(REWARD, ALIVE, CHOOSING, JUDGING, 0.5).tolist() == [11.0, 13.0, 0.5]
    assert q_target(REWARD, ALIVE, JUDGING, JUDGING, 0.5).tolist() == [11.0, 18.0, 0.5]


def build(**settings: object) -> DQN:
    torch.manual_seed(0)
    agent = DQN(nn.Linear(3, 2), DQNConfig(**settings))
    with torch.no_grad():
        agent.target.weight.add_(torch.tensor([[1.0, -2.0, 3.0], [-3.0, 2.0, -1.0]]))  # as if it had lagged behind
    return agent


@pytest.mark.parametrize("double", [True, False])
def test_an_update_by_hand(double: bool) -> None:
    agent = build(double=double, discount=0.9, temperature=0.5)
    now, then = torch.randn(4, 3), torch.randn(4, 3)
    action, reward, alive = (
        torch.tensor([0, 1, 1, 0]),
        torch.tensor([1.0, 5.0, -1.0, 0.2]),
        torch.tensor([1.0, 1, 0, 1]),
    )
    weight, imitated = torch.tensor([1.0, 0.5, 0.25, 1.0]), torch.tensor([0.0, 1.0, 0.0, 1.0])
    values, next_values, judged = agent.network(now), agent.network(then), agent.target(then)
    best = (next_values if double else judged).argmax(1)
    wanted = reward + 0.9 * alive * judged[torch.arange(4), best]
    error = wanted - values[torch.arange(4), action]
    huber = torch.where(error.abs() < 1, error**2 / 2, error.abs() - 0.5)
    entropies = -F.log_softmax(2 * values, 1)[torch.arange(4), action]
    loss = (weight * huber).mean() + (imitated * entropies).sum() / 4
    (gradient,) = torch.autograd.grad(loss, [agent.network.weight], retain_graph=True)
    target = agent.target.weight.clone()
    found, metrics = agent.update((now,), action, reward, (then,), alive, weight, imitated)
    torch.testing.assert_close(found, error.detach())
    torch.testing.assert_close(metrics["q/loss"], (weight * huber).mean().detach())
    torch.testing.assert_close(metrics["imitation/loss"], ((entropies[1] + entropies[3]) / 4).detach())
    torch.testing.assert_close(agent.network.weight.grad, gradient)
    moved = target + agent.config.polyak * (agent.network.weight - target)
    torch.testing.assert_close(agent.target.weight, moved)


def test_exploration_is_a_share_of_the_actions() -> None:
    agent = build()
    seen, generator = (torch.randn(20_000, 3),), torch.Generator().manual_seed(0)
    best = agent.network(*seen).argmax(1)
    assert torch.equal(agent.act(seen, 0.0, generator), best)
    other = (agent.act(seen, 0.3, generator) != best).float().mean()
    assert other == pytest.approx(0.15, abs=0.01)  # half of the random ones are the best all the same
