"""The first layers, with what is the same for all canvases apart: the same as layer by layer, there and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from garl.policy import chain
from garl.policy.fused import BLOCK, add_and_rectify, bits, rectify_back
from garl.policy.stem import see, stem

HEIGHT, WIDTH, MAPS = 9, 14, 6
GRID = torch.randn(1, 2, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(3))


def layers(channels: int) -> list[nn.Conv2d]:
    torch.manual_seed(1)
    first = nn.Conv2d(channels + 2, MAPS, 5, padding=2)
    return [first, nn.Conv2d(MAPS, MAPS, 3, 2, 1), nn.Conv2d(MAPS, 4, 3, 2, 1)]


def canvases(n: int, channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (n, channels, HEIGHT, WIDTH), dtype=torch.uint8, generator=generator)


def layer_by_layer(canvas: Tensor, condition: Tensor | None, layers: list[nn.Conv2d]) -> Tensor:
    """With PyTorch's own gradients."""
    first, *rest = layers
    x = (canvas.float() - 127.5) / 127.5
    x = first(torch.cat([x, GRID.expand(len(x), -1, -1, -1)], 1))
    if condition is not None:
        x = x + condition[:, :, None, None]
    for layer in rest:
        x = layer(F.relu(x))
    return F.relu(x)


def gradients(y: Tensor, learned: list[Tensor]) -> list[Tensor]:
    """Of a sum of y in which every number has another weight."""
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(4))
    return list(torch.autograd.grad((y * weight).sum(), learned))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(("n", "in_a_piece"), [(7, 3), (4, 4), (1, 8)])
def test_values_and_gradients_are_those_of_the_layers(
    channels: int, told: bool, n: int, in_a_piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "PIECE", in_a_piece * MAPS * HEIGHT * WIDTH * 4)
    canvas, convolutions = canvases(n, channels), layers(channels)
    condition = torch.randn(n, MAPS, requires_grad=True) if told else None
    learned = [*chain.parameters(convolutions), *([condition] if condition is not None else [])]
    whole, found = layer_by_layer(canvas, condition, convolutions), stem(canvas, GRID, condition, convolutions)
    assert found.shape == (n, 4, 3, 4)
    torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(gradients(found, learned), gradients(whole, learned), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
        assert theirs.abs().max() > 0.01


def test_in_bfloat16_gradients_are_summed_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "PIECE", 2 * MAPS * HEIGHT * WIDTH * 2)
    canvas, convolutions = canvases(5, 3), layers(3)
    condition = torch.randn(5, MAPS, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = stem(canvas, GRID, condition, convolutions)
        other = layer_by_layer(canvas, condition, convolutions)
    assert found.dtype == torch.bfloat16
    whole = layer_by_layer(canvas, condition, convolutions)
    torch.testing.assert_close(found.float(), whole, rtol=0.05, atol=0.05)
    learned = [condition, *chain.parameters(convolutions)]
    each = (gradients(y, learned) for y in (found, other, whole))
    for mine, theirs, exact in zip(*each, strict=True):
        assert mine.dtype == torch.float32
        far, as_torch = (mine - exact).norm(), (theirs - exact).norm()
        assert far < 1.5 * as_torch + 0.01 * exact.norm(), "not much farther from float32 than PyTorch's own"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_a_gradient_the_output_is_the_same_to_the_bit(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "PIECE", 2 * MAPS * HEIGHT * WIDTH * 4)
    canvas, convolutions, condition = canvases(5, 3), layers(3), torch.randn(5, MAPS)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        with torch.no_grad():
            quick = stem(canvas, GRID, condition, convolutions)
        assert quick.dtype == dtype
        assert torch.equal(quick, stem(canvas, GRID, condition, convolutions))


@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_seen_is_the_canvas_in_minus_one_to_one_channels_last(channels: int) -> None:
    canvas = canvases(2, channels)
    seen = see(canvas, torch.float32)
    torch.testing.assert_close(seen, (canvas.float() - 127.5) / 127.5)
    assert seen.stride() == (channels * HEIGHT * WIDTH, 1, channels * WIDTH, channels)


def maps(n: int, pixels: int, dtype: torch.dtype, seed: int) -> Tensor:
    drawn = torch.randn(n, 1, pixels, 5, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return drawn.permute(0, 3, 1, 2)  # (n, 5, 1, pixels), channels last


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("pixels", [1, BLOCK, 2 * BLOCK + 3])
def test_the_passes_are_what_torch_does_in_three(dtype: torch.dtype, pixels: int) -> None:
    x = maps(3, pixels, dtype, 0)
    everywhere, told = torch.randn(pixels, 5), torch.randn(3, 5)
    exact = (x.float() + everywhere.T[:, None] + told[:, :, None, None]).relu()
    add_and_rectify(bits(x), everywhere.numpy(), told.numpy())
    assert torch.equal(x, exact.to(dtype)), "rounded as torch rounds, once"
    grad = maps(3, pixels, dtype, 1)
    masked = (grad * (x > 0)).float()
    sums = torch.ones(pixels, 5), torch.ones(3, 5)
    rectify_back(bits(grad), bits(x), *(each.numpy() for each in sums))
    assert torch.equal(grad.float(), masked)
    torch.testing.assert_close(sums[0], 1 + masked.sum(0)[:, 0].T)
    torch.testing.assert_close(sums[1], 1 + masked.sum((2, 3)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_not_a_number_stays_so(dtype: torch.dtype) -> None:
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), 3.4e38]).to(dtype).view(1, 1, 1, 4)
    nothing = np.zeros((4, 1), np.float32), np.zeros((1, 1), np.float32)
    expected = x.relu()
    add_and_rectify(bits(x), *nothing)
    assert torch.equal(x.isnan(), expected.isnan())
    assert torch.equal(x.nan_to_num(), expected.nan_to_num())
    assert x[0, 0, 0, 0].isnan()
