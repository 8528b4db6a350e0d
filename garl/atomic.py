"""A file appears whole or not at all, also when the process is killed or the power fails."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from garl.errors import GarlError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one sentence that the operating system does not let us write `path`, as on a full disk (GarlError)."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise GarlError(
            f"cannot write {path} ({reason}): see that its folder exists and is yours, and that its disk has room"
        ) from error


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` to write to; move it to `path` on success, remove it on failure.

    Raises GarlError if the operating system refuses, as in a folder that is missing or on a full disk.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}{target.suffix}")
    with writing(target):
        try:
            yield temporary
            with open(temporary, "r+b") as file:
                os.fsync(file.fileno())
            os.replace(temporary, target)
            sync_folder(target.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """See that a renaming in `folder` outlasts a power failure; Windows has no call for it."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that `replacing` left in `folder` when its process was killed."""
    for path in folder.glob(f".*.{'[0-9a-f]' * 8}*"):
        with contextlib.suppress(OSError):
            path.unlink()
