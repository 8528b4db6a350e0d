import numpy as np
import pytest
import torch
from PIL import Image

from garl.errors import GarlError
from garl.export.picture import beside, grid, save_png


def flat(*values: int, height: int = 2, width: int = 3) -> np.ndarray:
    """One grey canvas for each value, (N, 1, height, width) uint8."""
    return np.array(values, np.uint8)[:, None, None, None].repeat(height, 2).repeat(width, 3)


def test_three_canvases_in_two_columns():
    page = grid(flat(10, 20, 30), columns=2, padding=1, background=(7, 8, 9))
    red = [
        [7, 7, 7, 7, 7, 7, 7, 7, 7],
        [7, 10, 10, 10, 7, 20, 20, 20, 7],
        [7, 10, 10, 10, 7, 20, 20, 20, 7],
        [7, 7, 7, 7, 7, 7, 7, 7, 7],
        [7, 30, 30, 30, 7, 7, 7, 7, 7],
        [7, 30, 30, 30, 7, 7, 7, 7, 7],
        [7, 7, 7, 7, 7, 7, 7, 7, 7],
    ]
    assert page[..., 0].tolist() == red
    assert page[0, 0].tolist() == [7, 8, 9]
    assert page[1, 1].tolist() == [10, 10, 10]


def test_colour_keeps_its_channels_and_pixels_their_places():
    canvas = torch.arange(2 * 3 * 2 * 4, dtype=torch.uint8).view(2, 3, 2, 4)
    page = grid(canvas, columns=1, padding=0)
    assert page.shape == (4, 4, 3)
    assert page[2 + 1, 3].tolist() == canvas[1, :, 1, 3].tolist()


def test_scale_repeats_pixels():
    small = grid(flat(10, 20), padding=1)
    assert grid(flat(10, 20), padding=1, scale=3).tolist() == np.kron(small, np.ones((3, 3, 1), np.uint8)).tolist()


def test_the_default_is_nearly_square():
    assert grid(flat(*range(5)), padding=0).shape == (2 * 2, 3 * 3, 3)


def test_beside_puts_the_sets_left_and_right_under_captions():
    left, right = flat(250, 250, 250, 250, height=40, width=60), flat(5, height=40, width=60)
    page = beside(left, right, ("painted", "aces"), columns=1, padding=0, background=(100, 100, 100))
    strip = len(page) - 4 * 40  # alike over both, though only one caption has descenders
    assert page.shape[1] == 120
    assert (page[strip:, :60] == 250).all()
    assert (page[strip : strip + 40, 60:] == 5).all()
    assert (page[strip + 40 :, 60:] == 100).all()
    for half in (page[:strip, :60], page[:strip, 60:]):
        assert half.max() > 200  # ink of the caption
        assert (half[0] == 100).all()
    assert (page[:strip, :60] != page[:strip, 60:]).any()


def test_a_long_caption_widens_a_small_panel():
    page = beside(flat(1), flat(2), ("a very long caption", "b"))
    assert page.shape[1] > 100
    assert (page[:12, -3:] == 128).all()


def test_png_returns_every_pixel(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (5, 9, 3), np.uint8)
    save_png(tmp_path / "picture.png", picture)
    assert np.asarray(Image.open(tmp_path / "picture.png")).tolist() == picture.tolist()
    with pytest.raises(GarlError, match="cannot write"):
        save_png(tmp_path / "missing" / "picture.png", picture)


@pytest.mark.parametrize("wrong", [flat(), flat(1).astype(float), flat(1)[0], np.zeros((1, 2, 4, 4), np.uint8)])
def test_what_a_grid_cannot_show(wrong):
    with pytest.raises(GarlError, match="a grid shows canvases"):
        grid(wrong)
