"""Paintings from an agent: every ending holds the same pictures, and the strokes replay to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import av
import numpy as np
import pytest
import torch
from PIL import Image

import garl.sample
from garl.brush.geometry import BRUSH
from garl.brush.spec import Brush
from garl.engine.paint import PaintConfig, PreparedBrushes, load_brushes, render_strokes
from garl.errors import GarlError
from garl.evaluate.pixels import pixel_gaps
from garl.export.picture import grid
from garl.export.strokefile import StrokeFile
from garl.policy.features import PolicyConfig
from garl.sample import Paintings, measure, paint
from garl.systems.garl import Agent, Config, load_agent, load_images, make_env, make_policy

POLICY = PolicyConfig(channels=4, blocks=0, features=16, location_channels=4, location_blocks=0, noise=3)


def untrained(brush: str, invert: bool = False, **choices: Any) -> Agent:
    """An agent that paints in colour on a canvas with H ≠ W."""
    ground = (200, 10, 60)
    canvas = PaintConfig(height=20, width=30, channels=3, background=ground, brush=brush, grid=8, bins=4, **choices)
    config = Config(strokes=3, invert=invert, paint=canvas, policy=POLICY)
    loaded = load_brushes(canvas)
    torch.manual_seed(0)
    return Agent(config, loaded, make_policy(config, make_env(config, 1, loaded)).eval())


def replay(file: StrokeFile) -> np.ndarray:
    """The paintings (N, C, H, W) uint8 of a stroke file, painted anew."""
    count, strokes, _ = file.strokes.shape
    canvas = np.empty((count, file.channels, file.height, file.width), np.uint8)
    canvas[:] = np.array(file.background, np.uint8)[:, None, None]
    brush = PreparedBrushes(*map(Brush.from_dict, file.brushes))
    for i in range(strokes):
        render_strokes(canvas, file.strokes[:, i], file.seeds, i, brush, file.render_scale)
    return canvas


@pytest.fixture(scope="module")
def coloured() -> Paintings:
    return paint(untrained("splatter"), 5, seed=3)  # splatter: its dabs jitter


@pytest.fixture(scope="module")
def tiny_agent(tiny_run: Path) -> Agent:
    return load_agent(tiny_run, "cpu")


# What is painted.


def test_strokes_of_several_brushes_replay(tmp_path: Path) -> None:
    agent = untrained("splatter", brushes=("oil", "ink"), pressure=True, pen=True)
    paintings = paint(agent, 6, seed=3)
    assert set(paintings.strokes.strokes[..., BRUSH].flat) == {0, 1, 2}
    paintings.save(tmp_path / "a.json")
    assert (replay(StrokeFile.load(tmp_path / "a.json")) == paintings.final).all()


def test_paintings_hold_all_frames_in_order(coloured: Paintings) -> None:
    assert coloured.final.shape == (5, 3, 20, 30)
    assert coloured.filmed.shape == (4, 5, 3, 20, 30)
    assert (coloured.filmed[0] == np.array([200, 10, 60])[:, None, None]).all()
    assert (coloured.filmed[-1] == coloured.final).all()
    assert len({painting.tobytes() for painting in coloured.final}) == 5
    assert (coloured.filmed[1:] != coloured.filmed[:-1]).any(axis=(2, 3, 4)).all()  # each stroke leaves a trace


def test_the_seed_decides(coloured: Paintings) -> None:
    again, other = (paint(untrained("splatter"), 5, seed=seed) for seed in (3, 4))
    assert (again.final == coloured.final).all()
    assert (again.strokes.strokes == coloured.strokes.strokes).all()
    assert (again.strokes.seeds == coloured.strokes.seeds).all()
    assert (other.final != coloured.final).any(axis=(1, 2, 3)).all()
    assert not set(other.strokes.seeds) & set(coloured.strokes.seeds)


def test_more_paintings_than_a_batch(tiny_agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garl.sample, "BATCH", 5)
    monkeypatch.setattr(garl.sample, "MOST_FILMED", 7)
    paintings = paint(tiny_agent, 12, seed=1)
    assert paintings.final.shape == (12, 1, 28, 28)
    assert (replay(paintings.strokes) == paintings.final).all()  # so every stroke list belongs to its picture
    assert len(set(paintings.strokes.seeds)) == 12
    assert paintings.filmed.shape == (3, 7, 1, 28, 28)
    assert (paintings.filmed[-1] == paintings.final[:7]).all()
    assert (paint(tiny_agent, 5, seed=1).final == paintings.final[:5]).all()


@pytest.mark.parametrize("brush", ["splatter", "hard_round"])
def test_inverted_paintings_are_the_negative(brush: str) -> None:
    plain, inverted = paint(untrained(brush), 4, seed=2), paint(untrained(brush, invert=True), 4, seed=2)
    assert (inverted.final == 255 - plain.final).all()
    assert (inverted.filmed == 255 - plain.filmed).all()
    assert inverted.strokes.background == (55, 245, 195)


def test_an_inverted_stroke_file_replays(tiny_agent: Agent) -> None:
    for agent in (
        untrained("hard_round", invert=True),
        replace(tiny_agent, config=tiny_agent.config.model_copy(update={"invert": True})),
    ):
        inverted = paint(agent, 6, seed=2)
        assert inverted.final.std() > 10
        # Each stroke rounds to bytes, and half a step rounds up in the one polarity and down in the other.
        assert np.abs(replay(inverted.strokes).astype(int) - inverted.final).max() <= 1


# What is written.


def test_png_is_the_grid(coloured: Paintings, tmp_path: Path) -> None:
    path = tmp_path / "a.PNG"
    assert coloured.save(path) == [path]
    assert (np.asarray(Image.open(path)) == grid(coloured.final, scale=3)).all()  # 96 // 30


def test_npz_holds_pictures_strokes_and_seeds(coloured: Paintings, tmp_path: Path) -> None:
    assert coloured.save(tmp_path / "a.npz") == [tmp_path / "a.npz"]
    with np.load(tmp_path / "a.npz") as arrays:
        assert set(arrays) == {"images", "strokes", "seeds"}
        images, strokes, seeds = arrays["images"], arrays["strokes"], arrays["seeds"]
    assert images.dtype == np.uint8
    assert images.shape == (5, 20, 30, 3)
    assert (images.transpose(0, 3, 1, 2) == coloured.final).all()
    assert (strokes.dtype, strokes.shape, seeds.dtype) == (np.float32, (5, 3, 14), np.int64)
    assert (replay(replace(coloured.strokes, strokes=strokes, seeds=seeds)) == coloured.final).all()


def test_json_replays_to_the_very_pictures(coloured: Paintings, tmp_path: Path) -> None:
    assert coloured.save(tmp_path / "a.json") == [tmp_path / "a.json"]
    file = StrokeFile.load(tmp_path / "a.json")
    assert file.background == (200, 10, 60)
    assert (replay(file) == coloured.final).all()
    # … which hangs on the seeds: the brush jitters
    assert (replay(replace(file, seeds=file.seeds + 1)) != coloured.final).any()


@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_films_run_from_the_blank_canvas_to_the_paintings(tiny_agent: Agent, tmp_path: Path, ending: str) -> None:
    paintings = paint(tiny_agent, 4, seed=1)
    path = tmp_path / f"film{ending}"
    assert paintings.save(path) == [path]
    if ending == ".mp4":
        with av.open(str(path)) as film:
            frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    else:
        with Image.open(path) as film:
            frames = []
            for i in range(film.n_frames):
                film.seek(i)
                frames.append(np.asarray(film.convert("RGB")))
    for frame, moment in ((frames[0], 0), (frames[-1], -1)):
        expected = grid(paintings.filmed[moment], scale=5)  # 62 pixels wide, and 256 are watchable
        assert frame.shape == expected.shape
        assert np.abs(frame.astype(int) - expected).mean() < 2
    assert np.abs(frames[-1].astype(int) - frames[0]).mean() > 5


def test_svg_is_one_file_a_painting(tiny_agent: Agent, tmp_path: Path) -> None:
    paintings = paint(tiny_agent, 11, seed=1)
    paths = paintings.save(tmp_path / "a.svg")
    assert paths == [tmp_path / f"a-{i:02d}.svg" for i in range(11)]
    assert sorted(tmp_path.iterdir()) == paths
    drawings = [ET.parse(path).getroot() for path in paths]
    assert all(drawing.get("viewBox") == "0 0 28 28" for drawing in drawings)
    assert all(len(drawing) == 2 + 2 for drawing in drawings)  # a title, the ground and two strokes
    assert len({path.read_text().partition("<rect")[2] for path in paths}) == 11

    assert paint(tiny_agent, 1, seed=1).save(tmp_path / "one.svg") == [tmp_path / "one.svg"]


def test_an_unknown_ending_is_refused(coloured: Paintings, tmp_path: Path) -> None:
    for name in ("a.bmp", "a", "a.json.gz"):
        with pytest.raises(GarlError, match=r"use one of \.png, \.npz, \.mp4, \.gif, \.svg, \.json"):
            coloured.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


# Measuring.


def test_every_figure_stands_beside_its_floor(tiny_agent: Agent) -> None:
    record = measure(tiny_agent, 20, seed=1)
    figures = ["frechet", "precision", "recall", "pixel_mean_gap", "pixel_std_gap", "coverage", "total_variation"]
    figures += ["shares", "recognised"]
    assert set(record) == {"paintings", "real", *figures, *(f"{name}_floor" for name in figures)}
    real = load_images(tiny_agent.config, "test")
    assert (record["paintings"], record["real"]) == (20, len(real))
    assert record["pixel_mean_gap"] == pixel_gaps(paint(tiny_agent, 20, seed=1).final, real.array)[0]
    # Real fives beat four cycles of learning by far.
    assert record["frechet_floor"] < 0.7 * record["frechet"]
    assert record["recognised_floor"] > 0.8 > record["recognised"]


def test_the_judge_sees_an_inverted_agent_as_it_was_trained(tiny_agent: Agent) -> None:
    inverted = replace(tiny_agent, config=tiny_agent.config.model_copy(update={"invert": True}))
    real = load_images(inverted.config, "test")
    assert real.array.mean() > 200  # dark digits on light ground
    painted = paint(tiny_agent, 8, seed=1).final  # not turned back
    assert measure(inverted, 8, seed=1)["pixel_mean_gap"] == pixel_gaps(painted, real.array)[0]
