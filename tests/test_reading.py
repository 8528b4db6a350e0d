"""How much of a stranger's file is read, and what JSON may be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from garl.reading import parse_json, read_plain


def test_a_plain_file_is_read_whole_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_plain(tmp_path / "file", 5) == read_plain(tmp_path / "link", 5) == b"12345"
    with pytest.raises(OSError, match="more than 4 bytes"):
        read_plain(tmp_path / "file", 4)


def test_what_never_ends_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(OSError, match="not a plain file"):
            read_plain(path, 5)


def test_json() -> None:
    assert parse_json('{"a": [1, 2.5, null], "a": "é"}') == {"a": "é"}
    assert parse_json(f"[{2**127 + 1}]") == [2**127 + 1]


@pytest.mark.parametrize(
    "text", ["[" * 10**5, "[" * 300 + "]" * 300, "[NaN]", "9" * 5000, b"\xff", b"\xef\xbb\xbf{}", '"\\ud800"', "", "{"]
)
def test_bad_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (that it is one is the point)
        parse_json(text)
