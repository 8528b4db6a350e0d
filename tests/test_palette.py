"""Palettes: Oklab against its author's figures, k-means against what it must find, files of all kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from garl.errors import GarlError
from garl.palette import choose_palette, find_palette, from_oklab, load_palette, nearest, parse_color, to_oklab


def test_oklab_of_the_primaries() -> None:
    # https://www.w3.org/TR/css-color-4, and https://bottosson.github.io/posts/oklab
    expected = [[1, 0, 0], [0.62796, 0.22486, 0.12585], [0.86644, -0.23389, 0.17950], [0.45201, -0.03246, -0.31153]]
    assert to_oklab(np.array([[1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]])) == pytest.approx(
        np.array(expected), abs=1e-4
    )


def test_oklab_and_back() -> None:
    colors = np.random.default_rng(0).uniform(0, 1, (50, 3))
    assert from_oklab(to_oklab(colors)) == pytest.approx(colors, abs=1e-6)


def test_nearest_is_near_to_the_eye() -> None:
    # In RGB this dark blue is nearer to black (0.5) than to blue (0.5 and more); to the eye it is blue.
    palette = np.array([[0, 0, 0], [0, 0, 1], [1, 1, 1]])
    assert nearest(np.array([[0, 0, 0.49], [0.9, 0.9, 0.8]]), palette).tolist() == [1, 2]


def test_few_colours_are_their_own_palette_lightest_first() -> None:
    colors = np.array([[0, 0, 0], [1, 1, 0.2], [0.2, 0, 0.4], [1, 1, 0.2]])
    assert find_palette(colors, 3) == pytest.approx(np.array([[1, 1, 0.2], [0.2, 0, 0.4], [0, 0, 0]]))


def test_clusters_are_found_and_weighted() -> None:
    rng = np.random.default_rng(1)
    centres = np.array([[0.9, 0.8, 0.7], [0.2, 0.6, 0.3], [0.1, 0.1, 0.5]])
    colors = np.concatenate(
        [centre + rng.normal(0, 0.02, (n, 3)) for centre, n in zip(centres, (90, 9, 40), strict=True)]
    )
    for seed in range(5):
        assert find_palette(colors, 3, seed=seed) == pytest.approx(centres, abs=0.03)
    assert np.array_equal(find_palette(colors, 7, seed=2), find_palette(colors, 7, seed=2))
    heavy = np.array([[1, 0, 0]] * 99 + [[0.8, 0, 0]])
    assert find_palette(heavy, 1)[0] == pytest.approx([1, 0, 0], abs=0.01)
    weights = np.array([1.0] * 99 + [1e6])
    assert find_palette(heavy, 1, weights)[0] == pytest.approx([0.8, 0, 0], abs=0.01)


def test_a_text_and_a_gimp_palette_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("﻿#ff8000\n\n  navy \n#000\n", "utf-8")
    (tmp_path / "a.gpl").write_text(
        "GIMP Palette\nName: mine\nColumns: 2\n# three\n255 128   0\tOrange\n  0   0 128\n0 0 0 #\n"
    )
    expected = np.array([[255, 128, 0], [0, 0, 128], [0, 0, 0]]) / 255
    for name in ("a.txt", "a.gpl"):
        assert np.array_equal(load_palette(tmp_path / name), expected)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "holds 0 colours"),
        (b"#ffffff\nwhitish\n", "line 2: 'whitish' is not a colour"),
        (b"GIMP Palette\n1 2\n", "line 2: '1 2' is not a colour: give three numbers"),
        (b"GIMP Palette\n1 2 256 x\n", "line 2"),
        (b"GIMP Palette\n#\nwhite\n", "line 3"),
        (b"\xff\xfe\x00", "cannot read the palette"),
        (b"#123456\n" * 257, "holds 257 colours: give from 1 to 256"),
        (b"#" * 70_000, "more than 65,536 bytes"),
        (b"\x1b[2J" + b"9" * 5000, "line 1"),
    ],
)
def test_a_hostile_palette_is_one_sentence(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "p.gpl").write_bytes(content)
    with pytest.raises(GarlError) as caught:
        load_palette(tmp_path / "p.gpl")
    assert says in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_number_or_a_file(tmp_path: Path) -> None:
    colors = np.array([[0, 0, 0], [1, 1, 1], [1, 0, 0]])
    assert choose_palette("2", colors).shape == (2, 3)
    for wanted in ("0", "-3", "257", "9" * 5000):
        with pytest.raises(GarlError, match="from 1 to 256 colours, not"):
            choose_palette(wanted, colors)
    with pytest.raises(GarlError, match="cannot read the palette"):
        choose_palette(str(tmp_path), colors)


def test_colours_have_names() -> None:
    assert parse_color("#0a141e") == (10, 20, 30)
    assert parse_color("white") == (255, 255, 255)
    with pytest.raises(GarlError, match="whitish"):
        parse_color("whitish")
