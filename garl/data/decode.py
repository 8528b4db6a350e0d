"""From one picture in whatever form to (C, H, W) uint8."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

from garl.data.limits import MAX_PIXELS

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""What Pillow may try. A short list: its rarer readers are where a hostile file finds its holes."""

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"))
GREY = frozenset(("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"))
WHITE = (255, 255, 255)


def decode(
    image: Image.Image, size: tuple[int, int] | None, channels: int, paper: tuple[int, int, int] = WHITE
) -> np.ndarray:
    """Upright, on paper, cropped about its centre to the aspect of `size` and resized with antialiasing.

    Args:
        image: opened but not necessarily loaded, in any Pillow mode, turned upright in place; 16-bit grey is scaled to
            8 bits.
        size: (height, width), or None to keep the picture's own.
        channels: 1 for luma (ITU-R 601), 3 for RGB.
        paper: what shows through where the picture is transparent.

    Returns:
        (channels, H, W) uint8.

    Raises:
        ValueError: more than `MAX_PIXELS` pixels, or numbers with no known range; Pillow raises much else.
    """
    if image.width * image.height > MAX_PIXELS:  # before the pixels are loaded: a small file can hold a huge picture
        raise ValueError(f"{image.width}×{image.height} is more than {MAX_PIXELS // 10**6} million pixels")
    ImageOps.exif_transpose(image, in_place=True)  # a copy of a large picture would take half a gigabyte
    image = _flatten(image, paper)
    if image.mode != (mode := "L" if channels == 1 else "RGB"):
        image = image.convert(mode)
    if size is not None and (image.height, image.width) != size:
        image = ImageOps.fit(image, size[::-1], Image.Resampling.LANCZOS)
    pixels = np.asarray(image)
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def luma(picture: np.ndarray) -> np.ndarray:
    """A picture (3, H, W) uint8 in grey, (1, H, W) uint8 (ITU-R 601)."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0))).convert("L"))[None]


def is_colour(image: Image.Image) -> bool:
    """Whether the picture is stored in colour; a palette counts as colour. Nothing is decoded."""
    return image.mode not in GREY


def _flatten(image: Image.Image, paper: tuple[int, int, int]) -> Image.Image:
    """An 8-bit opaque picture: deep grey is scaled, transparency laid on paper."""
    if image.mode.startswith("I"):
        deep = np.asarray(image).astype(np.int64)
        if deep.min() < 0 or deep.max() > 65535:
            raise ValueError("32-bit grey: save it in 8 or 16 bits")
        return Image.fromarray(((deep + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point grey: save it in 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, paper), image)
    return image
