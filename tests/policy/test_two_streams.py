"""What the two streams see, cell by cell and pixel by pixel."""

from __future__ import annotations

import pytest
import torch

from garl.policy.two_streams import GRAIN, StreamsConfig, TwoStreams, views


def test_the_views_show_what_is_about_the_pen() -> None:
    """Asymmetric pens: one near the left, one near the lower edge; beyond the edge there is nothing."""
    side, reach, cells = 20, 3, 5
    generator = torch.Generator().manual_seed(0)
    canvas, target = (torch.randint(1, 256, (2, 1, side, side), dtype=torch.uint8, generator=generator) for _ in "ab")
    pen = torch.tensor([[1, 7, 1], [12, 18, 0]])
    whole, patch = views(canvas, target, pen, reach)
    assert (whole.shape, patch.shape) == ((2, 4, 9, 9), (2, 2, 7, 7))
    for i, (column, row, down) in enumerate(pen.tolist()):
        for y in range(9):
            for x in range(9):
                at_row, at_column = row // GRAIN + y - 4, column // GRAIN + x - 4
                inside = int(0 <= at_row < cells and 0 <= at_column < cells)
                block = slice(4 * at_row, 4 * at_row + 4), slice(4 * at_column, 4 * at_column + 4)
                wanted = [
                    float(each[(i, 0, *block)].float().mean()) / 255 if inside else 0 for each in (target, canvas)
                ]
                assert whole[i, :, y, x].tolist() == pytest.approx([*wanted, inside, down])
        for y in range(7):
            for x in range(7):
                place = row + y - 3, column + x - 3
                inside = all(0 <= each < side for each in place)
                wanted = [float(each[(i, 0, *place)]) / 255 if inside else 0.0 for each in (target, canvas)]
                assert patch[i, :, y, x].tolist() == pytest.approx(wanted)


@pytest.mark.parametrize(("side", "reach"), [(16, 2), (33, 4), (84, 5)])
def test_both_streams_count(side: int, reach: int) -> None:
    torch.manual_seed(0)
    network = TwoStreams(side, reach, StreamsConfig(width=2, hidden=8))
    ink = torch.randint(0, 256, (3, 1, side, side), dtype=torch.uint8)
    whole, patch = views(ink, ink.flip(2), torch.tensor([[0, side - 1, 0], [3, 5, 1], [side // 2, 9, 1]]), reach)
    values = network(whole, patch)
    assert values.shape == (3, 2 * (2 * reach + 1) ** 2)
    assert not torch.equal(values, network(whole.flip(2), patch))
    assert not torch.equal(values, network(whole, patch.flip(2)))
