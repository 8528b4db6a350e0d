"""Runs become agents that ship: nothing that painting needs is lost, nothing else is kept, no faces are passed on."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from garl import agents, cli
from garl.agents import ship as shipping
from garl.agents.ship import command, ship, whence
from garl.data.download import MNIST
from garl.errors import GarlError
from garl.painters import choose_painter
from garl.runs import load_checkpoint, save_checkpoint
from garl.sample import paint
from garl.settings import Settings
from garl.systems import learning_to_paint
from garl.systems.garl import CONDITIONAL, DIGITS, PRESETS, THESIS, load_adversary, load_agent

PAINTER = learning_to_paint.Config(side=16, actions=2, strokes=2, envs=2, validation=2, cycle_updates=1, updates=1)


@pytest.fixture(autouse=True)
def _few_paintings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "PAINTINGS", 8)


def changed(run: Path, folder: Path, **settings: object) -> Path:
    """A copy of the run in which config.json says something else."""
    shutil.copytree(run, folder)
    about = json.loads((folder / "config.json").read_text())
    for name, value in settings.items():
        section, field = (about["config"]["ppo"], "precision") if name == "precision" else (about["config"], name)
        section[field] = value
    (folder / "config.json").write_text(json.dumps(about))
    return folder


@pytest.mark.parametrize(("precision", "stored"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_agent_paints_as_the_run_does(
    precision: str, stored: torch.dtype, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = changed(tiny_run, tmp_path / "run", precision=precision)
    (tmp_path / "shipped" / "tiny").mkdir(parents=True)
    (tmp_path / "shipped" / "tiny" / "old").touch()
    ship(run, "tiny", tmp_path / "shipped")
    made = tmp_path / "shipped" / "tiny"
    files = {path.name: path.stat().st_size for path in made.iterdir()}
    assert files.keys() == {"README.md", "checkpoint.safetensors", "config.json", "paintings.png"}
    assert f"{made}: {sum(files.values()):,} bytes" in capsys.readouterr().out
    one, other = load_agent(run, "cpu"), load_agent(made, "cpu")
    assert np.array_equal(paint(one, 9, seed=3).final, paint(other, 9, seed=3).final)
    pictures = torch.randint(256, (5, 1, 28, 28), dtype=torch.uint8)
    assert torch.equal(load_adversary(run, one).score(pictures), load_adversary(made, other).score(pictures))
    tensors, meta = load_checkpoint(made)
    assert {name.split(".")[0] for name in tensors} == {"average", "adversary"}
    assert meta.keys() == {"cycle", "brushes", "classes"}
    weights = {tensor.dtype for name, tensor in tensors.items() if name.startswith("average.") and tensor.ndim > 1}
    assert weights == {stored}
    assert {tensor.dtype for tensor in tensors.values() if tensor.ndim < 2} == {torch.float32}
    card = json.loads((made / "config.json").read_text())["card"]
    assert card["paints"] == "pictures like those of digits, of class 5, 28×28 in 2 strokes"
    assert (card["data"], card["source"], card["licence"]) == ("digits", MNIST.source, MNIST.licence)
    log = [line for line in (made / "README.md").read_text().splitlines() if line.startswith("| 16 |")]
    assert len(log) == 1  # the second cycle's, as pictures were made every two


def test_what_is_missing_is_noticed(tiny_run: Path, tmp_path: Path) -> None:
    tensors, meta = load_checkpoint(tiny_run)
    for number, left_out in enumerate(("average.module.extractor", "adversary.")):
        run = changed(tiny_run, tmp_path / str(number))
        save_checkpoint(run, {name: value for name, value in tensors.items() if not name.startswith(left_out)}, meta)
        with pytest.raises(GarlError, match="does not fit"):
            ship(run, "tiny", tmp_path / "shipped")
    (run := changed(tiny_run, tmp_path / "log")).joinpath("metrics.jsonl").write_text('{"cycle": 1}\n')
    with pytest.raises(GarlError, match="has no line in which"):
        ship(run, "tiny", tmp_path / "shipped")
    assert not (tmp_path / "shipped").exists()


def test_what_strips_too_much_is_noticed(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def faded(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: 0.5 * tensor for name, tensor in tensors.items()}

    (tmp_path / "shipped").mkdir()
    save = shipping.save_checkpoint
    monkeypatch.setattr(shipping, "save_checkpoint", lambda folder, tensors, meta: save(folder, faded(tensors), meta))
    with pytest.raises(GarlError, match="does not paint as it does"):
        ship(tiny_run, "tiny", tmp_path / "shipped")
    assert not list((tmp_path / "shipped").iterdir())


@pytest.mark.parametrize("data", ["../shared/data/faces/faces-64.zip", "celeba", "CelebA-HQ", "my-faces/"])
def test_no_faces_ship(tiny_run: Path, tmp_path: Path, data: str) -> None:
    with pytest.raises(GarlError, match="looks like pictures of faces"):
        ship(changed(tiny_run, tmp_path / "run", data=data), "tiny", tmp_path)


def test_the_licence_must_be_known() -> None:
    assert whence("/somewhere/mnist") == ("mnist", MNIST.source, "CC BY-SA 3.0")
    assert whence("fashion-mnist")[::2] == ("fashion-mnist", "MIT")
    assert whence("../shared/data/emoji/twemoji-64.zip")[::2] == ("twemoji", "CC BY 4.0")
    for other in ("mnist/mine", "mnist-and-mine.zip"):
        with pytest.raises(GarlError, match=f"licence of {other} is not known"):
            whence(other)


@pytest.mark.parametrize("name", ["Digits", "../digits", "", "a b", "ship.py"])
def test_names_are_plain(tiny_run: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(GarlError, match="is not a name"):
        ship(tiny_run, name, tmp_path)


@pytest.mark.parametrize(
    ("config", "presets", "preset"),
    [
        (
            DIGITS.changed({"episodes": 120_000, "condition": "label", "ppo.precision": "float32", "anneal": False}),
            dict(PRESETS),
            "digits",
        ),
        (THESIS.changed({"data": "omniglot", "paint.background": [9, 0, 200]}), dict(PRESETS), "thesis"),
        (CONDITIONAL.changed({"policy.embed_steps": False, "paint.brushes": ["oil"]}), dict(PRESETS), "conditional"),
        (
            PAINTER.changed({"adversary.network.spectral_norm": True}),
            {"learning-to-paint": learning_to_paint.Config()},
            "learning-to-paint",
        ),
    ],
)
def test_the_command_makes_the_configuration(
    config: Settings,
    presets: dict[str, Settings],
    preset: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = command(config, presets).split()
    assert words[:3] == ["garl", "train", preset]
    monkeypatch.setattr(sys, "argv", [*words, "--dry-run"])
    cli.main()
    assert type(config)(**json.loads(capsys.readouterr().out)) == config


def test_a_painter_ships_and_is_taken_without_being_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(agents, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(shipping, "COPIES", 32)
    data = Path("twemoji")
    data.mkdir()
    for i in range(40):
        Image.new("RGB", (16, 16), (6 * i, 100, 250 - 6 * i)).save(data / f"{i}.png")
    small = {"ddpg.network.width": 2, "ddpg.batch_size": 4, "adversary.batch_size": 4, "adversary.network.channels": 1}
    config = PAINTER.changed({"data": str(data.resolve()), "replay.capacity": 9, "threads": 1} | small)
    learning_to_paint.train(config, Path("run"))
    ship(Path("run"), "painter", Path("shipped"))
    assert learning_to_paint.load_config(Path("painter")).data == "twemoji"
    tensors, _ = load_checkpoint(Path("painter"))
    assert {name.split(".")[0] for name in tensors} == {"actor"}
    Image.new("RGB", (40, 24), "navy").save("photo.png")
    capsys.readouterr()

    def run(words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["garl", *words.split()])
        cli.main()

    for words in ("--agent run --out a.json", "--agent painter --out b.json", "--out c.json"):
        run(f"paint photo.png --painter learning-to-paint --strokes 9 {words}")
    assert Path("a.json").read_text() == Path("b.json").read_text() == Path("c.json").read_text()
    run("evaluate paint photo.png --painters learning-to-paint --strokes 4 --side 16")
    assert "learning-to-paint" in capsys.readouterr().out
    with pytest.raises(GarlError, match="leave out --brush"):
        choose_painter("learning-to-paint", brush=choose_painter("greedy").brush)
