"""Truncated back-propagation through time: its states, its subsequences, and how far its gradient reaches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from garl.engine.paint import PaintConfig
from garl.env.canvas import PaintEnv
from garl.learners.ppo import PPOConfig, make_optimizer, subsequences, update
from garl.policy.actor_critic import ActorCritic, Memory
from garl.policy.features import PolicyConfig
from garl.rollout import collect
from garl.types import Observation, Rollout

STEPS, BATCH, SIZE = 6, 5, 9
POLICY = PolicyConfig(channels=4, blocks=0, features=7, location_channels=4, location_blocks=0, noise=2, recurrent=SIZE)


def build(**changes) -> tuple[ActorCritic, Rollout]:
    env = PaintEnv(BATCH, PaintConfig(height=10, width=13, brush="hard_round", grid=5, bins=4), STEPS)
    env.reset(seed=0)
    torch.manual_seed(1)
    policy = ActorCritic(env.action_spec, (3, 10, 13), POLICY.model_copy(update=changes), STEPS)
    generator = torch.Generator().manual_seed(2)
    return policy, collect(env, policy, torch.randn(BATCH, 2, generator=generator), generator)


def flat(rollout: Rollout) -> Observation:
    return Observation(*(field.flatten(0, 1) for field in rollout.observation))


def test_subsequences_are_whole_and_hold_every_transition_once() -> None:
    assert subsequences(6, 2, 3).tolist() == [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11]]
    assert torch.equal(subsequences(6, 5, 1), torch.arange(30)[None])


def test_the_memory_is_torch_s_lstm() -> None:
    torch.manual_seed(0)
    memory, whole = Memory(4, 3), torch.nn.LSTM(4, 3)
    whole.load_state_dict({f"{name}_l0": weight for name, weight in memory.cell.state_dict().items()})
    features, state = torch.randn(5, 2, 4), torch.randn(2, 6)
    expected, (hidden, cell) = whole(features, (state[None, :, :3].contiguous(), state[None, :, 3:].contiguous()))
    steps, after = memory(features.flatten(0, 1), state)
    torch.testing.assert_close(steps.view(5, 2, 3), expected)
    torch.testing.assert_close(after, torch.cat([hidden[0], cell[0]], 1))


@torch.no_grad()
def test_episodes_begin_with_an_empty_memory_which_each_stroke_changes() -> None:
    policy, rollout = build()
    assert rollout.state is not None
    assert rollout.state.shape == (STEPS, BATCH, 2 * SIZE)
    assert (rollout.state[0] == 0).all()
    for t in range(STEPS):
        observation = Observation(*(field[t] for field in rollout.observation))
        decision = policy(observation, rollout.action[t], state=rollout.state[t])
        assert torch.equal(decision.log_prob, rollout.log_prob[t])
        if t + 1 < STEPS:
            assert torch.equal(decision.state, rollout.state[t + 1])
    forgetful = policy(observation, rollout.action[-1], state=torch.zeros(BATCH, 2 * SIZE))
    assert (forgetful.log_prob - rollout.log_prob[-1]).abs().max() > 1e-4, "the memory matters"


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2, 3, STEPS])
@pytest.mark.parametrize("changes", [{}, {"value_separate": True, "embed_noise": "head"}, {"head": "gaussian"}])
def test_the_ratio_is_one_before_the_first_step(length: int, changes: dict) -> None:
    policy, rollout = build(**changes)
    assert rollout.state is not None
    sequences = subsequences(STEPS, BATCH, length)[:, torch.randperm(STEPS // length * BATCH)]
    index = sequences.flatten()
    seen = Observation(*(field[index] for field in flat(rollout)))
    action, state = rollout.action.flatten(0, 1)[index], rollout.state.flatten(0, 1)[sequences[0]]
    decision = policy(seen, action, state=state)
    # Equal but for what another batch size rounds otherwise.
    torch.testing.assert_close(decision.log_prob, rollout.log_prob.flatten()[index], rtol=1e-6, atol=8e-6)
    torch.testing.assert_close(decision.value, rollout.value.flatten()[index], rtol=1e-5, atol=1e-5)


def canvas_gradient(policy: ActorCritic, rollout: Rollout, length: int) -> Tensor:
    """How the last log-probability depends on what was seen at each step: whether at all, (T,)."""
    assert rollout.state is not None
    first, last = STEPS - length, rollout.state[STEPS - length]
    noise = rollout.observation.noise.clone().requires_grad_()
    seen = Observation(*(f[first:].flatten(0, 1) for f in rollout.observation._replace(noise=noise)))
    log_prob = policy(seen, rollout.action[first:].flatten(0, 1), state=last).log_prob.view(length, BATCH)
    (gradient,) = torch.autograd.grad(log_prob[-1].sum(), noise)
    return gradient.abs().sum((1, 2)) > 0


@pytest.mark.parametrize("length", [1, 2, 4, STEPS])
def test_the_gradient_reaches_back_as_far_as_the_subsequence(length: int) -> None:
    reached = canvas_gradient(*build(), length)
    assert reached.tolist() == [t >= STEPS - length for t in range(STEPS)]


@pytest.mark.parametrize("length", [2, 3, STEPS, 16])
def test_an_update_takes_the_gradient_of_a_loop_by_hand(length: int) -> None:
    policy, rollout = build()
    generator = torch.Generator().manual_seed(3)
    advantage, target = torch.randn(2, STEPS, BATCH, generator=generator)
    assert rollout.state is not None
    a = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    loss = torch.zeros(())
    for t in range(STEPS):  # one minibatch of everything, step by step
        if t % min(length, STEPS) == 0:
            state = rollout.state[t]
        observation = Observation(*(field[t] for field in rollout.observation))
        decision = policy(observation, rollout.action[t], state=state)
        state = decision.state
        ratio = (decision.log_prob - rollout.log_prob[t]).exp()
        loss = loss - (ratio * a[t]).sum() + 0.5 * (decision.value - target[t]).square().sum()
        loss = loss - 0.01 * decision.entropy.sum()
    expected = torch.autograd.grad(loss / (STEPS * BATCH), list(policy.parameters()))
    config = PPOConfig(epochs=1, batch_size=1000, bptt=length, max_grad_norm=1e9)
    update(policy, make_optimizer(policy, config), rollout, advantage, target, config, generator)
    for (name, parameter), gradient in zip(policy.named_parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_minibatches_hold_whole_subsequences(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, rollout = build()
    sizes: list[tuple[int, int]] = []
    forward = policy.forward

    def record(observation: Observation, *rest, state: Tensor, **more):
        sizes.append((len(observation.step), len(state)))
        step = observation.step.view(3, -1)
        assert torch.equal(step, step[0] + torch.arange(3)[:, None]), "three strokes in a row"
        return forward(observation, *rest, state=state, **more)

    monkeypatch.setattr(policy, "forward", record)
    config = PPOConfig(epochs=1, batch_size=13, bptt=3)
    zeros = torch.randn(STEPS, BATCH)
    update(policy, make_optimizer(policy, config), rollout, zeros, zeros, config, torch.Generator().manual_seed(0))
    assert sizes == [(12, 4), (12, 4), (6, 2)], "13 // 3 = 4 subsequences in a minibatch"


@torch.no_grad()
def test_the_memory_is_float32_in_bfloat16_networks() -> None:
    policy, rollout = build()
    with torch.autocast("cpu", torch.bfloat16):
        decision = policy(
            Observation(*(field[0] for field in rollout.observation)),
            rollout.action[0],
            state=policy.state(BATCH, torch.device("cpu")),
        )
    assert decision.state is not None
    assert decision.state.dtype == decision.log_prob.dtype == torch.float32
