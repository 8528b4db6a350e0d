"""The folder that keeps what is slow to make: KEY.npy holds decoded pictures, KEY.json says what they are."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from garl.errors import GarlError


def cache_dir() -> Path:
    """The folder named by the environment variable GARL_CACHE, or ~/.cache/garl; it need not exist yet."""
    return Path(os.environ.get("GARL_CACHE") or "~/.cache/garl").expanduser()


def recall(recipe: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]] | None:
    """The rows and the facts stored under `recipe`, or None where there are none, or none that are sound.

    Returns:
        (N, C, H, W) uint8, mapped read-only, and what `store` was told about them.
    """
    rows, record = _paths(recipe)
    try:
        written = json.loads(record.read_text())
        about = written["about"]
        if written["recipe"] != recipe or written["checksum"] != _checksum(rows, about):
            return None
        array = np.load(rows, mmap_mode="r", allow_pickle=False)
        return (array, about) if array.dtype == np.uint8 and array.ndim == 4 else None
    except Exception:  # whatever is wrong with it, it can be made again
        return None


def store(recipe: dict[str, Any], rows: Iterable[np.ndarray], about: Callable[[], dict[str, Any]], most: int) -> None:
    """Write `rows`, one or more of (C, H, W) uint8, as one .npy for `recall`, holding one row in memory at a time.

    Several processes may store the same recipe at once: each writes a file of its own, and renaming is atomic.

    Args:
        recipe: everything that the rows depend on, in JSON types.
        about: called after the last row; facts about the rows, in JSON types.
        most: how many rows may come.

    Raises:
        GarlError: the cache folder cannot be written, or its disk has no room for `most` rows.
    """
    final, record = _paths(recipe)
    temporary: list[Path] = []
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        # Appended, not written through a memory map: a full disk is then an error, where a map would die of SIGBUS.
        with tempfile.NamedTemporaryFile("w+b", dir=final.parent, suffix=".part", delete=False) as file:
            temporary.append(Path(file.name))
            count, shape = 0, None
            for row in rows:
                if shape is None:
                    shape = row.shape
                    _check_room(final.parent, most * row.nbytes)
                    _write_header(file, (0, *shape))
                assert row.dtype == np.uint8, "rows are uint8"
                assert row.shape == shape, "rows have one shape"
                file.write(row.tobytes())
                count += 1
            assert shape is not None, "there must be a row"
            file.seek(0)
            _write_header(file, (count, *shape))  # numpy pads headers so that the first dimension can grow in place
        facts = about()
        written = {"recipe": recipe, "checksum": _checksum(temporary[0], facts), "about": facts}
        with tempfile.NamedTemporaryFile("w", dir=final.parent, suffix=".part", delete=False) as text:
            temporary.append(Path(text.name))
            json.dump(written, text)
        os.replace(temporary[0], final)
        os.replace(temporary[1], record)  # last: whoever reads it finds the rows in place
    except OSError as error:
        raise GarlError(
            f"cannot write the picture cache {final.parent} ({error.strerror or error}): "
            "make it writable, free some disk, or set GARL_CACHE to another folder"
        ) from error
    finally:
        for path in temporary:
            path.unlink(missing_ok=True)


def _paths(recipe: dict[str, Any]) -> tuple[Path, Path]:
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:32]
    folder = cache_dir() / "pictures"
    return folder / f"{key}.npy", folder / f"{key}.json"


def _write_header(file: Any, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise GarlError(
            f"the pictures take {needed:,} bytes in {folder}, where {free:,} are free: ask for a smaller size or fewer "
            "pictures, or set GARL_CACHE to a folder on another disk"
        )


def _checksum(path: Path, about: Any) -> str:
    """Length and CRC-32 of both files: guards against accidents, and runs at the speed of the disk."""
    crc = zlib.crc32(json.dumps(about, sort_keys=True).encode())
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            crc = zlib.crc32(chunk, crc)
        return f"{file.tell()}:{crc:08x}"
