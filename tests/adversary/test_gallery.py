"""Old paintings are scored again at every visit, and nothing else."""

from collections.abc import Callable

import torch
from torch import Tensor

from garl.adversary.gallery import ROOMS, SHOWN, Gallery
from garl.evaluate.oscillation import flips


def paintings(value: int) -> Tensor:
    return torch.full((SHOWN + 5, 1, 3, 2), value, dtype=torch.uint8)


def by_brightness(sign: float) -> Callable[[Tensor, Tensor | None], Tensor]:
    def score(images: Tensor, condition: Tensor | None) -> Tensor:
        return sign * images.float().mean((1, 2, 3)) + (0 if condition is None else condition)

    return score


def test_a_row_for_each_visit_a_column_for_each_set() -> None:
    gallery = Gallery()
    for value, sign in ((10, 1.0), (30, 1.0), (20, -2.0)):
        gallery.visit(paintings(value), None, by_brightness(sign))
    assert gallery.scores.tolist() == [[10, 0, 0], [10, 30, 0], [-20, -60, -40]]
    assert gallery.images.shape == (3, SHOWN, 1, 3, 2)
    assert flips(gallery.scores.numpy()) > 0  # 30 above 10, then below


def test_paintings_are_scored_for_the_class_that_they_were_asked_for() -> None:
    gallery = Gallery()
    for value, asked in ((10, 2), (30, 5)):
        gallery.visit(paintings(value), torch.full((SHOWN + 5,), asked), by_brightness(1.0))
    assert gallery.scores.tolist() == [[12, 0], [12, 35]]


def test_the_oldest_set_and_visit_go_first_and_nothing_is_lost_by_a_restart() -> None:
    gallery, copy = Gallery(), Gallery()
    for value in range(ROOMS + 3):
        gallery.visit(paintings(value), None, by_brightness(1.0))
        copy.load_state_dict(gallery.state_dict())
    assert gallery.scores.shape == (ROOMS, ROOMS)
    assert gallery.scores[-1].tolist() == list(range(3, ROOMS + 3))
    assert gallery.scores[0].tolist() == [3] + [0] * (ROOMS - 1)
    for each in (copy, gallery):
        each.visit(paintings(7), None, by_brightness(1.0))
    assert torch.equal(copy.scores, gallery.scores)
    assert flips(gallery.scores.numpy()) == 0.0


def test_a_gallery_that_nobody_visited_restarts_too() -> None:
    for state in (Gallery().state_dict(), {}):
        copy = Gallery()
        copy.load_state_dict(state)
        copy.visit(paintings(4), None, by_brightness(3.0))
        assert copy.scores.tolist() == [[12.0]]
