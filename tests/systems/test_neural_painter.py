"""A network that learns the engine's strokes, and pictures painted through it."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from garl import cli
from garl.brush.spec import load_brush
from garl.commission import Commission
from garl.engine.neural_strokes import NeuralStrokes, gap
from garl.engine.paint import untinted
from garl.errors import GarlError
from garl.evaluate.features import load_features
from garl.evaluate.pixels import mean_squared_error
from garl.paint_picture import paint_picture
from garl.runs import load_checkpoint, records
from garl.systems.neural_painter import (
    Networks,
    NeuralPainterConfig,
    autoencoder_step,
    critic_step,
    draw,
    generator_step,
    load_strokes,
    map_step,
    paint,
    replay_errors,
    train,
)
from garl.systems.refine import RefineConfig
from garl.types import Ground

SMALL = NeuralPainterConfig(
    brush="point", side=16, width=4, batch_size=16, threads=1, checkpoint_every=2, frame="stroke", learning_rate=3e-3
)
LINES = NeuralPainterConfig(brush="line", side=16, width=8, frame="stroke")
QUICK = RefineConfig(stages=2, steps=10, last_steps=25)


@pytest.fixture(scope="module", params=["gan", "vae"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("neural") / request.param
    train(SMALL.changed({"kind": request.param, "steps": 75 if request.param == "gan" else 200}), folder)
    return folder


@pytest.fixture(scope="module")
def target() -> np.ndarray:
    """A dark disc and a coloured one on white, 24 × 36."""
    y, x = np.indices((24, 36))
    picture = np.full((3, 24, 36), 255, np.uint8)
    picture[:, np.hypot(x - 9, y - 8) < 6] = 30
    picture[:, np.hypot(x - 26, y - 15) < 7] = [[200], [60], [20]]
    return picture


def test_dots_of_one_form_are_learned_at_once(run: Path) -> None:
    tested = [record for record in records(run) if "test/gap" in record]
    assert tested[-1]["test/gap"] < 0.35  # the best network has no gap, a blank one has 1
    assert tested[-1]["test/error"] < 0.03
    assert (run / "pictures" / "samples.png").exists()


@pytest.fixture
def lesson() -> tuple[torch.Tensor, torch.Tensor, torch.Generator]:
    """Eight lines, as a network is told them and as the engine paints them."""
    brush, generator = load_brush("line"), torch.Generator().manual_seed(0)
    return *draw(LINES, brush, untinted(brush), 8, generator), generator


def test_critic_and_generator_learn_eight_strokes_by_heart(
    lesson: tuple[torch.Tensor, torch.Tensor, torch.Generator],
) -> None:
    form, picture, generator = lesson
    torch.manual_seed(0)
    networks = Networks(LINES, load_brush("line"))
    optimizers = [torch.optim.Adam(part.parameters(), 3e-3) for part in (networks.critic, networks.decoder)]
    for _ in range(80):
        critic_step(networks, form, picture, LINES, optimizers[0], generator)
        generator_step(networks, form, picture, LINES, optimizers[1])
    assert gap(networks(form).detach(), picture) < 0.2
    turned = picture.transpose(2, 3)
    real, false = (networks.critic(each, form)[0].mean().item() for each in (picture, turned))
    assert real > false


def test_the_map_finds_the_codes_of_the_pictures(lesson: tuple[torch.Tensor, torch.Tensor, torch.Generator]) -> None:
    form, picture, generator = lesson
    config = LINES.changed({"kind": "vae"})
    torch.manual_seed(0)
    networks = Networks(config, load_brush("line"))
    both = [*networks.decoder.parameters(), *networks.encoder.parameters()]
    optimizers = torch.optim.Adam(both, 3e-3), torch.optim.Adam(networks.map.parameters(), 3e-3)
    for _ in range(80):
        autoencoder_step(networks, picture, config, optimizers[0], generator)
    code = networks.encoder(picture)[0][:, : config.code]
    seen = networks.decoder(code).detach()
    assert gap(seen, picture) < 0.4
    assert gap(networks(form).detach(), seen) > 0.5
    for _ in range(80):
        map_step(networks, form, picture, optimizers[1])
    assert gap(networks(form).detach(), seen) < 0.2


def test_what_it_has_learned_paints_pictures_that_the_engine_repeats(run: Path, target: np.ndarray) -> None:
    renderer, paper = load_strokes(run), (255, 255, 255)
    assert renderer.brush.name == "point"
    painter = partial(paint, renderer=renderer, config=QUICK)
    painting = paint_picture(target, 12, renderer.brush, painter, paper, seed=1)
    blank = mean_squared_error(np.full_like(target, 255), target)
    shown, real = replay_errors(painting, target, renderer)
    assert painting.error == pytest.approx(real, rel=1e-5)
    assert real < 0.35 * blank
    assert abs(shown - real) < 0.2 * blank
    again = paint_picture(target, 12, renderer.brush, painter, paper, seed=1)
    assert np.array_equal(painting.strokes.strokes, again.strokes.strokes)


def test_content_is_what_the_features_see(run: Path, target: np.ndarray) -> None:
    renderer, features, white = load_strokes(run), load_features(), Ground.blank(np.full(3, 255, np.uint8), (24, 36))
    picture, told = torch.from_numpy(target).float()[None] / 255, []

    def note(share: float, strokes: int, error: float, canvas: np.ndarray) -> None:
        told.append(error)

    asked = Commission(target, white, 8, renderer.brush, 2, note)
    strokes = paint(asked, renderer, "content", features, QUICK)
    canvas = renderer.paint(torch.from_numpy(strokes), torch.ones(3, 24, 36))[None]
    distance = features.distance(features(canvas), features(picture)).item()
    assert distance == pytest.approx(told[-1], rel=0.05)  # told before the last step
    assert distance < 0.8 * told[0]


def test_another_brush_is_refused(run: Path, target: np.ndarray) -> None:
    with pytest.raises(GarlError, match="has learned the brush 'point'"):
        paint(Commission(target, Ground(target, target[0] > 9), 2, load_brush("ink")), load_strokes(run))


def test_it_goes_on_from_a_canvas_where_that_is_free(run: Path, target: np.ndarray) -> None:
    """Its strokes go where the canvas is free, as locked pixels, however wrong, are what the target shows there."""
    renderer, free = load_strokes(run), np.zeros((24, 36), np.bool_)
    free[:, :18] = True
    ground = Ground(255 - target, free)
    asked = Commission(np.where(free, target, ground.canvas), ground, 12, renderer.brush, 1)
    strokes = paint(asked, renderer, config=QUICK)
    assert (strokes[:, 0] < 0.6).all()


@pytest.mark.parametrize("kind", ["gan", "vae"])
def test_a_resumed_run_is_the_uninterrupted_one(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SMALL.changed({"kind": kind, "steps": 15, "batch_size": 4, "checkpoint_every": 1})
    monkeypatch.setattr("garl.systems.neural_painter.CYCLE", 5)
    train(config, tmp_path / "whole")

    def killed(self: NeuralPainterConfig, seconds: float, steps: int) -> float:
        if steps >= 10:
            raise RuntimeError("killed")
        return steps / 15

    with monkeypatch.context() as patch:
        patch.setattr(NeuralPainterConfig, "spent", killed)
        with pytest.raises(RuntimeError, match="killed"):
            train(config, tmp_path / "parts")
    assert load_checkpoint(tmp_path / "parts")[1]["cycle"] == 1
    train(config, tmp_path / "parts", resume=True)
    whole, parts = (load_checkpoint(tmp_path / name)[0] for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []
    seeds = [
        [{k: v for k, v in each.items() if k != "seconds"} for each in records(tmp_path / n)]
        for n in ("whole", "parts")
    ]
    assert seeds[0] == seeds[1]


def test_the_commands(
    tmp_path: Path, target: np.ndarray, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(target.transpose(1, 2, 0)).save("photo.png")

    def garl(line: str) -> str:
        monkeypatch.setattr(sys, "argv", ["garl", *line.split()])
        cli.main()
        return capsys.readouterr().out

    flags = "--brush ink --kind vae --side 16 --width 2 --batch-size 4 --steps 50"
    assert "--painter neural --agent run" in garl(f"train neural-painter --out run {flags}")
    assert [record["steps"] for record in records(Path("run"))] == [25, 50]
    garl("train neural-painter --out run --resume --steps 75")
    assert [record["steps"] for record in records(Path("run"))] == [25, 50, 75]
    assert isinstance(load_strokes(Path("run")), NeuralStrokes)
    with pytest.raises(SystemExit):  # a resumed run keeps its settings
        garl("train neural-painter --out run --resume --kind gan")
    words = "paint photo.png --strokes 3 --seconds 0.3 --painter neural --agent run"
    out = garl(f"{words} --loss both --out a.json")
    assert "as the engine paints them" in out
    assert json.loads(Path("a.json").read_text())["brushes"][0]["name"] == "ink"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("paint a.png --out b.png --painter neural", "go together"),
        ("paint a.png --out b.png --agent run", "go together"),
        ("paint a.png --out b.png --loss content", "--loss is the neural painter's"),
        ("paint a.png --out b.png --painter neural --agent run", "there is no run folder run"),
        ("paint a.png --out b.png --painter neural --agent other", "other is no run of `garl train neural-painter`"),
        ("train neural-painter --brush hard_rond", "did you mean hard_round"),
        ("train neural-painter --minutes 1 --steps 3", "leave out one"),
        ("train neural-painter --out other --resume", "is no run of `garl train neural-painter`"),
    ],
)
def test_mistakes_are_one_sentence(
    line: str, says: str, tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other").symlink_to(tiny_run)
    command, *words = line.split()
    with pytest.raises(GarlError, match=says):
        cli.COMMANDS[command](words)
