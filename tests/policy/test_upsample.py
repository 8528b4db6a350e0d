"""The gradient of `Upsample` is that of the transposed convolution that it is."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from garl.policy.upsample import NARROW, Upsample, subpixel, transposed


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_output_and_gradients_are_torch_s(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    ours, theirs = Upsample(5, 3), nn.ConvTranspose2d(5, 3, 4, 2, 1)
    theirs.load_state_dict(ours.state_dict())
    x, grad = torch.randn(2, 5, 4, 6), torch.randn(2, 3, 8, 12)
    found = []
    for layer in (ours, theirs):
        given = x.to(dtype).requires_grad_(True)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            y = layer(given)
        assert y.dtype == dtype
        y.backward(grad.to(dtype))
        found.append((y, given.grad, layer.weight.grad, layer.bias.grad))
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    for mine, reference in zip(*found, strict=True):
        assert mine is not None
        assert reference is not None
        assert mine.dtype == reference.dtype
        torch.testing.assert_close(mine.float(), reference.float(), rtol=tolerance, atol=tolerance)


def test_with_and_without_gradients_the_output_is_the_same() -> None:
    layer, x = Upsample(4, 2), torch.randn(3, 4, 5, 5)
    with torch.no_grad():
        expected = layer(x)
    assert torch.equal(layer(x), expected)


@pytest.mark.parametrize("channels", [NARROW, NARROW + 1])
def test_narrow_and_wide_are_the_same_convolution(channels: int) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, channels, 3, 5), torch.randn(channels, 3, 4, 4), torch.randn(3)
    expected = F.conv_transpose2d(x, weight, bias, 2, 1)
    torch.testing.assert_close(transposed(x, weight, bias), expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(subpixel(x, weight, bias), expected, rtol=1e-5, atol=1e-4)
