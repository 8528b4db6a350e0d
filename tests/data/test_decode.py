"""One picture of each awkward kind, checked by its values; every test picture has height ≠ width."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from garl.data import decode as module
from garl.data.decode import decode, is_colour


def reopened(image: Image.Image, form: str = "PNG", **options: object) -> Image.Image:
    file = io.BytesIO()
    image.save(file, form, **options)
    return Image.open(file)


def test_grey_keeps_its_values_and_its_axes() -> None:
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    np.testing.assert_array_equal(decode(reopened(Image.fromarray(pixels)), None, 1), pixels[None])
    np.testing.assert_array_equal(decode(reopened(Image.fromarray(pixels)), (2, 3), 3), np.stack([pixels] * 3))


def test_colour_is_channels_first_and_luma_is_itu_601() -> None:
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[0, 2] = 255, 0, 0
    pixels[1, 0] = 0, 255, 0
    image = Image.fromarray(pixels)
    rgb = decode(reopened(image), None, 3)
    assert rgb.shape == (3, 2, 3)
    assert rgb[:, 0, 2].tolist() == [255, 0, 0]
    assert rgb[:, 1, 0].tolist() == [0, 255, 0]
    grey = decode(reopened(image), None, 1)[0]
    assert grey[0, 2] == round(0.299 * 255)
    assert grey[1, 0] == round(0.587 * 255)


def test_transparency_is_laid_on_white() -> None:
    image = Image.new("RGBA", (3, 2), (0, 0, 255, 0))
    image.putpixel((2, 1), (0, 0, 255, 255))
    image.putpixel((0, 1), (0, 0, 0, 51))
    rgb = decode(reopened(image), None, 3)
    assert rgb[:, 0, 0].tolist() == [255, 255, 255]
    assert rgb[:, 1, 2].tolist() == [0, 0, 255]
    assert rgb[:, 1, 0].tolist() == [204, 204, 204]


def test_palette_with_a_transparent_entry() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1, 0])
    assert is_colour(image)
    assert decode(reopened(image, transparency=1), None, 3)[:, 0].T.tolist() == [
        [10, 20, 30],
        [255, 255, 255],
        [10, 20, 30],
    ]


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    deep = np.array([[0, 257, 128 * 257], [65535, 300, 40000]], np.uint16)
    image = reopened(Image.fromarray(deep))
    assert image.mode.startswith("I")
    assert not is_colour(image)
    assert decode(image, None, 1)[0].tolist() == [[0, 1, 128], [255, 1, 156]]


def test_exif_orientation_is_obeyed() -> None:
    pixels = np.array([[0, 0, 0], [250, 250, 250]], np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by a quarter to view
    upright = decode(reopened(Image.fromarray(pixels), exif=exif), None, 1)[0]
    np.testing.assert_array_equal(upright, np.rot90(pixels, -1))


def test_crop_is_central_and_keeps_the_target_aspect() -> None:
    pixels = np.zeros((4, 12), np.uint8)
    pixels[:, 4:8] = 200  # the central square
    assert (decode(Image.fromarray(pixels), (4, 4), 1) == 200).all()
    assert (decode(Image.fromarray(pixels.T.copy()), (4, 4), 1) == 200).all()
    pixels[:, 2:10] = 200  # the central 1 : 2, which is then enlarged
    np.testing.assert_allclose(decode(Image.fromarray(pixels), (16, 32), 1)[0, :, 12:-12], 200, atol=1)
    assert decode(Image.fromarray(pixels), (4, 10), 1)[0].tolist() == [[0] + [200] * 8 + [0]] * 4


def test_shrinking_averages() -> None:
    checks = (np.indices((32, 64)).sum(0) % 2 * 255).astype(np.uint8)
    small = decode(Image.fromarray(checks), (4, 8), 1)
    assert small.shape == (1, 4, 8)
    assert abs(small.astype(int) - 127).max() <= 3


def test_one_bit_ink() -> None:
    image = Image.new("1", (3, 2), 1)
    image.putpixel((2, 0), 0)
    assert decode(reopened(image), None, 1)[0].tolist() == [[255, 255, 0], [255, 255, 255]]


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    image = reopened(Image.new("L", (30, 20)))
    monkeypatch.setattr(module, "MAX_PIXELS", 599)
    monkeypatch.setattr(image, "load", lambda: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="30×20 is more than"):
        decode(image, None, 1)


def test_numbers_without_a_range_are_refused() -> None:
    with pytest.raises(ValueError, match="32-bit"):
        decode(Image.fromarray(np.full((2, 3), 70000, np.int32)), None, 1)
    with pytest.raises(ValueError, match="floating"):
        decode(Image.fromarray(np.ones((2, 3), np.float32)), None, 1)
