"""What stands between two convolutions, in one pass over the maps where PyTorch takes three. One thread, without the
interpreter's lock; float32 or bfloat16, whose sums are float32.

Arrays are channels last: maps (N, H · W, c) as their bits, uint16 of bfloat16 or uint32 of float32.
"""

from __future__ import annotations

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from torch import Tensor

BLOCK = 16
"""Pixels of every canvas that are gone through together: what is the same for all then stays in the first cache."""
INT, FLOAT = ir.IntType(32), ir.FloatType()


KINDS = {torch.float32: (torch.int32, np.uint32), torch.bfloat16: (torch.int16, np.uint16)}


def bits(maps: Tensor) -> np.ndarray:
    """Maps (N, c, H, W), channels last, as the passes take them, in the same memory."""
    signed, unsigned = KINDS[maps.dtype]
    whole = maps.permute(0, 2, 3, 1).view(len(maps), -1, maps.shape[1])
    return whole.view(signed).numpy().view(unsigned)


@intrinsic
def _value(typing_context, bits):
    """The number, float32, that bits stand for."""

    def generate(context, builder, signature, arguments):
        value = arguments[0]
        if bits.bitwidth == 16:
            value = builder.shl(builder.zext(value, INT), INT(16))
        return builder.bitcast(value, FLOAT)

    return types.float32(bits), generate


@intrinsic
def _bits(typing_context, value, like):
    """The bits of a number, float32, as many as `like` has; of two that are as near the even one."""

    def generate(context, builder, signature, arguments):
        found = builder.bitcast(arguments[0], INT)
        if like.bitwidth == 16:
            odd = builder.and_(builder.lshr(found, INT(16)), INT(1))
            found = builder.lshr(builder.add(found, builder.add(odd, INT(0x7FFF))), INT(16))
            found = builder.trunc(found, ir.IntType(16))
        return found

    return like(types.float32, like), generate


@njit(cache=True, nogil=True)
def add_and_rectify(maps, everywhere, told):
    """maps ← ReLU(maps + everywhere + told), with `everywhere` (H · W, c) and `told` (N, c), float32. NaN stays NaN."""
    n, pixels, channels = maps.shape
    zero = np.float32(0.0)
    for start in range(0, pixels, BLOCK):
        for i in range(n):
            for p in range(start, min(start + BLOCK, pixels)):
                for k in range(channels):
                    value = _value(maps[i, p, k]) + everywhere[p, k] + told[i, k]
                    maps[i, p, k] = _bits(zero if value < zero else value, maps[i, p, k])


@njit(cache=True, nogil=True)
def rectify_back(grad, maps, everywhere, told):
    """The way back: grad ← grad where maps > 0, else 0; its sum over the canvases is added to `everywhere`, that over
    the pixels to `told`."""
    n, pixels, channels = maps.shape
    zero = np.float32(0.0)
    for start in range(0, pixels, BLOCK):
        for i in range(n):
            for p in range(start, min(start + BLOCK, pixels)):
                for k in range(channels):
                    value = zero if _value(maps[i, p, k]) <= zero else _value(grad[i, p, k])
                    grad[i, p, k] = _bits(value, grad[i, p, k])
                    everywhere[p, k] += value
                    told[i, k] += value
