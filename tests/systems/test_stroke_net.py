"""StrokeNet: chains of curves, errors at scales, gradients through time, and a run from end to end."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from garl.engine.neural import NetworkConfig, Twin, pen_of
from garl.errors import GarlError
from garl.paint_picture import paint_picture
from garl.runs import load_checkpoint, records
from garl.systems import renderer
from garl.systems.stroke_net import (
    Config,
    Draughtsman,
    chain,
    drawn,
    error,
    hand_of,
    load_agent,
    load_config,
    numbers_of,
    train,
    varied,
)
from garl.systems.tiles import whole_then_tiles

TINY = Config(
    side=16,
    strokes=3,
    pieces=2,
    width=2,
    memory=8,
    batch_size=4,
    updates=6,
    validation=5,
    validate_every=2,
    checkpoint_every=1,
    threads=1,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two cycles of three updates."""
    folder = tmp_path_factory.mktemp("stroke-net") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("garl.systems.stroke_net.CYCLE", 3)
        train(TINY, folder)
    return folder


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_the_pen_is_not_lifted_within_a_stroke() -> None:
    """Number by number: three curves of seven points and four widths, in one colour."""
    numbers = random(2, numbers_of(3))
    assert numbers.shape == (2, 14 + 4 + 3)
    curves = chain(numbers, 3)
    assert curves.shape == (2, 3, 13)
    for stroke, told in zip(curves.tolist(), numbers.tolist(), strict=True):
        points, widths, color = told[:14], told[14:18], told[18:]
        for i, curve in enumerate(stroke):
            assert curve == [*points[4 * i : 4 * i + 6], widths[i], 1.0, widths[i + 1], 1.0, *color]
    strokes = pen_of("bezier").strokes(curves)
    torch.testing.assert_close(strokes[:, :-1, 4:6], strokes[:, 1:, 0:2], rtol=0, atol=0)
    width = strokes[..., 9:10] * strokes[..., 11:13]  # thickness times pressure
    torch.testing.assert_close(width[:, :-1, 1], width[:, 1:, 0])


@pytest.mark.parametrize("scales", [1, 3])
def test_errors_are_means_over_pixels_at_each_scale(scales: int) -> None:
    """Three canvases of two drawings, 3 × 6 × 10 pixels, which the coarsest scale does not divide."""
    canvases, target = random(3, 2, 3, 6, 10), random(2, 3, 6, 10, seed=1)
    wanted, weights = 0.0, (0.25, 0.25, 1.0)
    for t, weight in enumerate(weights):
        for n in range(2):
            gap = (canvases[t, n] - target[n]).double().numpy()
            for side in (1, 2, 4)[:scales]:
                tops, lefts = range(0, 6, side), range(0, 10, side)
                means = [gap[c, y : y + side, x : x + side].mean() for c in range(3) for y in tops for x in lefts]
                wanted += weight * float(np.square(means).mean()) / 2 / sum(weights)
    assert error(canvases, target, 0.25, scales).item() == pytest.approx(wanted, rel=1e-5)


def test_varied_targets_are_seen_through_affine_maps_of_their_own() -> None:
    """Of a picture that is linear in x and y, every pixel that is not from outside can be told."""
    side, blank, most = 12, 0.25, 0.4
    along = (torch.arange(side) + 0.5) / side * 2.0 - 1.0
    y, x = torch.meshgrid(along, along, indexing="ij")
    target = torch.stack([0.5 + 0.3 * x - 0.1 * y, 0.5 + 0.2 * y, 0.4 - 0.1 * x])[None].expand(3, -1, -1, -1)
    change = most * (2.0 * random(3, 2, 3, seed=5) - 1.0)
    seen = varied(target, blank, most, torch.Generator().manual_seed(5))
    outside = 0
    for picture, map_ in zip(seen, change, strict=True):
        from_x = x + map_[0, 0] * x + map_[0, 1] * y + map_[0, 2] / 2
        from_y = y + map_[1, 0] * x + map_[1, 1] * y + map_[1, 2] / 2
        inside = (from_x.abs() < 1 - 1 / side) & (from_y.abs() < 1 - 1 / side)
        wanted = torch.stack([0.5 + 0.3 * from_x - 0.1 * from_y, 0.5 + 0.2 * from_y, 0.4 - 0.1 * from_x])
        torch.testing.assert_close(picture[:, inside], wanted[:, inside])
        far = (from_x.abs() > 1 + 1 / side) | (from_y.abs() > 1 + 1 / side)
        assert (picture[:, far] == blank).all()
        assert inside.sum() > side**2 / 3
        outside += int(far.sum())
    assert outside
    assert not torch.equal(seen[0], seen[1])


def test_the_gradient_of_the_last_canvas_goes_back_through_all_strokes() -> None:
    """A step along the gradient changes the error by its norm: what is felt through canvas and memory is in it."""
    torch.manual_seed(0)
    agent, twin = Draughtsman(TINY.changed({"side": 24})), Twin(pen_of("bezier"))
    target, weights = random(3, 3, 24, 24), list(agent.parameters())

    def loss() -> Tensor:
        return error(drawn(agent, twin, target, 0.0, 3), target, 0.0, 1)

    slope = torch.autograd.grad(loss(), weights)
    norm = torch.nn.utils.get_total_norm(slope)

    @torch.no_grad()
    def moved(step: float) -> float:
        """The error with the weights that much farther along the gradient than at first."""
        for weight, way in zip(weights, slope, strict=True):
            weight.add_(step * way / norm)
        return loss().item()

    found = (moved(0.01) - moved(-0.02)) / 0.02
    assert float(norm) > 0.01
    assert float(norm) == pytest.approx(found, rel=0.02)


def test_characters_are_drawn_in_ink_and_pictures_in_colour() -> None:
    torch.manual_seed(0)
    colors = {}
    for name, settings in (("black", {"background": 128}), ("white", {"background": 127}), ("own", {"color": "own"})):
        action, _ = Draughtsman(TINY.changed(settings))(
            random(2, 3, 16, 16), random(2, 3, 16, 16), torch.zeros(2), None
        )
        colors[name] = action[..., 10:].detach()
    assert (colors["black"] == 0.0).all()
    assert (colors["white"] == 1.0).all()
    assert len(colors["own"].unique()) > 3


def test_the_first_stroke_is_felt_where_the_second_does_not_cover_it() -> None:
    """By the canvas alone: the second stroke, whatever came before, covers the right half of the first."""
    over = [0.75, 0.5, 0.75, 0.5, 0.75, 0.5]
    first = torch.tensor([[*over[:4], 0.25, 0.5, 0.3, 1, 0.3, 1, 0.2, 0.4, 0.6]]).requires_grad_()
    second = torch.tensor([[*over, 1, 1, 1, 1, 0.9, 0.8, 0.7]])

    class Fixed(Draughtsman):
        def forward(
            self, canvas: Tensor, target: Tensor, progress: Tensor, memory: Tensor | None
        ) -> tuple[Tensor, Tensor]:
            return (first if memory is None else second)[None], torch.zeros(1)

    canvases = drawn(Fixed(TINY), Twin(pen_of("bezier")), torch.zeros(1, 3, 16, 16), 0.0, 2)
    left, hidden = canvases[-1, ..., 4].sum(), canvases[-1, :, :, 8, 12].sum()
    assert torch.autograd.grad(left, first, retain_graph=True)[0][0, 10:].min() > 1.0
    assert not torch.autograd.grad(hidden, first)[0].any()


def lines(n: int, generator: torch.Generator) -> Tensor:
    """White lines on black, each from a random place to another, as the model paints them: (n, 3, 16, 16)."""
    curves = torch.rand(n, 1, 13, generator=generator)
    curves[..., :6] = 0.15 + 0.7 * curves[..., :6]
    curves[..., 2:4] = (curves[..., 0:2] + curves[..., 4:6]) / 2
    curves[..., 6:10], curves[..., 10:] = 0.6, 1.0
    curves[..., 7:10:2] = 1.0
    with torch.no_grad():
        return Twin(pen_of("bezier"))(curves, torch.zeros(n, 3, 16, 16))


def test_it_learns_to_draw_the_line_that_it_sees() -> None:
    """The best drawing has no error. An agent that did not see the line, or did not learn where it lies, would err as
    much as the mean of all lines does, at least."""
    torch.manual_seed(0)
    generator, twin = torch.Generator().manual_seed(1), Twin(pen_of("bezier"))
    agent = Draughtsman(TINY.changed({"width": 16, "memory": 64, "pieces": 1}))
    optimizer = torch.optim.Adam(agent.parameters(), 3e-3)
    for _ in range(100):
        target = lines(16, generator)
        loss = error(drawn(agent, twin, target, 0.0, 1), target, 0.0, 3)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(agent.parameters(), 1.0)
        optimizer.step()
    target = lines(64, generator)
    with torch.no_grad():
        apart = (drawn(agent, twin, target, 0.0, 1)[-1] - target).square().mean()
    assert apart < 0.6 * (target - target.mean(0)).square().mean()


def test_what_a_run_leaves(run: Path) -> None:
    lines = records(run)
    assert [line["cycle"] for line in lines] == [1, 2, 2]
    assert [line["updates"] for line in lines] == [3, 6, 6]
    assert lines[-1]["steps"] == 6 * 4 * 3 * 2
    assert [("l2/ratio" in line) for line in lines] == [False, True, True]
    assert lines[-1]["l2/ratio"] == pytest.approx(lines[-1]["l2"] / lines[-1]["l2/blank"])
    assert lines[-1]["l2/model"] == pytest.approx(lines[-1]["l2/ratio"], rel=0.1)
    assert (run / "pictures" / "samples.png").exists()
    assert load_config(run) == TINY.model_copy(update={"background": 0})  # the commonest value of digits


def test_a_resumed_run_is_an_uninterrupted_one(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("garl.systems.stroke_net.CYCLE", 3)
    shutil.copytree(run, tmp_path / "part")
    (tmp_path / "part" / "checkpoint.safetensors").write_bytes(b"")  # what is left is the one of cycle 1
    assert load_checkpoint(tmp_path / "part")[1]["cycle"] == 1
    train(load_config(run), tmp_path / "part", resume=True)
    whole, part = (load_checkpoint(folder)[0] for folder in (run, tmp_path / "part"))
    assert whole.keys() == part.keys()
    assert [name for name in whole if not torch.equal(whole[name], part[name])] == []
    timeless = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in records(folder)]
        for folder in (run, tmp_path / "part")
    ]
    assert timeless[0] == timeless[1]


def test_a_drawing_begins_with_nothing_remembered() -> None:
    torch.manual_seed(0)
    agent = Draughtsman(TINY).eval()
    canvas, target = random(2, 3, 16, 16), random(2, 3, 16, 16, seed=1)
    act, steps = hand_of(agent, 3), [torch.full((2,), step) for step in (0, 1, 0, 1)]
    first, second, again, after = (act(canvas, target, step) for step in steps)
    assert torch.equal(first, again)
    assert torch.equal(second, after)
    forgetful = hand_of(agent, 3)(canvas, target, steps[0] + 0)
    assert torch.equal(first, forgetful)
    with torch.no_grad():
        unremembered, _ = agent(canvas, target, steps[1] / 3, None)
    assert not torch.equal(second, unremembered)


def test_a_trained_agent_redraws_pictures_of_any_shape(run: Path, tiny_run: Path) -> None:
    agent = load_agent(run)
    assert (agent.side, agent.actions, agent.background) == (16, 3, 0)
    target = (255 * random(3, 20, 31)).byte().numpy()
    painting = paint_picture(target, 16, agent.pen.brush, partial(whole_then_tiles, agent, 2), (0, 0, 0))
    strokes = painting.strokes.strokes[0]
    assert strokes.shape == (16, 14)
    np.testing.assert_array_equal(strokes[0:6:2, 4:6], strokes[1:6:2, 0:2])  # the whole: three strokes of two curves
    with pytest.raises(GarlError, match="is no run of `garl train stroke-net`"):
        load_agent(tiny_run)


def test_it_learns_through_a_network_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renderer, "UNSEEN", 64)
    monkeypatch.setattr(renderer, "CYCLE", 1)
    monkeypatch.setattr("garl.systems.stroke_net.CYCLE", 1)
    made = renderer.Config(side=16, network=NetworkConfig(width=8), updates=1, threads=1)
    renderer.train(made, tmp_path / "renderer")
    settings = {"renderer_run": tmp_path / "renderer", "updates": 1}
    train(TINY.changed(settings), tmp_path / "run")
    assert records(tmp_path / "run")[0]["loss"] > 0
    with pytest.raises(GarlError, match="of side 16: set side"):
        train(TINY.changed(settings | {"side": 24}), tmp_path / "other")
    assert not (tmp_path / "other").exists()
