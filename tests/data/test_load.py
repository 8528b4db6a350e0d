"""`load` from folders and archives: values, labels, splits, skipped files, and the cache."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from garl.data import images as images_module
from garl.data import load, sources
from garl.errors import GarlError


def png(value: int | tuple[int, int, int], size: tuple[int, int] = (4, 6)) -> bytes:
    """A plain picture of (height, width)."""
    file = io.BytesIO()
    Image.new("L" if isinstance(value, int) else "RGB", size[::-1], value).save(file, "PNG")
    return file.getvalue()


def folder(path: Path, members: dict[str, bytes]) -> Path:
    for name, content in members.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


LABELLED = {"dog/b.png": png(50), "cat/a.PNG": png(10), "cat/c.jpg.png": png(30), "dog/.hidden.png": png(1)}


@pytest.fixture(params=["folder", "zip", "tgz"])
def labelled(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    wrapped = {f"pets/{name}": content for name, content in LABELLED.items()} | {"__MACOSX/pets/cat/._a.png": b"x"}
    if request.param == "folder":
        return folder(tmp_path / "pets", LABELLED | {"read me.txt": b"text", ".git/x.png": png(9)})
    return zipped(tmp_path / "pets.ZIP", wrapped) if request.param == "zip" else tarred(tmp_path / "p.tgz", wrapped)


def test_subfolders_are_labels(labelled: Path) -> None:
    images = load(str(labelled))
    assert images.label_names == ("cat", "dog")
    assert {(int(p[0, 0, 0]), int(n)) for p, n in zip(images.array, images.labels, strict=True)} == {
        (10, 0),
        (30, 0),
        (50, 1),
    }
    assert images.array.shape == (3, 1, 4, 6)
    assert images.skipped == ()
    for label in ("dog", 1):
        only = load(str(labelled), label=label)
        assert only.array[:, 0, 0, 0].tolist() == [50]
        assert only.labels.tolist() == [1]
    with pytest.raises(GarlError, match=r"no label 'cow': give one of cat, dog"):
        load(str(labelled), label="cow")
    with pytest.raises(GarlError, match="no label 2"):
        load(str(labelled), label=2)


def test_folders_named_by_numbers_answer_to_their_names(tmp_path: Path) -> None:
    folder(tmp_path, {"3/a.png": png(30), "7/b.png": png(70)})
    assert load(str(tmp_path), label=7).array[0, 0, 0, 0] == 70
    assert load(str(tmp_path), label="3").array[0, 0, 0, 0] == 30


def test_pictures_at_several_depths_have_no_labels(tmp_path: Path) -> None:
    folder(tmp_path, {"a.png": png(1), "cat/b.png": png(2)})
    assert load(str(tmp_path)).labels is None
    with pytest.raises(GarlError, match="has no labels: put its pictures in one subfolder per label"):
        load(str(tmp_path), label="cat")


def test_omniglot_labels_are_alphabet_and_character(tmp_path: Path) -> None:
    names = ("Latin/character01", "Latin/character02", "Greek/character01")
    members = {f"images_background/{name}/0001_0{i}.png": png(i) for i, name in enumerate(names)}
    path = zipped(tmp_path / "images_background.zip", members)
    assert load(str(path)).label_names == ("Greek/character01", "Latin/character01", "Latin/character02")
    assert load(str(path), label="Latin").array[:, 0, 0, 0].tolist() == [0, 1]
    zipped(tmp_path / "images_evaluation.zip", {"images_evaluation/Thai/character01/0002_01.png": png(77)})
    assert len(load(str(tmp_path))) == 3
    assert load(str(tmp_path), split="test").array[:, 0, 0, 0].tolist() == [77]


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_celeba_layout(tmp_path: Path, kind: str) -> None:
    pictures = {f"img_align_celeba/00000{i}.jpg": png((i * 10, 0, 200), (218, 178)) for i in range(1, 6)}
    folder(tmp_path, {"list_eval_partition.txt": b"000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n000004.jpg 0\n"})
    if kind == "folder":
        folder(tmp_path, pictures)
    else:
        zipped(tmp_path / "img_align_celeba.zip", pictures)
    found = {split: load(str(tmp_path), split=split, size=(8, 7)).array for split in ("train", "valid", "test")}
    assert {split: array[:, 0, 0, 0].tolist() for split, array in found.items()} == {
        "train": [10, 40],
        "valid": [20],
        "test": [30],
    }
    assert found["train"].shape == (2, 3, 8, 7)
    (tmp_path / "list_eval_partition.txt").write_text("000001.jpg 3\n")
    with pytest.raises(GarlError, match="is damaged"):
        load(str(tmp_path))
    (tmp_path / "list_eval_partition.txt").unlink()
    with pytest.raises(GarlError, match=r"lacks CelebA's list_eval_partition.txt"):
        load(str(tmp_path))


def test_held_out_pictures_stay_held_out_when_the_set_grows(tmp_path: Path) -> None:
    def values(split: str) -> set[int]:
        return set(load(str(tmp_path), split=split).array[:, 0, 0, 0].tolist())

    folder(tmp_path, {f"{i}.png": png(i) for i in range(19)})
    assert values("train") == values("test") == set(range(19))
    folder(tmp_path, {f"{i}.png": png(i) for i in range(120)})
    test = values("test")
    assert 4 <= len(test) <= 24
    assert values("train") == set(range(120)) - test
    folder(tmp_path, {f"{i}.png": png(i) for i in range(120, 250)})
    assert test == {value for value in values("test") if value < 120}


def test_unreadable_files_are_skipped_by_name_and_labels_stay_aligned(tmp_path: Path) -> None:
    whole = png(20, (40, 50))
    folder(
        tmp_path,
        {
            "a/cut.png": whole[: len(whole) // 2],
            "a/good.png": whole,
            "b/empty.jpg": b"",
            "b/good.png": png(90, (40, 50)),
            "b/text.png": b"not a picture",
        },
    )
    (tmp_path / "b" / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    images = load(str(tmp_path))
    assert images.array[:, 0, 0, 0].tolist() == [20, 90]
    assert images.labels.tolist() == [0, 1]
    assert [entry.split(":")[0] for entry in images.skipped] == [
        "a/cut.png",
        "b/dangling.png",
        "b/empty.jpg",
        "b/text.png",
    ]
    assert load(str(tmp_path)).skipped == images.skipped  # and from the cache


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GarlError, match="no data 'no such set': give a set"):
        load("no such set")
    with pytest.raises(GarlError, match="holds no pictures"):
        load(str(tmp_path))
    folder(tmp_path, {"x.png": b"text", "y.png": b"text"})
    with pytest.raises(GarlError, match=r"no picture of .* can be read, of 2 \(x.png: "):
        load(str(tmp_path))
    with pytest.raises(GarlError, match="single picture"):
        load(str(tmp_path / "x.png"))
    with pytest.raises(GarlError, match='garl data download mnist"'):
        load("mnist")


@pytest.mark.parametrize("name", ["pets.zip", "pets.tar", "pets.tar.xz"])
def test_damaged_archives(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04" + bytes(range(256)) * 8)
    with pytest.raises(GarlError, match="damaged"):
        load(str(tmp_path / name))
    whole = tarred(tmp_path / "whole.tgz", LABELLED).read_bytes()
    (tmp_path / "cut.tgz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GarlError, match="damaged"):
        load(str(tmp_path / "cut.tgz"))


def test_a_tar_is_not_taken_for_ended_at_a_damaged_header(tmp_path: Path) -> None:
    content = bytearray(gzip.decompress(tarred(tmp_path / "whole.tgz", LABELLED).read_bytes()))
    content[content.index(b"cat/a.PNG")] ^= 1  # the header's own checksum no longer holds
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(GarlError, match=r"x.tar is damaged .* header makes no sense"):
        load(str(tmp_path / "x.tar"))


def test_an_oversized_member_is_skipped_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 1 << 20)
    path = zipped(tmp_path / "x.zip", {"a.png": png(3), "bomb.png": bytes(2 << 20)})
    assert load(str(path)).skipped == ("bomb.png: more than 1,048,576 bytes",)


def test_sizes_and_channels(tmp_path: Path) -> None:
    folder(tmp_path, {"a.png": png(60), "b.png": png((60, 120, 180), (8, 6))})
    with pytest.raises(GarlError, match=r"differ in size \(a.png is 4×6, b.png 8×6\): give a size"):
        load(str(tmp_path))
    colour = load(str(tmp_path), size=(2, 5)).array
    assert colour.shape == (2, 3, 2, 5)
    assert colour[:, :, 1, 3].tolist() == [[60, 60, 60], [60, 120, 180]]
    assert load(str(tmp_path), size=(2, 5), channels=1).array[1, 0, 0, 0] == round(
        0.299 * 60 + 0.587 * 120 + 0.114 * 180
    )
    assert load(str(tmp_path), size=(2, 5), limit=1).array.shape == (1, 1, 2, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (28, 0)}, "size is"),
        ({"size": (28,)}, "size is"),
        ({"channels": 2}, "channels is 2"),
        ({"split": "dev"}, "split is 'dev'"),
        ({"split": "valid"}, "only CelebA"),
        ({"limit": 0}, "limit is 0"),
        ({"label": 1.5}, "label is 1.5"),
    ],
)
def test_wrong_arguments(options: dict, message: str) -> None:
    with pytest.raises(GarlError, match=message):
        load("digits", **options)


def test_second_load_maps_without_decoding(labelled: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(str(labelled))
    monkeypatch.setattr(images_module, "decode", lambda *_: pytest.fail("decoded again"))
    second = load(str(labelled))
    assert isinstance(second.array, np.memmap)
    np.testing.assert_array_equal(first.array, second.array)
    assert (first.labels.tolist(), first.label_names) == (second.labels.tolist(), second.label_names)
    with pytest.raises(ValueError, match="read-only"):
        second.array[0] = 0
    assert sorted(path.suffix for path in (cache / "pictures").iterdir()) == [".json", ".npy"]


def test_cache_follows_the_files(tmp_path: Path) -> None:
    folder(tmp_path, {"a.png": png(10)})
    assert load(str(tmp_path)).array[0, 0, 0, 0] == 10
    folder(tmp_path, {"a.png": png(11)})
    os.utime(tmp_path / "a.png", (1, 1))
    assert load(str(tmp_path)).array[0, 0, 0, 0] == 11
    folder(tmp_path, {"b.png": png(12)})
    assert len(load(str(tmp_path))) == 2


@pytest.mark.parametrize("damage", ["cut", "flip", "record", "skipped", "deep"])
def test_a_damaged_cache_is_rebuilt(tmp_path: Path, cache: Path, damage: str) -> None:
    folder(tmp_path, {"a.png": png(10)})
    load(str(tmp_path))
    (rows,), (record,) = (list((cache / "pictures").glob(pattern)) for pattern in ("*.npy", "*.json"))
    content = rows.read_bytes()
    if damage == "cut":
        rows.write_bytes(content[:-1])
    elif damage == "flip":
        rows.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "deep":
        record.write_text("[" * 100_000)
    else:
        written = json.loads(record.read_text())
        written |= {"recipe": None} if damage == "record" else {"about": written["about"] | {"skipped": ["x"]}}
        record.write_text(json.dumps(written))
    images = load(str(tmp_path))
    assert (images.array == 10).all()
    assert images.skipped == ()
    assert rows.read_bytes() == content


def test_a_cache_without_room_is_named_before_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path, {f"{i}.png": png(10) for i in range(3)})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 29, 71))
    with pytest.raises(GarlError, match=r"the pictures take 72 bytes in .*, where 71 are free: ask for a smaller size"):
        load(str(tmp_path))
    assert len(load(str(tmp_path), limit=2)) == 2


def test_concurrent_builders_agree(tmp_path: Path, cache: Path) -> None:
    folder(tmp_path, {f"{i}.png": png(i) for i in range(15)})
    found: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: found.append(load(str(tmp_path)).array)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert all((array == found[0]).all() for array in found)
    assert not list((cache / "pictures").glob("*.part"))


def test_an_unwritable_cache_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path, {"a.png": png(10), "file": b""})
    monkeypatch.setenv("GARL_CACHE", str(tmp_path / "file"))
    with pytest.raises(GarlError, match=r"cannot write the picture cache .*file/pictures .* set GARL_CACHE"):
        load(str(tmp_path))
    assert len(load("digits", limit=3)) == 3  # needs no cache


def test_batches_depend_on_the_generator_alone() -> None:
    digits = load("digits", size=(10, 14), limit=200)
    generator = torch.Generator().manual_seed(5)
    digits.batch(7, generator)
    state = generator.get_state()
    batch = digits.batch(40, generator)
    assert batch.shape == (40, 1, 10, 14)
    assert batch.dtype == torch.uint8
    again = load("digits", size=(10, 14), limit=200).batch(40, torch.Generator().set_state(state))
    assert torch.equal(batch, again)
    known = {picture.tobytes() for picture in digits.array}
    assert all(picture.numpy().tobytes() in known for picture in batch)


def test_batches_are_uniform_with_replacement(tmp_path: Path) -> None:
    folder(tmp_path, {f"{i}.png": png(i) for i in range(8)})
    drawn = load(str(tmp_path)).batch(8000, torch.Generator().manual_seed(0))[:, 0, 0, 0]
    counts = torch.bincount(drawn.long(), minlength=8)
    assert counts.sum() == 8000
    assert (counts - 1000).abs().max() < 150  # five standard deviations


def test_embedded_digits_have_the_known_labels() -> None:
    train, test = load("digits"), load("digits", split="test")
    assert train.labels[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    assert train.array.shape == (8000, 1, 28, 28)
    assert test.array.shape == (2000, 1, 28, 28)
    assert not train.array.flags.writeable


@pytest.mark.data
def test_real_sets(shared: Path) -> None:
    ink = load(str(shared / "omniglot/images_background_small1.zip"), label="Latin", limit=50)
    assert ink.array.shape[1:] == (1, 105, 105)
    assert set(np.unique(ink.array)) == {0, 255}
    assert ink.array.mean() > 200  # black ink on white
    assert load(str(shared / "faces/faces-64.zip"), split="test", limit=20).array.shape == (20, 1, 64, 64)
    emoji = load(str(shared / "emoji/twemoji-64.zip"), limit=50, size=(32, 48)).array
    assert emoji.shape == (50, 3, 32, 48)
    assert load(str(shared / "fashion-mnist"), split="test", label=7).labels.tolist() == [7] * 1000


def test_a_labelled_batch_is_the_same_batch_with_its_classes(labelled: Path) -> None:
    images = load("digits", limit=300)
    assert images.classes == list("0123456789")
    pictures, classes = images.labelled_batch(40, torch.Generator().manual_seed(3))
    assert torch.equal(pictures, images.batch(40, torch.Generator().manual_seed(3)))
    for picture, place in zip(pictures, classes, strict=True):
        same = (images.array == picture.numpy()).all((1, 2, 3))
        assert images.labels[same].tolist() == [place]
    fives = load("digits", label=5, limit=20)
    assert fives.classes == ["5"]
    assert fives.labelled_batch(3, torch.Generator())[1].tolist() == [0, 0, 0]
    assert load(str(labelled)).classes == list(load(str(labelled)).label_names)


def test_a_batch_of_classes_has_a_picture_of_each() -> None:
    """Every picture of class 3 is drawn in the end, each about as often as any other."""
    images, generator = load("digits", limit=200), torch.Generator().manual_seed(3)
    asked = torch.tensor([7, 3, 3, 0, 9])
    for picture, place in zip(images.batch_of(asked, generator), asked, strict=True):
        same = (images.array == picture.numpy()).all((1, 2, 3))
        assert images.labels[same].tolist() == [place]
    drawn = images.batch_of(torch.full((4000,), 3), generator).flatten(1)
    threes, count = drawn.unique(dim=0, return_counts=True)
    expected = int((images.labels == 3).sum())
    assert len(threes) == expected
    assert (count - 4000 / expected).abs().max() < 5 * (4000 / expected) ** 0.5
