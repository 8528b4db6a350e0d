"""How much a set of pictures may ask for. Far beyond honest sets: CelebA is 202,599 JPEGs in a zip of 1.4 GB."""

from __future__ import annotations

from pathlib import Path

from garl.errors import GarlError

MAX_PICTURES = 4_000_000
"""In one archive or IDX file."""
MAX_PIXELS = 128_000_000
"""Of one picture, which takes up to 2 GB to decode."""
MAX_SCANNED = 40 * 100_000_000
"""Pixels of one JPEG times its scans: an honest one has about 10, and 14 bytes make libjpeg pass over all once more."""
MAX_FILE_BYTES = 1 << 28
"""Of one picture's file, unpacked."""
MAX_RATIO = 500
"""Bytes unpacked for each byte packed, past the first `MAX_FILE_BYTES`: line art reaches 100, a bomb of zeros 1,000."""


def check_unpacked(path: Path, unpacked: int) -> None:
    """Raise GarlError if no honest file of the size of `path` unpacks to so many bytes."""
    packed = path.stat().st_size
    if unpacked > max(MAX_FILE_BYTES, MAX_RATIO * packed):
        raise GarlError(
            f"{path} unpacks to at least {unpacked:,} bytes from {packed:,}, as only bombs do: pack it anew, or unpack "
            "it yourself"
        )


def check_count(path: Path, pictures: int) -> None:
    """Raise GarlError if one file may not hold so many pictures."""
    if pictures > MAX_PICTURES:
        raise GarlError(f"{path} says that it holds {pictures:,} pictures: split it into files of {MAX_PICTURES:,}")
