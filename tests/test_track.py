"""Figures against values known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from garl import track
from garl.policy.actor_critic import ActorCritic
from garl.policy.features import PolicyConfig
from garl.types import Decision, Flag, Location, Observation, Rollout, Scalar

SPEC = (Location("start", 3), Scalar("red", 4), Flag("lift"))


def test_scores_by_hand() -> None:
    score = torch.tensor([[1.0, 1.0, 4.0], [3.0, 5.0, 7.0]])  # means 2 and 5, spread of the last 2
    expected = {"d/painted": 5.0, "d/painted_std": 2.0, "d/frame_0": -1.5, "d/frame_1": 0.0}
    assert track.scores(score) == pytest.approx(expected, abs=1e-6)


def test_spread_by_hand() -> None:
    x = torch.randperm(42, generator=torch.Generator().manual_seed(0))[:, None].float()[:, [0, 0]]  # T = 42, B = 2
    figures = track.spread("reward", x)
    found = [figures[f"reward/quantile_{percent:02d}"].item() for percent in (5, 25, 50, 75, 95)]
    assert found == [2, 10, 21, 31, 39]  # ranks 4, 21, 42, 62, 79 of 0 … 83, each value twice
    by_stroke = track.spread("reward", torch.tensor([[1.0, 2.0, 6.0], [0.0, 0.0, 3.0]]))
    assert (by_stroke["reward/stroke_1"], by_stroke["reward/stroke_2"]) == (3.0, 1.0)
    assert len(by_stroke) == 7


def test_values_by_hand() -> None:
    value, target = torch.tensor([[1.0, 2.0], [3.0, 6.0]]), torch.tensor([[1.0, 4.0], [3.0, 8.0]])
    figures = track.values(value, target)
    assert figures["value/mean"] == 3.0
    assert figures["value/error"] == 1.0
    explained = 1 - np.var([0, 2, 0, 2]) / np.var([1, 4, 3, 8])
    assert figures["value/explained_variance"].item() == pytest.approx(explained, rel=1e-5)
    assert (figures["value/stroke_1"], figures["value/stroke_2"]) == (1.5, 4.5)


def test_actions_by_hand() -> None:
    action = torch.tensor([[[0, 3, 1], [8, 3, 1]], [[0, 3, 1], [4, 3, 0]], [[0, 3, 1], [4, 3, 0]]])  # (3, 2, 3)
    figures = track.actions(action, SPEC)
    assert figures["action/start_most"] == 0.5
    uneven = -(0.5 * math.log(1 / 2) + 1 / 3 * math.log(1 / 3) + 1 / 6 * math.log(1 / 6)) / math.log(9)
    assert figures["action/start_evenness"].item() == pytest.approx(uneven, rel=1e-5)
    assert (figures["action/red_most"], figures["action/red_evenness"]) == (1.0, 0.0)
    assert figures["action/lift_most"].item() == pytest.approx(2 / 3)
    assert track.counts(action[..., 0], 9).tolist() == [3, 0, 0, 0, 2, 0, 0, 0, 1]


def test_entropies_of_a_uniform_policy_are_the_greatest() -> None:
    greatest = math.log(9 * 4 * 2)
    figures = track.entropies(torch.tensor([[greatest] * 3, [0.5 * greatest] * 3]), SPEC)
    assert figures["entropy/share"].item() == pytest.approx(0.75)
    assert figures["entropy/stroke_2"].item() == pytest.approx(0.5 * greatest)


def test_pixels_by_hand() -> None:
    canvases = torch.tensor([[[[0, 51]], [[102, 255]]], [[[0, 51]], [[0, 255]]]], dtype=torch.uint8)  # (2, 2, 1, 2)
    figures = track.pixels(canvases)
    assert figures["mean"].item() == pytest.approx((0 + 0.2 + 0.4 + 1 + 0 + 0.2 + 0 + 1) / 8)
    assert figures["mean_0"].item() == pytest.approx(0.1)
    assert figures["mean_1"].item() == pytest.approx(0.6)
    assert figures["std_0"].item() == pytest.approx(math.sqrt(4 * 0.01 / 3))
    assert figures["diversity"].item() == pytest.approx(math.sqrt(0.4**2 / 4))  # one pixel of four differs, by 0.4
    gaps = track.gaps(figures, dict.fromkeys(figures, 1.0))
    assert gaps["pixels/mean_1_gap"].item() == pytest.approx(-0.4)


def test_diversity_is_the_distance_between_pairs() -> None:
    canvases = torch.randint(0, 256, (7, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    x = canvases.double() / 255
    pairs = [(x[i] - x[j]).square().mean() for i in range(7) for j in range(7) if i != j]
    expected = torch.stack(pairs).mean().sqrt().item()
    assert track.pixels(canvases)["diversity"].item() == pytest.approx(expected, rel=1e-5)


def test_parts_by_hand() -> None:
    network = nn.ModuleDict({"head": nn.ModuleDict({"decoders": nn.ModuleList(nn.Linear(2, 1) for _ in range(2))})})
    network["critic"] = nn.Linear(1, 1, bias=False)
    first, second = network["head"]["decoders"]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.0)
        first.weight[0, 0], first.bias[0], second.bias[0] = 3.0, 4.0, 2.0
    before = track.copies({"policy": network})
    first.weight.grad = torch.tensor([[0.0, 6.0]])
    first.bias.grad = torch.tensor([8.0])
    with torch.no_grad():
        second.bias += 0.5
    figures = track.parts({"policy": network}, before)
    assert figures == pytest.approx(
        {
            "weight/policy.head.decoders.0": 5.0,
            "weight/policy.head.decoders.1": 2.5,
            "weight/policy.critic": 0.0,
            "gradient/policy.head.decoders.0": 10.0,
            "gradient/policy.head.decoders.1": 0.0,
            "gradient/policy.critic": 0.0,
            "step/policy.head.decoders.0": 0.0,
            "step/policy.head.decoders.1": 0.2,
            "step/policy.critic": 0.0,
        }
    )


def test_means_by_hand() -> None:
    records = [{"a": torch.tensor(x), "b": torch.tensor(-x * x)} for x in (1.0, 2.0, 6.0)]
    assert track.means(records) == pytest.approx({"a": 3.0, "b": -41 / 3})
    x = torch.rand((), generator=torch.Generator().manual_seed(0)) * 1e-30
    assert track.means([{"x": x}])["x"] == x  # bit for bit
    assert track.means([{}, {}]) == {}


def test_told_apart_by_hand() -> None:
    figures = track.told_apart(torch.tensor([5.0, 1.0, 6.0]), torch.tensor([0.0, 2.0]))  # middle: 2.5
    expected = {"d/accuracy_real": 2 / 3, "d/accuracy_fake": 1.0, "d/overlap": 1 / 6}
    assert figures == pytest.approx(expected)


def test_the_heads_entropies_sum_to_the_policys() -> None:
    config = PolicyConfig(channels=4, blocks=0, features=16, location_channels=4, location_blocks=0, noise=3)
    torch.manual_seed(0)
    policy = ActorCritic(SPEC, (1, 9, 14), config, 2)
    for last in policy.outputs():
        nn.init.orthogonal_(last.weight)
    canvas = torch.randint(0, 256, (2, 5, 1, 9, 14), dtype=torch.uint8)
    last = torch.full((2, 5, 3), -1)
    step = torch.zeros(2, 5, dtype=torch.int64)
    observation = Observation(canvas, torch.randn(2, 5, 3), last, step, step - 1)
    with torch.no_grad():
        decision: Decision = policy(Observation(*(field.flatten(0, 1) for field in observation)))
    shaped = [field.unflatten(0, (2, 5)) for field in decision[:4]]
    rollout = Rollout(
        observation,
        shaped[0],
        *(shaped[i] for i in (1, 3, 2)),
        torch.zeros(3, 5, 1, 9, 14, dtype=torch.uint8),
        torch.zeros(2, 5, 14),
        torch.zeros(5, dtype=torch.int64),
    )
    figures = track.head_entropies(policy, rollout, SPEC)
    assert set(figures) == {"entropy/start", "entropy/red", "entropy/lift"}
    total = sum(figures[f"entropy/{d.name}"] * math.log(d.n) for d in SPEC)
    torch.testing.assert_close(total, decision.entropy.mean())
    assert len({round(figure.item(), 4) for figure in figures.values()}) == 3
    found = track.histograms(torch.zeros(3, 5), shaped[1], shaped[2], rollout, SPEC)
    counts, edges = found["action/red"]
    assert counts.tolist() == [(decision.action[:, 1] == i).sum() for i in range(4)]
    assert edges.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5]
    assert found["reward/strokes"][0].sum() == 10
