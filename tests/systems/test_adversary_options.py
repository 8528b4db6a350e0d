"""Every option of the adversary trains, resumes bit for bit, and classes are asked for from data to paintings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from garl import cli
from garl.errors import GarlError
from garl.export.picture import save_png
from garl.runs import load_checkpoint, records, save_checkpoint
from garl.sample import asked_for, measure, paint
from garl.systems.garl import Config, load_agent, train

EVERYTHING = {
    "optimizer": "optimistic_adam",
    "networks": 2,
    "average": 0.9,
    "stay_close": 0.1,
    "intermediate": "weighted",
    "memory_priority": "mixed",
    "network": {"channels": 2, "attention": 2},
}
"""All that has a state of its own."""


def changed(config: Config, adversary: dict[str, object], **values: object) -> Config:
    settings = config.model_dump() | values
    settings["adversary"] = settings["adversary"] | adversary
    return Config(**settings)


def decided(run: Path) -> Path:
    """The run with an agent whose strokes follow from what it sees: a fresh one's hardly do."""
    tensors, meta = load_checkpoint(run)
    for name, weight in tensors.items():
        if name.startswith("average.module.head.decoders."):
            weight *= 20.0 if ".up." in name else 500.0
    save_checkpoint(run, tensors, meta)
    return run


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "lsgan"},
        {"loss": "hinge"},
        {"loss": "relativistic"},
        {"loss": "lsgan", "penalised": "any", "intermediate": "weighted"},
        {"weight_clip": 0.01, "gradient_penalty": 0.0, "network": {"channels": 2, "spectral_norm": False}},
        {"l2_penalty": 1e-3},
        {"stay_close": 1.0},
        {"network": {"channels": 2, "attention": 1}},
        {"intermediate": "all"},
        {"intermediate": "all", "memory": 0, "updates": 0},
        {"intermediate": "mixed"},
        {"memory_priority": "mixed"},
        {"memory_priority": "mixed", "memory": 0},
        {"networks": 3},
        {"average": 0.9},
        {"optimizer": "optimistic_adam"},
        EVERYTHING,
    ],
    ids=str,
)
def test_two_cycles_of_each_option(tiny_config: Config, tmp_path: Path, options: dict[str, object]) -> None:
    train(changed(tiny_config, options, steps=32, picture_every=100), tmp_path)
    first, second = records(tmp_path)
    assert first["d/separation"] != second["d/separation"]
    assert ("d/change" in first) == ("stay_close" in options)


@pytest.mark.parametrize(
    ("intermediate", "networks", "batches", "memory"), [("none", 1, 2, 8), ("all", 1, 4, 16), ("mixed", 2, 4, 16)]
)
def test_a_pass_over_what_was_painted(
    tiny_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    intermediate: str,
    networks: int,
    batches: int,
    memory: int,
) -> None:
    """8 paintings of 2 strokes in batches of 4, a batch for each network."""
    from garl.adversary.update import Adversary

    sizes = []

    def update(self: Adversary, *arguments: torch.Tensor) -> dict[str, torch.Tensor]:
        sizes.append(len(arguments[0]))
        return learn(self, *arguments)

    learn = Adversary.update
    monkeypatch.setattr(Adversary, "update", update)
    options = {"intermediate": intermediate, "networks": networks, "updates": 0, "memory": 0}
    train(changed(tiny_config, options, steps=16), tmp_path)
    assert sizes == [4 * networks] * batches
    assert len(load_checkpoint(tmp_path)[0]["memory.images"]) == memory


def test_resuming_everything_that_has_a_state(tiny_config: Config, tmp_path: Path) -> None:
    config = changed(tiny_config, EVERYTHING, label=None, condition="label")
    train(config, tmp_path / "whole")
    train(config.model_copy(update={"steps": 48}), tmp_path / "parts")
    train(config, tmp_path / "parts", resume=True)
    (whole, meta), (parts, _) = load_checkpoint(tmp_path / "whole"), load_checkpoint(tmp_path / "parts")
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []
    assert set(whole) == set(parts)
    for part in ("adversary_average.", "adversary_previous.", "adversary_optimizer.0.change", "memory.condition"):
        assert any(name.startswith(part) for name in whole), part
    assert set(whole["memory.condition"].tolist()) <= set(range(10))
    assert set(whole["memory.step"].tolist()) == {1, 2}
    assert meta["classes"] == list("0123456789")


@pytest.mark.parametrize("place", ["extractor", "head"])
@pytest.mark.parametrize("separate", [False, True])
def test_paintings_of_a_class(tiny_config: Config, tmp_path: Path, place: str, separate: bool) -> None:
    policy = tiny_config.policy.model_dump() | {"embed_condition": place, "value_separate": separate}
    train(changed(tiny_config, {}, label=None, condition="label", policy=policy, steps=32), tmp_path)
    agent = load_agent(decided(tmp_path), "cpu")
    assert agent.classes == tuple("0123456789")
    assert asked_for(agent, 12).tolist() == [*range(10), 0, 1]
    threes, fours = (paint(agent, 12, 1, name) for name in ("3", "4"))
    assert (threes.final == paint(agent, 12, 1, "3").final).all()
    assert (threes.final != fours.final).any()
    assert (paint(agent, 12, 1).final != threes.final).any()
    with pytest.raises(GarlError, match=r"class '11': give one of 0, 1, 2"):
        paint(agent, 12, 1, "11")


def test_evaluation_counts_what_was_asked_for(tiny_config: Config, tmp_path: Path) -> None:
    train(changed(tiny_config, {}, label=None, condition="label", steps=16), tmp_path)
    agent = load_agent(tmp_path, "cpu")
    record = measure(agent, 40)
    assert len(record["met_by_class"]) == 10
    assert record["met"] == pytest.approx(np.mean(record["met_by_class"]))  # each class was asked for 4 times
    only = measure(replace(agent, config=agent.config.model_copy(update={"label": 7})), 40)
    assert only["met_by_class"] == [only["met"]] == [only["recognised"]]


def test_the_command_line_asks_for_a_class(
    tiny_config: Config,
    tiny_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train(changed(tiny_config, {}, label=None, condition="label", steps=16), tmp_path / "run")
    decided(tmp_path / "run")
    for words in ("--class 3", "--class 4"):
        out = tmp_path / f"{words[-1:]}.npz"
        monkeypatch.setattr("sys.argv", f"garl sample {tmp_path / 'run'} --out {out} --n 6 {words}".split())
        cli.main()
    with np.load(tmp_path / "3.npz") as three, np.load(tmp_path / "4.npz") as four:
        assert (three["strokes"] != four["strokes"]).any()
    monkeypatch.setattr("sys.argv", f"garl sample {tiny_run} --out {tmp_path / 'x.png'} --class 3".split())
    with pytest.raises(SystemExit):
        cli.main()
    assert "it was trained without `--condition label`" in capsys.readouterr().err


def test_only_labelled_pictures_can_be_asked_for(tiny_config: Config, tmp_path: Path) -> None:
    for i in range(4):
        (tmp_path / "plain").mkdir(exist_ok=True)
        save_png(tmp_path / "plain" / f"{i}.png", np.full((28, 28), 60 * i, np.uint8))
    config = changed(tiny_config, {}, data=str(tmp_path / "plain"), label=None, condition="label")
    with pytest.raises(GarlError, match="plain has no labels to ask for: put its pictures in one subfolder per label"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_folders_are_classes(tiny_config: Config, tmp_path: Path) -> None:
    for kind, value in (("cat", 30), ("dog", 200)):
        (tmp_path / "pets" / kind).mkdir(parents=True)
        for i in range(3):
            save_png(tmp_path / "pets" / kind / f"{i}.png", np.full((28, 28), value + i, np.uint8))
    train(changed(tiny_config, {}, data=str(tmp_path / "pets"), label=None, condition="label"), tmp_path / "run")
    agent = load_agent(decided(tmp_path / "run"), "cpu")
    assert agent.classes == ("cat", "dog")
    assert (paint(agent, 6, 1, "cat").final != paint(agent, 6, 1, "dog").final).any()


def test_contradictions_are_named(tiny_config: Config) -> None:
    with pytest.raises(GarlError, match="leave out one of the two"):
        changed(tiny_config, {}, condition="label", label=5)
    with pytest.raises(GarlError, match="set strokes to 2 or more"):
        changed(tiny_config, {"intermediate": "mixed"}, strokes=1)


def test_classes_of_a_stranger_are_checked(tiny_config: Config, tiny_run: Path, tmp_path: Path) -> None:
    tensors, meta = load_checkpoint(tiny_run)
    (tmp_path / "config.json").write_bytes((tiny_run / "config.json").read_bytes())
    for classes, message in ((3, "not a list of names"), (["a"] * 5, r"does not fit its config\.json")):
        save_checkpoint(tmp_path, tensors, meta | {"classes": classes})
        with pytest.raises(GarlError, match=message):
            load_agent(tmp_path, "cpu")
