"""Read IDX, the file format of MNIST: http://yann.lecun.com/exdb/mnist/, plain or gzipped.

Every number in a header is held against the file's real length before anything is allocated on its word.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from garl.data.limits import MAX_PIXELS, check_count, check_unpacked
from garl.errors import GarlError

UNSIGNED_BYTE = 8
CHUNK = 1 << 20


def shape(path: Path, dimensions: int) -> tuple[int, ...]:
    """The shape that an IDX file of unsigned bytes declares, once its contents are known to fill it exactly.

    Raises:
        GarlError: the file is not IDX, holds other than `dimensions` dimensions, is too short or too long, or goes
            beyond `garl.data.limits`.
    """
    with _opened(path) as file:
        head = file.read(4 + 4 * dimensions)
        if len(head) < 4 or head[:2] != b"\0\0":
            raise GarlError(f"{path} is not an IDX file: name a folder of pictures, a zip, a tar or an IDX file")
        if head[2] != UNSIGNED_BYTE or head[3] != dimensions or len(head) < 4 + 4 * dimensions:
            raise GarlError(
                f"{path} holds IDX type 0x{head[2]:02x} in {head[3]} dimensions, and unsigned bytes (0x08) in "
                f"{dimensions} are needed: pictures come as idx3-ubyte, labels as idx1-ubyte"
            )
        sizes = struct.unpack(f">{dimensions}I", head[4:])
        expected, found = prod(sizes), 0
        while found <= expected and (chunk := file.read(CHUNK)):  # stops early: a gzip bomb costs one chunk too many
            found += len(chunk)
            check_unpacked(path, found)
    if found != expected or expected == 0:
        what = "empty" if expected == 0 else "too long" if found > expected else f"cut short at {found} bytes"
        raise GarlError(f"{path} is {what} (its header {sizes} asks for {expected} bytes): get the file again")
    check_count(path, sizes[0])
    if prod(sizes[1:]) > MAX_PIXELS:
        raise GarlError(f"{path} holds pictures of {sizes[1:]}, and {MAX_PIXELS:,} pixels are the most: cut them up")
    return sizes


def rows(path: Path) -> Iterator[np.ndarray]:
    """The pictures of an `idx3` file one by one, each (H, W) uint8."""
    count, height, width = shape(path, 3)
    with _opened(path) as file:
        file.seek(16)
        for _ in range(count):
            yield np.frombuffer(file.read(height * width), np.uint8).reshape(height, width)


def labels(path: Path) -> np.ndarray:
    """The labels of an `idx1` file, (N,) int64 in 0 … 255."""
    shape(path, 1)
    with _opened(path) as file:
        file.seek(8)
        return np.frombuffer(file.read(), np.uint8).astype(np.int64)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as raw:
            gzipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            yield cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if gzipped else raw
    except (OSError, EOFError, zlib.error) as error:
        raise GarlError(f"{path} cannot be read ({error}): get the file again") from error
