"""Agents that are shown what to paint: they train, resume bit for bit, and paint held-out pictures and photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from garl import cli
from garl.commission import Commission
from garl.errors import GarlError
from garl.evaluate.pixels import mean_squared_error
from garl.export.strokefile import StrokeFile
from garl.policy.actor_critic import ActorCritic
from garl.rollout import collect
from garl.runs import load_checkpoint, records
from garl.sample import held_out, measure, paint
from garl.systems.garl import PRESETS, Config, draw_noise, load_agent, load_images, make_env, make_policy, train
from garl.systems.tiles import in_tiles, paper
from garl.types import Ground, Observation

ADVERSARY = {"condition": "picture"}
MASKED = ADVERSARY | {"adversary.mask": 0.7, "adversary.networks": 2, "adversary.intermediate": "mixed"}
L2 = {"condition": "picture", "reward.source": "l2", "policy.location_maps": True, "ppo.hindsight": 0.3}
PAINTBOT = {
    "condition": "picture",
    "policy.head": "gaussian",
    "reward.source": "l_half",
    "reward.perceptual": 0.5,
    "reward.system": "temporal",
    "strokes": 3,
    "steps": None,
    "episodes": 40,
    "curriculum": {"strokes": 1, "threshold": 1e-9, "targets": "difficulty"},
}
KINDS = {"adversary": ADVERSARY, "masked": MASKED, "l2": L2, "paintbot": PAINTBOT}


@pytest.fixture(scope="module")
def runs(tiny_config: Config, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of each kind."""
    folders = {name: tmp_path_factory.mktemp("runs") / name for name in KINDS}
    for name, changes in KINDS.items():
        train(tiny_config.changed(changes), folders[name])
    return folders


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_run_records(runs: dict[str, Path], kind: str) -> None:
    lines = records(runs[kind])
    assert len(lines) == (5 if kind == "paintbot" else 4)
    for line in lines:
        assert all(np.isfinite(value) for value in line.values())
        assert 0 < line["target/error"] < 1
        assert ("d/loss" in line) == (kind in ("adversary", "masked"))
        assert line["step/policy.extractor"] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_equals_one_that_never_stopped(
    runs: dict[str, Path], kind: str, tiny_config: Config, tmp_path: Path
) -> None:
    config = tiny_config.changed(KINDS[kind])
    half = {"episodes": 16} if kind == "paintbot" else {"steps": 32}
    train(config.changed(half), tmp_path)
    train(config, tmp_path, resume=True)
    (whole, meta), (parts, other) = load_checkpoint(runs[kind]), load_checkpoint(tmp_path)
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []
    assert set(whole) == set(parts)
    assert [name for name in meta if name != "seconds" and meta[name] != other[name]] == []
    if kind == "paintbot":
        assert len(whole["targets.error"]) == len(load_images(config))
        assert 0 < (whole["targets.error"] != 1).sum() <= 40
    if kind in ("adversary", "masked"):
        assert whole["memory.condition"].shape == whole["memory.images"].shape


def test_paintings_grow_and_every_stroke_is_counted(tiny_config: Config, tmp_path: Path) -> None:
    """With a threshold that any score reaches a painting gets a stroke more in every cycle, up to all."""
    train(tiny_config.changed(PAINTBOT | {"reward.perceptual": 0.0}), tmp_path)
    lines = records(tmp_path)
    scored = [line["d/painted"] >= 1e-9 * strokes / 3 for strokes, line in zip((1, 2, 3, 3, 3), lines, strict=True)]
    length, steps = 1, 0
    for line, enough in zip(lines, scored, strict=True):
        steps += 8 * length
        assert line["steps"] == steps
        assert f"reward/stroke_{length}" in line
        assert f"reward/stroke_{length + 1}" not in line
        length = min(3, length + enough)
    assert load_checkpoint(tmp_path)[1]["strokes"] == length


def test_fakes_are_paired_with_the_pictures_that_they_were_to_show(tiny_config: Config, tmp_path: Path) -> None:
    train(tiny_config.changed(ADVERSARY), tmp_path)
    tensors, _ = load_checkpoint(tmp_path)
    pictures = {picture.tobytes() for picture in load_images(tiny_config).array}
    assert {target.numpy().tobytes() for target in tensors["memory.condition"]} <= pictures
    assert len(tensors["memory.condition"].flatten(1).unique(dim=0)) > 10


@pytest.mark.parametrize(
    "policy", [{}, {"policy.location_maps": True}, {"policy.head": "gaussian"}], ids=["plain", "maps", "gaussian"]
)
@torch.no_grad()
def test_the_ratio_is_one_before_the_first_step(tiny_config: Config, policy: dict[str, Any]) -> None:
    config = tiny_config.changed(ADVERSARY | policy)
    torch.manual_seed(0)
    env, generator = make_env(config, 5), torch.Generator().manual_seed(1)
    env.reset(seed=0)
    agent: ActorCritic = make_policy(config, env)
    target = torch.from_numpy(load_images(config).array[:5].copy())
    rollout = collect(env, agent, draw_noise(config, 5, generator), generator, condition=target)
    assert rollout.observation.condition.shape == (2, 5, 1, 28, 28)
    seen = Observation(*(field.flatten(0, 1) for field in rollout.observation))
    decision = agent(seen, rollout.action.flatten(0, 1))
    assert torch.equal(decision.log_prob, rollout.log_prob.flatten())


def test_painting_goes_on_from_a_start(tiny_config: Config) -> None:
    config = tiny_config.changed(ADVERSARY)
    env, generator = make_env(config, 3), torch.Generator().manual_seed(1)
    env.reset(seed=0)
    start = torch.randint(0, 100, (3, 1, 28, 28), dtype=torch.uint8, generator=generator)
    kept = start.clone()
    policy = make_policy(config, env)
    rollout = collect(env, policy, draw_noise(config, 3, generator), generator, condition=start, begun=(start, None))
    assert torch.equal(rollout.canvases[0], kept)
    assert torch.equal(start, kept), "what is painted on stays as it was"
    assert (rollout.canvases[-1] >= kept).all(), "white strokes only brighten"
    assert (rollout.canvases[-1] != kept).any()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"reward.source": "l2"}, "reward.source l2 needs pairs of canvas and target: set condition to picture"),
        ({"ppo.hindsight": 0.1}, "ppo.hindsight needs a target to take its place: set condition to picture"),
        (ADVERSARY | {"policy.head": "beta", "policy.location_maps": True}, "location_maps are for location heads"),
        ({"adversary.mask": 0.5}, "adversary.mask needs pairs of canvas and target: set condition to picture"),
        ({"condition": "picture", "reward.perceptual": 1.0}, "reward.perceptual needs a score that stays the same"),
        ({"condition": "picture", "curriculum.strokes": 1}, "curriculum needs a score that stays the same"),
        (L2 | {"curriculum.strokes": 3, "steps": None}, r"curriculum.strokes 3 grows to 2: begin with no more"),
        (L2 | {"curriculum.strokes": 1}, r"give the budget in episodes or minutes"),
        (L2 | {"curriculum.strokes": 1, "steps": None, "policy.recurrent": 4}, r"leave out policy.recurrent"),
    ],
)
def test_contradictions_are_named(tiny_config: Config, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(GarlError, match=says):
        tiny_config.changed(changes)


@pytest.mark.parametrize("preset", ["conditional", "paintbot"])
def test_presets_paint_what_they_are_shown(preset: str) -> None:
    assert PRESETS[preset].condition == "picture"


# What an agent paints.


def test_held_out_pictures_come_once_each_before_one_comes_again(runs: dict[str, Path], tiny_run: Path) -> None:
    agent = load_agent(runs["l2"], "cpu")
    pictures = load_images(agent.config, "test").array
    n = len(pictures)
    drawn = held_out(agent, n + 3)
    assert sorted(map(bytes, drawn[:n])) == sorted(map(bytes, pictures))
    assert np.array_equal(drawn[n:], drawn[:3])
    assert not np.array_equal(drawn, held_out(agent, n + 3, seed=1))
    assert held_out(load_agent(tiny_run, "cpu"), 4) is None


def test_samples_stand_beside_their_targets(runs: dict[str, Path], tmp_path: Path) -> None:
    agent = load_agent(runs["adversary"], "cpu")
    paintings = paint(agent, 5, seed=3)
    assert np.array_equal(paintings.targets, held_out(agent, 5, 3))
    paintings.save(tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))[..., 0]
    scale, columns = 96 // 28, 4  # 5 pairs: two and two and one
    for i in range(5):
        for j, pictures in enumerate((paintings.targets, paintings.final)):
            place = 2 * i + j
            top, left = (scale * (2 + 30 * k) for k in divmod(place, columns))
            shown = sheet[top : top + 28 * scale : scale, left : left + 28 * scale : scale]
            assert np.array_equal(shown, pictures[i, 0])


def test_evaluation_tells_the_error_to_the_targets(runs: dict[str, Path]) -> None:
    agent = load_agent(runs["l2"], "cpu")
    record = measure(agent, 20)
    targets = held_out(agent, 20)
    assert record["target_error"] == pytest.approx(mean_squared_error(paint(agent, 20).final, targets))
    assert record["target_error_blank"] == pytest.approx(np.square(targets / 255).mean(), rel=1e-5)


def test_an_agent_of_negatives_is_shown_negatives(runs: dict[str, Path]) -> None:
    agent = load_agent(runs["l2"], "cpu")
    inverted = replace(agent, config=agent.config.model_copy(update={"invert": True}))
    plain, turned = paint(agent, 4, targets=held_out(inverted, 4)), paint(inverted, 4)
    assert np.array_equal(turned.targets, 255 - held_out(inverted, 4))
    assert np.array_equal(turned.final, 255 - plain.final)
    assert (paper(agent), paper(inverted)) == ((0, 0, 0), (255, 255, 255))


def test_tiles_are_painted_where_they_lie(runs: dict[str, Path]) -> None:
    """A picture of 2 × 3 tiles: the second level's strokes are the agent's own of each tile, in their places."""
    agent = load_agent(runs["l2"], "cpu")
    _, x = np.indices((56, 84))
    target = np.stack([x * 3, x * 3, x * 3]).astype(np.uint8)
    black, brush = Ground.blank(np.zeros(3, np.uint8), target.shape[1:]), agent.brushes[0]
    first = in_tiles(agent, Commission(target, black, 4, brush, seed=4))  # two strokes on each of 1 × 2 tiles
    both = in_tiles(agent, Commission(target, black, 4 + 12, brush, seed=4))
    assert (len(first), len(both)) == (4, 16)
    assert np.array_equal(both[:4], first)
    for rows, columns, strokes in ((1, 2, both[:4]), (2, 3, both[4:])):
        for place, stroke in enumerate(strokes):
            row, column = divmod(place % (rows * columns), columns)
            xs, ys = stroke[0:6:2] * columns - column, stroke[1:6:2] * rows - row
            assert ((xs > 0) & (xs < 1) & (ys > 0) & (ys < 1)).all()
        control = brush.spec.control
        bins = np.linspace(control.min_thickness, control.max_thickness, agent.config.paint.bins) / rows
        assert np.abs(strokes[:, 9, None] - bins).min(1).max() < 1e-6


def test_the_command_line_paints_a_photo_with_an_agent(
    runs: dict[str, Path], tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    def garl(words: str) -> str:
        monkeypatch.setattr("sys.argv", ["garl", *words.split()])
        try:
            cli.main()
        except SystemExit:
            return capsys.readouterr().err
        return capsys.readouterr().out

    photo, out = tmp_path / "photo.png", tmp_path / "strokes.json"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)).save(photo)
    said = garl(f"paint {photo} --out {out} --painter garl --agent {runs['l2']} --strokes 30")
    assert "16 strokes" in said  # 1 × 2 tiles, then 2 × 3, of 2 strokes each
    strokes = StrokeFile.load(out)
    assert (strokes.height, strokes.width, strokes.background) == (40, 60, (0, 0, 0))
    assert strokes.brushes[0]["name"] == "hard_round"
    assert (strokes.strokes[..., 6:9] == 1).all(), "the agent's own colour"
    assert "go together" in garl(f"paint {photo} --out {out} --agent {tiny_run}")
    assert "--condition picture" in garl(f"paint {photo} --out {out} --painter garl --agent {tiny_run}")
    assert "set --strokes to as many" in garl(
        f"paint {photo} --out {out} --painter garl --agent {runs['l2']} --strokes 1"
    )
    words = f"finish {photo} --out {out} --target {photo} --strokes 30"
    assert "16 strokes" in garl(f"{words} --painter garl --agent {runs['l2']}")
    assert "leave out --brush" in garl(f"{words} --painter garl --agent {runs['l2']} --brush ink")
    assert "--painter garl" in garl(f"finish {photo} --out {out} --like {runs['adversary']}")
    assert "leave out --data" in garl(f"sample {tiny_run} --out {tmp_path / 'x.png'} --data digits")
    garl(f"sample {runs['l2']} --out {tmp_path / 'x.npz'} --n 3 --data digits")
    with np.load(tmp_path / "x.npz") as file:
        assert file["images"].shape == (3, 28, 28, 1)
