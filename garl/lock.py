"""One process at a time writes a folder: a lock that the operating system releases when its owner dies, however."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO

from garl.errors import GarlError

if sys.platform == "win32":
    import msvcrt

    def _seize(file: IO[bytes]) -> None:
        file.seek(1 << 30)  # a byte beyond the text: what is locked there cannot be read
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _seize(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make `folder` and be the only one who writes it; `folder/lock` says who that is: process, host, since when.

    The lock goes with its owner, so a dead one's file locks nothing, and no process number is mistaken for another's.
    Raises GarlError, which names the owner, if another process holds the lock, or if the file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / "lock", "a+b", buffering=0)  # noqa: SIM115 (closed below)
        _own(file, folder)
    except OSError as error:
        raise GarlError(f"cannot write the run folder {folder}: {error.strerror}; choose another --out") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError), file:
            file.truncate(0)


def _own(file: IO[bytes], folder: Path) -> None:
    """Lock the open `file` and write this process's name into it."""
    try:
        _seize(file)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        writer = _describe(file.read())
        file.close()
        raise GarlError(f"{folder} is being written by {writer}: stop that first, or choose another --out") from None
    except OSError as error:  # some network file systems have no locks
        print(f"{folder} cannot be locked ({error.strerror}): let no other process write it", file=sys.stderr)
    file.truncate(0)
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now().isoformat(" ", "seconds")}
    file.write(json.dumps(owner).encode())


def _describe(text: bytes) -> str:
    try:
        owner = json.loads(text)
        return f"process {owner['pid']} on {owner['host']} since {owner['since']}"
    except (ValueError, KeyError, TypeError):  # it has not yet said who it is
        return "another process"
