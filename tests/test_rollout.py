"""`collect`: every field of a rollout, against the engine and the policy themselves."""

from __future__ import annotations

import copy
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor

from garl.engine.paint import PaintConfig, PaintEngine, render_strokes
from garl.env.canvas import PaintEnv
from garl.policy.actor_critic import ActorCritic
from garl.policy.features import PolicyConfig
from garl.rollout import collect
from garl.types import Observation, Rollout

STEPS, BATCH, HEIGHT, WIDTH, NOISE = 4, 3, 11, 14, 5
PAINT = PaintConfig(height=HEIGHT, width=WIDTH, brush="splatter", grid=6, bins=5)  # splatter: its dabs jitter
POLICY = PolicyConfig(
    channels=4, blocks=1, features=16, location_channels=4, location_blocks=0, noise=NOISE, embed_steps=True
)


def run(
    seed: int = 0, action_seed: int = 1, recurrent: int = 0, actions: Tensor | None = None
) -> tuple[Rollout, ActorCritic, Tensor]:
    env = PaintEnv(BATCH, PAINT, STEPS)
    env.reset(seed=seed)
    torch.manual_seed(2)
    config = POLICY.model_copy(update={"recurrent": recurrent})
    policy = ActorCritic(env.action_spec, (3, HEIGHT, WIDTH), config, STEPS)
    noise = torch.randn(BATCH, NOISE, generator=torch.Generator().manual_seed(3))
    return collect(env, policy, noise, torch.Generator().manual_seed(action_seed), actions=actions), policy, noise


def tensors(rollout: Rollout) -> dict[str, Tensor]:
    """Every tensor of a rollout by name."""
    named = {
        f.name: getattr(rollout, f.name) for f in fields(rollout) if f.name not in ("observation", "state", "anchor")
    }
    return named | {f"observation.{name}": value for name, value in rollout.observation._asdict().items()}


def test_shapes_are_time_major() -> None:
    rollout, _, _ = run()
    d = 8  # three locations, three colours, thickness, opacity
    assert {name: (tuple(x.shape), x.dtype) for name, x in tensors(rollout).items()} == {
        "observation.canvas": ((STEPS, BATCH, 3, HEIGHT, WIDTH), torch.uint8),
        "observation.noise": ((STEPS, BATCH, NOISE), torch.float32),
        "observation.last_action": ((STEPS, BATCH, d), torch.int64),
        "observation.step": ((STEPS, BATCH), torch.int64),
        "observation.condition": ((STEPS, BATCH), torch.int64),
        "action": ((STEPS, BATCH, d), torch.int64),
        "log_prob": ((STEPS, BATCH), torch.float32),
        "value": ((STEPS, BATCH), torch.float32),
        "entropy": ((STEPS, BATCH), torch.float32),
        "canvases": ((STEPS + 1, BATCH, 3, HEIGHT, WIDTH), torch.uint8),
        "strokes": ((STEPS, BATCH, 14), torch.float32),
        "seeds": ((BATCH,), torch.int64),
    }


def test_each_canvas_is_the_engines_picture_of_the_action_before_it() -> None:
    rollout, _, _ = run()
    engine = PaintEngine(PAINT)
    canvas = engine.reset(BATCH, np.random.default_rng(0))
    engine.seeds = rollout.seeds
    assert (rollout.canvases[0] == 255).all()
    for t in range(STEPS):
        canvas = engine.apply(canvas, rollout.action[t])
        assert torch.equal(rollout.canvases[t + 1], canvas)
        assert (rollout.canvases[t + 1] != rollout.canvases[t]).any()
    assert torch.equal(rollout.final, canvas)


def test_strokes_and_seeds_paint_the_same_pictures() -> None:
    rollout, _, _ = run()
    canvas, engine = rollout.canvases[0].numpy().copy(), PaintEngine(PAINT)
    for t in range(STEPS):
        render_strokes(canvas, rollout.strokes[t].numpy(), rollout.seeds.numpy(), t, engine.prepared)
        np.testing.assert_array_equal(rollout.canvases[t + 1].numpy(), canvas)


@pytest.mark.parametrize("recurrent", [0, 6])
def test_given_actions_are_painted_and_remembered(recurrent: int) -> None:
    chosen, _, _ = run(recurrent=recurrent)
    given, _, _ = run(recurrent=recurrent, actions=chosen.action)
    unasked = [] if recurrent else ["log_prob", "value", "entropy"]
    for (name, ours), theirs in zip(tensors(given).items(), tensors(chosen).values(), strict=True):
        if name in unasked:
            assert (ours == 0).all()
            assert ours.shape == theirs.shape
        else:
            assert torch.equal(ours, theirs), name
    if chosen.state is not None:
        assert given.state is not None
        assert torch.equal(given.state, chosen.state)
        assert chosen.state[1].any()


def test_observations_are_what_was_known_before_each_stroke() -> None:
    rollout, _, noise = run()
    seen = rollout.observation
    assert torch.equal(seen.canvas, rollout.canvases[:-1])
    assert (seen.last_action[0] == -1).all()
    assert torch.equal(seen.last_action[1:], rollout.action[:-1])
    assert torch.equal(seen.noise, noise.expand(STEPS, -1, -1))
    assert torch.equal(seen.step, torch.arange(STEPS)[:, None].expand(-1, BATCH))


def test_noise_may_change_with_each_stroke() -> None:
    env = PaintEnv(BATCH, PAINT, STEPS)
    policy = ActorCritic(env.action_spec, (3, HEIGHT, WIDTH), POLICY, STEPS)
    noise = torch.randn(STEPS, BATCH, NOISE, generator=torch.Generator().manual_seed(3))
    rollout = collect(env, policy, noise, torch.Generator().manual_seed(1))
    assert torch.equal(rollout.observation.noise, noise)


@torch.no_grad()
def test_decisions_are_the_policys_own() -> None:
    rollout, policy, _ = run()
    generator = torch.Generator().manual_seed(1)
    for t in range(STEPS):
        decision = policy(Observation(*(field[t] for field in rollout.observation)), generator=generator)
        assert torch.equal(decision.action, rollout.action[t])
        for name in ("log_prob", "value", "entropy"):
            torch.testing.assert_close(getattr(decision, name), getattr(rollout, name)[t])


def test_same_seeds_same_rollout() -> None:
    first, second = tensors(run()[0]), tensors(run()[0])
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    other_paint, other_actions = run(seed=7)[0], run(action_seed=7)[0]
    assert torch.equal(other_paint.canvases[0], run()[0].canvases[0])
    assert torch.equal(other_paint.action[0], run()[0].action[0]), (
        "the environment's seed has no say in the first action"
    )
    assert not torch.equal(other_paint.canvases[1], run()[0].canvases[1]), "but in the jitter of its dabs"
    assert not torch.equal(other_actions.action, run()[0].action)


def test_rollouts_follow_each_other_from_blank_canvases() -> None:
    """The environment is not left in its last state, nor does a second rollout write over the first."""
    env = PaintEnv(BATCH, PAINT, STEPS)
    env.reset(seed=0)
    policy = ActorCritic(env.action_spec, (3, HEIGHT, WIDTH), POLICY, STEPS)
    generator = torch.Generator().manual_seed(0)
    first = collect(env, policy, torch.zeros(BATCH, NOISE), generator)
    kept = {name: value.clone() for name, value in tensors(first).items()}
    second = collect(env, policy, torch.zeros(BATCH, NOISE), generator)
    assert (second.canvases[0] == 255).all()
    assert not torch.equal(second.seeds, first.seeds)
    for name, value in tensors(first).items():
        assert torch.equal(value, kept[name]), name


@pytest.mark.parametrize("recurrent", [0, 6])
def test_an_anchor_tells_how_likely_it_would_have_been_to_act_so(recurrent: int) -> None:
    rollout, policy, noise = run(recurrent=recurrent)
    anchor = copy.deepcopy(policy)
    with torch.no_grad():
        for weight in anchor.parameters():
            weight += 0.2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(4))
    env = PaintEnv(BATCH, PAINT, STEPS)
    env.reset(seed=0)
    beside = collect(env, policy, noise, torch.Generator().manual_seed(1), anchor=anchor)
    assert torch.equal(beside.action, rollout.action)  # it changes nothing
    assert torch.equal(beside.log_prob, rollout.log_prob)
    env.reset(seed=0)
    alone = collect(env, anchor, noise, torch.Generator(), actions=rollout.action)
    if recurrent:  # else who is given actions is not asked
        torch.testing.assert_close(beside.anchor, alone.log_prob)
    else:
        seen = [Observation(*(field[t] for field in rollout.observation)) for t in range(STEPS)]
        expected = torch.stack([anchor(seen[t], rollout.action[t]).log_prob for t in range(STEPS)])
        torch.testing.assert_close(beside.anchor, expected.detach())
    assert (beside.anchor - beside.log_prob).abs().max() > 0.1
