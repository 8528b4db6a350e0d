"""Fetch the public sets from their official places, to CACHE/downloads/NAME; an interrupted download resumes."""

from __future__ import annotations

import hashlib
import http.client
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from garl.data.cache import cache_dir
from garl.errors import GarlError

CHUNK = 1 << 18
TIMEOUT = 30.0  # seconds without a byte
MAX_BYTES = 4 << 30  # of one file: a server without an end would fill the disk; the largest, CelebA's, has 1.4 GB


@dataclass(frozen=True)
class File:
    """One file of a set, as its authors publish it."""

    name: str
    url: str
    md5: str


@dataclass(frozen=True)
class Dataset:
    """A public set of pictures."""

    name: str
    pictures: int  # in all splits
    files: tuple[File, ...]
    source: str
    licence: str
    note: str = ""
    by_hand: str = ""  # what to do when the official place refuses a script


def _files(base: str, md5s: dict[str, str]) -> tuple[File, ...]:
    return tuple(File(name, base + name, md5) for name, md5 in md5s.items())


MNIST = Dataset(
    name="mnist",
    pictures=70_000,
    files=_files(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    source="http://yann.lecun.com/exdb/mnist/ (Yann LeCun, Corinna Cortes, Christopher J.C. Burges)",
    licence="CC BY-SA 3.0",
)
FASHION_MNIST = Dataset(
    name="fashion-mnist",
    pictures=70_000,
    files=_files(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
    source="https://github.com/zalandoresearch/fashion-mnist (Zalando)",
    licence="MIT",
)
OMNIGLOT = Dataset(
    name="omniglot",
    pictures=32_460,
    files=_files(
        "https://github.com/brendenlake/omniglot/raw/master/python/",
        {
            "images_background.zip": "68d2efa1b9178cc56df9314c21c6e718",
            "images_evaluation.zip": "6b91aef0f799c5bb55b94e3f2daec811",
        },
    ),
    source="https://github.com/brendenlake/omniglot (Brenden Lake)",
    licence="MIT",
    note="ink is black on white: load it with invert to match MNIST",
)
_DRIVE = "https://drive.google.com/uc?export=download&confirm=t&id="
CELEBA = Dataset(
    name="celeba",
    pictures=202_599,
    files=(
        File("img_align_celeba.zip", _DRIVE + "0B7EVK8r0v71pZjFTYXZWM3FlRnM", "00d2c5bc6d35e252742224ab0c1e8fcb"),
        File("list_eval_partition.txt", _DRIVE + "0B7EVK8r0v71pY0NSMzRuSXJEVkk", "d32c9cbf5e040fd4025c592c306e6668"),
    ),
    source="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html (Liu, Luo, Wang, Tang)",
    licence="non-commercial research only",
    by_hand="Google Drive often refuses scripts: fetch img_align_celeba.zip and list_eval_partition.txt with a browser "
    "from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html and put them in",
)
DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in (MNIST, FASHION_MNIST, OMNIGLOT, CELEBA)}


def place(name: str, root: Path | None = None) -> Path:
    """The folder of a downloaded set, whether it is there or not."""
    return (root or cache_dir() / "downloads") / name


def missing(name: str) -> list[str]:
    """The files of a set that are not in its folder; CelebA's zip is not missed where it was unpacked."""
    folder = place(name)
    there = {path.name for path in folder.glob("*")}
    if "img_align_celeba" in there:
        there.add("img_align_celeba.zip")
    return [file.name for file in DATASETS[name].files if file.name not in there]


def describe() -> list[dict[str, str | int]]:
    """One row a set for `garl data`: name, kind, pictures, where, source, licence."""
    digits: dict[str, str | int] = {
        "name": "digits",
        "kind": "embedded",
        "pictures": 10_000,
        "where": str(Path(__file__).parent / "builtin"),
        "source": MNIST.source,
        "licence": MNIST.licence,
    }
    return [digits] + [
        {
            "name": dataset.name,
            "kind": "downloadable",
            "pictures": dataset.pictures,
            "where": "not downloaded" if missing(dataset.name) else str(place(dataset.name)),
            "source": dataset.source,
            "licence": dataset.licence,
        }
        for dataset in DATASETS.values()
    ]


def download(name: str, root: Path | None = None, *, base_url: str | None = None) -> Path:
    """Fetch a set, verified by its checksums; files that are there and sound are left alone.

    Args:
        name: a key of `DATASETS`.
        root: where the folder NAME goes; CACHE/downloads by default, which is where `load` looks.
        base_url: a mirror that holds the files under their official names.

    Returns:
        The folder with the files.

    Raises:
        GarlError: no such set, no network, a broken connection, a wrong checksum, or no room on the disk.
    """
    if name not in DATASETS:
        hint = "digits comes with garl and needs no download" if name == "digits" else f"there is no set {name!r}"
        raise GarlError(f"{hint}: give one of {', '.join(DATASETS)}")
    dataset, folder = DATASETS[name], place(name, root)
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with Progress(*columns, console=Console(stderr=True)) as progress:
            for file in dataset.files:
                target = folder / file.name
                if not target.exists() or _md5(target) != file.md5:
                    url = file.url if base_url is None else f"{base_url.rstrip('/')}/{file.name}"
                    _fetch(url, target, progress)
                    _accept(url, target, file.md5, dataset.by_hand)
    except OSError as error:
        raise GarlError(
            f"cannot write {folder} ({error.strerror or error}): free some disk, make it writable, "
            "or set GARL_CACHE to another folder"
        ) from error
    return folder


def _fetch(url: str, target: Path, progress: Progress) -> None:
    """Bring the .part file of `target` to its full length, from where it stands."""
    part = _part(target)
    start = part.stat().st_size if part.exists() else 0
    try:
        request = Request(url, headers={"Range": f"bytes={start}-"} if start else {})
        response = urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == 416:  # there is nothing beyond what we have: the checksum will tell whether it is sound
            return
        raise GarlError(f"{url} answers {error.code} {error.reason}: try again later") from error
    except (URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise GarlError(f"cannot reach {url} ({reason}): check the network and run the download again") from error
    with response:
        if response.status != http.client.PARTIAL_CONTENT:  # the server ignores Range and sends everything
            start = 0
        total = None if response.length is None else start + response.length
        task = progress.add_task(target.name, total=total, completed=start)
        have = start
        with part.open("ab" if start else "wb") as file:
            while chunk := _receive(response, url):
                file.write(chunk)
                have += len(chunk)
                if have > MAX_BYTES:
                    part.unlink()
                    raise GarlError(f"{url} sends more than {MAX_BYTES:,} bytes, which no set has: try again later")
                progress.update(task, completed=have)
    if total is not None and have < total:
        raise GarlError(f"the connection to {url} broke at {have} of {total} bytes: run the download again to resume")


def _receive(response: http.client.HTTPResponse, url: str) -> bytes:
    try:
        return response.read(CHUNK)
    except (http.client.HTTPException, OSError) as error:
        raise GarlError(f"the connection to {url} broke ({error}): run the download again to resume") from error


def _accept(url: str, target: Path, md5: str, by_hand: str) -> None:
    """Rename a .part file of the right checksum; delete any other."""
    part = _part(target)
    if _md5(part) == md5:
        os.replace(part, target)
        return
    with part.open("rb") as file:
        web_page = file.read(256).lstrip().lower().startswith((b"<!doctype", b"<html"))
    part.unlink()
    what = "a web page came instead" if web_page else "its checksum is wrong, so it was deleted"
    remedy = f"{by_hand} {target.parent}" if by_hand else "run the download again"
    raise GarlError(f"{url} did not give {target.name} ({what}): {remedy}")


def _part(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
