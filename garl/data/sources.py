"""Where pictures lie: folders, zips, tars, IDX files, and the official layouts of Omniglot and CelebA.

A source is listed by name before anything is decoded; pictures are then opened one by one, in that order, straight
from the archive: nothing is unpacked to disk.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from garl.data import idx
from garl.data.decode import FORMATS, SUFFIXES
from garl.errors import GarlError

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MAX_MEMBER_BYTES = 1 << 28
FEW = 20
HELD_OUT = 0.1
BUILTIN = Path(__file__).parent / "builtin"
BUILTIN_TRAIN = 8000
OMNIGLOT = ("images_background", "images_evaluation")  # train, test
PARTITION = "list_eval_partition.txt"

Opener = Callable[[], Image.Image]
Read = Callable[[Iterable[str]], Iterator[tuple[str, Opener]]]
Keep = Callable[[Sequence[str]], np.ndarray]  # names of N pictures → (N,) bool


@dataclass(frozen=True)
class Listing:
    """The pictures of one split, in reading order."""

    names: tuple[str, ...]  # N of them, each once
    labels: np.ndarray | None  # (N,) int64
    label_names: tuple[str, ...]  # of all splits; () if labels are mere numbers


@dataclass(frozen=True)
class Source:
    """A set of pictures that can be read again and again."""

    path: Path
    files: tuple[Path, ...]  # everything on disk that the pictures depend on
    listing: Callable[[], Listing]
    read: Read  # opens those of the names that it is given, in listing order
    grey: bool = False  # known to be grey without a look


def find(path: Path, split: str) -> Source:
    """The pictures of one split at `path`, whatever it is.

    Splits that a set's authors made are kept: IDX folders (`train-…`, `t10k-…`), Omniglot (background, evaluation),
    CelebA (`list_eval_partition.txt`, the only one with "valid"). Elsewhere a picture is held out for "test" when the
    hash of its name falls in the lowest tenth, so it stays there as pictures are added; in a set of fewer than 20
    pictures both splits are everything.

    Raises:
        GarlError: nothing there, of no known kind, or without such a split.
    """
    if path.is_dir() and _is_celeba(path):
        return _celeba(path, split)
    if split == "valid":
        raise GarlError(f'{path} has no split "valid", which only CelebA has: use "train" or "test"')
    if not path.is_dir():
        return _file(path, split)
    if any(_either(path / f"{prefix}-images-idx3-ubyte") for prefix in ("train", "t10k")):
        prefix = "train" if split == "train" else "t10k"
        images = _either(path / f"{prefix}-images-idx3-ubyte")
        if images is None:
            raise GarlError(f'{path} lacks {prefix}-images-idx3-ubyte[.gz], the split "{split}": add the file')
        return _idx(path, images, _everything)
    if all((path / f"{name}.zip").exists() for name in OMNIGLOT):
        return _zip(path / f"{OMNIGLOT[split == 'test']}.zip", _everything)
    return _folder(path, _hashed(split))


def builtin(split: str) -> Source:
    """The embedded digits: see builtin/README.md."""
    if split == "valid":
        raise GarlError('digits has no split "valid", which only CelebA has: use "train" or "test"')

    def keep(names: Sequence[str]) -> np.ndarray:
        return (np.arange(len(names)) < BUILTIN_TRAIN) == (split == "train")

    return _idx(BUILTIN, BUILTIN / "digits-images-idx3-ubyte.gz", keep)


def _file(path: Path, split: str) -> Source:
    if not path.exists():
        raise GarlError(f"{path} does not exist: name a folder of pictures, a zip, a tar or an IDX file")
    if path.suffix.lower() == ".zip":
        return _zip(path, _hashed(split))
    if path.name.lower().endswith(TAR_SUFFIXES):
        return _tar(path, _hashed(split))
    if path.suffix.lower() in SUFFIXES:
        raise GarlError(f"{path} is a single picture: name the folder that holds it")
    return _idx(path, path, _hashed(split))


# The kinds of sources.


def _folder(path: Path, keep: Keep) -> Source:
    files = tuple(
        Path(root, name)
        for root, _, names in os.walk(path)
        for name in names
        if _is_picture(Path(root, name).relative_to(path).as_posix())
    )
    by_name = {file.relative_to(path).as_posix(): file for file in sorted(files)}

    def read(names: Iterable[str]) -> Iterator[tuple[str, Opener]]:
        wanted = set(names)
        return ((name, partial(_open, file)) for name, file in by_name.items() if name in wanted)

    return Source(path, tuple(by_name.values()), lambda: _listing(path, tuple(by_name), keep), read)


def _zip(path: Path, keep: Keep) -> Source:
    def read(names: Iterable[str]) -> Iterator[tuple[str, Opener]]:
        wanted = set(names)
        with _blaming(path), zipfile.ZipFile(path) as archive:
            for name in filter(wanted.__contains__, _zip_names(path)):
                yield name, partial(_open_member, archive.getinfo(name).file_size, partial(archive.read, name))

    return Source(path, (path,), lambda: _listing(path, _zip_names(path), keep), read)


def _zip_names(path: Path) -> tuple[str, ...]:
    with _blaming(path), zipfile.ZipFile(path) as archive:
        return tuple(sorted({name for name in archive.namelist() if _is_picture(name)}))


def _tar(path: Path, keep: Keep) -> Source:
    def members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
        seen = set()
        for member in archive:
            if member.isfile() and _is_picture(member.name) and member.name not in seen:
                seen.add(member.name)
                yield member
        # tarfile takes a damaged header for the end; at the true end there are zeros, or nothing.
        assert archive.fileobj is not None, "open for reading"
        archive.fileobj.seek(archive.offset)
        if archive.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError("a member's header makes no sense")

    def listing() -> Listing:
        with _blaming(path), tarfile.open(path) as archive:
            names = tuple(member.name for member in members(archive))
        return _listing(path, names, keep)

    def read(names: Iterable[str]) -> Iterator[tuple[str, Opener]]:
        wanted = set(names)
        with _blaming(path), tarfile.open(path) as archive:
            for member in members(archive):  # in the order of the file: a compressed tar cannot be entered elsewhere
                if member.name in wanted:
                    yield member.name, partial(_open_member, member.size, partial(_tar_bytes, archive, member))

    return Source(path, (path,), listing, read)


def _tar_bytes(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None, "only plain files are listed"
    return file.read()


def _idx(path: Path, images: Path, keep: Keep) -> Source:
    """`images` (idx3) and, if it lies beside it under the official name, its labels (idx1)."""
    official = images.name.removesuffix(".gz").replace("images-idx3", "labels-idx1")
    labels = _either(images.with_name(official)) if "images-idx3" in images.name else None

    def listing() -> Listing:
        count = idx.shape(images, 3)[0]
        names = tuple(map(str, range(count)))
        kept = np.flatnonzero(keep(names))
        values = None if labels is None else idx.labels(labels)
        if values is not None and len(values) != count:
            raise GarlError(f"{labels} holds {len(values)} labels and {images} {count} pictures: get both again")
        return Listing(tuple(names[i] for i in kept), None if values is None else values[kept], ())

    def read(names: Iterable[str]) -> Iterator[tuple[str, Opener]]:
        wanted = set(names)
        rows = ((str(index), row) for index, row in enumerate(idx.rows(images)))
        return ((name, partial(Image.fromarray, row)) for name, row in rows if name in wanted)

    return Source(path, (images,) if labels is None else (images, labels), listing, read, grey=True)


def _is_celeba(path: Path) -> bool:
    return any((path / name).exists() for name in (PARTITION, "img_align_celeba", "img_align_celeba.zip"))


def _celeba(path: Path, split: str) -> Source:
    partition, folder, archive = path / PARTITION, path / "img_align_celeba", path / "img_align_celeba.zip"
    if not partition.exists():
        raise GarlError(
            f"{path} lacks CelebA's {PARTITION}: put it there, or name the pictures inside to split them by their names"
        )
    number = str(("train", "valid", "test").index(split))
    lines = [line.split() for line in partition.read_text(errors="replace").splitlines() if line.strip()]
    if any(len(line) != 2 or line[1] not in ("0", "1", "2") for line in lines):
        raise GarlError(f'{partition} is damaged: each line must read like "000001.jpg 0" with 0, 1 or 2; get it again')
    members = {name for name, part in lines if part == number}

    def keep(names: Sequence[str]) -> np.ndarray:
        return np.array([name.rpartition("/")[2] in members for name in names], bool)

    if not folder.is_dir() and not archive.exists():
        raise GarlError(f"{path} holds {PARTITION} and no pictures: add img_align_celeba/ or img_align_celeba.zip")
    pictures = _folder(folder, keep) if folder.is_dir() else _zip(archive, keep)
    return Source(path, (partition, *pictures.files), pictures.listing, pictures.read)


# Listing.


def _listing(path: Path, names: tuple[str, ...], keep: Keep) -> Listing:
    if not names:
        raise GarlError(f"{path} holds no pictures ({' '.join(sorted(SUFFIXES))}): name a folder or archive that does")
    kept = np.flatnonzero(keep(names))
    labels, label_names = _labels(names)
    return Listing(tuple(names[i] for i in kept), None if labels is None else labels[kept], label_names)


def _labels(names: Sequence[str]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Labels (N,) int64 from subfolders, if every picture lies in exactly one, or in Omniglot's alphabet/character."""
    folders = [[part for part in name.split("/")[:-1] if part not in ("", ".")] for name in names]
    # A folder around everything says nothing about the pictures; archives usually have one.
    while min(map(len, folders)) > 1 and len({parts[0] for parts in folders}) == 1:
        folders = [parts[1:] for parts in folders]
    depths = {len(parts) for parts in folders}
    omniglot = depths == {2} and all(re.fullmatch(r"character\d+", parts[1]) for parts in folders)
    if depths != {1} and not omniglot:
        return None, ()
    label_names, labels = np.unique(["/".join(parts) for parts in folders], return_inverse=True)
    return labels.astype(np.int64), tuple(map(str, label_names))


def _everything(names: Sequence[str]) -> np.ndarray:
    return np.ones(len(names), bool)


def _hashed(split: str) -> Keep:
    def keep(names: Sequence[str]) -> np.ndarray:
        if len(names) < FEW:
            return _everything(names)
        digests = (hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:8] for name in names)
        draws = np.array([int.from_bytes(digest, "big") / 2**64 for digest in digests])
        test = (draws < HELD_OUT) | (draws == draws.min())  # never none
        return test if split == "test" else ~test

    return keep


def _is_picture(name: str) -> bool:
    parts = [part for part in name.split("/") if part != "."]
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and PurePosixPath(name).suffix.lower() in SUFFIXES


def _either(path: Path) -> Path | None:
    return next((file for file in (path, path.with_name(f"{path.name}.gz")) if file.exists()), None)


# Opening.


def _open(file: Path | io.BytesIO) -> Image.Image:
    return Image.open(file, formats=FORMATS)


def _open_member(size: int, read: Callable[[], bytes]) -> Image.Image:
    if size > MAX_MEMBER_BYTES:  # before it is unpacked into memory
        raise ValueError(f"more than {MAX_MEMBER_BYTES >> 20} MiB")
    return _open(io.BytesIO(read()))


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # zipfile and tarfile meet damaged bytes with exceptions of many kinds
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise GarlError(f"the archive {path} is damaged or unreadable ({reason}): get it again") from error
