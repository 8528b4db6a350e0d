"""Old paintings are scored again at every visit, and nothing else."""

import torch
from torch import Tensor

from garl.adversary.gallery import ROOMS, SHOWN, Gallery
from garl.evaluate.oscillation import flips


def paintings(value: int) -> Tensor:
    return torch.full((SHOWN + 5, 1, 3, 2), value, dtype=torch.uint8)


def by_brightness(sign: float):  # type: ignore[no-untyped-def]
    return lambda images: sign * images.float().mean((1, 2, 3))


def test_a_row_for_each_visit_a_column_for_each_set() -> None:
    gallery = Gallery()
    for value, sign in ((10, 1.0), (30, 1.0), (20, -2.0)):
        gallery.visit(paintings(value), by_brightness(sign))
    nan = torch.nan
    expected = torch.tensor([[10, nan, nan], [10, 30, nan], [-20, -60, -40]])
    torch.testing.assert_close(gallery.scores, expected, equal_nan=True)
    assert gallery.images is not None
    assert gallery.images.shape == (3, SHOWN, 1, 3, 2)
    assert flips(gallery.scores.numpy()) > 0  # 30 above 10, then below


def test_the_oldest_set_and_visit_go_first_and_nothing_is_lost_by_a_restart() -> None:
    gallery, copy = Gallery(), Gallery()
    for value in range(ROOMS + 3):
        gallery.visit(paintings(value), by_brightness(1.0))
        copy.load_state_dict(gallery.state_dict())
    assert gallery.scores.shape == (ROOMS, ROOMS)
    assert gallery.scores[-1].tolist() == list(range(3, ROOMS + 3))
    assert gallery.scores[0, 0] == 3
    copy.visit(paintings(7), by_brightness(1.0))
    gallery.visit(paintings(7), by_brightness(1.0))
    torch.testing.assert_close(copy.scores, gallery.scores, equal_nan=True)
    assert flips(gallery.scores.numpy()) == 0.0


def test_a_gallery_that_nobody_visited_restarts_too() -> None:
    copy = Gallery()
    copy.load_state_dict(Gallery().state_dict())
    copy.visit(paintings(4), by_brightness(3.0))
    assert copy.scores.tolist() == [[12.0]]
