"""The command line: a mistake is one sentence and exit code 2; what is right leaves what it promises."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from garl import cli
from garl.brush.geometry import fully_pressed
from garl.brush.spec import library, load_brush
from garl.export.strokefile import StrokeFile
from garl.runs import load_checkpoint, records
from garl.systems.garl import DIGITS, THESIS, Config, load_config

TINY = """\
--data digits --label 5 --steps 32 --strokes 2 --envs 8 --picture-every 1 --device cpu --paint.grid 8 --paint.bins 4
--policy.channels 4 --policy.blocks 0 --policy.features 16 --policy.location-channels 4 --policy.location-blocks 0
--adversary.updates 1 --adversary.batch-size 4 --adversary.network.channels 2 --ppo.epochs 1 --ppo.batch-size 8
"""


class Result(NamedTuple):
    code: int
    out: str
    err: str


Garl = Callable[..., Result]


@pytest.fixture
def garl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Garl:
    """Runs the program in this process; any exception but SystemExit is a traceback to its user."""

    def run(*words: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["garl", *map(str, words)])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        return Result(code, *capsys.readouterr())

    return run


@pytest.fixture
def here(tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a good run, damaged ones, and data that will not do."""
    monkeypatch.chdir(tmp_path)
    files = {
        "file": "mine",
        "text.png": "not a picture",
        "unreadable/a.png": "not a picture",
        "unreadable/b.jpg": "",
        "broken.yaml": "name: [",
        "odd.yaml": "name: odd",
        "empty/notes.txt": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    line = fully_pressed(np.array([[[0, 0, 1, 1, 1, 1, 0, 0, 0, 0.1, 1]]], np.float32))
    brush = load_brush("line").to_dict()
    StrokeFile(20, 30, 3, (255, 255, 255), (brush,), 1, line, np.array([0])).save("strokes.json")
    for name, size in (("good.png", (30, 20)), ("tall.png", (20, 30))):
        Image.new("RGB", size, "teal").save(name)
    shutil.copytree(tiny_run, "run")
    names = ("checkpoint.safetensors", "previous.safetensors")
    for name in ("torn", "bare", "damaged", "other"):
        shutil.copytree(tiny_run, name, ignore=shutil.ignore_patterns("tensorboard", "pictures"))
    for name in names:
        Path("torn", name).write_bytes(Path("run", name).read_bytes()[:1000])
        Path("bare", name).unlink()
    settings = Path("run/config.json").read_text()
    Path("damaged/config.json").write_text(settings[:200])
    Path("other/config.json").write_text(settings.replace('"features": 16', '"features": 17'))
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


MISTAKES = {
    # Data
    "train digits --out new --data nowhere": "there is no data 'nowhere'",
    "train digits --out new --data unreadable": "no picture of unreadable can be read, of 2",
    "train digits --out new --data text.png": "text.png is a single picture",
    "train digits --out new --data empty": "empty holds no pictures",
    "train digits --out new --label 77": "has no label 77",
    "train digits --out new --label seven": "has no label 'seven'",
    # Settings
    "train digits --out new --brush broken.yaml": "broken.yaml is not a brush file in YAML",
    "train digits --out new --brush odd.yaml": "odd.yaml: `texture` is missing",
    "train digits --out new --brush=hard_rond": "no brush 'hard_rond' (did you mean hard_round?)",
    "train digits --out new --minutes -1": "minutes must be greater than 0, not -1",
    "train digits --out new --minutes nan": "minutes must be a finite number, not nan",
    "train digits --out new --minutes inf": "minutes must be a finite number, not inf",
    "train digits --out new --steps 0": "steps must be greater than or equal to 1, not 0",
    "train digits --out new --envs 0": "envs must be greater than or equal to 2, not 0",
    "train digits --out new --ppo.learning-rate 0": "learning_rate must be greater than 0",
    "train digits --out new --paint.color-channels 3": "color_channels 3 needs channels 3",
    "train digits --out new --learner a2c --ppo.epochs 3": "--ppo.epochs is for another learner: leave it out, or add",
    "train digits --out new --a2c.batch-size=9 --dry-run": "--a2c.batch-size is for another learner",
    "train digits --out new --seed -1": "seed must be greater than or equal to 0",
    # Run folders
    "train digits --out file": "cannot write the run folder file",
    "train digits --out file/run": "cannot write the run folder file/run",
    "train digits --out run": "run already holds a run: add --resume",
    "train digits --resume": "--resume needs the run folder: add --out RUN",
    "train --resume": "--resume needs the run folder: add --out RUN",
    "train --resume --out": "is not a run folder",
    "train --resume --out=nowhere": "nowhere is not a run folder",
    "train --out run --resume --envs 9": "--envs cannot change",
    "train digits --resume --out nowhere": "nowhere is not a run folder",
    "train digits --resume --out damaged": "damaged/config.json is damaged",
    "train digits --resume --out bare": "bare holds no checkpoint",
    "train digits --resume --out run --envs 9": "--envs cannot change",
    "train digits --resume --out run --ppo.learning-rate=1": "--ppo.learning-rate cannot change",
    "train digits --resume --out run --brush ink": "--paint.brush cannot change",
    "train digits --resume --out run --steps 0": "steps must be greater than or equal to 1",
    "sample nowhere --out a.png": "there is no run folder nowhere",
    "sample file --out a.png": "there is no run folder file",
    "sample bare --out a.png": "bare holds no checkpoint",
    "sample torn --out a.png": "no checkpoint in torn can be read",
    "sample damaged --out a.png": "damaged/config.json is damaged",
    "sample other --out a.png": "the checkpoint in other does not fit its config.json",
    # Sampling
    "sample run --out a.bmp": "a.bmp ends in .bmp: use one of .png",
    "sample run --out a": "a ends in nothing: use one of .png",
    "sample run --out no/a.png": "cannot write no/a.png",
    "sample run --out no/a.svg --n 1": "cannot write no/a.svg",
    "sample run --out no/a.mp4": "cannot write no/a.mp4",
    "sample run --out no/a.npz": "cannot write no/a.npz",
    "sample run --out a.png --n 0": "--n must be at least 1",
    "sample run --out a.png --seed -3": "--seed at least 0, not 64 and -3",
    # Painting
    "paint text.png --out a.png": "text.png cannot be read as a picture (not a picture in one of PNG",
    "paint unreadable/b.jpg --out a.png": "unreadable/b.jpg cannot be read as a picture",
    "paint nowhere.png --out a.png": "cannot read the picture nowhere.png (No such file or directory)",
    "paint text.png --out a.bmp": "a.bmp ends in .bmp: use one of .png",
    "paint text.png --out a.png --strokes 0": "--strokes must be from 1 to 100,000",
    "paint text.png --out a.png --seed -1": "--seed below 2**32, not 1000 and -1",
    "paint text.png --out a.png --seconds 0": "--seconds must be above 0, not 0",
    "paint text.png --out a.png --brush hard_rond": "did you mean hard_round?",
    "paint text.png --out a.png --background whitish": "'whitish' is not a colour",
    "paint text.png --out a.png --min-size 0.5": "at most `control.max_thickness` (0.25), not 0.5",
    "paint text.png --out a.gcode --page A99": "page 'A99' is unknown",
    # Replaying
    "replay nowhere.json --out a.png": "cannot read nowhere.json",
    "replay text.png --out a.png": "text.png is not a garl-strokes/3 file",
    "replay strokes.json --out a.bmp": "a.bmp ends in .bmp: use one of .png",
    "replay strokes.json --out a.png --size 0": "--size and --strokes must be at least 1, not 0 and None",
    "replay strokes.json --out a.png --size 99999": "give a --size of at most",
    "replay strokes.json --out a.png --index 1": "no painting 1: choose 0 to 0",
    "replay strokes.json --out a.png --brush broken.yaml": "broken.yaml is not a brush file in YAML",
    "replay strokes.json --out a.png --brush triangle": "the strokes are lines, of which no triangle can be made",
    "replay strokes.json --out a.png --palette text.png": "text.png, line 1: 'not a picture' is not a colour",
    "replay strokes.json --out a.png --palette nowhere": "cannot read the palette nowhere",
    "replay strokes.json --out a.hpgl --margin 200": "margin 200 leaves nothing of the page A4",
    "replay strokes.json --out no/a.gcode": "cannot write no/a.gcode",
    # Going on
    "finish good.png --out a.png": "give either --target PHOTO",
    "finish good.png --out a.png --target good.png --like run": "give either --target PHOTO",
    "finish good.png --out a.bmp --target good.png": "a.bmp ends in .bmp: use one of .png",
    "finish good.png --out a.png --target text.png": "text.png cannot be read as a picture",
    "finish text.png --out a.png --target good.png": "text.png cannot be read as a picture",
    "finish good.png --out a.png --target tall.png": "tall.png has 20×30 pixels and the canvas 30×20: crop it",
    "finish good.png --out a.png --target good.png --mask tall.png": "tall.png has 20×30 pixels and the canvas 30×20",
    "finish good.png --out a.png --target good.png --mask nowhere.png": "cannot read the picture nowhere.png",
    "finish good.png --out a.png --target good.png --n 3": "--n goes with --like: leave it out",
    "finish good.png --out a.png --target good.png --class 3": "--class goes with --like",
    "finish good.png --out a.png --target good.png --strokes 0": "--strokes must be from 1 to 100,000",
    "finish good.png --out a.png --like run --brush ink": "--brush goes with --target: leave it out",
    "finish good.png --out a.png --like run --strokes 3": "--strokes must be from 1 to 2, as many as run paints",
    "finish good.png --out a.png --like run --n 0": "--n to 4096",
    "finish good.png --out a.png --like run --levels 7": "--levels to 6",
    "finish good.png --out a.png --like run --class cat": "cannot be asked for class 'cat'",
    "finish good.png --out a.png --like nowhere": "there is no run folder nowhere",
    "finish torn/config.json --out a.png --like run": "torn/config.json is not a garl-strokes/3 file",
    "finish nowhere.json --out a.png --like run": "cannot read nowhere.json",
    "sample run --out a.png --device gpu": "'gpu' is not a device: use auto, cpu or cuda",
    # Measuring
    "evaluate run --label 77": "has no label 77",
    "evaluate run --data nowhere": "there is no data 'nowhere'",
    "evaluate run --split tset": "split is 'tset'",
    "evaluate run --judge nowhere": "no judge at nowhere",
    "evaluate run --judge file": "file is not a judge",
    "evaluate run --n 3": "--n must be at least 4",
    "evaluate torn": "no checkpoint in torn can be read",
    # The rest
    "demo --minutes -1": "minutes must be greater than 0, not -1",
    "demo --minutes 0": "minutes must be greater than 0, not 0",
    "demo --minutes nan": "minutes must be a finite number",
    "demo --seed -1": "seed must be greater than or equal to 0",
    "brushes --brush hard_rond": "no brush 'hard_rond'",
    "brushes --brush hard_rond --out sheet.png": "no brush 'hard_rond'",
    "brushes --size 0 --out sheet.png": "--size must be from 16 to 2048, not 0",
    "brushes --out no/sheet.png --brush ink": "cannot write no/sheet.png",
    "data download nothing": "there is no set 'nothing'",
    "draw": "'draw' is not a command: use one of train, sample",
    "train": "which preset: name one of digits, pictures",
    "train --minutes 5": "which preset: name one of digits, pictures",
    "train numbers": "'numbers' is not a preset",
    "train learning-to-paint --out new --data nowhere": "there is no data 'nowhere'",
    "train learning-to-paint --out new --kind pixel": "kind pixel has no twin",
    "train learning-to-paint --resume --out run": "run is no run of `garl train learning-to-paint`",
    "train doodle-sdq --out new --data nowhere": "there is no data 'nowhere'",
    "train doodle-sdq --out new --pen.reach 1": "reach must be greater than or equal to 2",
    "train doodle-sdq --resume --out run": "run is no run of `garl train doodle-sdq`",
    "paint text.png --out a.png --painter doodle-sdq --agent run": "no run of `garl train doodle-sdq`",
    "train stroke-net --out new --data nowhere": "there is no data 'nowhere'",
    "train stroke-net --resume --out run": "run is no run of `garl train stroke-net`",
    "train renderer --out new --side 20": "side must be a multiple of 8, not 20",
    "paint text.png --out a.png --agent run": "go together: give both",
    "paint text.png --out a.png --painter learning-to-paint --agent run": "no run of `garl train learning-to-paint`",
    "paint text.png --out a.png --painter learning-to-paint --agent run --brush ink": "leave out --brush",
    "paint text.png --out a.png --tiles 3": "--tiles is the learning-to-paint painter's",
    "paint text.png --out a.png --cells 1": "--cells and --colors must be from 2 to 256",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_sentence(here: Path, garl: Garl, line: str) -> None:
    before = contents(here)
    result = garl(*line.split())
    assert result.code == 2
    *notices, complaint = result.err.splitlines()
    assert complaint.startswith("garl: ")
    assert MISTAKES[line] in complaint
    assert all(notice.startswith(("learning from ", "the agent sees ")) for notice in notices)
    assert contents(here) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a CUDA device")
@pytest.mark.parametrize("line", ["train digits --out new", "sample run --out a.png", "evaluate run"])
def test_no_cuda_is_one_sentence(here: Path, garl: Garl, line: str) -> None:
    before = contents(here)
    assert garl(*line.split(), "--device", "cuda")[0::2] == (
        2,
        "garl: there is no CUDA device here: use --device cpu\n",
    )
    assert contents(here) == before


def test_an_empty_word_is_no_preset(garl: Garl) -> None:
    assert "'' is not a preset" in garl("train", "").err


def test_unknown_options_are_tyros_to_refuse(here: Path, garl: Garl) -> None:
    before = contents(here)
    for line in ("train digits --out new --nonsense", "sample run", "sample run --out a.png --n many"):
        result = garl(*line.split())
        assert result.code == 2
        assert "Traceback" not in result.err
    assert contents(here) == before


def test_a_second_interrupt_leaves_without_a_traceback(garl: Garl, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(arguments: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.COMMANDS, "sample", interrupted)
    assert garl("sample") == (130, "", "")


# What is right.


def test_train_sample_evaluate_resume(tmp_path: Path, garl: Garl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = garl("train", "digits", "--out", "run", *TINY.split())
    assert (result.code, result.err) == (0, "learning from 702 pictures: digits\n")
    assert "next: garl sample run --out paintings.png" in result.out
    assert load_checkpoint(Path("run"))[1]["cycle"] == 2
    assert load_config(Path("run")).steps == 32

    assert garl("sample", "run", "--out", "a.npz", "--n", 3, "--seed", 5)[:2] == (0, "a.npz\n")
    assert garl("sample", "run", "--out", "b.npz", "--n", 3, "--seed", 5).code == 0
    with np.load("a.npz") as a, np.load("b.npz") as b:
        assert a["images"].shape == (3, 28, 28, 1)
        assert (a["images"] == b["images"]).all()
    assert garl("sample", "run", "--out", "a.svg", "--n", 2).out.split() == ["a-0.svg", "a-1.svg"]

    result = garl("evaluate", "run", "--n", 12, "--label", 3)
    record = json.loads(result.out)
    assert (result.code, record["paintings"]) == (0, 12)
    assert record["recognised_floor"] > 0.7  # real threes, taken for threes

    # Without a budget, the run's own: it is spent. With one: as far as that goes.
    assert garl("train", "digits", "--resume", "--out", "run").code == 0
    assert load_checkpoint(Path("run"))[1]["cycle"] == 2
    assert garl("train", "--resume", "--out", "run", "--episodes=24").code == 0  # the run knows what it is
    assert load_checkpoint(Path("run"))[1]["cycle"] == 3
    assert load_config(Path("run")).steps == 32


def test_train_names_the_files_that_it_left_out(here: Path, garl: Garl) -> None:
    Image.new("L", (40, 30), 200).save("unreadable/c.png")
    flags = TINY.split()[4:]  # without data and label
    result = garl("train", "digits", "--out", "new", "--data", "unreadable", *flags)
    assert result.code == 0
    first, second = result.err.splitlines()
    assert first == "learning from 1 pictures: unreadable"
    assert second.startswith("left out, as they cannot be read: 2 (a.png: ")
    assert load_config(Path("new")).data == "unreadable"
    assert load_checkpoint(Path("new"))[1]["cycle"] == 2


def test_a_dry_run_prints_the_settings_and_writes_nothing(here: Path, garl: Garl) -> None:
    before = contents(here)
    changed = garl("train", "digits", "--dry-run", "--brush", "ink", "--label", "5", "--no-anneal", "--ppo.epochs", "7")
    paint, learner = (
        DIGITS.paint.model_copy(update={"brush": "ink"}),
        DIGITS.ppo.model_copy(update={"epochs": 7}),
    )
    update = {"paint": paint, "ppo": learner, "label": 5, "anneal": False}
    assert Config(**json.loads(changed.out)) == DIGITS.model_copy(update=update)
    assert Config(**json.loads(garl("train", "thesis", "--dry-run").out)) == THESIS
    resumed = garl("train", "digits", "--dry-run", "--resume", "--out", "run", "--episodes", "99", "--picture-every=3")
    expected = load_config(Path("run")).model_copy(update={"steps": None, "episodes": 99, "picture_every": 3})
    assert Config(**json.loads(resumed.out)) == expected
    assert contents(here) == before


def test_brushes(here: Path, garl: Garl) -> None:
    lines = garl("brushes").out.splitlines()
    assert [line.split()[0] for line in lines] == library()
    assert garl("brushes", "--brush", "hard_round").out.split()[:3] == ["hard_round", "bezier", "2–25"]
    assert garl("brushes", "--out", "sheet.png", "--size", "32")[:2] == (0, "sheet.png\n")
    sheet = np.asarray(Image.open("sheet.png"))
    columns = int(np.ceil(len(library()) ** 0.5))
    assert sheet.shape[1] == columns * 34 + 2
    for i in range(len(library())):
        top, left = 2 + 34 * (i // columns), 2 + 34 * (i % columns)
        tile = sheet[top : top + 32, left : left + 32]
        assert tile.min() < 128 < tile.max()  # painted, on white paper


def test_data_lists_the_sets(garl: Garl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    result = garl("data")
    assert result.code == 0
    assert all(name in result.out for name in ("digits", "mnist", "fashion-mnist", "omniglot", "celeba"))


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("train digits", "--paint.brush"),
        ("sample", "--out"),
        ("paint", "--strokes"),
        ("replay", "--pen-width"),
        ("finish", "--mask"),
        ("evaluate", "--judge"),
        ("evaluate paint", "--painters"),
        ("train neural-painter", "--kind"),
        ("demo", "--minutes"),
        ("brushes", "--size"),
        ("data download", "--base-url"),
    ],
)
def test_help(garl: Garl, command: str, option: str) -> None:
    result = garl(*command.split(), "--help")
    assert (result.code, result.err) == (0, "")
    assert f"usage: garl {command}" in result.out
    assert option in result.out
    assert "Args:" not in result.out  # the docstring's own section is for the options below


def test_paint(tmp_path: Path, garl: Garl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    frames = [Image.new("RGB", (30, 20), color) for color in ("red", "blue")]
    frames[0].save("moving.gif", save_all=True, append_images=frames[1:])
    words = "paint", "moving.gif", "--strokes", 5, "--brush", "marker"
    result = garl(*words, "--painter", "greedy", "--out", "a.png")
    assert result.code == 0
    assert result.out.startswith("a.png: ")
    assert "moving.gif holds 2 pictures: the first is painted" in result.err
    assert "error" in result.err
    red, green, blue = np.asarray(Image.open("a.png")).reshape(-1, 3).mean(0)
    assert red > 200
    assert max(green, blue) < 200
    assert garl(*words, "--seconds", 0.2, "--out", "a.json", "--background", "#102030").code == 0
    assert json.loads(Path("a.json").read_text())["background"] == [16, 32, 48]


def test_paint_and_replay(tmp_path: Path, garl: Garl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    y, x = np.indices((20, 30))
    Image.fromarray(np.stack([8 * x, 12 * y, 4 * (x + y)], 2).astype(np.uint8)).save("photo.png")
    Path("mine.txt").write_text("navy\n#ffcc00\ngrey\n")
    words = "--strokes", 12, "--painter", "greedy", "--palette", "mine.txt", "--order", "colour"
    assert garl("paint", "photo.png", *words, "--max-size", 0.2, "--out", "a.json").code == 0
    file = StrokeFile.load("a.json")
    assert {tuple(color) for color in np.rint(file.strokes[0, :, 6:9] * 255)} <= {
        (0, 0, 128),
        (255, 204, 0),
        (128,) * 3,
    }
    assert file.strokes[0, :, 9].max() <= np.float32(0.2)
    result = garl("replay", "a.json", "--out", "b.png", "--size", 90, "--brush", "line", "--strokes", 7)
    assert result == (0, "b.png\n", "")
    assert Image.open("b.png").size == (90, 60)
    result = garl("replay", "a.json", "--out", "b.gcode", "--page", "100x100", "--pen-width", 0.7)
    assert result.code == 0
    assert "page 100×100 mm" in result.out
    assert "M0 ; insert pen 1 of" in Path("b.gcode").read_text()
    for ending in ("svg", "gif", "hpgl", "json"):
        assert garl("replay", "a.json", "--out", f"c.{ending}", "--order", "region").code == 0
        assert Path(f"c.{ending}").stat().st_size > 100


def test_finish(tmp_path: Path, garl: Garl, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    begun, mask = np.full((20, 30, 3), 90, np.uint8), np.zeros((20, 30), np.uint8)
    mask[5:, :12] = 255
    for name, pixels in (("begun.png", begun), ("mask.png", mask), ("photo.png", np.full((40, 60, 3), 200, np.uint8))):
        Image.fromarray(pixels).save(name)
    words = "finish", "begun.png", "--mask", "mask.png", "--out", "a.png"
    result = garl(*words, "--target", "photo.png", "--strokes", 30, "--seconds", 0.2, "--brush", "hard_round")
    assert result.code == 0
    assert result.out.startswith("a.png: 30 strokes, mean squared error 0.0")
    painted = np.asarray(Image.open("a.png"))
    assert (painted[mask == 0] == 90).all()
    assert painted[mask > 0].mean() > 150
    result = garl(*words, "--like", tiny_run, "--n", 3, "--strokes", 1)
    assert (result.code, result.out) == (0, "a.png: 1 strokes, the best of 3 attempts\n")
    assert "the agent sees 30×20 pixels as 28×28" in result.err
    painted = np.asarray(Image.open("a.png"))
    assert (painted[mask == 0] == 90).all()
    assert (painted != 90).any()


def test_an_agent_learns_to_paint_and_paints(tmp_path: Path, garl: Garl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pictures").mkdir()
    for i in range(20):
        Image.new("RGB", (16, 16), (12 * i, 100, 250 - 12 * i)).save(f"pictures/{i}.png")
    sizes = "--side 16 --actions 2 --strokes 2 --envs 2 --validation 2 --ddpg.network.width 2 --ddpg.batch-size 4"
    words = f"{sizes} --adversary.batch-size 4 --adversary.network.channels 1 --replay.capacity 9 --cycle-updates 1"
    result = garl("train", "learning-to-paint", "--data", "pictures", "--out", "run", "--updates", 1, *words.split())
    assert result.code == 0
    assert "next: garl paint PHOTO --painter learning-to-paint --agent run" in result.out
    assert "held-out pictures: L2 is " in result.out
    assert garl("train", "learning-to-paint", "--resume", "--out", "run", "--updates", 3).code == 0
    assert records(Path("run"))[-1]["updates"] == 3
    Image.new("RGB", (40, 24), "navy").save("photo.png")
    paint = "paint", "photo.png", "--painter", "learning-to-paint", "--agent", "run", "--strokes", 9
    assert garl(*paint, "--out", "a.json", "--tiles", 2).code == 0
    assert len(json.loads(Path("a.json").read_text())["paintings"][0]["strokes"]) == 9
    result = garl(*paint, "--out", "a.png", "--style", "pixel", "--cells", 6, "--colors", 4)
    assert result.out.startswith("a.png: 60 strokes")
    art = np.asarray(Image.open("a.png"))
    assert art.shape == (24, 40, 3)
    np.testing.assert_array_equal(art[::4, ::4].repeat(4, 0).repeat(4, 1), art)


def test_a_pen_learns_to_redraw_and_draws(tmp_path: Path, garl: Garl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = Path("strokes/character01")
    place.mkdir(parents=True)
    for drawer in range(1, 4):
        (place / f"0001_{drawer:02d}.txt").write_text(f"START\n20,{-20 * drawer},0\n80,{-20 * drawer},9\nBREAK\n")
    sizes = "--pen.side 16 --pen.moves 9 --network.width 2 --network.hidden 8 --dqn.batch-size 4 --envs 2"
    words = f"{sizes} --replay.capacity 9 --cycle-updates 1 --threads 1".split()
    result = garl("train", "doodle-sdq", "--data", "strokes", "--out", "run", "--updates", 2, *words)
    assert result.code == 0
    assert "next: garl paint DRAWING --painter doodle-sdq --agent run" in result.out
    assert "held-out drawings: L2 is " in result.out
    assert garl("train", "doodle-sdq", "--resume", "--out", "run", "--updates", 3).code == 0
    assert records(Path("run"))[-1]["updates"] == 3


def test_a_recurrent_agent_learns_to_redraw_and_redraws(
    tmp_path: Path, garl: Garl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sizes = "--side 16 --strokes 2 --width 2 --memory 8 --batch-size 2 --validation 2 --background 9"
    result = garl("train", "stroke-net", "--out", "run", "--updates", 1, *sizes.split())
    assert result.code == 0
    assert "held-out pictures: L2 is " in result.out
    assert "next: garl paint PICTURE --painter stroke-net --agent run" in result.out
    assert garl("train", "--resume", "--out=run", "--updates", 26).code == 0
    assert records(Path("run"))[-1]["updates"] == 50
    Image.new("RGB", (40, 24), "navy").save("photo.png")
    paint = "paint", "photo.png", "--painter", "stroke-net", "--agent", "run", "--strokes", 4, "--tiles", 1
    assert garl(*paint, "--out", "a.json").code == 0
    written = json.loads(Path("a.json").read_text())
    assert len(written["paintings"][0]["strokes"]) == 4


def test_help_of_the_program_and_of_train(garl: Garl) -> None:
    for words in ((), ("--help",), ("-h",)):
        result = garl(*words)
        assert result.code == (0 if words else 2)
        assert all(f"\n  {command} " in result.out for command in cli.COMMANDS)
    assert garl("train", "--help")[0::2] == (0, "")
    assert garl("data", "--help").code == 0


# As a program.


def test_help_answers_without_torch() -> None:
    code = (
        "import sys; sys.argv = ['garl', '--help']\nfrom garl.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    )
    code += "slow = {'torch', 'numpy', 'numba', 'tyro'} & set(sys.modules); print(sorted(slow), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == cli.HELP
    assert done.stderr == "[]\n"


def test_the_module_runs_as_a_program(tmp_path: Path) -> None:
    def run(*words: str) -> Result:
        done = subprocess.run([sys.executable, "-m", "garl", *words], capture_output=True, text=True, cwd=tmp_path)
        return Result(done.returncode, done.stdout, done.stderr)

    assert run("--version").out.startswith("garl 0.")
    code, out, err = run("sample", "nowhere", "--out", "a.png")
    assert (code, out) == (2, "")
    assert err == "garl: there is no run folder nowhere: `garl train` makes one, `garl agents` lists those that ship\n"
    assert list(tmp_path.iterdir()) == []
