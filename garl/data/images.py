"""Load pictures once, keep them on disk as bytes, and draw batches from them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from garl.data import cache, sources
from garl.data.decode import decode, is_colour
from garl.data.download import DATASETS, missing, place
from garl.errors import GarlError, printable

VERSION = 1  # of what a recipe makes; raise it when decoding changes
PROGRESS_FROM = 2000


@dataclass(frozen=True)
class Images:
    """Pictures of one size. `array` is read-only and memory-mapped, but for the embedded digits."""

    name: str
    array: np.ndarray  # (N, C, H, W) uint8
    labels: np.ndarray | None  # (N,) int64
    skipped: tuple[str, ...]  # what could not be read, as "path: reason", safe to print
    label_names: tuple[str, ...]  # label i is called label_names[i]; () if labels have no names

    def __len__(self) -> int:
        return len(self.array)

    def batch(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """`n` pictures, (n, C, H, W) uint8 on the CPU, uniform with replacement.

        The generator is the only state, so a run that restores it draws the same pictures again.
        """
        return torch.from_numpy(self.array[self._draw(n, generator)])

    def labelled_batch(self, n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """The pictures that `batch` would draw, and the places of their classes in `classes`, (n,) int64."""
        index = self._draw(n, generator)
        return torch.from_numpy(self.array[index]), torch.from_numpy(self._class_of[index])

    def batch_of(self, classes: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """A picture of each of these classes, given by their places in `classes`, (n,) int64; uniform among those of
        its class, with replacement."""
        share = torch.rand(len(classes), generator=generator, dtype=torch.float64).numpy()
        count, place = np.bincount(self._class_of), classes.numpy()
        index = (count.cumsum() - count)[place] + (share * count[place]).astype(np.int64)
        return torch.from_numpy(self.array[self._by_class[index]])

    def placed_batch(
        self, n: int, generator: torch.Generator, weight: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures and their places in `array`, (n,) int64: those that `batch` would draw or, with `weight` (N,), each
        with a probability in proportion to its own."""
        index = self._draw(n, generator, weight)
        return torch.from_numpy(self.array[index]), torch.from_numpy(index)

    @cached_property
    def classes(self) -> list[str]:
        """What the labels that occur are called, in their order; [] if there are none."""
        if self.labels is None:
            return []
        return [self.label_names[i] if self.label_names else str(i) for i in np.unique(self.labels)]

    @cached_property
    def _class_of(self) -> np.ndarray:
        """The place of each picture's class in `classes`, (N,) int64."""
        assert self.labels is not None, "these pictures have no labels"
        return np.unique(self.labels, return_inverse=True)[1]

    @cached_property
    def _by_class(self) -> np.ndarray:
        """All places in `array`, ordered by the class of what is there, (N,) int64."""
        return np.argsort(self._class_of, kind="stable")

    def _draw(self, n: int, generator: torch.Generator, weight: torch.Tensor | None = None) -> np.ndarray:
        if weight is not None:
            return torch.multinomial(weight, n, replacement=True, generator=generator).numpy()
        return torch.randint(len(self), (n,), generator=generator, device=generator.device).cpu().numpy()


def load(
    data: str,
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    label: int | str | None = None,
    split: str = "train",
    invert: bool = False,
    limit: int | None = None,
) -> Images:
    """Pictures by the name of their set or from a path; decoded once, then mapped from the cache folder.

    Args:
        data: "digits" (embedded), a downloaded set ("mnist", "fashion-mnist", "omniglot", "celeba"), or a path: an IDX
            file or a folder of official IDX files, a folder, zip or tar of pictures (searched recursively; hidden files
            are ignored), a folder in CelebA's layout. A folder that bears the name of a set is reached as "./mnist".
        size: (height, width). Other pictures are cropped about the centre to this aspect, then resized. None keeps
            their own size, which must then be one.
        channels: 1 (luma) or 3 (RGB). None gives 1 where every picture is stored grey, else 3.
        label: only pictures of this label: a number, or the name of a subfolder, or an alphabet of Omniglot.
        split: "train" or "test" (CelebA also "valid"); see `sources.find` for how other sets are split.
        invert: turn black to white, for ink sets such as Omniglot.
        limit: at most so many pictures, the first ones of what the other arguments select.

    Raises:
        GarlError: an argument out of range, no such data, nothing readable in it, more than `garl.data.limits` allow,
            or no room in the cache.
    """
    _check(size, channels, label, split, limit)
    source = _source(data, split)
    recipe: dict[str, Any] = {
        "version": VERSION,
        "source": str(source.path.absolute()),
        "files": _stamp(source),
        "size": None if size is None else list(size),
        "channels": channels,
        "label": label,
        "split": split,
        "invert": invert,
        "limit": limit,
    }
    name = data if data == "digits" or data in DATASETS else source.path.resolve().name
    if data != "digits" and (stored := cache.recall(recipe)):
        return _images(name, *stored)

    listing = source.listing()
    chosen = _choose(listing, label, source.path)[:limit]
    names = [listing.names[i] for i in chosen]
    if channels is None:
        channels = 3 if not source.grey and _any_colour(source, names) else 1
    place_of = {listing.names[i]: int(i) for i in chosen}
    kept: list[int] = []
    skipped: list[str] = []

    def rows() -> Iterator[np.ndarray]:
        for picture, row in _decoded(source, names, size, channels, skipped):
            kept.append(place_of[picture])
            yield 255 - row if invert else row

    def about() -> dict[str, Any]:
        labels = None if listing.labels is None else listing.labels[kept].tolist()
        return {"labels": labels, "skipped": skipped, "label_names": listing.label_names}

    if data == "digits":  # in memory: the demo must run where nothing can be written
        array = np.stack(list(rows()))
        array.setflags(write=False)
        return _images(name, array, about())
    cache.store(recipe, rows(), about, len(names))
    stored = cache.recall(recipe)
    if stored is None:
        raise GarlError(f"the picture cache {cache.cache_dir()} lost what was just written there: check the disk")
    return _images(name, *stored)


def _images(name: str, array: np.ndarray, about: dict[str, Any]) -> Images:
    labels = None if about["labels"] is None else np.array(about["labels"], np.int64)
    return Images(name, array, labels, tuple(about["skipped"]), tuple(about["label_names"]))


def _check(
    size: tuple[int, int] | None, channels: int | None, label: int | str | None, split: str, limit: int | None
) -> None:
    if size is not None and (len(size) != 2 or any(not isinstance(side, int) or side < 1 for side in size)):
        raise GarlError(f"size is {size}: give (height, width) in whole pixels, at least 1 each")
    if channels not in (None, 1, 3):
        raise GarlError(f"channels is {channels}: give 1 for grey or 3 for colour")
    if label is not None and not isinstance(label, int | str):
        raise GarlError(f"label is {label!r}: give a number or the name of a subfolder")
    if split not in ("train", "valid", "test"):
        raise GarlError(f'split is {split!r}: give "train" or "test" (CelebA also has "valid")')
    if limit is not None and limit < 1:
        raise GarlError(f"limit is {limit}: give at least 1, or leave it out")


def _source(data: str, split: str) -> sources.Source:
    if data == "digits":
        return sources.builtin(split)
    if data in DATASETS:
        if absent := missing(data):
            raise GarlError(f'{data} is not downloaded ({absent[0]} is missing): run "garl data download {data}"')
        return sources.find(place(data), split)
    path = Path(os.path.expanduser(data))  # these two of os.path do not raise, whatever the text
    if not os.path.exists(path):
        known = ", ".join(("digits", *DATASETS))
        raise GarlError(f"there is no data {data!r}: give a set ({known}) or the path of a folder, archive or IDX file")
    try:
        return sources.find(path, split)
    except OSError as error:
        raise GarlError(f"{path} cannot be read ({error.strerror}): make it readable, or name another") from error


def _stamp(source: sources.Source) -> str:
    """A digest of names, sizes and dates: it changes when a file is added, removed, or written again."""
    digest = hashlib.sha256()
    for file in source.files:
        try:
            status = file.stat()
            facts = f"{file}\0{status.st_size}\0{status.st_mtime_ns}\n"
        except OSError:  # a dangling link; reading it will name it
            facts = f"{file}\n"
        digest.update(facts.encode(errors="surrogateescape"))
    return digest.hexdigest()


def _choose(listing: sources.Listing, label: int | str | None, path: Path) -> np.ndarray:
    """The indices of the pictures with `label`, (M,) int64, at least one."""
    if label is None:
        chosen = np.arange(len(listing.names))
    elif listing.labels is None:
        raise GarlError(f"{path} has no labels: put its pictures in one subfolder per label, or leave label out")
    else:
        wanted = _label_numbers(listing, label)
        chosen = np.flatnonzero(np.isin(listing.labels, wanted))
        if not wanted or (len(chosen) == 0 and not listing.label_names):
            known = listing.label_names or tuple(map(str, np.unique(listing.labels)))
            shown = ", ".join(known[:10]) + (f", … ({len(known)} in all)" if len(known) > 10 else "")
            raise GarlError(f"{path} has no label {label!r}: give one of {shown}")
    if len(chosen) == 0:
        what = "" if label is None else f" with label {label!r}"
        raise GarlError(f"{path} has no pictures{what} in this split: give another split")
    return chosen


def _label_numbers(listing: sources.Listing, label: int | str) -> list[int]:
    # Names go first, so that folders called 3 and 7 answer to 3 and 7.
    prefix = f"{label}/"
    named = [i for i, name in enumerate(listing.label_names) if name == str(label) or name.startswith(prefix)]
    if named or not str(label).isdecimal():
        return named
    return [int(label)] if not listing.label_names or int(label) < len(listing.label_names) else []


def _any_colour(source: sources.Source, names: list[str]) -> bool:
    for _, opener in source.read(names):
        try:
            with opener() as image:
                if is_colour(image):
                    return True
        except Exception:  # named when it is decoded
            continue
    return False


def _decoded(
    source: sources.Source, names: list[str], size: tuple[int, int] | None, channels: int, skipped: list[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """The readable pictures with their names, each (C, H, W) uint8 of one shape; the others go to `skipped`.

    Raises:
        GarlError: sizes differ and none was asked for, or nothing is readable.
    """
    first: tuple[str, tuple[int, ...]] | None = None
    openers: Iterable[tuple[str, sources.Opener]] = source.read(names)
    if len(names) > PROGRESS_FROM and source.path != sources.BUILTIN:
        about = f"Reading {printable(source.path.name)}"
        openers = track(openers, about, len(names), console=Console(stderr=True), transient=True)
    for name, opener in openers:
        try:
            with opener() as image:
                row = decode(image, size, channels)
        except Exception as error:  # Pillow meets damaged bytes with exceptions of nearly every kind
            skipped.append(printable(f"{name}: {' '.join(str(error).split()) or type(error).__name__}"))
            continue
        if first is None:
            first = name, row.shape
        elif row.shape != first[1]:
            (_, h, w), (_, other_h, other_w) = first[1], row.shape
            raise GarlError(
                f"the pictures of {source.path} differ in size ({first[0]} is {h}×{w}, {name} {other_h}×{other_w}): "
                "give a size (height, width) to bring them to"
            )
        yield name, row
    if first is None:
        raise GarlError(f"no picture of {source.path} can be read, of {len(names)} ({skipped[0]}): check the files")
