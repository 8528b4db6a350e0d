"""Patches are where the engine's strokes are, whatever the canvas; composited as one stroke after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from garl.brush.spec import Brush, load_brush
from garl.engine.neural_strokes import Decoder, Encoder, NeuralStrokes, gap, painted, place, random_strokes
from garl.engine.paint import render_strokes, untinted

SIZE = (40, 70)


class Oracle(nn.Module):
    """In the network's place: the engine itself."""

    def __init__(self, brush: Brush, side: int) -> None:
        super().__init__()
        self.prepared, self.side = untinted(brush), side

    def forward(self, form: Tensor) -> Tensor:
        return painted(form, self.side, self.prepared, np.zeros(len(form), np.int64))


def masks_of(strokes: Tensor, brush: Brush, size: tuple[int, int]) -> Tensor:
    """What the engine paints of white strokes (T, 14), each on a black canvas of its own: (T, H, W)."""
    canvas = np.zeros((len(strokes), 1, *size), np.uint8)
    render_strokes(canvas, strokes.numpy(), np.zeros(len(strokes), np.int64), 0, untinted(brush))
    return torch.from_numpy(canvas[:, 0]).float() / 255


@pytest.mark.parametrize("frame", ["canvas", "stroke"])
@pytest.mark.parametrize(
    ("name", "most"), [("hard_round", 0.07), ("charcoal", 0.45), ("triangle", 0.12), ("point", 0.06)]
)
def test_a_network_that_is_the_engine_paints_as_the_engine(name: str, most: float, frame: str) -> None:
    """But for resampling once, which fine grain shows."""
    brush = load_brush(name)
    strokes = random_strokes(40, brush, torch.Generator().manual_seed(1))
    renderer = NeuralStrokes(Oracle(brush, 128), brush, frame)  # type: ignore[arg-type]
    for size in (SIZE, SIZE[::-1]):
        masks, engine = renderer.masks(strokes, size), masks_of(strokes, brush, size)
        assert gap(masks, engine) < most
        assert gap(masks.flip(1), engine) > 1.0


def test_a_stroke_of_half_the_size_elsewhere_has_the_same_form() -> None:
    brush = load_brush("hard_round")
    strokes = random_strokes(9, brush, torch.Generator().manual_seed(0))
    smaller = strokes.clone()
    smaller[:, :6] = 0.5 * strokes[:, :6] + torch.tensor([0.3, 0.1]).repeat(3)
    smaller[:, 9] *= 0.5
    centre, half, form = place(strokes, (40, 40), "stroke", brush)
    other_centre, other_half, other_form = place(smaller, (40, 40), "stroke", brush)
    assert torch.allclose(form, other_form, atol=1e-5)
    assert torch.allclose(other_half, 0.5 * half)
    assert torch.allclose(other_centre, 0.5 * centre + torch.tensor([0.3, 0.1]))
    assert (form >= 0).all()
    assert (form <= 1).all()


def test_the_canvas_frame_is_the_square_about_the_canvas() -> None:
    brush = load_brush("line")
    strokes = random_strokes(1, brush, torch.Generator().manual_seed(0))
    strokes[0, :4], strokes[0, 9] = torch.tensor([0.0, 0.0, 1.0, 0.5]), 0.2
    centre, half, form = place(strokes, (40, 80), "canvas", brush)
    assert centre.tolist() == [[1.0, 0.5]]
    assert half.tolist() == [[1.0]]
    assert form[0].tolist() == pytest.approx([0.0, 0.25, 1.0, 0.5, 0.1])


def test_strokes_cover_those_before_them() -> None:
    brush, generator = load_brush("hard_round"), torch.Generator().manual_seed(3)
    strokes = random_strokes(6, brush, generator)
    strokes[:, 6:9], strokes[:, 10] = torch.rand(6, 3, generator=generator), torch.rand(6, generator=generator)
    renderer = NeuralStrokes(Oracle(brush, 64), brush, "stroke")
    paper = torch.rand(3, *SIZE, generator=generator)
    canvas = paper.clone()
    for stroke, mask in zip(strokes, renderer.masks(strokes, SIZE), strict=True):
        canvas += stroke[10] * mask * (stroke[6:9, None, None] - canvas)
    assert torch.allclose(renderer.paint(strokes, paper), canvas, atol=1e-5)
    assert torch.equal(renderer.paint(strokes[:0], paper), paper)


@pytest.mark.parametrize("frame", ["canvas", "stroke"])
def test_the_gradient_is_that_of_finite_differences(frame: str) -> None:
    brush = load_brush("hard_round")
    torch.manual_seed(0)
    decoder = Decoder(7, 16, 4).double()
    renderer = NeuralStrokes(decoder, brush, frame)  # type: ignore[arg-type]
    torch.set_default_dtype(torch.float64)
    try:
        strokes = random_strokes(2, brush, torch.Generator().manual_seed(5))
        strokes[:, :6] = torch.tensor([[0.2, 0.3, 0.55, 0.5, 0.8, 0.37], [0.6, 0.2, 0.5, 0.45, 0.3, 0.9]])
        strokes[:, 9], strokes[:, 10] = 0.15, 0.7
        slope, paper = torch.rand(3, 18, 25), torch.rand(3, 18, 25)

        def value(rows: Tensor) -> Tensor:
            return (slope * renderer.paint(rows, paper)).sum()

        rows = strokes.requires_grad_()
        (gradient,) = torch.autograd.grad(value(rows), rows)
        for column in (0, 3, 4, 7, 9, 10):
            step = torch.zeros_like(strokes)
            step[1, column] = 1e-6
            with torch.no_grad():
                difference = (value(rows + step) - value(rows - step)) / 2e-6
            assert gradient[1, column].item() == pytest.approx(difference.item(), rel=1e-3, abs=1e-4)
    finally:
        torch.set_default_dtype(torch.float32)


def test_an_encoder_hears_what_it_is_told() -> None:
    torch.manual_seed(0)
    encoder, x = Encoder(5, 32, 4, told=3), torch.rand(2, 1, 32, 32)
    out, maps = encoder(x, torch.zeros(2, 3))
    assert out.shape == (2, 5)
    assert [each.shape[-1] for each in maps] == [16, 8, 4, 2]
    assert not torch.allclose(encoder(x, torch.ones(2, 3))[0], out)
