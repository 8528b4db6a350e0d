"""A file appears whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from garl.errors import GarlError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` to write to; move it to `path` on success, remove it on failure.

    Raises GarlError if the operating system refuses, as in a folder that is missing or cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}{target.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        reason = error.strerror or error
        raise GarlError(
            f"cannot write {target} ({reason}): choose a file in a folder that exists and is yours"
        ) from error
    finally:
        if temporary.exists():
            temporary.unlink()
