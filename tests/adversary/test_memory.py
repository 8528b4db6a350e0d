"""The memory of fakes: what it keeps, how often, and what it hands out."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from garl.adversary.memory import FakeMemory, canvases_of, fakes_of
from garl.types import Observation, Rollout

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


@pytest.mark.parametrize("priority", ["recent", "uniform", "mixed"])
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


def test_half_of_a_mixed_batch_is_new() -> None:
    """4 of 8 from the 5 newest, 4 from 40 kept of 45: a new one comes up with 4/5 + 4/45 in the mean over memories."""
    generator, counts = torch.Generator().manual_seed(0), torch.zeros(45)
    for _ in range(300):
        memory = FakeMemory(40, "mixed")
        fill(memory, [40, 5], generator)
        for _ in range(5):
            counts += torch.bincount(torch.tensor(numbers(memory.batch(8, generator))), minlength=45)
    counts /= 1500
    assert counts.sum() == pytest.approx(8)
    assert counts[40:].mean() == pytest.approx(4 / 5 + 4 / 45, rel=0.02)
    assert counts[:40].mean() == pytest.approx(4 / 45, rel=0.02)
    assert (counts[:40] - 4 / 45).abs().max() < 0.06


def test_step_and_condition_stay_with_their_canvas() -> None:
    memory, generator = FakeMemory(7, "mixed"), torch.Generator().manual_seed(0)
    for first in (0, 5, 10):
        order = torch.arange(first, first + 5)
        memory.add(numbered(first, 5), generator, step=order + 100, condition=order + 200)
    restored = FakeMemory(7, "recent")
    restored.load_state_dict(memory.state_dict())
    for each in (memory, restored):
        fakes = each.sample(50, generator)
        assert fakes.step.tolist() == [number + 100 for number in numbers(fakes.images)]
        assert fakes.condition.tolist() == [number + 200 for number in numbers(fakes.images)]


def test_a_checkpoint_without_steps_and_conditions_is_read() -> None:
    memory, generator = FakeMemory(4), torch.Generator().manual_seed(0)
    memory.load_state_dict({"images": numbered(1, 3), "seen": torch.tensor(3)})
    fakes = memory.sample(9, generator)
    assert set(numbers(fakes.images)) <= {1, 2, 3}
    assert fakes.step.tolist() == fakes.condition.tolist() == [-1] * 9


def painted(strokes: int, batch: int) -> Rollout:
    """Canvas t of painting b is number 10 b + t."""
    canvases = torch.stack([torch.cat([numbered(10 * b + t, 1) for b in range(batch)]) for t in range(strokes + 1)])
    nothing, whole = torch.zeros(strokes, batch), torch.zeros(strokes, batch, 2, dtype=torch.long)
    observation = Observation(canvases[:-1], nothing[..., None], whole, whole[..., 0], whole[..., 0])
    return Rollout(
        observation, whole, nothing, nothing, nothing, canvases, torch.zeros(strokes, batch, 11), torch.zeros(batch)
    )


@pytest.mark.parametrize(
    ("intermediate", "steps"), [("none", [4]), ("all", [1, 2, 3, 4]), ("weighted", [1, 2, 3, 4]), ("mixed", None)]
)
def test_what_the_discriminator_sees_of_an_episode(intermediate: str, steps: list[int] | None) -> None:
    fakes = fakes_of(painted(4, 3), intermediate, torch.Generator().manual_seed(0), torch.tensor([3, 4, 5]))
    of = [number // 10 for number in numbers(fakes.images)]
    assert [number % 10 for number in numbers(fakes.images)] == fakes.step.tolist()
    assert fakes.condition.tolist() == [b + 3 for b in of]
    assert len(of) == canvases_of(3, 4, intermediate)
    if steps is not None:
        assert sorted(fakes.step.tolist()) == sorted(steps * 3)


def test_mixed_has_each_unfinished_canvas_equally_often() -> None:
    """One of steps 1, 2, 3 in each of 3 × 400 paintings: 400 ± 16 each."""
    generator, rollout = torch.Generator().manual_seed(0), painted(4, 3)
    steps = torch.cat([fakes_of(rollout, "mixed", generator).step for _ in range(400)])
    counts = torch.bincount(steps)
    assert counts[4] == 1200
    assert counts[0] == 0
    assert (counts[1:4] - 400).abs().max() < 66


@pytest.mark.parametrize("intermediate", ["all", "mixed"])
def test_a_memory_too_small_for_an_episode_keeps_every_step(intermediate: str) -> None:
    generator, memory = torch.Generator().manual_seed(0), FakeMemory(30)
    fakes = fakes_of(painted(4, 25), intermediate, generator)
    memory.add(fakes.images, generator, fakes.step)
    assert set(memory.state_dict()["step"].tolist()) == {1, 2, 3, 4}
