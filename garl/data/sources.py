"""Where pictures lie: folders, zips, tars, IDX files, and the official layouts of Omniglot and CelebA.

A source is listed by name before anything is decoded; pictures are then opened one by one, in that order, straight
from the archive: nothing is unpacked to disk. Sets come from strangers: `garl.data.limits` says what is refused.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from garl.data import idx
from garl.data.decode import FORMATS, SUFFIXES
from garl.data.limits import MAX_FILE_BYTES, MAX_SCANNED, check_count, check_unpacked
from garl.errors import GarlError
from garl.reading import read_plain

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
TAR_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
"""Types of members that extend the header of the next; tarfile reads them whole."""
MAX_TAR_HEADER = 8192
"""Bytes of such a member: twice a path of the greatest length."""
MAX_PARTITION_BYTES = 1 << 26
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
    if all((path / f"{name}.zip").is_file() for name in OMNIGLOT):
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
    if not path.is_file():  # a pipe or a device might never end
        raise GarlError(
            f"{path} is no folder and no plain file: name a folder of pictures, a zip, a tar or an IDX file"
        )
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
        openers = ((name, partial(read_plain, file, MAX_FILE_BYTES)) for name, file in by_name.items())
        return ((name, partial(_open, content)) for name, content in openers if name in wanted)

    return Source(path, tuple(by_name.values()), lambda: _listing(path, tuple(by_name), keep), read)


def _zip(path: Path, keep: Keep) -> Source:
    def members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
        found = {member.filename: member for member in archive.infolist() if _is_picture(member.filename)}
        check_count(path, len(found))
        check_unpacked(path, sum(member.file_size for member in found.values()))
        return found

    def listing() -> Listing:
        with blaming(path), zipfile.ZipFile(path) as archive:
            names = tuple(sorted(members(archive)))
        return _listing(path, names, keep)

    def read(names: Iterable[str]) -> Iterator[tuple[str, Opener]]:
        wanted = set(names)
        with blaming(path), zipfile.ZipFile(path) as archive:
            for name, member in sorted(members(archive).items()):
                if name in wanted:
                    yield name, partial(_open, partial(zip_bytes, archive, member, MAX_FILE_BYTES))

    return Source(path, (path,), listing, read)


def zip_bytes(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    """What a member holds, unpacked. Raises ValueError, or one of many others if it is damaged."""
    _check_member(member.file_size, most)
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # the others unpack without a limit
        raise ValueError("packed by a rare method: pack the zip anew with deflate")
    with archive.open(member.filename) as file:
        return file.read(member.file_size)  # not read(), which unpacks whatever is there before it looks at the size


class _TarMember(tarfile.TarInfo):
    """A member whose header cannot make tarfile read without end: CVE-2024-6232 and CVE-2025-8194 among others."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _TarMember:
        member = super().frombuf(buf, encoding, errors)
        if member.size < 0 or (member.type in TAR_HEADERS and member.size > MAX_TAR_HEADER):
            raise tarfile.ReadError(f"a member's header says {member.size:,} bytes")
        return member


def _tar(path: Path, keep: Keep) -> Source:
    def opened() -> tarfile.TarFile:
        return tarfile.open(path, tarinfo=_TarMember)

    def members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
        seen: set[str] = set()
        unpacked = 0
        while member := archive.next():
            archive.members = []  # type: ignore[attr-defined]  # tarfile would keep a kilobyte for each
            if member.size < 0:  # an extended header has the last word
                raise tarfile.ReadError(f"a member's header says {member.size:,} bytes")
            unpacked += tarfile.BLOCKSIZE + member.size
            check_unpacked(path, unpacked)  # before tarfile unpacks the member to reach the next one
            if member.isreg() and not member.issparse() and _is_picture(member.name) and member.name not in seen:
                seen.add(member.name)
                check_count(path, len(seen))
                yield member
        # tarfile takes a damaged header for the end; at the true end there are zeros, or nothing.
        assert archive.fileobj is not None, "open for reading"
        archive.fileobj.seek(archive.offset)
        if archive.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError("a member's header makes no sense")

    def listing() -> Listing:
        with blaming(path), opened() as archive:
            names = tuple(member.name for member in members(archive))
        return _listing(path, names, keep)

    def read(names: Iterable[str]) -> Iterator[tuple[str, Opener]]:
        wanted = set(names)
        with blaming(path), opened() as archive:
            for member in members(archive):  # in the order of the file: a compressed tar cannot be entered elsewhere
                if member.name in wanted:
                    yield member.name, partial(_open, partial(_tar_bytes, archive, member))

    return Source(path, (path,), listing, read)


def _tar_bytes(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    _check_member(member.size, MAX_FILE_BYTES)
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
    try:
        text = read_plain(partition, MAX_PARTITION_BYTES).decode(errors="replace")
    except OSError as error:
        raise GarlError(f"{partition} cannot be read ({error.strerror}): get it again") from error
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if any(len(line) != 2 or line[1] not in ("0", "1", "2") for line in lines):
        raise GarlError(f'{partition} is damaged: each line must read like "000001.jpg 0" with 0, 1 or 2; get it again')
    members = {name for name, part in lines if part == number}

    def keep(names: Sequence[str]) -> np.ndarray:
        return np.array([name.rpartition("/")[2] in members for name in names], bool)

    if not folder.is_dir() and not archive.is_file():
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
    # Folders around everything say nothing about the pictures; archives usually have one.
    levels = zip(*(parts[:-1] for parts in folders), strict=False)
    around = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, levels))
    folders = [parts[around:] for parts in folders]
    depths = {len(parts) for parts in folders}
    omniglot = depths == {2} and all(re.fullmatch(r"character\d+", parts[1]) for parts in folders)
    if depths != {1} and not omniglot:
        return None, ()
    of_pictures = ["/".join(parts) for parts in folders]
    label_names = sorted(set(of_pictures))  # not numpy's unique, which makes every name as wide as the longest
    number = {name: i for i, name in enumerate(label_names)}
    return np.array([number[name] for name in of_pictures], np.int64), tuple(label_names)


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
    return not hidden and os.path.splitext(name)[1].lower() in SUFFIXES


def _either(path: Path) -> Path | None:
    return next((file for file in (path, path.with_name(f"{path.name}.gz")) if file.is_file()), None)


# Opening.


def open_picture(path: Path) -> Image.Image:
    """A file's picture, its pixels not yet decoded. Raises ValueError, OSError, or what else Pillow may."""
    return open_content(read_plain(path, MAX_FILE_BYTES))


def open_content(content: bytes) -> Image.Image:
    """The picture that a file's bytes hold, as `open_picture`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `decode` has a limit of its own
        try:
            image = Image.open(io.BytesIO(content), formats=FORMATS)
        except UnidentifiedImageError:
            raise ValueError(f"not a picture in one of {', '.join(FORMATS)}") from None
    scans = content.count(b"\xff\xda") if image.format in ("JPEG", "MPO") else 1
    if scans * image.width * image.height > MAX_SCANNED:
        raise ValueError(f"its {scans} scans would take too long: save it anew")
    return image


def _open(read: Callable[[], bytes]) -> Image.Image:
    return open_content(read())


def _check_member(size: int, most: int) -> None:
    if size > most:  # before it is unpacked into memory
        raise ValueError(f"more than {most:,} bytes")


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Whatever goes wrong in an archive is a GarlError that names it."""
    try:
        yield
    except GarlError:
        raise
    except Exception as error:  # zipfile and tarfile meet damaged bytes with exceptions of many kinds
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise GarlError(f"the archive {path} is damaged or unreadable ({reason}): get it again") from error
