"""Going on from a canvas: what is locked stays to the pixel, what is kept replays, what does not fit is refused."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from garl.adversary.update import Adversary
from garl.brush.geometry import BRUSH
from garl.brush.spec import load_brush
from garl.engine.paint import PaintConfig, load_brushes
from garl.errors import GarlError
from garl.evaluate.pixels import mean_squared_error
from garl.export.strokefile import StrokeFile
from garl.finish import (
    Unfinished,
    finish_like,
    finish_picture,
    matched,
    read_mask,
    read_unfinished,
    viewports,
)
from garl.paint_picture import Painting, paint_picture, replay
from garl.policy.features import PolicyConfig
from garl.systems.garl import Agent, Config, load_adversary, load_agent, make_env, make_policy
from garl.systems.greedy import GreedyConfig, greedy
from garl.systems.refine import RefineConfig, refine

HEIGHT, WIDTH = 37, 50
LEFT = np.indices((HEIGHT, WIDTH))[1] < 21
quick = partial(greedy, config=GreedyConfig(proposals=20, patience=5))
quick_refine = partial(refine, config=RefineConfig(stages=3, steps=15, last_steps=60))


def photo(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    y, x = np.indices((height, width)) + 0.5
    return np.stack([x * 255 / width, y * 255 / height, (x + y) * 255 / (height + width)]).astype(np.uint8)


def save(path: Path, picture: np.ndarray) -> Path:
    Image.fromarray(picture.transpose(1, 2, 0) if picture.ndim == 3 else picture).save(path)
    return path


def last(file: StrokeFile, size: tuple[int, int] | None = None) -> np.ndarray:
    *_, canvas = replay(file, size)
    return canvas


@pytest.fixture(scope="module")
def first() -> Painting:
    return paint_picture(photo(), 5, load_brush("splatter"), quick, (250, 240, 230), seed=3)


# Towards a photo.


@pytest.mark.parametrize("painter", [quick, quick_refine])
def test_no_locked_pixel_changes_and_the_rest_comes_nearer(painter, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    canvas = 255 - photo()
    begun = Unfinished(canvas, LEFT)
    painting = finish_picture(begun, photo(), 25, load_brush("hard_round"), painter, seed=2)
    assert np.array_equal(painting.picture[:, ~LEFT], canvas[:, ~LEFT])
    gap = np.square((painting.picture.astype(float) - photo()) / 255)[:, LEFT].mean()
    assert painting.error == pytest.approx(gap, rel=1e-5)
    assert gap < 0.5 * mean_squared_error(canvas[:, LEFT], photo()[:, LEFT])
    painting.strokes.save(tmp_path / "a.json")
    moments = [moment.copy() for moment in replay(StrokeFile.load(tmp_path / "a.json"))]
    assert all(np.array_equal(moment[:, ~LEFT], canvas[:, ~LEFT]) for moment in moments)
    assert np.array_equal(moments[0], canvas)
    assert np.array_equal(moments[-1], painting.picture)
    small = last(painting.strokes, (12, 17))
    assert np.abs(small[:, :, 8:].astype(int) - last(painting.strokes)[:, 1::3, 1::3][:, :12, 8:17]).mean() < 12


def test_a_small_free_part_of_a_large_canvas_is_painted_finely() -> None:
    canvas, free = np.full((3, 900, 1300), 80, np.uint8), np.zeros((900, 1300), np.bool_)
    free[700:740, 1200:1250] = True
    target = canvas.copy()
    target[:, 700:740, 1200:1250] = photo(40, 50)
    painting = finish_picture(Unfinished(canvas, free), target, 30, load_brush("hard_round"), quick, seed=1)
    assert np.array_equal(painting.picture[:, ~free], canvas[:, ~free])
    assert painting.error < 0.2 * mean_squared_error(canvas[:, free], target[:, free])
    assert painting.strokes.strokes[0, :, 9].min() < 0.25 * load_brush("hard_round").spec.control.min_thickness
    sparse = np.indices((900, 1300)).sum(0) % 7 == 0
    with pytest.raises(GarlError, match="too thin to be seen"):
        finish_picture(Unfinished(canvas, sparse), target, 3, load_brush("hard_round"), quick)


def test_strokes_are_kept_and_their_numbers_go_on(first: Painting, tmp_path: Path) -> None:
    """What greedy search saw of the jitter is what is replayed, though another brush came before."""
    first.strokes.save(tmp_path / "first.json")
    begun = read_unfinished(tmp_path / "first.json")
    assert np.array_equal(begun.canvas, first.picture)
    told: list[np.ndarray] = []
    painting = finish_picture(
        begun, photo(), 6, load_brush("charcoal"), quick, 9, lambda *news: told.append(news[3].copy())
    )
    file = painting.strokes
    assert np.array_equal(file.strokes[0, :5], first.strokes.strokes[0])
    assert file.strokes[0, :, BRUSH].tolist() == [0] * 5 + [1] * 6
    assert (file.seeds.tolist(), file.background, file.canvas, file.free) == ([3], (250, 240, 230), None, None)
    assert painting.error < first.error
    moments = [moment.copy() for moment in replay(file)]
    assert np.array_equal(moments[5], first.picture)
    assert np.array_equal(moments[11], painting.picture)
    # The painter painted as it replays, but for the colours, which are solved in the end.
    shapes = [(told[i] != (told[i - 1] if i else first.picture)).any(0) for i in range(6)]
    painted = [(moments[6 + i] != moments[5 + i]).any(0) for i in range(6)]
    assert np.mean([(a != b).mean() for a, b in zip(shapes, painted, strict=True)]) < 0.02


def test_a_mask_over_kept_strokes_holds_from_the_first_new_one_on(first: Painting, tmp_path: Path) -> None:
    first.strokes.save(tmp_path / "first.json")
    mask = save(tmp_path / "mask.png", LEFT)
    painting = finish_picture(read_unfinished(tmp_path / "first.json", mask), photo(), 4, load_brush("line"), quick)
    assert painting.strokes.free_from == 5
    assert np.array_equal(painting.picture[:, ~LEFT], first.picture[:, ~LEFT])
    assert (painting.picture != first.picture).any()
    painting.strokes.save(tmp_path / "second.json")
    assert np.array_equal(last(StrokeFile.load(tmp_path / "second.json")), painting.picture)
    # The same mask once more keeps the strokes, no mask or another cannot.
    again = finish_picture(read_unfinished(tmp_path / "second.json", mask), photo(), 2, load_brush("ink"), quick)
    assert again.strokes.strokes.shape == (1, 11, 14)
    assert again.strokes.free_from == 5
    assert np.array_equal(last(again.strokes), again.picture)
    assert np.array_equal(again.picture[:, ~LEFT], first.picture[:, ~LEFT])
    unlocked = read_unfinished(tmp_path / "second.json")
    assert unlocked.file is None
    assert np.array_equal(unlocked.canvas, painting.picture)


@pytest.mark.parametrize(("brush", "kept"), [("hard_round", True), ("oil", False)])
def test_grey_strokes_are_kept_where_they_stay_grey(brush: str, kept: bool, tmp_path: Path) -> None:
    rng, loaded = np.random.default_rng(0), load_brush(brush)
    assert (loaded.spec.dab.jitter.color == 0) == kept
    strokes = rng.random((1, 4, 14), np.float32)
    strokes[..., BRUSH] = 0
    file = StrokeFile(HEIGHT, WIDTH, 1, (30,), (loaded.to_dict(),), 1, strokes, np.array([7]))
    file.save(tmp_path / "grey.json")
    begun = read_unfinished(tmp_path / "grey.json")
    assert (begun.file is not None) == kept
    assert np.array_equal(begun.canvas, last(file).repeat(3, 0))
    painting = finish_picture(begun, photo(), 3, load_brush("line"), quick)
    assert painting.strokes.strokes.shape[1] == (7 if kept else 3)
    assert np.array_equal(list(replay(painting.strokes))[-1], painting.picture)
    assert np.array_equal(next(replay(painting.strokes)), begun.canvas) == (not kept)


def test_a_stroke_file_of_a_canvas_too_large_is_refused(first: Painting, tmp_path: Path) -> None:
    replace(first.strokes, height=32_000, width=32_000).save(tmp_path / "large.json")
    with pytest.raises(GarlError, match=r"large\.json has 32000×32000 pixels, which are too many"):
        read_unfinished(tmp_path / "large.json")


# Masks and photos.


def test_white_or_opaque_is_free(tmp_path: Path) -> None:
    shade = np.where(LEFT, 200, 90).astype(np.uint8)
    grey = save(tmp_path / "grey.png", shade)
    clear = np.where(LEFT, 255, 0).astype(np.uint8)
    red = save(tmp_path / "red.png", np.stack([np.full_like(clear, 255), 0 * clear, 0 * clear, clear]))
    larger = save(tmp_path / "larger.png", shade.repeat(3, 0).repeat(3, 1))
    for path in (grey, red, larger):
        assert np.array_equal(read_mask(path, (HEIGHT, WIDTH)), LEFT), path.name
    assert read_mask(None, (2, 3)).tolist() == [[True] * 3] * 2


def test_a_mask_that_locks_all_or_has_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GarlError, match=r"black\.png locks the whole canvas"):
        read_mask(save(tmp_path / "black.png", np.zeros((HEIGHT, WIDTH), np.uint8)), (HEIGHT, WIDTH))
    with pytest.raises(GarlError, match=r"turned\.png has 37×50 pixels and the canvas 50×37"):
        read_mask(save(tmp_path / "turned.png", LEFT.T), (HEIGHT, WIDTH))


def test_a_photo_of_the_same_shape_within_a_pixel_fits() -> None:
    path = Path("photo.png")
    for size in ((HEIGHT, WIDTH), (2 * HEIGHT + 1, 2 * WIDTH), (8, 11), (370, 496)):
        resized = matched(photo(*size), (HEIGHT, WIDTH), path)
        assert resized.shape == (3, HEIGHT, WIDTH)
        assert np.abs(resized.astype(int) - photo()).mean() < 6
    for size in ((HEIGHT, WIDTH + 3), (WIDTH, HEIGHT), (370, 450)):
        with pytest.raises(GarlError, match=f"photo.png has {size[1]}×{size[0]} pixels and the canvas 50×37: crop it"):
            matched(photo(*size), (HEIGHT, WIDTH), path)


# As an agent would.

POLICY = PolicyConfig(channels=4, blocks=0, features=16, location_channels=4, location_blocks=0, noise=3)
SEEN = 16, 24


def agent_of(brush: str, channels: int = 3, invert: bool = False, **settings) -> tuple[Agent, Adversary]:  # type: ignore[no-untyped-def]
    paint = PaintConfig(
        height=SEEN[0], width=SEEN[1], channels=channels, color_channels=channels, brush=brush, grid=8, bins=4
    )
    config = Config(strokes=6, invert=invert, paint=paint, policy=POLICY, **settings)
    torch.manual_seed(0)
    agent = Agent(config, load_brushes(paint), make_policy(config, make_env(config, 1)).eval())
    return agent, Adversary((channels, *SEEN), config.adversary)


def test_at_its_own_size_the_agent_paints_what_it_sees_and_the_best_is_kept() -> None:
    agent, adversary = agent_of("splatter")
    begun = Unfinished(photo(*SEEN), np.indices(SEEN)[0] < 9)
    paintings = [finish_like(begun, agent, adversary, 4, attempts, seed=5) for attempts in (1, 9)]
    for painting in paintings:
        assert np.array_equal(painting.picture[:, 9:], begun.canvas[:, 9:])
        assert (painting.picture[:, :9] != begun.canvas[:, :9]).mean() > 0.2
        assert np.array_equal(last(painting.strokes), painting.picture)
    best = adversary.score(torch.from_numpy(paintings[1].picture)[None])
    seen: list[torch.Tensor] = []
    score = adversary.score
    adversary.score = lambda images, condition=None: seen.append(images) or score(images, condition)
    again = finish_like(begun, agent, adversary, 4, 9, seed=5)
    assert np.array_equal(again.picture, paintings[1].picture)
    torch.testing.assert_close(best, score(seen[0]).max()[None])
    assert len(seen[0]) == 9


@pytest.mark.parametrize("invert", [False, True])
def test_a_grey_agent_paints_grey_on_a_larger_canvas_in_its_polarity(invert: bool) -> None:
    agent, adversary = agent_of("hard_round", channels=1, invert=invert)
    begun = Unfinished(photo(60, 100), np.ones((60, 100), np.bool_))
    painting = finish_like(begun, agent, adversary, 6, attempts=2, seed=1)
    assert painting.picture.shape == (3, 60, 100)
    colors = painting.strokes.strokes[0, :, 6:9]
    assert (colors == colors[:, :1]).all()
    shown: list[torch.Tensor] = []
    agent.policy.register_forward_pre_hook(lambda module, given: shown.append(given[0]))
    finish_like(begun, agent, adversary, 2, attempts=1, seed=1)
    luma = np.asarray(Image.fromarray(begun.canvas.transpose(1, 2, 0)).convert("L").resize(SEEN[::-1])).astype(int)
    first = shown[0].canvas[0, 0].numpy().astype(int)
    assert np.abs((255 - first if invert else first) - luma).mean() < 6
    assert [int(each.step[0]) for each in shown] == [4, 5]  # the last two strokes of its episode


def test_tiles_cover_all_and_overlap() -> None:
    boxes = list(viewports(3, 60, 101))
    assert len(boxes) == 1 + 4 + 16
    assert boxes[0] == (0, 0, 101, 60)
    for level in (boxes[1:5], boxes[5:]):
        painted = np.zeros((60, 101), int)
        for left, top, right, bottom in level:
            painted[top:bottom, left:right] += 1
        assert painted.min() == 1
        assert painted.max() == 4
    left, _, right, _ = boxes[5]
    assert (right - boxes[6][0]) / (right - left) == pytest.approx(0.25, abs=0.05)


def test_each_level_paints_in_more_tiles_but_not_where_all_is_locked() -> None:
    agent, adversary = agent_of("hard_round")
    free = np.zeros((64, 96), np.bool_)
    free[:20, :30] = True
    begun = Unfinished(photo(64, 96), free)
    painting = finish_like(begun, agent, adversary, 2, attempts=2, levels=2)
    assert painting.strokes.strokes.shape[1] == 2 * (1 + 1)  # of four tiles, one sees what is free
    assert np.array_equal(painting.picture[:, ~free], begun.canvas[:, ~free])
    assert np.array_equal(last(painting.strokes), painting.picture)


def test_a_trained_agent_goes_on_from_strokes(tiny_run: Path, first: Painting, tmp_path: Path) -> None:
    agent = load_agent(tiny_run, "cpu")
    first.strokes.save(tmp_path / "first.json")
    begun = read_unfinished(tmp_path / "first.json")
    painting = finish_like(begun, agent, load_adversary(tiny_run, agent), 1, attempts=3)
    assert painting.strokes.strokes.shape == (1, 6, 14)
    assert painting.strokes.strokes[0, :, BRUSH].tolist() == [0] * 5 + [1]
    assert np.array_equal(last(painting.strokes), painting.picture)


def test_the_adversary_of_a_run_scores_as_it_did(tiny_run: Path) -> None:
    agent = load_agent(tiny_run, "cpu")
    pictures = torch.randint(0, 256, (5, 1, 28, 28), dtype=torch.uint8)
    first, again = (load_adversary(tiny_run, agent).score(pictures) for _ in range(2))
    assert torch.equal(first, again)
    wider = agent.config.adversary.model_copy(
        update={"network": agent.config.adversary.network.model_copy(update={"channels": 64})}
    )
    with pytest.raises(GarlError, match="does not fit its config"):
        load_adversary(tiny_run, replace(agent, config=agent.config.model_copy(update={"adversary": wider})))
