"""Convolutions in pieces: the same as layer by layer, there and back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from garl.policy import chain as module
from garl.policy.chain import Chain, Convolutions, residual, rows

HEIGHT, WIDTH, MAPS = 9, 14, 6


def shift(x: Tensor) -> Tensor:
    """What the tests' chains do to canvases first."""
    return ((x.float() - 100.0) / 50.0).contiguous(memory_format=torch.channels_last)


def narrowing() -> list[nn.Conv2d]:
    torch.manual_seed(1)
    return [nn.Conv2d(3, MAPS, 5, padding=2), nn.Conv2d(MAPS, MAPS, 3, 2, 1), nn.Conv2d(MAPS, 4, 3, 2, 1)]


def canvases(n: int) -> Tensor:
    return torch.randint(0, 256, (n, 3, HEIGHT, WIDTH), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


def layer_by_layer(x: Tensor, condition: Tensor | None, layers: list[nn.Conv2d]) -> Tensor:
    first, *rest = layers
    x = first(shift(x))
    if condition is not None:
        x = x + condition[:, :, None, None]
    for layer in rest:
        x = layer(F.relu(x))
    return F.relu(x)


def gradients(y: Tensor, learned: list[Tensor]) -> list[Tensor]:
    """Of a sum of y in which every number has another weight."""
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(4))
    return list(torch.autograd.grad((y * weight).sum(), learned))


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(("n", "in_a_piece"), [(7, 3), (4, 4), (1, 8)])
def test_pieces_give_the_values_and_gradients_of_the_whole(
    told: bool, n: int, in_a_piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE", in_a_piece * MAPS * HEIGHT * WIDTH * 4)
    layers = narrowing()
    condition = torch.randn(n, MAPS, requires_grad=True) if told else None
    learned = [p for layer in layers for p in layer.parameters()] + ([condition] if condition is not None else [])
    whole = layer_by_layer(canvases(n), condition, layers)
    pieces = Chain(layers, shift)(canvases(n), condition)
    assert pieces.shape == (n, 4, 3, 4)
    torch.testing.assert_close(pieces, whole, rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(gradients(pieces, learned), gradients(whole, learned), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
        assert theirs.abs().max() > 0.01


@pytest.mark.parametrize("channels", [5, 20])  # narrow transposed convolutions go another way
@pytest.mark.parametrize("ends_in_relu", [True, False])
@pytest.mark.parametrize("in_a_piece", [2, 3, 8])
def test_transposed_convolutions_in_pieces(
    channels: int, ends_in_relu: bool, in_a_piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    layers = Convolutions(
        nn.ConvTranspose2d(channels, 4, 4, 2, 1),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(4, 3, 4, 2, 1),
        *([nn.ReLU(inplace=True)] if ends_in_relu else [nn.ReLU(inplace=True), nn.Conv2d(3, 1, 1)]),
    )
    monkeypatch.setattr(module, "PIECE", in_a_piece * 3 * 16 * 12 * 4)
    x = torch.randn(5, channels, 4, 3, requires_grad=True)
    learned = [x, *layers.parameters()]
    whole, pieces = nn.Sequential.forward(layers, x), layers(x)
    assert pieces.shape == (5, 3 if ends_in_relu else 1, 16, 12)
    torch.testing.assert_close(pieces, whole, rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(gradients(pieces, learned), gradients(whole, learned), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_in_bfloat16_gradients_are_summed_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 2 * MAPS * HEIGHT * WIDTH * 2)
    layers = narrowing()
    condition = torch.randn(5, MAPS, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        pieces = Chain(layers, shift)(canvases(5), condition)
    assert pieces.dtype == torch.bfloat16
    whole = layer_by_layer(canvases(5), condition, layers)
    torch.testing.assert_close(pieces.float(), whole, rtol=0.05, atol=0.05)
    learned = [condition, *(p for layer in layers for p in layer.parameters())]
    for mine, theirs in zip(gradients(pieces, learned), gradients(whole, learned), strict=True):
        assert mine.dtype == torch.float32
        assert (mine - theirs).norm() < 0.05 * theirs.norm()


def test_without_a_gradient_the_output_is_the_same_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 2 * MAPS * HEIGHT * WIDTH * 4)
    chain, condition = Chain(narrowing(), shift), torch.randn(5, MAPS)
    with torch.no_grad():
        quick = chain(canvases(5), condition)
    assert not quick.requires_grad
    assert torch.equal(quick, chain(canvases(5), condition))


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


def test_rows_add_one_number_to_every_pixel_of_a_map() -> None:
    condition = torch.tensor([[1.0, -2.0], [0.5, 3.0], [0.0, 4.0]])
    added = torch.zeros(3, 2, 4, 5) + rows(condition, 5, torch.float32)
    assert torch.equal(added, condition[:, :, None, None].expand(-1, -1, 4, 5))
