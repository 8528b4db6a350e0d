"""What the policy sees: the grid channels, sizes, embeddings and stacked frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from garl.engine.paint import PaintConfig
from garl.env.canvas import PaintEnv
from garl.policy.actor_critic import ActorCritic
from garl.policy.features import FeatureExtractor, PolicyConfig, ResidualBlock, SampleEncoder, initialise, rows
from garl.rollout import collect
from garl.types import Choice, Flag, Location, Observation, Scalar

CANVAS = (1, 10, 13)
SPEC = (Location("place", 5), Scalar("grey", 4), Flag("lift"))
SMALL = PolicyConfig(channels=6, blocks=1, features=20, location_channels=4, location_blocks=1, noise=3)


def observe(n: int = 4, seed: int = 0) -> Observation:
    generator = torch.Generator().manual_seed(seed)
    return Observation(
        canvas=torch.randint(0, 256, (n, *CANVAS), generator=generator, dtype=torch.uint8),
        noise=torch.randn(n, 3, generator=generator),
        last_action=torch.stack([torch.randint(0, d.n, (n,), generator=generator) for d in SPEC], 1),
        step=torch.randint(0, 7, (n,), generator=generator),
        condition=torch.randint(0, 3, (n,), generator=generator),
    )


def build(**changes) -> ActorCritic:
    torch.manual_seed(1)
    policy = ActorCritic(SPEC, CANVAS, SMALL.model_copy(update=changes), steps=7)
    for last in policy.outputs():  # the first weights of the last layers are too small to tell outputs apart
        torch.nn.init.orthogonal_(last.weight)
    return policy


def test_the_grid_runs_from_minus_one_to_one_in_x_then_in_y() -> None:
    grid = FeatureExtractor(SPEC, CANVAS, SMALL, 7, False).grid
    assert grid.shape == (1, 2, 10, 13)
    for row in range(10):
        for column in range(13):
            assert grid[0, 0, row, column] == pytest.approx(-1 + 2 * column / 12, abs=1e-6)
            assert grid[0, 1, row, column] == pytest.approx(-1 + 2 * row / 9, abs=1e-6)


def test_the_extractor_is_the_network_of_the_thesis() -> None:
    """Section 5.2 written out: 5×5, ReLU, three strided 3×3, residual blocks, linear, ReLU."""
    policy = build(embed_noise="none", embed_action="none", blocks=2)
    e, observation = policy.extractor, observe()
    x = (observation.canvas.double() - 127.5) / 127.5
    x = torch.cat([x, e.grid.double().expand(len(x), -1, -1, -1)], 1)
    parameters = {name: p.detach().double() for name, p in e.named_parameters()}

    def conv(x: torch.Tensor, name: str, stride: int, padding: int) -> torch.Tensor:
        return F.conv2d(x, parameters[name + ".weight"], parameters[name + ".bias"], stride, padding)

    x = F.relu(conv(x, "first", 1, 2))
    for i in range(3):
        x = F.relu(conv(x, f"down.{i}.0", 2, 1))
    for i in range(2):
        x = F.relu(x + F.relu(conv(F.relu(conv(x, f"blocks.{i}.wide", 1, 1)), f"blocks.{i}.narrow", 1, 0)))
    x = F.relu(F.linear(x.flatten(1), parameters["out.weight"], parameters["out.bias"]))
    torch.testing.assert_close(e(observation).double(), x, rtol=1e-4, atol=1e-5)
    assert (x > 0).any()


@torch.no_grad()
def test_by_way_of_the_first_maps_the_features_are_the_same() -> None:
    """As a GPU goes, and heads that see the maps."""
    e, observation = build(blocks=2).extractor, observe()
    maps = e.maps(observation)
    assert maps.shape == (4, 6, 10, 13)
    torch.testing.assert_close(e.features(maps), e(observation), rtol=1e-4, atol=1e-5)


def test_rows_add_one_number_to_every_pixel_of_a_map() -> None:
    condition = torch.tensor([[1.0, -2.0], [0.5, 3.0], [0.0, 4.0]])
    added = torch.zeros(3, 2, 4, 5) + rows(condition, 5, torch.float32)
    assert torch.equal(added, condition[:, :, None, None].expand(-1, -1, 4, 5))


def test_parameter_count_of_the_thesis_size_network() -> None:
    spec = (*(Location(n, 32) for n in ("start", "control", "end")), *(Scalar(n, 16) for n in "rgbto"))
    policy = ActorCritic(spec, (3, 64, 64), PolicyConfig())
    c = 64
    block = (9 * c * c + c) + (c * c + c)
    encoders = 3 * (2 * 16 + 16) + 5 * (17 * 16)  # locations; scalars, one row for "nothing yet"
    noise = (10 * 64 + 64) + (64 * c + c)
    last_action = encoders + (8 * 16 * 64 + 64) + (64 * c + c)
    extractor = (25 * 5 * c + c) + noise + last_action + 3 * (9 * c * c + c) + 8 * block + (c * 64 + 1) * 256
    location = (256 + 1) * c * 64 + 8 * block + (16 * c * c + c) + (16 * c * 32 + 32) + (32 + 1)
    embedder = (272 * 32 + 32) + (32 * 64 + 64) + (64 * 256 + 256)
    head = 3 * location + 5 * (256 + 1) * 16 + (encoders - 17 * 16) + 7 * embedder
    critic = 257 * 64 + 65
    count = sum(p.numel() for p in policy.parameters())
    assert count == extractor + head + critic == 6_185_316


def parts(policy: ActorCritic, observation: Observation) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(features of the extractor, log P of a fixed action, value)."""
    action = torch.tensor([[7, 2, 1]]).expand(len(observation.canvas), -1)
    decision = policy(observation, action)
    return policy.extractor(observation), decision.log_prob, decision.value


OTHER = observe(seed=9)
CHANGES = {
    "embed_noise": {"noise": OTHER.noise},
    "embed_action": {"last_action": (observe().last_action + 1) % torch.tensor([25, 4, 2])},
}


@torch.no_grad()
@pytest.mark.parametrize("place", ["extractor", "head", "none"])
@pytest.mark.parametrize("what", ["embed_noise", "embed_action"])
def test_noise_and_last_action_act_where_they_are_put_and_only_there(what: str, place: str) -> None:
    policy = build(**{"embed_noise": "none", "embed_action": "none", what: place})
    before = parts(policy, observe())
    after = parts(policy, observe()._replace(**CHANGES[what]))
    changed = [bool(((a - b).abs() > 1e-4).any()) for a, b in zip(before, after, strict=True)]
    assert (
        changed
        == {
            "extractor": [True, True, True],
            "head": [False, True, False],  # the critic reads the extractor's features alone
            "none": [False, False, False],
        }[place]
    )
    other = next(key for key in CHANGES if key != what)
    for a, b in zip(before, parts(policy, observe()._replace(**CHANGES[other])), strict=True):
        assert torch.equal(a, b), f"{other} is off"


@torch.no_grad()
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [False, False, False]),
        ({"embed_steps": True}, [True, True, True]),
        ({"value_steps": True}, [False, False, True]),
        ({"value_steps": True, "value_separate": True}, [False, False, True]),
        ({"embed_steps": True, "value_separate": True}, [True, True, False]),
    ],
)
def test_steps_reach_the_policy_and_the_critic_as_configured(changes: dict, expected: list[bool]) -> None:
    policy, observation = build(**changes), observe()
    before = parts(policy, observation)
    after = parts(policy, observation._replace(step=(observation.step + 1) % 7))
    assert [bool(((a - b).abs() > 1e-4).any()) for a, b in zip(before, after, strict=True)] == expected


@torch.no_grad()
def test_the_condition_is_added_per_channel_before_the_first_relu() -> None:
    policy, observation = build(embed_action="none"), observe()
    e = policy.extractor
    x = torch.cat([observation.canvas / 127.5 - 1, e.grid.expand(4, -1, -1, -1)], 1)
    w1, b1, w2, b2 = [p.detach() for p in e.conditions.noise.parameters()]
    noise = F.relu(observation.noise @ w1.T + b1) @ w2.T + b2  # (N, c)
    x = F.relu(e.first(x) + noise[:, :, None, None])
    torch.testing.assert_close(e(observation), F.relu(e.out(e.blocks(e.down(x)).flatten(1))), rtol=1e-4, atol=1e-5)


def test_a_separate_critic_has_parameters_of_its_own() -> None:
    policy = build(value_separate=True)
    decision = policy(observe(), torch.tensor([[7, 2, 1]]).expand(4, -1))
    actor, critic = list(policy.extractor.parameters()), list(policy.value_extractor.parameters())
    assert not {p.data_ptr() for p in actor} & {p.data_ptr() for p in critic}
    of_value = torch.autograd.grad(decision.value.sum(), actor + critic, retain_graph=True, allow_unused=True)
    of_policy = torch.autograd.grad(decision.log_prob.sum(), actor + critic, allow_unused=True)
    assert all(g is None for g in of_value[: len(actor)])
    assert all(g is not None for g in of_value[len(actor) :])
    assert all(g is not None for g in of_policy[: len(actor)])
    assert all(g is None for g in of_policy[len(actor) :])
    assert any(g.abs().sum() > 0 for g in of_value[len(actor) :])


def test_a_shared_critic_trains_the_extractor() -> None:
    policy = build()
    (gradient,) = torch.autograd.grad(policy(observe()).value.sum(), [policy.extractor.first.weight])
    assert gradient.abs().sum() > 0


@torch.no_grad()
def test_a_location_is_encoded_by_x_then_y() -> None:
    encoder = SampleEncoder(Location("place", 5), size=2)
    encoder.linear.weight.copy_(torch.eye(2))
    encoder.linear.bias.copy_(torch.tensor([10.0, 20.0]))
    index = torch.tensor([0, 4, 1 * 5 + 3, 24, -1])  # row · grid + column
    expected = torch.tensor([[-0.8, -0.8], [0.8, -0.8], [0.4, -0.4], [0.8, 0.8], [0.0, 0.0]])
    torch.testing.assert_close(encoder(index), expected + torch.tensor([10.0, 20.0]))


@torch.no_grad()
@pytest.mark.parametrize("dimension", [Scalar("grey", 4), Flag("lift"), Choice("brush", 3)])
def test_a_scalar_is_encoded_through_a_one_hot_and_nothing_yet_to_zero(dimension) -> None:
    encoder = SampleEncoder(dimension)
    index = torch.tensor([-1, *range(dimension.n)])
    one_hot = F.one_hot(index[1:], dimension.n).float()
    table = encoder.linear.weight[1:]  # (n, 16)
    torch.testing.assert_close(encoder(index)[1:], one_hot @ table)
    assert torch.equal(encoder(index)[0], torch.zeros(16))
    assert len(table.unique(dim=0)) == dimension.n


@torch.no_grad()
def test_a_residual_block_is_relu_of_x_plus_its_branch() -> None:
    block = ResidualBlock(2, 1)
    block.wide.weight.zero_()
    block.wide.weight[0, 1, 1, 2] = 3.0  # channel 0 reads the right neighbour in channel 1
    block.wide.bias.copy_(torch.tensor([0.0, -1.0]))
    block.narrow.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])[:, :, None, None])
    block.narrow.bias.copy_(torch.tensor([0.5, 0.0]))
    x = torch.tensor([[[[1.0, -4.0]], [[5.0, 2.0]]]])  # (1, 2, 1, 2)
    # wide: channel 0 = 3 · (2, 0) = (6, 0), channel 1 = −1 → 0; narrow: (6.5, 0.5) and (−6, 0) → 0.
    assert torch.equal(block(x), torch.tensor([[[[7.5, 0.0]], [[5.0, 2.0]]]]))


@torch.no_grad()
@pytest.mark.parametrize("depth", [1, 8, 32])
def test_features_start_at_one_size_however_many_blocks_there_are(depth: int) -> None:
    torch.manual_seed(0)
    blocks = torch.nn.Sequential(*(ResidualBlock(16, depth) for _ in range(depth))).apply(initialise)
    x = torch.randn(64, 16, 5, 6).relu()
    assert x.std() < blocks(x).std() < 3 * x.std()


def test_frames_are_stacked_with_the_newest_first() -> None:
    env = PaintEnv(3, PaintConfig(height=10, width=13, brush="hard_round", channels=3, grid=5, bins=4), strokes=4)
    env.reset(seed=2)
    policy = ActorCritic(env.action_spec, (3, 10, 13), SMALL.model_copy(update={"frames": 3}), 4)
    rollout = collect(env, policy, torch.zeros(3, 3), torch.Generator().manual_seed(0))
    assert rollout.observation.canvas.shape == (4, 3, 9, 10, 13)
    pictures = rollout.canvases.numpy()
    assert all((pictures[t] != pictures[t + 1]).any() for t in range(4)), "frames must differ to tell their order"
    for t in range(4):
        expected = np.concatenate([pictures[t], pictures[max(t - 1, 0)], pictures[max(t - 2, 0)]], 1)
        np.testing.assert_array_equal(rollout.observation.canvas[t].numpy(), expected)


@pytest.mark.parametrize("place", ["extractor", "head"])
@pytest.mark.parametrize("separate", [False, True])
@torch.no_grad()
def test_policy_and_critic_are_told_the_class(place: str, separate: bool) -> None:
    torch.manual_seed(1)
    config = SMALL.model_copy(update={"embed_condition": place, "value_separate": separate})
    policy = ActorCritic(SPEC, CANVAS, config, steps=7, classes=3)
    for last in policy.outputs():
        torch.nn.init.orthogonal_(last.weight)
    observation = observe()
    action = observation.last_action
    of_class = [policy(observation._replace(condition=torch.full((4,), c)), action) for c in range(3)]
    assert (of_class[0].log_prob - of_class[1].log_prob).abs().min() > 1e-4
    assert (of_class[0].value - of_class[2].value).abs().min() > 1e-4
    mixed = policy(observation._replace(condition=torch.tensor([0, 2, 1, 0])), action)
    picked = torch.stack([of_class[c].value[i] for i, c in enumerate([0, 2, 1, 0])])
    torch.testing.assert_close(mixed.value, picked)


@pytest.mark.parametrize("separate", [False, True])
@torch.no_grad()
def test_policy_and_critic_see_the_target_behind_the_canvas(separate: bool) -> None:
    torch.manual_seed(1)
    config = SMALL.model_copy(update={"value_separate": separate, "frames": 2})
    policy = ActorCritic(SPEC, CANVAS, config, steps=7, target=True)
    other = ActorCritic(SPEC, CANVAS, config.model_copy(update={"frames": 3}), steps=7)
    other.load_state_dict(policy.state_dict())
    observation = observe()
    canvas = torch.cat([observation.canvas, observation.canvas.flip(2)], 1)
    target = torch.randint(0, 256, (4, *CANVAS), generator=torch.Generator().manual_seed(9), dtype=torch.uint8)
    seen = policy(observation._replace(canvas=canvas, condition=target), observation.last_action)
    stacked = observation._replace(canvas=torch.cat([canvas, target], 1))
    expected = other(stacked, observation.last_action)
    assert torch.equal(seen.log_prob, expected.log_prob)
    assert torch.equal(seen.value, expected.value)
    blind = policy(observation._replace(canvas=canvas, condition=255 - target), observation.last_action)
    assert (seen.value - blind.value).abs().min() > 1e-4
