"""Sets of pictures that mean harm: bombs, lies, pipes, and names that steer."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from garl.data import limits, load, sources
from garl.errors import GarlError


def png(side: int = 4) -> bytes:
    file = io.BytesIO()
    Image.new("L", (side, side), 7).save(file, "PNG")
    return file.getvalue()


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> Path:
    """The headers are written as they are, whatever they say of their contents."""
    content = b"".join(
        info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE) for info, data in members
    )
    content += bytes(2 * tarfile.BLOCKSIZE)
    path.write_bytes(gzip.compress(content) if mode == "w:gz" else content)
    return path


def info(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member


GOOD = (info("good.png", len(png())), png())


# Zips.


def lying_zip(path: Path, real: int, said: int) -> Path:
    """A zip whose only member unpacks to `real` zeros, of which the directory admits `said`."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.png", bytes(real))
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", real), struct.pack("<I", said)))
    return path


def test_a_member_larger_than_it_says_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    longest = 0
    decompress = zlib.decompressobj

    class Watched:
        def __init__(self, *arguments: int) -> None:
            self.inner = decompress(*arguments)

        def __getattr__(self, name: str) -> object:
            return getattr(self.inner, name)

        def decompress(self, data: bytes, most: int) -> bytes:
            nonlocal longest
            longest = max(longest, most)
            return self.inner.decompress(data, most)

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    with pytest.raises(GarlError, match="Bad CRC-32"):
        load(str(lying_zip(tmp_path / "x.zip", 50 << 20, 1000)))
    assert longest == 4096  # the least that zipfile asks for


def test_a_zip_that_unpacks_to_too_much_in_all(tmp_path: Path) -> None:
    path = lying_zip(tmp_path / "x.zip", 1000, limits.MAX_FILE_BYTES + 1)
    with pytest.raises(GarlError, match=r"x\.zip unpacks to at least 268,435,457 bytes from \d+, as only bombs do"):
        load(str(path))


def test_methods_without_a_limit_and_encrypted_members_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", png())
        for name, method in (("b.png", zipfile.ZIP_BZIP2), ("c.png", zipfile.ZIP_LZMA)):
            archive.writestr(name, png(), method)
        archive.writestr("d.png", png())
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1  # the flag of encryption, in the directory alone
    path.write_bytes(content)
    images = load(str(path))
    assert len(images) == 1
    assert [entry[:31] for entry in images.skipped] == [
        "b.png: packed by a rare method:",
        "c.png: packed by a rare method:",
        "d.png: File 'd.png' is encrypte",
    ]


def test_names_do_not_leave_the_archive(tmp_path: Path) -> None:
    victim = tmp_path / "victim.png"
    for path in (tmp_path / "x.zip", tmp_path / "x.tar"):
        names = ("../victim.png", str(victim))  # the first counts as hidden
        if path.suffix == ".zip":
            with zipfile.ZipFile(path, "w") as archive:
                for name in names:
                    archive.writestr(name, png())
                link = zipfile.ZipInfo("link.png")
                link.external_attr = 0o120777 << 16
                archive.writestr(link, "/etc/passwd")
        else:
            link, device = info("link.png", 0, tarfile.SYMTYPE), info("device.png", 0, tarfile.CHRTYPE)
            link.linkname = "/etc/passwd"
            tar_of(path, *((info(name, len(png())), png()) for name in names), (link, b""), (device, b""))
        images = load(str(path))
        assert len(images) == 1
        assert not victim.exists()
        assert [entry.split(":")[0] for entry in images.skipped] == (["link.png"] if path.suffix == ".zip" else [])


def test_too_many_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PICTURES", 2)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for i in range(3):
            archive.writestr(f"{i}.png", png())
    tar_of(tmp_path / "x.tar", *((info(f"{i}.png", len(png())), png()) for i in range(3)))
    (tmp_path / "x").write_bytes(b"\0\0\x08\x03" + struct.pack(">3I", 3, 1, 1) + b"123")
    for name in ("x.zip", "x.tar", "x"):
        with pytest.raises(GarlError, match="says that it holds 3 pictures: split it into files of 2"):
            load(str(tmp_path / name))


# Tars.


@pytest.mark.parametrize(
    "members",
    [
        (GOOD, (info("long", 10**6, tarfile.GNUTYPE_LONGNAME), bytes(10**6)), GOOD),
        (GOOD, (info("pax", 10**6, tarfile.XHDTYPE), b"1" * 10**6), GOOD),  # CVE-2024-6232: quadratic
        (GOOD, (info("back.png", -1024), b""), GOOD),  # CVE-2025-8194: for ever
        (GOOD, (info("pax", 20, tarfile.XHDTYPE), b"20 size=-1024\n"), GOOD),
        ((info("pax", 20, tarfile.XHDTYPE), b"14 size=-1024\n" + bytes(6)), GOOD),
    ],
)
def test_headers_that_lie_about_their_size(tmp_path: Path, members: tuple[tuple[tarfile.TarInfo, bytes], ...]) -> None:
    with pytest.raises(GarlError, match=r"x\.tar is damaged or unreadable \(a member's header"):
        load(str(tar_of(tmp_path / "x.tar", *members)))


def test_a_packed_tar_that_unpacks_to_too_much(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "x.tgz", GOOD, (info("zeros", 1 << 40), b""), mode="w:gz")
    with pytest.raises(GarlError, match=r"x\.tgz unpacks to at least 1,099,511,\d+,\d+ bytes from .* as only bombs do"):
        load(str(path))


def test_sparse_members_are_left_out(tmp_path: Path) -> None:
    sparse = info("sparse.png", 0, tarfile.GNUTYPE_SPARSE)
    assert len(load(str(tar_of(tmp_path / "x.tar", GOOD, (sparse, b""))))) == 1


# Pictures.


def test_a_jpeg_of_many_scans_is_skipped(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("L", (2000, 1900), 7).save(file, "JPEG", progressive=True)
    honest = file.getvalue()
    scan = honest[honest.rindex(b"\xff\xda") : -2]
    (tmp_path / "bomb.jpg").write_bytes(honest[:-2] + scan * 2000 + honest[-2:])
    (tmp_path / "honest.jpg").write_bytes(honest)
    assert load(str(tmp_path), size=(2, 2)).skipped == ("bomb.jpg: its 2006 scans would take too long: save it anew",)


def test_a_picture_that_claims_too_many_pixels_is_skipped(tmp_path: Path) -> None:
    content = bytearray(png())
    content[16:24] = struct.pack(">II", 60000, 60000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "bomb.png").write_bytes(content)
    content[16:24] = struct.pack(">II", 12801, 10000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "large.png").write_bytes(content)
    (tmp_path / "good.png").write_bytes(png())
    first, second = load(str(tmp_path)).skipped
    assert "3600000000 pixels" in first
    assert second == "large.png: 12801×10000 is more than 128 million pixels"


@pytest.mark.filterwarnings("error")
def test_a_photo_of_100_megapixels_is_read_in_silence(tmp_path: Path) -> None:
    Image.new("1", (11_608, 8_708), 1).save(tmp_path / "photo.png")
    assert (load(str(tmp_path), size=(3, 4), channels=1).array == 255).all()


# Folders.


def test_pipes_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(png())
    os.mkfifo(tmp_path / "pictures" / "b.png")
    assert load(str(tmp_path / "pictures")).skipped == ("b.png: [Errno 22] not a plain file",)
    for name in ("pipe", "pipe.zip", "pipe.tar", "train-images-idx3-ubyte", "images_background.zip"):
        os.mkfifo(tmp_path / name)
        if name.startswith("pipe"):
            with pytest.raises(GarlError, match=f"{name} is no folder and no plain file"):
                load(str(tmp_path / name))
    assert len(load(str(tmp_path))) == 1
    os.mkfifo(tmp_path / "list_eval_partition.txt")
    with pytest.raises(GarlError, match=r"list_eval_partition\.txt cannot be read \(not a plain file\)"):
        load(str(tmp_path))


@pytest.mark.parametrize("data", ["x" * 5000, "~nobody-of-that-name/pictures", "a\0b", "\ud800"])
def test_paths_that_the_system_refuses(data: str) -> None:
    with pytest.raises(GarlError, match="there is no data"):
        load(data)


def test_names_cannot_steer_the_terminal(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a/good.png", png())
        archive.writestr("b\x1b[2J/\r.png", b"")
    images = load(str(tmp_path / "x.zip"))
    assert images.skipped[0].startswith(r"b\x1b[2J/\r.png: not a picture in one of PNG")
    with pytest.raises(GarlError) as caught:
        load(str(tmp_path / "x.zip"), label="c")
    assert str(caught.value).isprintable()


def test_one_long_folder_name_does_not_widen_all_labels(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a" * 60_000 + "/x.png", png())
        for i in range(999):
            archive.writestr(f"b/{i}.png", b"")
    names, *_ = sources._labels([member.filename for member in zipfile.ZipFile(tmp_path / "x.zip").infolist()])
    assert np.bincount(names).tolist() == [1, 999]


def test_deep_names_are_stripped_of_the_folders_around_them() -> None:
    deep = "x/" * 30_000
    labels, names = sources._labels([f"{deep}cat/a.png", f"{deep}dog/b.png"])
    assert (labels.tolist(), names) == ([0, 1], ("cat", "dog"))
    assert sources._labels([f"{deep}cat/a.png", f"{deep}b.png"]) == (None, ())
    assert sources._labels([f"{deep}b.png"])[1] == ("x",)
