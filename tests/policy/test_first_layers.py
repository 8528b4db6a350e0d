"""The layers at full size, in pieces: the same as layer by layer, there and back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from garl.policy import first_layers as module
from garl.policy.first_layers import first_layers, rows, see

HEIGHT, WIDTH, MAPS = 9, 14, 6
GRID = torch.randn(1, 2, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(3))


def layers() -> tuple[nn.Conv2d, nn.Conv2d]:
    torch.manual_seed(1)
    return nn.Conv2d(5, MAPS, 5, padding=2), nn.Conv2d(MAPS, MAPS, 3, 2, 1)


def canvases(n: int) -> Tensor:
    return torch.randint(0, 256, (n, 3, HEIGHT, WIDTH), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


def plain(canvas: Tensor, condition: Tensor | None, first: nn.Conv2d, down: nn.Conv2d) -> Tensor:
    """Layer by layer, with PyTorch's own gradients."""
    x = (canvas.float() - 127.5) / 127.5
    x = first(torch.cat([x, GRID.expand(len(x), -1, -1, -1)], 1))
    if condition is not None:
        x = x + condition[:, :, None, None]
    return F.relu(down(F.relu(x)))


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(("n", "in_a_piece"), [(7, 3), (4, 4), (1, 8)])
def test_pieces_give_the_values_and_gradients_of_the_whole(
    told: bool, n: int, in_a_piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE", in_a_piece * MAPS * HEIGHT * WIDTH * 4)
    first, down = layers()
    condition = torch.randn(n, MAPS, requires_grad=True) if told else None
    learned = [*first.parameters(), *down.parameters(), *([condition] if condition is not None else [])]
    whole = plain(canvases(n), condition, first, down)
    pieces = first_layers(canvases(n), GRID, condition, first, down)
    torch.testing.assert_close(pieces, whole, rtol=1e-4, atol=1e-5)
    assert pieces.shape == (n, MAPS, 5, 7)
    weight = torch.randn(whole.shape)
    wanted = torch.autograd.grad((whole * weight).sum(), learned)
    found = torch.autograd.grad((pieces * weight).sum(), learned)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
        assert theirs.abs().max() > 0.01


def test_in_bfloat16_gradients_are_summed_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 2 * MAPS * HEIGHT * WIDTH * 2)
    first, down = layers()
    condition = torch.randn(5, MAPS, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        pieces = first_layers(canvases(5), GRID, condition, first, down)
        assert pieces.dtype == torch.bfloat16
    whole = plain(canvases(5), condition, first, down)
    torch.testing.assert_close(pieces.float(), whole, rtol=0.05, atol=0.05)
    learned = [condition, *first.parameters(), *down.parameters()]
    weight = torch.randn(whole.shape)
    wanted = torch.autograd.grad((whole * weight).sum(), learned)
    found = torch.autograd.grad((pieces * weight).sum(), learned)
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.dtype == torch.float32
        assert (mine - theirs).norm() < 0.05 * theirs.norm()


def test_what_is_seen_is_the_canvas_in_minus_one_to_one_before_the_grid() -> None:
    canvas = canvases(2)
    seen = see(canvas, GRID)
    assert seen.shape == (2, 5, HEIGHT, WIDTH)
    torch.testing.assert_close(seen[1, 2, 3, 5], canvas[1, 2, 3, 5] / 127.5 - 1.0)
    assert torch.equal(seen[1, 3:], GRID[0])


def test_rows_add_one_number_to_every_pixel_of_a_map() -> None:
    condition = torch.tensor([[1.0, -2.0], [0.5, 3.0], [0.0, 4.0]])
    added = torch.zeros(3, 2, 4, 5) + rows(condition, 5, torch.float32)
    assert torch.equal(added, condition[:, :, None, None].expand(-1, -1, 4, 5))
