"""Any picture file, any shape: a painting, or one sentence; and every form a painting can take."""

from __future__ import annotations

import io
import struct
import zlib
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from garl.brush.spec import load_brush
from garl.commission import Commission
from garl.errors import GarlError
from garl.export.plotter import PlotConfig
from garl.export.strokefile import StrokeFile
from garl.paint_picture import Painting, default, paint_picture, pixelated, read_picture, replay
from garl.systems.greedy import GreedyConfig, greedy
from garl.types import Ground

quick = partial(greedy, config=GreedyConfig(proposals=20, patience=5))


@pytest.fixture(scope="module")
def painting() -> Painting:
    y, x = np.indices((37, 50))
    target = np.stack([x * 5, y * 6, x + y]).astype(np.uint8)
    return paint_picture(target, 7, load_brush("splatter"), quick, (250, 240, 230), seed=3)


def png_of(width: int, height: int) -> bytes:
    """A PNG that says how large it is and holds almost nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.png", b"", "not a picture"),
        ("vector.png", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not a picture"),
        ("bomb.png", png_of(60_000, 60_000), "bomb"),
        ("large.png", png_of(30_000, 4_000), "unpacks to at least 360,000,000 bytes from"),
        ("long.png", png_of(17, 4_194_317), "make its sides at most 32,768"),
        ("cut.png", png_of(64, 48), "cannot"),
    ],
)
def test_what_is_no_picture_is_one_sentence(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(GarlError, match=says) as caught:
        read_picture(tmp_path / name)
    assert name in str(caught.value)


def test_a_folder_a_missing_file_and_a_picture_too_long_are_refused(tmp_path: Path) -> None:
    Image.new("L", (40_000, 1)).save(tmp_path / "long.png")
    for path in (tmp_path, tmp_path / "missing.png", tmp_path / "long.png"):
        with pytest.raises(GarlError, match=path.name):
            read_picture(path)


def test_half_a_jpeg_is_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)).save(file, "JPEG")
    (tmp_path / "half.jpg").write_bytes(file.getvalue()[: len(file.getvalue()) // 2])
    with pytest.raises(GarlError, match=r"half\.jpg"):
        read_picture(tmp_path / "half.jpg")


def test_pictures_of_all_kinds_are_read_as_they_look(tmp_path: Path) -> None:
    half = Image.new("RGBA", (3, 2), (200, 100, 0, 255))
    half.putpixel((2, 0), (9, 9, 9, 0))
    half.save(tmp_path / "clear.png")
    pixels, frames = read_picture(tmp_path / "clear.png", (10, 20, 30))
    assert frames == 1
    assert pixels[:, 0, 2].tolist() == [10, 20, 30]
    assert pixels[:, 1, 1].tolist() == [200, 100, 0]

    turned = Image.new("RGB", (5, 3), "white")
    turned.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    pixels, _ = read_picture(tmp_path / "turned.png")
    assert pixels.shape == (3, 5, 3)
    assert pixels[:, 0, 2].tolist() == [255, 0, 0]

    deep = np.array([[0, 65535], [32768, 257]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert read_picture(tmp_path / "deep.png")[0][0].tolist() == [[0, 255], [128, 1]]

    Image.new("CMYK", (4, 2), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg")
    red, green, blue = read_picture(tmp_path / "cmyk.jpg")[0][:, 1, 1].astype(int)
    assert red > 200 > 60 > max(green, blue)

    Image.new("L", (4, 3), 7).save(tmp_path / "two.gif", save_all=True, append_images=[Image.new("L", (4, 3), 200)])
    pixels, frames = read_picture(tmp_path / "two.gif")
    assert frames == 2
    assert (pixels == 7).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 20_000), (300, 2), (700, 900)])
def test_any_size_and_shape_is_painted_at_its_own(shape: tuple[int, int]) -> None:
    target = np.zeros((3, *shape), np.uint8)
    target[:, :, : max(1, shape[1] // 2)] = 200
    painting = paint_picture(target, 3, load_brush("hard_round"), quick, (0, 0, 0))
    assert painting.picture.shape == (3, *shape)
    blank = float(np.mean((target / 255) ** 2))
    assert painting.error <= blank
    assert painting.error == pytest.approx(float(np.mean((target / 255 - painting.picture / 255) ** 2)), rel=1e-4)


@pytest.mark.parametrize(("brush", "suits"), [("hard_round", "refine"), ("charcoal", "greedy")])
def test_the_default_painter_suits_the_brush(brush: str, suits: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    for name in ("refine", "greedy"):
        monkeypatch.setattr(f"garl.paint_picture.{name}", lambda *_, name=name: taken.append(name))
    black = np.zeros((3, 2, 2), np.uint8)
    default(Commission(black, Ground(black, black[0] == 0), 1, load_brush(brush)))
    assert taken == [suits]


def test_the_stroke_file_replays_the_picture(painting: Painting, tmp_path: Path) -> None:
    painting.save(tmp_path / "strokes.json")
    file = StrokeFile.load(tmp_path / "strokes.json")
    assert file.render_scale == 4  # splatter is all texture
    *_, again = replay(file)
    assert np.array_equal(again, painting.picture)


@pytest.mark.parametrize(
    ("brush", "shape", "scale"), [("charcoal", (400, 1), 4), ("ink", (334, 500), 3), ("line", (9, 9), 1)]
)
def test_texture_is_drawn_fine(brush: str, shape: tuple[int, int], scale: int) -> None:
    painting = paint_picture(np.zeros((3, *shape), np.uint8), 1, load_brush(brush), quick)
    assert painting.strokes.render_scale == scale


def test_the_order_is_laid_and_the_palette_kept() -> None:
    y, x = np.indices((30, 40))
    target = np.stack([x * 6, y * 8, 255 - x * 6]).astype(np.uint8)
    brush = load_brush("hard_round")
    plain, sorted_, locked = (
        paint_picture(target, 15, brush, quick, seed=1, **more)
        for more in ({}, {"order": "coarse-to-fine"}, {"palette": "4"})
    )
    assert np.array_equal(np.sort(plain.strokes.strokes[0, :, 9])[::-1], sorted_.strokes.strokes[0, :, 9])
    assert sorted_.error < 1.5 * plain.error  # the colours were fitted to the order
    assert len(np.unique(locked.strokes.strokes[0, :, 6:9], axis=0)) <= 4
    assert plain.error < locked.error < 4 * plain.error


def test_every_form_shows_the_painting(painting: Painting, tmp_path: Path) -> None:
    painting.save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), painting.picture.transpose(1, 2, 0))
    painting.save(tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert 'viewBox="0 0 50 37"' in text
    assert text.count("opacity=") == 7
    painting.save(tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as film:
        assert film.size == (50, 37)
        assert np.asarray(film.convert("RGB"))[0, 0].tolist() == [250, 240, 230]
    painting.save(tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 7 + 1 + 30
    assert len(painting.save(tmp_path / "a.gcode", PlotConfig(page="A5"))) > 2
    assert "page 210 x 148 mm" in (tmp_path / "a.gcode").read_text()
    with pytest.raises(GarlError, match=r"a\.doc"):
        painting.save(tmp_path / "a.doc")


def test_pixel_art_is_whole_squares_of_few_colours(painting: Painting, tmp_path: Path) -> None:
    """37 × 50 pixels in 9 squares: 4 pixels each, 9 rows and 12 columns; its strokes paint that, with softer edges."""
    y, x = np.indices((37, 50))
    target = np.stack([x * 5, y * 6, x + y]).astype(np.uint8)
    art = pixelated(painting, target, cells=9, colors=5)
    assert art.picture.shape == (3, 36, 48)
    small = art.picture[:, ::4, ::4]
    np.testing.assert_array_equal(small.repeat(4, 1).repeat(4, 2), art.picture)
    assert 2 <= len(np.unique(small.reshape(3, -1).T, axis=0)) <= 5
    assert art.strokes.strokes.shape == (1, 9 * 12, 14)
    assert np.abs(small.mean((1, 2)) - painting.picture.mean((1, 2))).max() < 12
    art.save(tmp_path / "art.json")
    file = StrokeFile.load(tmp_path / "art.json")
    *_, again = replay(file)
    inner = again.reshape(3, 9, 4, 12, 4)[:, :, 1:3, :, 1:3].mean((2, 4))
    np.testing.assert_allclose(inner, small, atol=1)
    with pytest.raises(GarlError, match="set --cells to fewer"):
        pixelated(painting, target, cells=38, colors=5)
