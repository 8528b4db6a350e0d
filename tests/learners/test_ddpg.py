"""Each step of the learner against arithmetic, on a world whose model is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from garl.errors import GarlError
from garl.learners.ddpg import DDPG, DDPGConfig, approach, temporal_difference
from garl.policy.resnet import ResNetConfig

SIDE, ACTIONS, N = 16, 5, 6
NETWORK = ResNetConfig(width=2)


def build(**settings: Any) -> DDPG:
    torch.manual_seed(0)
    agent = DDPG(SIDE, 2, ACTIONS, DDPGConfig(network=NETWORK, **settings))
    for target in (agent.actor_target, agent.critics_target):  # as if they had lagged behind
        for parameter in target.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return agent


def world() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    canvas, target = (torch.rand(N, 3, SIDE, SIDE, generator=generator) for _ in range(2))
    return canvas, target, torch.tensor([0, 1, 2, 3, 4, 4])  # the last two end here


def model(action: Tensor, canvas: Tensor) -> Tensor:
    """Each stroke's colour mixed in by its first width."""
    for stroke in action.unbind(1):
        share = stroke[:, 6, None, None, None]
        canvas = canvas + 0.5 * share * (stroke[:, 10:, None, None] - canvas)
    return canvas


def score(canvas: Tensor, target: Tensor) -> Tensor:
    return -(canvas - target).square().mean((1, 2, 3))


def test_the_temporal_difference_by_hand() -> None:
    value, reward, following = torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.25]), torch.tensor([3.0, 4.0])
    error = temporal_difference(value, reward, following, torch.tensor([1.0, 0.0]), 0.5)
    assert error.tolist() == [0.5 + 1.5 - 1.0, 0.25 - 2.0]


def test_polyak_averaging_reaches_parameters_and_measurements() -> None:
    mean, now = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    nn.init.constant_(mean.weight, 1.0)
    nn.init.constant_(now.weight, 3.0)
    now(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    wanted = 0.75 * mean.running_mean + 0.25 * now.running_mean  # type: ignore[operator]
    approach(mean, now, 0.25)
    assert mean.weight.tolist() == [1.5, 1.5]
    torch.testing.assert_close(mean.running_mean, wanted)


@pytest.mark.parametrize("critics", [1, 2])
def test_the_critics_step_towards_what_the_targets_say(critics: int) -> None:
    """−lr · ∇ Σ_critics E[w δ²], with the lesser of two targets."""
    agent = build(critics=critics, discount=0.7)
    canvas, target, step = world()
    weight = torch.linspace(0.2, 1.0, N)
    with torch.no_grad():
        following = model(agent.act(agent.actor_target, canvas, target, step), canvas)
        reward = score(following, target) - score(canvas, target)
        later = agent.value(agent.critics_target, following, target, step + 1)
        wanted = reward + 0.7 * torch.tensor([1, 1, 1, 1, 0, 0]) * later.min(0).values
    error = wanted - agent.value(agent.critics, canvas, target, step)
    parameters = list(agent.critics.parameters())
    gradients = torch.autograd.grad((weight * error.square()).mean(1).sum(), parameters)
    before = [p.detach().clone() for p in parameters]
    agent.critic_optimizer = torch.optim.SGD(parameters, lr=0.1)
    found, _ = agent.update_critics(canvas, target, step, weight, model, score, torch.Generator())
    torch.testing.assert_close(found, error[0].detach())
    for p, old, gradient in zip(parameters, before, gradients, strict=True):
        torch.testing.assert_close(p.detach(), old - 0.1 * gradient)


def test_the_actor_climbs_reward_and_value_and_nothing_else_moves() -> None:
    agent = build(discount=0.7, polyak=0.25)
    canvas, target, step = world()
    following = model(agent.act(agent.actor.train(), canvas, target, step), canvas)
    to_come = agent.value([agent.critics[0]], following, target, step + 1)[0]
    gain = (score(following, target) - score(canvas, target) + 0.7 * torch.tensor([1, 1, 1, 1, 0, 0]) * to_come).mean()
    parameters = list(agent.actor.parameters())
    gradients = torch.autograd.grad(gain, parameters)
    before = [p.detach().clone() for p in parameters]
    lagging = [p.clone() for p in agent.actor_target.parameters()]
    agent.actor_optimizer = torch.optim.SGD(parameters, lr=0.1)
    painted, metrics = agent.update_actor(canvas, target, step, model, score)
    torch.testing.assert_close(painted, following.detach(), atol=1e-5, rtol=1e-4)
    assert metrics["actor/gain"].item() == pytest.approx(gain.item(), rel=1e-4)
    for p, old, gradient in zip(parameters, before, gradients, strict=True):
        torch.testing.assert_close(p.detach(), old + 0.1 * gradient, atol=1e-6, rtol=1e-4)
    assert all(p.grad is None for p in agent.critics.parameters())
    for mean, old, p in zip(agent.actor_target.parameters(), lagging, parameters, strict=True):
        torch.testing.assert_close(mean, old + 0.25 * (p.detach() - old), atol=1e-6, rtol=1e-5)


def test_smoothing_moves_the_targets_by_little() -> None:
    plain, smooth = build(), build(smoothing=0.1)
    canvas, target, step = world()
    errors = [
        agent.update_critics(canvas, target, step, torch.ones(N), model, score, torch.Generator().manual_seed(3))[0]
        for agent in (plain, smooth)
    ]
    assert 1e-5 < (errors[0] - errors[1]).abs().max() < 0.1


def test_action_noise_has_the_size_that_it_says() -> None:
    agent = build(noise="action", noise_scale=0.03)
    canvas, target, step = world()
    agent.begin_episode(canvas, target, torch.Generator())
    generator = torch.Generator().manual_seed(4)
    still = agent.act(agent.behaviour, canvas, target, step)
    moved = torch.stack([agent.explore(canvas, target, step, generator) - still for _ in range(50)])
    assert float(moved.std()) == pytest.approx(0.03, rel=0.05)


def test_parameter_noise_adapts_until_actions_move_as_far_as_asked() -> None:
    agent, generator = build(noise="parameter", noise_scale=0.02), torch.Generator().manual_seed(5)
    canvas, target, step = world()
    agent.spread.now.fill_(0.5)
    for _ in range(400):
        agent.begin_episode(canvas, target, generator)
    moved = agent.explore(canvas, target, step, generator) - agent.act(agent.actor.eval(), canvas, target, step)
    assert 0.01 < float(moved.detach().square().mean().sqrt()) < 0.04
    again = [agent.explore(canvas, target, step, generator) for _ in range(2)]
    assert torch.equal(*again), "one painter to an episode"


def test_a_scale_without_noise_is_refused() -> None:
    with pytest.raises(GarlError, match="noise to action"):
        DDPGConfig(noise_scale=0.1)
