"""Convolutions in pieces: the same as layer by layer, there and back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from garl.policy import chain as module
from garl.policy.chain import Convolutions, residual


def gradients(y: Tensor, learned: list[Tensor]) -> list[Tensor]:
    """Of a sum of y in which every number has another weight."""
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(4))
    return list(torch.autograd.grad((y * weight).sum(), learned))


def layers(channels: int, ends_in_relu: bool) -> Convolutions:
    torch.manual_seed(0)
    return Convolutions(
        nn.ConvTranspose2d(channels, 4, 4, 2, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 4, 3, 2, 1),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(4, 3, 4, 2, 1),
        nn.ReLU(inplace=True),
        *([] if ends_in_relu else [nn.Conv2d(3, 1, 1)]),
    )


@pytest.mark.parametrize("channels", [5, 20])  # narrow transposed convolutions go another way
@pytest.mark.parametrize("ends_in_relu", [True, False])
@pytest.mark.parametrize("in_a_piece", [2, 3, 8])
def test_pieces_give_the_values_and_gradients_of_the_whole(
    channels: int, ends_in_relu: bool, in_a_piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE", in_a_piece * 4 * 8 * 6 * 4)
    convolutions = layers(channels, ends_in_relu)
    x = torch.randn(5, channels, 4, 3, requires_grad=True)
    learned = [x, *convolutions.parameters()]
    whole, pieces = nn.Sequential.forward(convolutions, x), convolutions(x)
    assert pieces.shape == (5, 3 if ends_in_relu else 1, 8, 6)
    torch.testing.assert_close(pieces, whole, rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(gradients(pieces, learned), gradients(whole, learned), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
        assert theirs.abs().max() > 0.01


def test_in_bfloat16_gradients_are_summed_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 2 * 4 * 8 * 6 * 2)
    convolutions = layers(20, True)
    x = torch.randn(9, 20, 4, 3, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        pieces = convolutions(x)
    assert pieces.dtype == torch.bfloat16
    whole = nn.Sequential.forward(convolutions, x)
    learned = [x, *convolutions.parameters()]
    for mine, theirs in zip(gradients(pieces, learned), gradients(whole, learned), strict=True):
        assert mine.dtype == torch.float32
        assert (mine - theirs).norm() < 0.05 * theirs.norm()


def test_without_a_gradient_the_output_is_the_same_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 2 * 4 * 8 * 6 * 4)
    convolutions, x = layers(5, False), torch.randn(5, 5, 4, 3)
    with torch.no_grad():
        quick = convolutions(x)
    assert not quick.requires_grad
    assert torch.equal(quick, convolutions(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_residual_blocks_with_and_without_the_last_relu_are_the_same(dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    blocks = [(nn.Conv2d(5, 5, 3, padding=1), nn.Conv2d(5, 5, 1)) for _ in range(3)]
    learned = [p for block in blocks for layer in block for p in layer.parameters()]
    x = (torch.randn(4, 5, 6, 7) - 0.5).relu().requires_grad_()  # most of it 0
    y = x.relu()  # as in the network, a ReLU stands before the first block
    for wide, narrow in blocks:
        y = F.relu(y + F.relu(narrow(F.relu(wide(y)))))
    assert 0.02 < (y == 0).float().mean() < 0.9
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        quick = residual(x.relu(), blocks)
    assert quick.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(quick.float(), y, rtol=tolerance, atol=tolerance)
    for mine, theirs in zip(gradients(quick, [x, *learned]), gradients(y, [x, *learned]), strict=True):
        assert mine.dtype == torch.float32
        assert (mine - theirs).norm() < tolerance * theirs.norm()


def test_no_blocks_change_nothing() -> None:
    x = torch.randn(2, 3, 4, 5)
    assert residual(x, []) is x
