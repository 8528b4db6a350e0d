"""What the two streams see, pixel by pixel."""

from __future__ import annotations

import pytest
import torch

from garl.policy.two_streams import StreamsConfig, TwoStreams, views


def test_the_views_show_what_is_about_the_pen() -> None:
    """Asymmetric pens: one near the left, one near the lower edge; beyond the edge there is no ink."""
    generator = torch.Generator().manual_seed(0)
    canvas, target = (torch.randint(1, 256, (2, 1, 20, 20), dtype=torch.uint8, generator=generator) for _ in range(2))
    pen = torch.tensor([[1, 7, 1], [12, 18, 0]])
    whole, patch = views(canvas, target, pen, reach=3)
    assert (whole.shape, patch.shape) == ((2, 4, 20, 20), (2, 2, 7, 7))
    for i, (column, row, down) in enumerate(pen.tolist()):
        torch.testing.assert_close(whole[i, 0], target[i, 0] / 255)
        torch.testing.assert_close(whole[i, 1], canvas[i, 0] / 255)
        assert whole[i, 2, row + 1, column + 2] == pytest.approx(5**0.5 / 20)
        assert whole[i, 2, row, column] == 0
        assert (whole[i, 3] == down).all()
        for y in range(7):
            for x in range(7):
                place = row + y - 3, column + x - 3
                inside = all(0 <= each < 20 for each in place)
                wanted = [picture[(i, 0, *place)] / 255 if inside else 0.0 for picture in (target, canvas)]
                assert patch[i, :, y, x].tolist() == pytest.approx([float(each) for each in wanted])


@pytest.mark.parametrize(("side", "reach"), [(16, 2), (33, 4), (84, 5)])
def test_both_streams_count(side: int, reach: int) -> None:
    torch.manual_seed(0)
    network = TwoStreams(side, reach, StreamsConfig(width=2, hidden=8))
    whole = torch.rand(3, 4, side, side)
    patch = torch.rand(3, 2, 2 * reach + 1, 2 * reach + 1)
    values = network(whole, patch)
    assert values.shape == (3, 2 * (2 * reach + 1) ** 2)
    assert not torch.equal(values, network(whole.flip(2), patch))
    assert not torch.equal(values, network(whole, patch.flip(2)))
