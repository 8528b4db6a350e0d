"""Doodle-SDQ, end to end and in small."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from garl.env.pen import PenConfig, PenEnv, decode, encode, pen_brush
from garl.errors import GarlError
from garl.learners.dqn import DQNConfig
from garl.learners.replay import ReplayConfig
from garl.paint_picture import paint_picture
from garl.policy.two_streams import StreamsConfig
from garl.runs import load_checkpoint, records
from garl.systems.doodle_sdq import (
    Agent,
    Config,
    best,
    doodles,
    ink_of,
    inked,
    load_agent,
    load_config,
    play,
    prepare,
    redraw,
    thickness_of,
    train,
)

TINY = Config(
    data="strokes",
    envs=4,
    cycle_updates=2,
    updates=8,
    validation=3,
    validate_every=2,
    checkpoint_every=2,
    threads=1,
    pen=PenConfig(side=16, reach=3, moves=12),
    network=StreamsConfig(width=2, hidden=8),
    dqn=DQNConfig(batch_size=6),
    replay=ReplayConfig(capacity=40),
)


@pytest.fixture(scope="module", autouse=True)
def _data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Strokes of four drawers and a folder of pictures, where the tests run."""
    here = tmp_path_factory.mktemp("here")
    rng = np.random.default_rng(0)
    for character in range(1, 6):
        place = here / "strokes" / f"character{character:02d}"
        place.mkdir(parents=True)
        for drawer in range(1, 5):
            lines = "".join(f"{x:.1f},{-y:.1f},0\n" for x, y in rng.uniform(10, 95, (4, 2)))
            (place / f"{character:04d}_{drawer:02d}.txt").write_text(f"START\n{lines}BREAK\n")
    (here / "pictures").mkdir()
    for i in range(20):
        picture = np.full((20, 24), 230, np.uint8)
        picture[3 + i % 10 : 6 + i % 10, 4:18] = 30
        Image.fromarray(picture).save(here / "pictures" / f"{i}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        yield


def changed(**settings: Any) -> Config:
    return TINY.changed(settings)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdq") / "run"
    train(TINY, folder)
    return folder


def test_what_a_run_leaves(run: Path) -> None:
    lines = records(run)
    assert [line["cycle"] for line in lines] == [1, 2, 3, 4, 4]
    assert [line["updates"] for line in lines] == [2, 4, 6, 8, 8]
    assert all(np.isfinite(value) for line in lines for value in line.values())
    assert [("l2/ratio" in line) for line in lines] == [True, True, False, True, True]
    assert [line.get("pretraining") for line in lines] == [1, 1, 0, 0, None]
    assert lines[-1]["l2/ratio"] == pytest.approx(lines[-1]["l2"] / lines[-1]["l2/blank"])
    assert (run / "pictures" / "samples.png").exists()
    assert load_config(run) == TINY


OPTIONS: dict[str, dict[str, Any]] = {
    "strokes": {"demonstrated": 0.5},
    "as in the paper": {"demonstrated": 0.0, "exploration": 0.5},
    "prioritised": {"replay.prioritised": True},
    "pictures": {"data": "pictures", "doodles": 7},
    "from nothing": {"pretraining": 0.0, "demonstrated": 0.0, "dqn.double": False},
}


@pytest.mark.parametrize("settings", OPTIONS.values(), ids=OPTIONS)
def test_every_option_goes_on_from_where_it_stopped_bit_for_bit(tmp_path: Path, settings: dict[str, Any]) -> None:
    config = changed(**{"validation": 2, "checkpoint_every": 1, "pretraining": 0.25} | settings)
    train(config, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "part")
    (tmp_path / "part" / "checkpoint.safetensors").write_bytes(b"")  # what is left is the one of cycle 3
    assert load_checkpoint(tmp_path / "part")[1]["cycle"] == 3
    train(config, tmp_path / "part", resume=True)
    whole, part = (load_checkpoint(tmp_path / name)[0] for name in ("whole", "part"))
    assert whole.keys() == part.keys()
    assert all(torch.equal(whole[name], part[name]) for name in whole)
    timeless = [{k: v for k, v in line.items() if "seconds" not in k} for line in records(tmp_path / "part")]
    assert timeless == [{k: v for k, v in line.items() if "seconds" not in k} for line in records(tmp_path / "whole")]


def test_another_seed_is_another_run(run: Path, tmp_path: Path) -> None:
    train(changed(seed=1), tmp_path / "other")
    first, other = load_checkpoint(run)[0], load_checkpoint(tmp_path / "other")[0]
    for part in ("network.", "memory.canvas"):
        assert any(not torch.equal(first[name], other[name]) for name in first if name.startswith(part))


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"data": "nowhere"}, "there is no data"), ({"data": "blank"}, "show nothing but paper")],
)
def test_data_that_will_not_do_is_refused(tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    Path("blank").mkdir(exist_ok=True)
    Image.new("L", (16, 16), 255).save("blank/a.png")
    with pytest.raises(GarlError, match=says):
        train(changed(**settings), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_diverges_keeps_its_last_good_checkpoint(tmp_path: Path) -> None:
    config = changed(**{"dqn.imitation_rate": 1e30, "updates": 80, "checkpoint_every": 1})
    with pytest.raises(GarlError, match="not finite in cycle"):
        train(config, tmp_path / "run")
    assert (tmp_path / "run" / "divergence.json").exists()
    load_agent(tmp_path / "run")


def test_lessons_of_strokes_and_of_pictures() -> None:
    strokes = prepare(changed(validation=99))
    assert (len(strokes.drawn), len(strokes.actions), strokes.own, len(strokes.held_out)) == (15, 15, (0, 15), 5)
    pictures = prepare(changed(data="pictures", doodles=7))
    assert (len(pictures.drawn), len(pictures.actions)) == (7, 7)
    assert pictures.own == (7, 7 + len(pictures.pictures))
    targets = pictures.targets(torch.tensor([9, 3, 7]))
    assert torch.equal(targets[1], pictures.drawn[3])
    np.testing.assert_array_equal(targets[[0, 2]].numpy(), inked(pictures.pictures[[2, 0]]))
    assert targets[0].median() == 0  # dark on light becomes ink
    assert pictures.brush.spec.control.max_thickness == pytest.approx(3 / 20, rel=0.25)
    assert prepare(changed(thickness=0.2)).brush.spec.control.max_thickness == 0.2


def test_ink_is_what_differs_from_the_paper() -> None:
    picture = np.full((2, 1, 3, 4), 200, np.uint8)
    picture[0, 0, 1, 2], picture[0, 0, 0, 0] = 100, 150
    picture[1] = 10
    picture[1, 0, 2, 1] = 240
    ink = inked(picture)
    assert ink[0, 0].tolist() == [[128, 0, 0, 0], [0, 0, 255, 0], [0, 0, 0, 0]]
    assert ink[1, 0, 2, 1] == 255
    assert ink[1].sum() == 255


@pytest.mark.parametrize("width", [2, 5])
def test_the_thickness_of_lines_is_measured(width: int) -> None:
    ink = np.zeros((2, 1, 60, 60), np.uint8)
    ink[0, 0, 5:50, 20 : 20 + width] = 255
    ink[1, 0, 30 : 30 + width, 3:55] = 255
    assert thickness_of(ink) == pytest.approx(width / 60, rel=0.12)


def test_random_drawings_lie_on_the_canvas_and_come_from_the_seed() -> None:
    some = doodles(20, np.random.default_rng(1))
    assert {len(drawing) for drawing in some} == {1, 2, 3}
    assert all(way.shape[1] == 2 and way.min() > 0 and way.max() < 1 for drawing in some for way in drawing)
    again = doodles(20, np.random.default_rng(1))
    assert all(np.array_equal(a, b) for x, y in zip(some, again, strict=True) for a, b in zip(x, y, strict=True))


def test_what_is_played_is_what_happened() -> None:
    """Three drawings of different lengths: no move of a finished one is remembered, and rewards add up to the gain."""
    config = PenConfig(side=16, reach=3, moves=4, slow_penalty=0.0, lift_penalty=0.0, stray_penalty=0.0)
    target = torch.randint(0, 256, (3, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    env = PenEnv(target, pen_brush(0.1), config)
    before = env.error()
    right, done = encode(3, 1, 1, 3), config.done
    plan = torch.tensor([[right, done, right, right], [right] * 4, [done] * 4])
    shown = torch.tensor([True, False, False])
    own = iter(plan.unbind(1))
    played = play(env, torch.tensor([7, 8, 9]), shown, torch.where(shown[:, None], plan, done), lambda _: next(own))
    assert played.target.tolist() == [7, 8, 9, 7, 8, 8, 8]
    assert played.shown.tolist() == [True, False, False, True, False, False, False]
    assert played.alive.tolist() == [True, True, False, False, True, True, True]  # cut off is not finished
    gain = torch.stack([played.reward[played.target == number].sum() for number in (7, 8, 9)])
    torch.testing.assert_close(gain, (before - env.error()) / (0.1 * 16 * 3), atol=1e-4, rtol=1e-4)
    second = played.target == 8
    assert torch.equal(played.next_canvas[second][:-1], played.canvas[second][1:])
    assert torch.equal(played.next_pen[second][:-1], played.pen[second][1:])
    assert played.pen[0].tolist() == [8, 8, 0]


class Scripted(torch.nn.Module):
    """Q values of a pen that goes right along a row of ink, and is done where there is none."""

    def forward(self, whole: torch.Tensor, patch: torch.Tensor) -> torch.Tensor:
        config = TINY.pen
        ahead = patch[:, 0, config.reach, config.reach + 1 :] > 0.5  # (N, reach) of the target
        values = torch.zeros(len(patch), config.actions)
        values[:, config.done] = 0.5
        for dx in range(1, config.reach + 1):
            values[:, encode(dx, 0, 1, config.reach)] = ahead[:, :dx].all(1) * float(dx)
        return values


def test_a_drawing_of_any_shape_is_redrawn_in_its_own_colour_where_it_is() -> None:
    agent = Agent(TINY, pen_brush(0.0625), Scripted())
    target = np.full((3, 32, 64), 250, np.uint8)
    target[:, 15:19, 30:48] = np.array([200, 40, 20])[:, None, None]
    seen = ink_of(target, 16)
    assert (seen[0, 0].numpy() > 128).nonzero()[0].tolist() == [8] * 4  # padded to a square, then made smaller
    painting = paint_picture(
        target, 50, agent.brush, lambda *given: redraw(agent, *given), (250, 250, 250), own_colors=True
    )
    strokes = painting.strokes.strokes[0]
    assert strokes.shape[0] == 1
    np.testing.assert_allclose(strokes[0, :4], [34 / 64, 18 / 32, 46 / 64, 18 / 32], atol=1e-6)
    np.testing.assert_allclose(strokes[0, 6:10], [200 / 255, 40 / 255, 20 / 255, 0.125], atol=1e-6)
    blank = ((target / 255.0 - 250 / 255) ** 2).mean()
    assert painting.error < 0.6 * blank
    with pytest.raises(GarlError, match="nothing to draw"):
        paint_picture(target * 0 + 250, 50, agent.brush, lambda *given: redraw(agent, *given))


def test_a_pen_that_goes_in_circles_is_stopped() -> None:
    class Restless(torch.nn.Module):
        def forward(self, whole: torch.Tensor, patch: torch.Tensor) -> torch.Tensor:
            values = torch.zeros(1, TINY.pen.actions)
            there = whole[:, 3].amax() > 0  # after a line it lifts and goes back, then lifts and stays no more
            values[0, encode(-2, 0, 0, 3) if there else encode(2, 0, 1, 3)] = 1.0
            return values

    agent = Agent(TINY, pen_brush(0.0625), Restless())
    target = np.full((3, 16, 16), 250, np.uint8)
    target[:, 8, 4:12] = 0
    painting = paint_picture(target, 1000, agent.brush, lambda *given: redraw(agent, *given), own_colors=True)
    assert painting.strokes.strokes.shape[1] < 20


def test_strokes_are_counted_not_the_hops_between_them() -> None:
    class Hopping(torch.nn.Module):
        hops = 3

        def forward(self, whole: torch.Tensor, patch: torch.Tensor) -> torch.Tensor:
            values = torch.zeros(1, TINY.pen.actions)
            self.hops -= 1
            values[0, encode(-1 if self.hops >= 0 else 1, 0, int(self.hops < 0), 3)] = 1.0
            return values

    agent = Agent(TINY, pen_brush(0.0625), Hopping())
    target = np.full((3, 16, 16), 250, np.uint8)
    target[:, 8, 4:12] = 0
    painting = paint_picture(target, 2, agent.brush, lambda *given: redraw(agent, *given), own_colors=True)
    assert painting.strokes.strokes.shape[1] == 2


def test_an_agent_is_loaded_as_it_was(run: Path, tiny_run: Path, tmp_path: Path) -> None:
    agent = load_agent(run)
    weights = load_checkpoint(run)[0]
    assert all(torch.equal(value, weights[f"network.{name}"]) for name, value in agent.network.state_dict().items())
    assert agent.brush.spec.control.max_thickness == pytest.approx(0.035)
    env = PenEnv(prepare(TINY).held_out, agent.brush, TINY.pen)
    assert decode(best(agent.network, env), 3)[0].abs().max() <= 3
    with pytest.raises(GarlError, match="is no run of `garl train doodle-sdq`"):
        load_agent(tiny_run)
    shutil.copytree(run, tmp_path / "large")
    config = json.loads((run / "config.json").read_text())
    config["config"]["network"]["hidden"] = 2**40
    (tmp_path / "large" / "config.json").write_text(json.dumps(config))
    with pytest.raises(GarlError, match=r"does not fit its config\.json"):
        load_agent(tmp_path / "large")
