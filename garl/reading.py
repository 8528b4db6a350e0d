"""Files that strangers may have made: how much of them is read, and how JSON is."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

from pydantic_core import from_json


def read_plain(path: str | Path, most: int) -> bytes:
    """The bytes of a plain file, or of the one that a link leads to.

    Raises:
        OSError: it cannot be read, holds more than `most` bytes, or is a pipe or a device, which may never end.
        ValueError: the path holds a zero byte.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a plain file")
    if status.st_size > most:
        raise OSError(errno.EFBIG, f"more than {most:,} bytes")
    with open(path, "rb") as file:
        return file.read(status.st_size)


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text in UTF-8, at most 200 levels deep. Raises ValueError alone, unlike the standard module.

    Of a key that is given twice the last value counts.
    """
    return from_json(text, allow_inf_nan=False)
