"""The memory of fakes: what it keeps, how often, and what it hands out."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from garl.adversary.memory import FakeMemory

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=12)


def numbered(first: int, n: int) -> torch.Tensor:
    """Paintings (n, 1, 2, 3) whose pixels spell their number."""
    index = torch.arange(first, first + n)
    image = torch.zeros(n, 1, 2, 3, dtype=torch.uint8)
    image[:, 0, 0, 0], image[:, 0, 1, 2] = (index % 256).byte(), (index // 256).byte()
    return image


def numbers(images: torch.Tensor) -> list[int]:
    return (images[:, 0, 0, 0].int() + 256 * images[:, 0, 1, 2].int()).tolist()


def fill(memory: FakeMemory, sizes: list[int], generator: torch.Generator) -> int:
    total = 0
    for n in sizes:
        memory.add(numbered(total, n), generator)
        total += n
    return total


@settings(max_examples=60, deadline=None)
@given(capacity=st.integers(1, 20), sizes=SIZES)
def test_recent_keeps_exactly_the_newest(capacity: int, sizes: list[int]) -> None:
    memory = FakeMemory(capacity, "recent")
    total = fill(memory, sizes, torch.Generator().manual_seed(0))
    kept = numbers(memory.state_dict()["images"])
    assert sorted(kept) == list(range(max(0, total - capacity), total))
    assert len(memory) == min(total, capacity)


@settings(max_examples=60, deadline=None)
@given(capacity=st.integers(1, 20), sizes=SIZES, seed=st.integers(0, 1000))
def test_uniform_keeps_as_many_as_it_can_and_none_twice(capacity: int, sizes: list[int], seed: int) -> None:
    memory = FakeMemory(capacity, "uniform")
    total = fill(memory, sizes, torch.Generator().manual_seed(seed))
    kept = numbers(memory.state_dict()["images"])
    assert len(set(kept)) == len(kept) == min(total, capacity)
    assert set(kept) <= set(range(total))


@pytest.mark.parametrize("sizes", [[1] * 12, [5, 7], [12], [2, 1, 4, 5]])
def test_uniform_keeps_each_painting_equally_often(sizes: list[int]) -> None:
    """3 of 12 in each of 1,000 runs: 250 ± 14 for each painting; the bounds are 4 standard deviations."""
    generator = torch.Generator().manual_seed(1)
    counts = torch.zeros(12)
    for _ in range(1000):
        memory = FakeMemory(3, "uniform")
        fill(memory, sizes, generator)
        counts[numbers(memory.state_dict()["images"])] += 1
    assert counts.sum() == 3000
    assert (counts - 250).abs().max() < 4 * (1000 * 0.25 * 0.75) ** 0.5


def test_a_full_reservoir_may_keep_none_of_a_batch() -> None:
    memory, generator = FakeMemory(2, "uniform"), torch.Generator().manual_seed(0)
    memory.add(numbered(0, 2000), generator)
    before = numbers(memory.state_dict()["images"])
    memory.add(numbered(2000, 1), generator)
    assert numbers(memory.state_dict()["images"]) == before
    assert memory.seen == 2001


@pytest.mark.parametrize("priority", ["recent", "uniform"])
@pytest.mark.parametrize("sizes", [[], [3], [4, 9]])
def test_state_goes_round(priority: str, sizes: list[int]) -> None:
    memory = FakeMemory(5, priority)
    total = fill(memory, sizes, torch.Generator().manual_seed(0))
    state = copy.deepcopy(memory.state_dict())
    restored = FakeMemory(5, priority)
    restored.load_state_dict(state)
    assert len(restored) == len(memory)
    assert restored.seen == memory.seen == total
    for m in (memory, restored):  # and both go on alike
        m.add(numbered(total, 4), torch.Generator().manual_seed(7))
    assert torch.equal(restored.state_dict()["images"], memory.state_dict()["images"])
    a, b = (m.batch(20, torch.Generator().manual_seed(8)) for m in (memory, restored))
    assert torch.equal(a, b)


@pytest.mark.parametrize("n", [3, 40])
def test_batches_come_uniformly_from_what_is_kept(n: int) -> None:
    """Three of five slots filled, or the ring gone round: never an empty slot, never a painting let go."""
    memory, generator = FakeMemory(5, "recent"), torch.Generator().manual_seed(0)
    memory.add(numbered(1, n), generator)
    drawn = numbers(memory.batch(6000, generator))
    kept = min(n, 5)
    counts = torch.bincount(torch.tensor(drawn))
    assert counts.nonzero().flatten().tolist() == list(range(n - kept + 1, n + 1))
    expected = 6000 / kept
    assert (counts[-kept:] - expected).abs().max() < 4 * expected**0.5


def test_adding_copies_the_paintings() -> None:
    memory, generator = FakeMemory(4), torch.Generator().manual_seed(0)
    paintings = numbered(10, 4)
    memory.add(paintings, generator)
    paintings.zero_()
    assert sorted(numbers(memory.state_dict()["images"])) == [10, 11, 12, 13]
