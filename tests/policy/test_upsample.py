"""Both ways to a transposed convolution."""

import pytest
import torch
from torch.nn import functional as F

from garl.policy.upsample import NARROW, subpixel, transposed


@pytest.mark.parametrize("channels", [NARROW, NARROW + 1])
def test_narrow_and_wide_are_the_same_convolution(channels: int) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, channels, 3, 5), torch.randn(channels, 3, 4, 4), torch.randn(3)
    expected = F.conv_transpose2d(x, weight, bias, 2, 1)
    torch.testing.assert_close(transposed(x, weight, bias), expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(subpixel(x, weight, bias), expected, rtol=1e-5, atol=1e-4)
