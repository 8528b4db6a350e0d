"""How near oneDNN comes to its best on the convolutions of the thesis's network: GFLOP/s forward, and back to the input
and to the weights, in bfloat16 on all cores.

    python benchmarks/convolutions.py
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from garl.bench import shortest
from garl.machine import keep_freed_memory

LAYERS = {
    "first, 5×5": (5, 64, 64, 5, 1, 2),
    "down, 3×3, strided": (64, 64, 64, 3, 2, 1),
    "second down": (64, 64, 32, 3, 2, 1),
    "residual, 3×3": (64, 64, 8, 3, 1, 1),
    "residual, 1×1": (64, 64, 8, 1, 1, 0),
    "up to 16×16, transposed": (64, 64, 16, 4, 2, 1),
    "up to 32×32, transposed": (32, 64, 32, 4, 2, 1),
}
"""Channels in and out, side of the input, kernel, stride, padding; of a transposed one, the convolution that it
transposes."""


def main() -> None:
    keep_freed_memory()
    back = torch.ops.aten.convolution_backward
    print(f"{'':<26} {'batch':>5} {'forward':>8} {'to input':>8} {'to weights':>10}")
    for name, (channels, out, side, kernel, stride, padding) in LAYERS.items():
        for batch in (8, 256):
            x = torch.randn(batch, channels, side, side, dtype=torch.bfloat16)
            x = x.contiguous(memory_format=torch.channels_last)
            weight = torch.randn(out, channels, kernel, kernel, dtype=torch.bfloat16)
            weight = weight.contiguous(memory_format=torch.channels_last)
            y = F.conv2d(x, weight, None, stride, padding)
            grad = torch.randn_like(y)
            settings = [out], [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1
            seconds = [shortest(lambda: F.conv2d(x, weight, None, stride, padding))]  # noqa: B023
            for wanted in ([True, False, False], [False, True, False]):
                seconds.append(shortest(lambda: back(grad, x, weight, *settings, wanted)))  # noqa: B023
            work = 2 * weight.numel() * y[:, 0].numel() / 1e9
            print(f"{name:<26} {batch:>5} " + " ".join(f"{work / each:>8,.0f}" for each in seconds), flush=True)


if __name__ == "__main__":
    main()
