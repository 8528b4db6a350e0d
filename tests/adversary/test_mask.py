"""The mask of a pair: how much is hidden, where, and never in both."""

from __future__ import annotations

import pytest
import torch

from garl.adversary.mask import PATCHES, draw_masks

PICTURES = torch.zeros(500, 3, 20, 27, dtype=torch.uint8)


def masks(share: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return draw_masks(PICTURES, share, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_patch_is_hidden_in_one_of_the_two(share: float) -> None:
    picture, target = masks(share)
    assert picture.shape == target.shape == (500, 1, 20, 27)
    assert set(picture.unique().tolist()) <= {0.0, 1.0}
    assert ((picture + target) >= 1).all(), "nothing is hidden in both"
    assert (picture + target == 1).float().mean().item() == pytest.approx(share, abs=0.03)
    assert (picture == 0).float().mean().item() == pytest.approx(share / 2, abs=0.03)
    assert (target == 0).float().mean().item() == pytest.approx(share / 2, abs=0.03)


def test_all_of_a_patch_is_hidden() -> None:
    picture, _ = masks(0.5)
    rows = [y * PATCHES // 20 for y in range(20)]
    columns = [x * PATCHES // 27 for x in range(27)]
    for mask in picture[:5, 0]:
        for y in range(20):
            for x in range(27):
                first = mask[rows.index(rows[y]), columns.index(columns[x])]
                assert mask[y, x] == first
    assert picture.flatten(1).unique(dim=0).shape[0] > 400, "each pair has a mask of its own"


def test_masks_come_from_the_generator_or_stay_the_same() -> None:
    assert torch.equal(masks(0.5, 1)[0], masks(0.5, 1)[0])
    assert not torch.equal(masks(0.5, 1)[0], masks(0.5, 2)[0])
    torch.manual_seed(7)
    first = draw_masks(PICTURES, 0.5)[0]
    torch.manual_seed(8)
    assert torch.equal(draw_masks(PICTURES, 0.5)[0], first)
