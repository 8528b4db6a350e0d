"""Still pictures of many canvases."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from garl.atomic import replacing
from garl.errors import GarlError

GREY = (128, 128, 128)
INK = (255, 255, 255)
CAPTION_SIZE = 12


def grid(
    canvases: Tensor | np.ndarray,
    columns: int | None = None,
    scale: int = 1,
    padding: int = 2,
    background: tuple[int, int, int] = GREY,
) -> np.ndarray:
    """Canvases (N, 1 or 3, H, W) uint8, row by row, with `padding` around each → (height, width, 3) uint8.

    `columns` defaults to the squarest layout; `scale` repeats every pixel, padding included, so that none is blurred.
    Raises GarlError if there is nothing to show or it is not canvases.
    """
    pictures = _as_rgb(canvases)
    n, height, width, _ = pictures.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    row_step, column_step = height + padding, width + padding
    page = np.empty((rows * row_step + padding, columns * column_step + padding, 3), np.uint8)
    page[:] = background
    for i, picture in enumerate(pictures):
        top, left = padding + i // columns * row_step, padding + i % columns * column_step
        page[top : top + height, left : left + width] = picture
    return magnify(page, scale)


def beside(
    left: Tensor | np.ndarray,
    right: Tensor | np.ndarray,
    captions: tuple[str, str] = ("painted", "real"),
    columns: int | None = None,
    scale: int = 1,
    padding: int = 2,
    background: tuple[int, int, int] = GREY,
) -> np.ndarray:
    """The grids of two sets of canvases (N, C, H, W) uint8 side by side, a caption over each → (height, width, 3)."""
    grids = (grid(canvases, columns, scale, padding, background) for canvases in (left, right))
    panels = [captioned(picture, caption, background) for picture, caption in zip(grids, captions, strict=True)]
    page = np.empty((max(len(panel) for panel in panels), sum(panel.shape[1] for panel in panels), 3), np.uint8)
    page[:] = background
    start = 0
    for panel in panels:
        page[: len(panel), start : start + panel.shape[1]] = panel
        start += panel.shape[1]
    return page


def magnify(picture: np.ndarray, scale: int) -> np.ndarray:
    """(H, W, 3) → (scale·H, scale·W, 3), every pixel repeated."""
    return picture.repeat(scale, 0).repeat(scale, 1)


def captioned(picture: np.ndarray, caption: str, background: tuple[int, int, int] = GREY) -> np.ndarray:
    """The picture (H, W, 3) under a strip with the caption, widened where the caption needs it."""
    font = ImageFont.load_default(CAPTION_SIZE)
    margin, strip = CAPTION_SIZE // 3, 2 * CAPTION_SIZE
    height, width, _ = picture.shape
    page = Image.new("RGB", (max(width, math.ceil(font.getlength(caption)) + 2 * margin), strip + height), background)
    ImageDraw.Draw(page).text((margin, margin), caption, INK, font)
    page.paste(Image.fromarray(picture), (0, strip))
    return np.asarray(page)


def save_png(path: str | Path, picture: np.ndarray) -> None:
    """Write a picture (H, W, 3) uint8. Raises GarlError if the folder cannot be written."""
    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary, "PNG")


def _as_rgb(canvases: Tensor | np.ndarray) -> np.ndarray:
    """(N, 1 or 3, H, W) uint8 → (N, H, W, 3)."""
    pictures = canvases.cpu().numpy() if isinstance(canvases, Tensor) else canvases
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[1] not in (1, 3) or len(pictures) == 0:
        found = f"{pictures.shape} {pictures.dtype}"
        raise GarlError(f"a grid shows canvases (N ≥ 1, 1 or 3, H, W) uint8, not {found}: convert them first")
    return np.broadcast_to(pictures, (len(pictures), 3, *pictures.shape[2:])).transpose(0, 2, 3, 1)
