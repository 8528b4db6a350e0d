"""The memory against slow arithmetic, and its draws against the probabilities that they promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from garl.learners.replay import Replay, ReplayConfig, States, SumTree


def states(n: int, first: int = 0) -> States:
    """Canvases 2 × 3 × 5 that tell their number, as do targets; steps count down."""
    number = torch.arange(first, first + n)
    canvas = number.to(torch.uint8)[:, None, None, None].expand(n, 2, 3, 5).clone()
    return States(canvas, 10 * number, 1000 - number)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 33).flatmap(
        lambda n: st.tuples(
            st.lists(st.floats(0, 100), min_size=n, max_size=n),
            st.lists(st.tuples(st.integers(0, n - 1), st.floats(0, 100)), max_size=5),
        )
    )
)
def test_the_tree_finds_what_a_running_sum_finds(given_values: tuple[list[float], list[tuple[int, float]]]) -> None:
    start, changes = given_values
    tree, slow = SumTree(len(start)), np.array(start)
    tree[np.arange(len(start))] = slow
    for slot, value in changes:
        tree[np.array([slot])] = np.array([value])
        slow[slot] = value
    assert tree.total == pytest.approx(slow.sum())
    if slow.sum() == 0:
        return
    mass = np.linspace(0, 0.999, 17) * tree.total
    ends = np.cumsum(slow)
    for found, each in zip(tree.find(mass), mass, strict=True):
        assert slow[found] > 0
        assert ends[found] - slow[found] - 1e-9 * ends[-1] <= each <= ends[found] + 1e-9 * ends[-1]


def test_a_mass_lost_to_rounding_still_finds_something() -> None:
    tree = SumTree(5)
    tree[np.array([0, 2])] = np.array([0.1, 0.2])
    assert tree.find(np.array([tree.total])).tolist() == [2]  # as random · total may round up to it


def test_the_newest_states_are_kept_with_their_fields() -> None:
    memory = Replay(ReplayConfig(capacity=7), States)
    for first, n in ((0, 4), (4, 5), (9, 20)):
        memory.add(states(n, first))
    assert len(memory) == 7
    drawn = memory.sample(200, torch.Generator().manual_seed(1)).states
    number = drawn.canvas[:, 0, 0, 0].long()
    assert set(number.tolist()) == set(range(22, 29))
    assert torch.equal(drawn.canvas, drawn.canvas[:, :1, :1, :1].expand_as(drawn.canvas))
    assert torch.equal(drawn.target, 10 * number)
    assert torch.equal(drawn.step, 1000 - number)


@pytest.mark.parametrize("prioritised", [False, True])
def test_states_are_drawn_as_often_as_their_priorities_say(prioritised: bool) -> None:
    """χ² with a fixed seed; batches of 3, as the parts of a larger batch would be stratified."""
    config = ReplayConfig(capacity=6, prioritised=prioritised, alpha=0.7, epsilon=0.01)
    memory, generator = Replay(config, States), torch.Generator().manual_seed(0)
    memory.add(states(6))
    error = torch.tensor([0.0, -1.0, 2.0, 0.5, -4.0, 0.1])
    memory.prioritise(np.arange(6), error)
    mass = (error.abs().double().numpy() + 0.01) ** 0.7
    wanted = mass / mass.sum() if prioritised else np.full(6, 1 / 6)
    drawn = np.concatenate([memory.sample(3, generator).slots for _ in range(4000)])
    counts = np.bincount(drawn, minlength=6)
    assert chisquare(counts, 12000 * wanted).pvalue > 0.01
    if prioritised:
        assert chisquare(counts, np.full(6, 2000)).pvalue < 1e-6


@pytest.mark.parametrize(("annealed", "beta"), [(0.0, 0.4), (0.5, 0.7), (1.0, 1.0)])
def test_weights_undo_the_preference(annealed: float, beta: float) -> None:
    memory = Replay(ReplayConfig(capacity=8, prioritised=True, alpha=0.6, beta=0.4, epsilon=0.5), States)
    memory.add(states(5))
    error = torch.tensor([3.0, 0.0, 1.0, 0.0, 7.0])
    memory.prioritise(np.arange(5), error)
    sample = memory.sample(64, torch.Generator().manual_seed(2), annealed)
    mass = (error.double().numpy() + 0.5) ** 0.6
    weight = (1 / (5 * mass[sample.slots] / mass.sum())) ** beta
    np.testing.assert_allclose(sample.weight.numpy(), weight / weight.max(), rtol=1e-6)


def test_a_new_state_has_the_highest_priority() -> None:
    memory = Replay(ReplayConfig(capacity=4, prioritised=True, alpha=1.0, epsilon=0.5), States)
    memory.add(states(2))
    memory.prioritise(np.arange(2), torch.tensor([6.0, 0.0]))
    memory.add(states(1, 2))
    assert memory.tree[np.arange(4)].tolist() == [6.5, 0.5, 6.5, 0.0]


@pytest.mark.parametrize("seen", [0, 3, 11])
def test_a_restored_memory_draws_the_same(seen: int) -> None:
    config = ReplayConfig(capacity=5, prioritised=True)
    memory, restored = Replay(config, States), Replay(config, States)
    if seen:
        memory.add(states(seen))
        memory.prioritise(np.array([0, 2]), torch.tensor([0.3, 5.1]))
    restored.load_state_dict(memory.state_dict())
    for each in (memory, restored):
        each.add(states(4, 50))
    draws = [each.sample(9, torch.Generator().manual_seed(4)) for each in (memory, restored)]
    assert np.array_equal(draws[0].slots, draws[1].slots)
    assert torch.equal(draws[0].weight, draws[1].weight)
    assert torch.equal(draws[0].states.canvas, draws[1].states.canvas)
