"""The autoregressive head: P(a|s) = Π P(a_i | a_<i, s), held against enumeration and slow loops."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from garl.policy.actor_critic import ActorCritic
from garl.policy.features import PolicyConfig
from garl.policy.heads import AutoregressiveHead, FeatureEmbedder, LocationDecoder, centre, offsets
from garl.types import Flag, Location, Observation, Scalar

CONFIG = PolicyConfig(channels=4, blocks=0, features=12, location_channels=4, location_blocks=1, noise=2)
SPEC = (Scalar("grey", 3), Location("place", 3), Flag("lift"), Scalar("opacity", 4))
ACTIONS = torch.tensor(list(itertools.product(*(range(d.n) for d in SPEC))))  # (216, 4)


@pytest.fixture
def head() -> AutoregressiveHead:
    """Weights large enough that the distributions are far from uniform and depend on the samples before."""
    torch.manual_seed(3)
    head = AutoregressiveHead(SPEC, CONFIG)
    for parameter in head.parameters():
        parameter.data.mul_(1.5)
    return head


FEATURES = torch.randn(1, 12, generator=torch.Generator().manual_seed(4)).relu()


@torch.no_grad()
def conditionals(head: AutoregressiveHead, features: Tensor, action: list[int]) -> list[Tensor]:
    """log P(· | a_<i, s) for each i, one action at a time: the chain as fig. 5.4 draws it."""
    result, f = [], features
    for i, decoder in enumerate(head.decoders):
        logits = decoder(f)[0].double()
        result.append(logits - logits.exp().sum().log())
        if i < len(SPEC) - 1:
            encoding = head.encoders[i](torch.tensor([action[i]]))
            f = torch.relu(f + head.embedders[i].mlp(torch.cat([f, encoding], 1)))
    return result


@torch.no_grad()
def test_probabilities_of_all_actions_sum_to_one(head: AutoregressiveHead) -> None:
    _, log_prob, _ = head(FEATURES.expand(len(ACTIONS), -1), ACTIONS)
    p = log_prob.double().exp()
    assert p.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert p.max() > 5 * p.mean(), "a uniform distribution would sum to 1 whatever the chain does"


@torch.no_grad()
def test_log_prob_and_entropy_are_sums_along_the_chain(head: AutoregressiveHead) -> None:
    chosen = ACTIONS[::7]
    returned, log_prob, entropy = head(FEATURES.expand(len(chosen), -1), chosen)
    assert torch.equal(returned, chosen)
    for row, action in enumerate(chosen.tolist()):
        chain = conditionals(head, FEATURES, action)
        assert log_prob[row].item() == pytest.approx(
            sum(p[a].item() for p, a in zip(chain, action, strict=True)), abs=1e-5
        )
        assert entropy[row].item() == pytest.approx(sum(-(p.exp() * p).sum().item() for p in chain), abs=1e-5)
    assert entropy.max() - entropy.min() > 0.05, "the entropy depends on the prefix that was sampled"


@torch.no_grad()
def test_the_expected_entropy_is_that_of_the_whole_action(head: AutoregressiveHead) -> None:
    """Chain rule: E_a[Σ H(A_i | a_<i)] = H(A)."""
    _, log_prob, entropy = head(FEATURES.expand(len(ACTIONS), -1), ACTIONS)
    p = log_prob.exp()
    assert (p * entropy).sum().item() == pytest.approx(-(p * log_prob).sum().item(), abs=1e-4)


@torch.no_grad()
def test_samples_come_as_often_as_their_probability_says(head: AutoregressiveHead) -> None:
    n = 40_000
    action, log_prob, entropy = head(FEATURES.expand(n, -1), generator=torch.Generator().manual_seed(5))
    again = head(FEATURES.expand(n, -1), action)
    torch.testing.assert_close(again[1], log_prob)
    torch.testing.assert_close(again[2], entropy)
    _, log_p, _ = head(FEATURES.expand(len(ACTIONS), -1), ACTIONS)
    p = log_p.double().exp()
    code = torch.zeros(n, dtype=torch.long)
    for i, d in enumerate(SPEC):
        code = code * d.n + action[:, i]
    counts = torch.bincount(code, minlength=len(ACTIONS)).double()
    often = p * n >= 5
    assert often.sum() > 30
    chi_square = ((counts - n * p).square() / (n * p))[often].sum().item()
    degrees = int(often.sum())
    assert chi_square < degrees + 5 * (2 * degrees) ** 0.5
    # The same statistic sees a distribution that is a little off:
    off = (p + p.mean() * 0.1) / (1 + 0.1)
    assert ((counts - n * off).square() / (n * off))[often].sum() > degrees + 5 * (2 * degrees) ** 0.5


@torch.no_grad()
@pytest.mark.parametrize("i", range(len(SPEC)))
def test_each_head_sees_every_sample_before_it_and_none_after(head: AutoregressiveHead, i: int) -> None:
    action = [1, 5, 0, 2]
    other = [*action]
    other[i] = (action[i] + 1) % SPEC[i].n
    seen: list[list[Tensor]] = [[], []]
    for record, a in zip(seen, (action, other), strict=True):
        hooks = [d.register_forward_hook(lambda _m, _i, out, r=record: r.append(out)) for d in head.decoders]
        head(FEATURES, torch.tensor([a]))
        for hook in hooks:
            hook.remove()
    differs = [bool(((a - b).abs() > 1e-4).any()) for a, b in zip(*seen, strict=True)]
    assert differs == [j > i for j in range(len(SPEC))]


@torch.no_grad()
def test_the_embedder_adds_a_residual_to_the_features() -> None:
    embedder = FeatureEmbedder(3, 2)
    features, encoding = torch.tensor([[1.0, -2.0, 0.5]]), torch.tensor([[3.0, -1.0]])
    x = torch.cat([features, encoding], 1)
    for layer in (embedder.mlp[0], embedder.mlp[2]):
        x = (x @ layer.weight.T + layer.bias).clamp(min=0)
    x = x @ embedder.mlp[4].weight.T + embedder.mlp[4].bias
    torch.testing.assert_close(embedder(features, encoding), (features + x).clamp(min=0))
    assert [embedder.mlp[i].out_features for i in (0, 2, 4)] == [32, 64, 3]


@torch.no_grad()
@pytest.mark.parametrize("grid", [2, 3, 7, 9, 10, 14, 16, 17, 32])
def test_a_location_decoder_has_one_logit_for_each_cell(grid: int) -> None:
    """Each cell's logit reads the feature map near the same cell, in row-major order: index = row · grid + column."""
    torch.manual_seed(0)
    decoder = LocationDecoder(grid, CONFIG.model_copy(update={"location_channels": 16}))
    logits = decoder(torch.rand(3, 12))
    assert logits.shape == (3, grid**2)
    assert all(row.unique().numel() > 0.9 * grid**2 for row in logits), "cells have logits of their own"
    # Light up one corner of the first feature maps at a time, and see which side of the grid answers.
    for name, parameter in decoder.named_parameters():
        parameter.copy_(torch.zeros_like(parameter) if name.endswith("bias") else parameter.abs())
    decoder.blocks = torch.nn.Identity()
    s = decoder.start

    def centre(row: int, column: int) -> tuple[float, float]:
        decoder.project.weight.zero_()
        decoder.project.weight.view(s, s, 16, -1)[row, column] = 1.0
        mass = decoder(torch.ones(1, 12)).view(grid, grid)
        at = torch.arange(grid).float()
        return (mass.sum(0) @ at / mass.sum()).item(), (mass.sum(1) @ at / mass.sum()).item()

    if s > 1:
        far = 0.2 * (grid - 1)
        (x0, y0), (x1, y1) = centre(0, s - 1), centre(s - 1, 0)  # upper right, lower left
        assert x0 - x1 > far
        assert y1 - y0 > far


def build() -> tuple[ActorCritic, Observation]:
    torch.manual_seed(6)
    policy = ActorCritic(SPEC, (3, 9, 14), CONFIG, steps=5)
    n = 8
    generator = torch.Generator().manual_seed(7)
    canvas = torch.randint(0, 256, (n, 3, 9, 14), generator=generator, dtype=torch.uint8)
    noise = torch.randn(n, 2, generator=generator)
    return policy, Observation(canvas, noise, torch.full((n, 4), -1), torch.zeros(n).long(), torch.zeros(n).long())


@torch.no_grad()
def test_bfloat16_networks_still_give_float32_log_probs() -> None:
    policy, observation = build()
    exact = policy(observation, generator=torch.Generator().manual_seed(8))
    with torch.autocast("cpu", torch.bfloat16):
        half = policy(observation, exact.action)
    assert [x.dtype for x in half[:4]] == [torch.int64, torch.float32, torch.float32, torch.float32]
    torch.testing.assert_close(half.log_prob, exact.log_prob, rtol=0, atol=0.05)
    torch.testing.assert_close(half.entropy, exact.entropy, rtol=0, atol=0.05)
    # Only the network is rounded: the softmax sums to 1 far below bfloat16's 2^-8.
    actions = ACTIONS
    one = Observation(*(field[:1].expand(len(actions), *field.shape[1:]) for field in observation))
    with torch.autocast("cpu", torch.bfloat16):
        total = policy(one, actions).log_prob.double().exp().sum().item()
    assert total == pytest.approx(1.0, abs=1e-4)


@torch.no_grad()
def test_seeded_sampling_repeats() -> None:
    policy, observation = build()
    first = policy(observation, generator=torch.Generator().manual_seed(11))
    torch.manual_seed(99)  # the global generator has no say
    second = policy(observation, generator=torch.Generator().manual_seed(11))
    third = policy(observation, generator=torch.Generator().manual_seed(12))
    assert all(torch.equal(a, b) for a, b in zip(first[:4], second[:4], strict=True))
    assert not torch.equal(first.action, third.action)


@torch.no_grad()
def test_a_fresh_policy_is_nearly_uniform() -> None:
    policy, observation = build()
    decision = policy(observation, generator=torch.Generator().manual_seed(13))
    uniform = sum(torch.tensor(float(d.n)).log() for d in SPEC)
    torch.testing.assert_close(decision.entropy, uniform.expand(8), rtol=0, atol=0.01)


# Location heads that see the extractor's maps.

MAPPED = CONFIG.model_copy(update={"location_maps": True})
PLACES = (Location("start", 4), Scalar("grey", 2), Location("end", 3))


def test_offsets_run_from_a_place_to_every_cell() -> None:
    place = centre(torch.tensor([1 * 4 + 2, 3 * 4 + 0]), 4)  # row · grid + column
    torch.testing.assert_close(place, torch.tensor([[0.625, 0.375], [0.125, 0.875]]))
    far = offsets(place, 5)
    assert far.shape == (2, 2, 5, 5)
    for i, (x, y) in enumerate(place.tolist()):
        for row, column in itertools.product(range(5), range(5)):
            expected = [(column + 0.5) / 5 - x, (row + 0.5) / 5 - y]
            assert far[i, :, row, column].tolist() == pytest.approx(expected, abs=1e-6)


@torch.no_grad()
def test_a_cell_of_the_maps_moves_the_logits_of_the_cells_around_it() -> None:
    torch.manual_seed(0)
    decoder = LocationDecoder(5, MAPPED, places=1)
    maps = torch.randn(2, 4, 5, 5)
    changed = maps.clone()
    changed[1, 2, 3, 0] += 100.0  # row 3, column 0
    place = [torch.rand(2, 2)]
    before, after = (
        decoder(torch.rand(2, 12, generator=torch.Generator().manual_seed(1)), m, place) for m in (maps, changed)
    )
    moved = (before != after).view(2, 5, 5)
    assert not moved[0].any()
    rows, columns = moved[1].nonzero(as_tuple=True)
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == {(r, c) for r in (2, 3, 4) for c in (0, 1)}


@torch.no_grad()
def test_all_that_is_seen_of_maps_and_places_makes_one_distribution() -> None:
    """The chain's features say nothing here: what the end knows of the start is the offsets."""
    torch.manual_seed(3)
    head = AutoregressiveHead(PLACES, MAPPED)
    for parameter in head.embedders.parameters():
        parameter.zero_()
    for decoder in (head.decoders[0], head.decoders[2]):
        decoder.up[-1].weight.mul_(8.0)
    actions = torch.tensor(list(itertools.product(*(range(d.n) for d in PLACES))))  # (288, 3)
    maps = torch.rand(2, 1, 4, 7, 10)  # two pictures, seen as 4 × 4 and as 3 × 3 cells
    p = [head(FEATURES.expand(288, -1), actions, maps=m.expand(288, -1, -1, -1))[1].exp().view(16, 2, 9) for m in maps]
    for each in p:
        assert each.sum().item() == pytest.approx(1.0, abs=1e-5)
    start, end = (
        [each.sum((1, 2)) for each in p],
        [each.sum(1) / each.sum((1, 2))[:, None] for each in p],  # P(end | start)
    )
    assert (start[0] - start[1]).abs().max() > 1e-3
    assert (end[0] - end[1]).abs().max() > 1e-3
    assert (end[0] - end[0][:1]).abs().max() > 1e-3, "the end depends on the start"
    torch.testing.assert_close(p[0].sum((0, 2)), p[1].sum((0, 2)))  # no maps for what is no place


@torch.no_grad()
def test_what_comes_after_a_place_sees_the_maps_there_and_nowhere_else() -> None:
    torch.manual_seed(0)
    head = AutoregressiveHead(PLACES, MAPPED)
    maps, features = torch.rand(1, 4, 4, 4), FEATURES[:1]

    def grey(maps: Tensor) -> float:
        """log P(grey = 0 | start = 6): that of both, summed over all ends, less that of the start."""
        start = head.decoders[0](features, maps, []).log_softmax(-1)[0, 6]
        ends = [head(features, torch.tensor([[6, 0, end]]), maps=maps)[1] for end in range(9)]
        return float(torch.cat(ends).logsumexp(0) - start)

    here, elsewhere = maps.clone(), maps.clone()
    here[0, :, 1, 2] += 1.0  # cell 1 · 4 + 2
    elsewhere[0, :, 2, 2] += 1.0
    assert grey(elsewhere) == pytest.approx(grey(maps), abs=1e-5)
    assert abs(grey(here) - grey(maps)) > 1e-3
