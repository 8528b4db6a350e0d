"""The IDX reader: right values from right files, GarlError and nothing else from wrong ones."""

from __future__ import annotations

import gzip
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from garl.data import idx, limits, load
from garl.errors import GarlError

PIXELS = np.arange(4 * 3 * 5, dtype=np.uint8).reshape(4, 3, 5)


def encode(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_rows_have_the_values_that_were_written(tmp_path: Path, pack) -> None:
    path = tmp_path / "pictures"
    path.write_bytes(pack(encode(PIXELS)))
    assert idx.shape(path, 3) == (4, 3, 5)
    np.testing.assert_array_equal(np.stack(list(idx.rows(path))), PIXELS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (encode(PIXELS)[:-1], "cut short at 59"),
        (encode(PIXELS) + b"\0", "too long"),
        (encode(np.zeros((0, 3, 5))), "empty"),
        (encode(np.arange(7)), "1 dimensions"),
        (b"\0\0\x0d\x03" + bytes(12), "type 0x0d"),
        (b"PK\x03\x04 something else", "not an IDX file"),
        (b"", "not an IDX file"),
        (struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "cut short at 0"),
        (gzip.compress(encode(PIXELS), mtime=0)[:-12], "cannot be read"),
        (gzip.compress(encode(PIXELS) + bytes(50 << 20), mtime=0), "too long"),
        (struct.pack(">HBB3I", 0, 8, 3, 1, 12801, 10000) + bytes(12801 * 10000), "128,000,000 pixels are the most"),
    ],
)
def test_a_wrong_file_is_refused_with_its_fault(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "pictures-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(GarlError, match=message):
        load(str(path))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=64),
        st.builds(lambda head, body: b"\0\0\x08\x03" + head + body, st.binary(max_size=12), st.binary(max_size=64)),
        st.builds(
            lambda at, byte: encode(PIXELS)[:at] + bytes([byte]) + encode(PIXELS)[at + 1 :],
            st.integers(0, 75),
            st.integers(0, 255),
        ),
        st.builds(
            lambda at, byte: (packed := gzip.compress(encode(PIXELS), mtime=0))[:at] + bytes([byte]) + packed[at + 1 :],
            st.integers(0, 60),
            st.integers(0, 255),
        ),
    )
)
def test_only_garl_errors_come_out(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pictures"
    path.write_bytes(content)
    with suppress(GarlError):
        count, height, width = idx.shape(path, 3)
        assert [row.shape for row in idx.rows(path)] == [(height, width)] * count


def test_a_gzip_bomb_that_keeps_its_word_is_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 1 << 20)
    (tmp_path / "bomb").write_bytes(
        gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 20_000, 1000, 1) + bytes(20_000_000), mtime=0)
    )
    with pytest.raises(GarlError, match=r"bomb unpacks to at least 1\d,\d+,\d+ bytes from .* as only bombs do"):
        load(str(tmp_path / "bomb"))


def test_official_folder_serves_both_splits_with_labels(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(encode(PIXELS), mtime=0))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(encode(np.array([3, 1, 3, 7])))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(encode(PIXELS[:2] + 100))
    train, test = load(str(tmp_path)), load(str(tmp_path), split="test")
    np.testing.assert_array_equal(train.array[:, 0], PIXELS)
    np.testing.assert_array_equal(test.array[:, 0], PIXELS[:2] + 100)
    assert train.labels.tolist() == [3, 1, 3, 7]
    assert test.labels is None
    threes = load(str(tmp_path), label=3, invert=True)
    np.testing.assert_array_equal(threes.array[:, 0], 255 - PIXELS[[0, 2]])
    np.testing.assert_array_equal(load(str(tmp_path), label="7").array[:, 0], PIXELS[3:])
    with pytest.raises(GarlError, match=r"no label 4: give one of 1, 3, 7"):
        load(str(tmp_path), label=4)


def test_labels_must_match_the_pictures(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(encode(PIXELS))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(encode(np.array([3, 1, 3])))
    with pytest.raises(GarlError, match=r"holds 3 labels and .* 4 pictures"):
        load(str(tmp_path))
    with pytest.raises(GarlError, match="lacks t10k-images"):
        load(str(tmp_path), split="test")


@pytest.mark.data
def test_embedded_digits_are_the_head_of_mnist(shared: Path) -> None:
    mnist = load(str(shared / "mnist"), limit=10_000)
    train, test = load("digits"), load("digits", split="test")
    np.testing.assert_array_equal(np.concatenate([train.array, test.array]), mnist.array)
    np.testing.assert_array_equal(np.concatenate([train.labels, test.labels]), mnist.labels)
