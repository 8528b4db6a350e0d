"""What a stroke's numbers mean to the engine, and that both renderers paint it so."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from garl.brush.geometry import COLOR, END_PRESSURE, OPACITY, POINTS, START_PRESSURE, THICKNESS
from garl.engine.neural import Kind, NetworkConfig, NeuralRenderer, Pen, Renderer, Twin, draw, network_of, pen_of
from garl.engine.paint import PreparedBrushes, render_strokes

NUMBERS = torch.tensor([0.1, 0.2, 0.3, 0.9, 0.8, 0.4, 0.25, 0.2, 0.75, 0.6, 0.9, 0.1, 0.5])


def test_the_numbers_of_a_curve() -> None:
    pen = pen_of("bezier")
    control = pen.brush.spec.control
    stroke = pen.strokes(NUMBERS)
    start, end = (control.min_thickness + r * (control.max_thickness - control.min_thickness) for r in (0.25, 0.75))
    torch.testing.assert_close(stroke[POINTS], NUMBERS[:6])
    torch.testing.assert_close(stroke[COLOR], NUMBERS[10:])
    assert float(stroke[THICKNESS]) == pytest.approx(end)
    assert float(stroke[START_PRESSURE]) == pytest.approx(start / end)
    assert float(stroke[END_PRESSURE]) == 1
    assert float(stroke[OPACITY]) == pytest.approx(0.2 + 0.4 * 0.8)  # the mean of t0 and t1, in 0.2..1
    level = pen_of("bezier", level=True).strokes(NUMBERS)
    assert float(level[THICKNESS]) == pytest.approx((start + end) / 2)
    assert level[START_PRESSURE : END_PRESSURE + 1].tolist() == [1, 1]


def test_a_pixel_is_a_cell_and_nothing_else() -> None:
    pen = pen_of("pixel", cells=4)
    canvas = np.zeros((1, 3, 24, 24), np.uint8)
    numbers = NUMBERS.clone()
    numbers[:2] = torch.tensor([0.51, 0.99])
    numbers[[7, 9]] = 1.0
    numbers[10:] = torch.tensor([1.0, 0.0, 0.2])
    render_strokes(canvas, pen.strokes(numbers)[None].numpy(), np.zeros(1, np.int64), 0, PreparedBrushes(pen.brush))
    wanted = np.zeros((3, 24, 24))
    wanted[:, 18:, 12:18] = np.array([255, 0, 51])[:, None, None]
    np.testing.assert_array_equal(canvas[0], wanted)


@pytest.mark.parametrize("kind", ["bezier", "triangle", "circle", "pixel"])
def test_alphas_are_what_the_engine_covers(kind: Kind) -> None:
    """White on black is the alpha; of any colour on any ground the engine paints ground + alpha (colour − ground)."""
    pen, generator = pen_of(kind, cells=8), torch.Generator().manual_seed(3)
    strokes = pen.strokes(torch.rand(6, 13, generator=generator))
    alpha = draw(strokes, 40, PreparedBrushes(pen.brush))
    canvas = np.full((6, 3, 40, 40), 200, np.uint8)
    render_strokes(canvas, strokes.numpy(), np.zeros(6, np.int64), 0, PreparedBrushes(pen.brush))
    wanted = 200 + alpha * (255 * strokes[:, COLOR, None, None] - 200)
    assert alpha.amax() > 0.2
    assert (torch.from_numpy(canvas) - wanted).abs().max() < 1.6


class Exact(torch.nn.Module):
    """A network that has learned the engine by heart."""

    def __init__(self, pen: Pen, side: int) -> None:
        super().__init__()
        self.pen, self.side, self.prepared = pen, side, PreparedBrushes(pen.brush)

    def forward(self, numbers: Tensor) -> Tensor:
        assert numbers.shape[1] == 10
        whole = torch.cat([numbers, torch.ones(len(numbers), 3)], 1)
        return draw(self.pen.strokes(whole), self.side, self.prepared)


def renderers() -> dict[str, tuple[Renderer, float]]:
    pen = pen_of("bezier")
    return {
        "neural": (NeuralRenderer(pen, Exact(pen, 48)), 1.0),
        "twin": (Twin(pen_of("bezier", level=True)), 6.0),
    }


@pytest.mark.parametrize("name", ["neural", "twin"])
def test_strokes_are_laid_one_over_the_other_as_in_the_engine(name: str) -> None:
    renderer, most = renderers()[name]
    action = torch.rand(2, 7, 13, generator=torch.Generator().manual_seed(1))
    ground = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(2))
    canvas = (255 * ground).round().to(torch.uint8).numpy()
    for i in range(7):
        strokes = renderer.pen.strokes(action[:, i]).numpy()
        render_strokes(canvas, strokes, np.zeros(2, np.int64), i, PreparedBrushes(renderer.pen.brush))
    gap = (255 * renderer(action, ground) - torch.from_numpy(canvas)).abs()
    assert gap.mean() < most
    assert (255 * ground - torch.from_numpy(canvas)).abs().mean() > 20


def test_the_twin_has_the_gradient_of_its_picture() -> None:
    twin = Twin(pen_of("bezier", level=True))
    action = torch.rand(2, 3, 13, generator=torch.Generator().manual_seed(5)).requires_grad_()
    ground = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(6)).requires_grad_()
    weight = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(7))
    (twin(action, ground) * weight).sum().backward()
    assert action.grad is not None
    assert ground.grad is not None
    for leaf, other in ((action, ground), (ground, action)):
        step = 1e-3 * torch.randn(leaf.shape, generator=torch.Generator().manual_seed(8))
        pairs = [(leaf + step, other), (leaf - step, other)]
        ends = [twin(*(pair if leaf is action else pair[::-1])).double() for pair in pairs]
        slope = float(((ends[0] - ends[1]) * weight).sum().detach()) / 2
        assert float((leaf.grad * step).sum()) == pytest.approx(slope, rel=0.05)


@pytest.mark.parametrize("architecture", ["original", "improved"])
def test_networks_answer_with_alphas(architecture: str) -> None:
    torch.manual_seed(0)
    network, numbers = network_of(NetworkConfig(architecture=architecture, width=16), 24), torch.rand(5, 10)
    free, alpha = network.train()(numbers), network.eval()(numbers)
    assert alpha.shape == (5, 1, 24, 24)
    torch.testing.assert_close(alpha, free.clamp(0, 1))
    assert (free[0] - free[1]).abs().max() > 1e-6  # the original starts out nearly blind to its stroke


def test_the_original_has_the_paper_s_layers() -> None:
    """At 128 pixels: linear 10–512–1024–2048–4096, convolutions of 16–32–32, 8–16–16 and 4–8–4 maps."""
    shapes = [
        tuple(p.shape) for p in network_of(NetworkConfig(architecture="original"), 128).parameters() if p.ndim > 1
    ]
    linear, convolutions = [shape for shape in shapes if len(shape) == 2], [s[:2] for s in shapes if len(s) == 4]
    assert linear == [(512, 10), (1024, 512), (2048, 1024), (4096, 2048)]
    assert sorted(convolutions) == sorted([(32, 16), (32, 32), (16, 8), (16, 16), (8, 4), (4, 8)])
