"""Downloads against a server of our own on 127.0.0.1: it knows Range, and can be told to misbehave."""

from __future__ import annotations

import errno
import hashlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from garl.data import DATASETS, Dataset, describe, download, load
from garl.data.download import CELEBA, File, missing
from garl.errors import GarlError

CONTENT = bytes(range(256)) * 4096  # 1 MiB


@dataclass
class Host:
    """What the server serves, how it misbehaves, and what it was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    break_after: int | None = None
    ranges: bool = True
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            host.asked.append(asked)
            content = host.files.get(self.path.lstrip("/"))
            if content is None:
                return self.send_error(404)
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and host.ranges else 0
            if start >= len(content):
                return self.send_error(416)
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = len(content) if host.break_after is None else start + host.break_after
            self.wfile.write(content[start:end])
            return None

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # the client may hang up
    host.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield host
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, host: Host) -> Dataset:
    """A set of one file, known to the library and to the host."""
    files = (File("a.bin", "http://official.invalid/a.bin", hashlib.md5(CONTENT).hexdigest()),)
    dataset = Dataset("tiny", 1, files, "here", "none")
    monkeypatch.setitem(DATASETS, "tiny", dataset)
    host.files["a.bin"] = CONTENT
    return dataset


def test_a_file_arrives_whole_and_is_not_fetched_twice(tiny: Dataset, host: Host, cache: Path) -> None:
    assert missing("tiny") == ["a.bin"]
    folder = download("tiny", base_url=host.url + "/")
    assert folder == cache / "downloads" / "tiny"
    assert (folder / "a.bin").read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir()] == ["a.bin"]
    download("tiny", base_url=host.url)
    assert host.asked == [None]
    (folder / "a.bin").write_bytes(b"damaged")
    download("tiny", base_url=host.url)
    assert (folder / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_resumes(tiny: Dataset, host: Host, tmp_path: Path, ranges: bool) -> None:
    host.break_after, host.ranges = 300_000, ranges
    with pytest.raises(GarlError, match="broke at 300000 of 1048576 bytes: run the download again to resume"):
        download("tiny", tmp_path, base_url=host.url)
    assert (tmp_path / "tiny" / "a.bin.part").read_bytes() == CONTENT[:300_000]
    assert not (tmp_path / "tiny" / "a.bin").exists()
    host.break_after = None
    download("tiny", tmp_path, base_url=host.url)
    assert (tmp_path / "tiny" / "a.bin").read_bytes() == CONTENT
    assert host.asked == [None, "bytes=300000-"]


def test_a_part_that_is_already_whole_is_accepted(tiny: Dataset, host: Host, tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "a.bin.part").write_bytes(CONTENT)
    download("tiny", tmp_path, base_url=host.url)
    assert (tmp_path / "tiny" / "a.bin").read_bytes() == CONTENT


def test_a_wrong_checksum_deletes_what_came(tiny: Dataset, host: Host, tmp_path: Path) -> None:
    host.files["a.bin"] = CONTENT[:-1] + b"x"
    with pytest.raises(GarlError, match=r"did not give a.bin \(its checksum is wrong, so it was deleted\)"):
        download("tiny", tmp_path, base_url=host.url)
    assert list((tmp_path / "tiny").iterdir()) == []
    host.files["a.bin"] = CONTENT
    download("tiny", tmp_path, base_url=host.url)


def test_celeba_says_how_to_fetch_it_by_hand_when_google_sends_a_page(host: Host, tmp_path: Path) -> None:
    host.files[CELEBA.files[0].name] = b"\n<!DOCTYPE html><title>Google Drive - Quota exceeded</title>"
    with pytest.raises(GarlError, match=rf"a web page came instead\): Google Drive .* put them in {tmp_path}/celeba"):
        download("celeba", tmp_path, base_url=host.url)


def test_a_server_without_an_end_does_not_fill_the_disk(
    tiny: Dataset, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(download.__globals__, "MAX_BYTES", 500_000)
    with pytest.raises(GarlError, match=r"a\.bin sends more than 500,000 bytes, which no set has"):
        download("tiny", tmp_path, base_url=host.url)
    assert list((tmp_path / "tiny").iterdir()) == []


def test_no_such_file_no_server_no_set(tiny: Dataset, host: Host, tmp_path: Path) -> None:
    host.files.clear()
    with pytest.raises(GarlError, match="answers 404"):
        download("tiny", tmp_path, base_url=host.url)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(GarlError, match=r"cannot reach .*: check the network"):
        download("tiny", tmp_path, base_url=f"http://127.0.0.1:{port}")
    with pytest.raises(GarlError, match="cannot reach"):
        download("tiny", tmp_path, base_url="nonsense")
    with pytest.raises(GarlError, match="there is no set 'cifar': give one of mnist"):
        download("cifar", tmp_path)
    with pytest.raises(GarlError, match="digits comes with garl"):
        download("digits", tmp_path)


def test_a_full_disk_is_named(tiny: Dataset, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(GarlError, match=r"cannot write .*tiny \(No space left on device\): free some disk"):
        download("tiny", tmp_path, base_url=host.url)


def test_describe_lists_what_is_there(cache: Path) -> None:
    rows = {row["name"]: row for row in describe()}
    assert list(rows) == ["digits", "mnist", "fashion-mnist", "omniglot", "celeba"]
    assert rows["digits"]["kind"] == "embedded"
    assert rows["mnist"]["where"] == "not downloaded"
    folder = cache / "downloads" / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    (folder / "list_eval_partition.txt").touch()
    assert {row["name"]: row["where"] for row in describe()}["celeba"] == str(folder)


@pytest.mark.data
def test_a_downloaded_set_loads_by_its_name(shared: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    # The shared files were packed anew, so their checksums stand in for the official ones.
    files = tuple(
        File(file.name, file.url, hashlib.md5((shared / "mnist" / file.name).read_bytes()).hexdigest())
        for file in DATASETS["mnist"].files
    )
    monkeypatch.setitem(DATASETS, "mnist", Dataset("mnist", 70_000, files, "here", "none"))
    host.files.update({file.name: (shared / "mnist" / file.name).read_bytes() for file in files})
    download("mnist", base_url=host.url)
    images = load("mnist", split="test", limit=5)
    assert images.name == "mnist"
    assert images.labels.tolist() == [7, 2, 1, 0, 4]
