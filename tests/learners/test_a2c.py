"""A2C: its one step against the policy gradient, and one pass over the rollout."""

from __future__ import annotations

import pytest
import torch
from test_ppo import N, build, flat

from garl.learners import a2c
from garl.learners.a2c import A2CConfig, make_optimizer, policy_gradient


def test_the_policy_gradient_by_hand() -> None:
    log_prob = torch.tensor([-1.0, -2.0, -4.0], requires_grad=True)
    loss = policy_gradient(log_prob, torch.tensor([3.0, -1.0, 0.5]))
    assert loss.item() == pytest.approx(-(-3.0 + 2.0 - 2.0) / 3)
    (gradient,) = torch.autograd.grad(loss, log_prob)
    torch.testing.assert_close(gradient, torch.tensor([-3.0, 1.0, -0.5]) / 3)


def test_one_step_over_the_whole_rollout() -> None:
    """−lr · ∇(−E[log π Â] + ½ E[(V − R)²] − β H), Â normalised."""
    policy, rollout, advantage, target = build()
    config = A2CConfig(batch_size=10 * N, max_grad_norm=1e9, entropy_coefficient=0.05)
    decision = policy(flat(rollout), rollout.action.flatten(0, 1))
    a = advantage.flatten()
    loss = -(decision.log_prob * (a - a.mean()) / a.std()).mean() - 0.05 * decision.entropy.mean()
    loss = loss + 0.5 * (decision.value - target.flatten()).square().mean()
    parameters = list(policy.parameters())
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    before = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.SGD(parameters, lr=1.0)
    a2c.update(policy, optimizer, rollout, advantage, target, config, torch.Generator().manual_seed(4))
    for p, b, g in zip(parameters, before, gradients, strict=True):
        step = torch.zeros_like(b) if g is None else -g
        torch.testing.assert_close(p.detach() - b, step, rtol=1e-3, atol=1e-5)


def test_one_pass_in_minibatches() -> None:
    policy, rollout, advantage, target = build()
    config = A2CConfig(batch_size=8)
    optimizer = make_optimizer(policy, config)
    metrics = a2c.update(policy, optimizer, rollout, advantage, target, config, torch.Generator().manual_seed(4))
    assert int(next(iter(optimizer.state.values()))["step"]) == 4
    names = ("policy_loss", "value_loss", "entropy", "kl", "last_kl", "gradient_norm")
    assert set(metrics) == {f"a2c/{name}" for name in names}
    assert all(m.shape == () and m.isfinite() for m in metrics.values())
