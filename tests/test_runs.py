"""The run folder: checkpoints that survive, records that rewind, and one run to a folder."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from garl.errors import GarlError
from garl.runs import (
    Run,
    flatten,
    git_commit,
    load_checkpoint,
    read_config,
    save_checkpoint,
    stop_requests,
    unflatten,
)


def two_checkpoints(folder: Path) -> Path:
    """Cycles 1 and 2; returns the path of the newer one."""
    for cycle in (1, 2):
        save_checkpoint(folder, {"x": torch.full((50, 3), float(cycle))}, {"cycle": cycle})
    return folder / "checkpoint.safetensors"


# Checkpoints.


def test_a_checkpoint_returns_what_went_in(tmp_path: Path) -> None:
    tensors = {
        "turned": torch.arange(6.0).view(2, 3).T,  # not contiguous
        "bytes": torch.tensor([0, 255], dtype=torch.uint8),
        "half": torch.tensor([1.5], dtype=torch.bfloat16, requires_grad=True),
        "scalar": torch.tensor(7),
        "empty": torch.empty(0, dtype=torch.uint8),
    }
    meta = {"cycle": 3, "seconds": 1.25, "env": {"state": {"state": 2**127 + 1}}}
    save_checkpoint(tmp_path, tensors, meta)
    loaded, about = load_checkpoint(tmp_path)
    assert about == meta
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.RMSprop])
def test_an_optimiser_goes_on_as_if_it_had_not_stopped(tmp_path: Path, make: type[torch.optim.Optimizer]) -> None:
    def step(layer: nn.Linear, optimizer: torch.optim.Optimizer, i: int) -> None:
        optimizer.zero_grad()
        (layer(torch.tensor([[1.0, -2.0, 0.5 * i]])) ** 2).sum().backward()
        optimizer.step()

    torch.manual_seed(0)
    layer, other, forgetful = nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(3, 2)
    optimizer = make(layer.parameters(), 0.1)
    for i in range(3):
        step(layer, optimizer, i)
    save_checkpoint(tmp_path, flatten("mine", optimizer.state_dict()) | {"minee.0.step": torch.tensor(9.0)}, {})
    for copy in (other, forgetful):
        copy.load_state_dict(layer.state_dict())
    restored, fresh = make(other.parameters(), 0.1), make(forgetful.parameters(), 0.1)
    unflatten("mine", load_checkpoint(tmp_path)[0], restored)
    for each, its_optimizer in ((layer, optimizer), (other, restored), (forgetful, fresh)):
        step(each, its_optimizer, 3)
    assert torch.equal(other.weight, layer.weight)
    assert torch.equal(other.bias, layer.bias)
    assert not torch.allclose(forgetful.weight, layer.weight)


@pytest.mark.parametrize("kept", [0, 5, 60, 0.5, -1])
def test_the_previous_checkpoint_serves_when_the_newest_is_torn(tmp_path: Path, kept: float) -> None:
    newest = two_checkpoints(tmp_path)
    assert load_checkpoint(tmp_path)[1] == {"cycle": 2}
    whole = newest.read_bytes()
    newest.write_bytes(whole[: int(len(whole) * kept) if kept == 0.5 else int(kept)])
    tensors, meta = load_checkpoint(tmp_path)
    assert meta == {"cycle": 1}
    assert (tensors["x"] == 1).all()

    newest.unlink()  # as between the two renames
    assert load_checkpoint(tmp_path)[1] == {"cycle": 1}

    (tmp_path / "previous.safetensors").write_bytes(b"torn too")
    with pytest.raises(GarlError, match=r"no checkpoint in .* can be read \(previous\.safetensors is damaged\)"):
        load_checkpoint(tmp_path)


def test_another_schema_is_named(tmp_path: Path) -> None:
    for about in ({"schema": "garl-checkpoint/9", "meta": "{}"}, None):
        safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "checkpoint.safetensors", about)
        schema = repr(about["schema"]) if about else "None"
        with pytest.raises(GarlError, match=f"has schema {schema}; this garl reads 'garl-checkpoint/1'"):
            load_checkpoint(tmp_path)


@pytest.mark.parametrize("meta", ["[" * 10**5, "9" * 5000, "[]", "null", "3", "{", "NaN", "", None])
def test_meta_data_that_make_no_sense(tmp_path: Path, meta: str | None) -> None:
    about = {"schema": "garl-checkpoint/1"} | ({} if meta is None else {"meta": meta})
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "checkpoint.safetensors", about)
    with pytest.raises(GarlError, match=r"no checkpoint in .* can be read \(checkpoint\.safetensors is damaged\)"):
        load_checkpoint(tmp_path)


def test_a_tensor_of_too_many_dimensions(tmp_path: Path) -> None:
    for dimensions in (9, 70):  # torch's own operations raise RuntimeError beyond 64
        save_checkpoint(tmp_path, {"x": torch.zeros(6)}, {})
        path = tmp_path / "checkpoint.safetensors"
        content = path.read_bytes()
        header = json.loads(content[8:-24])
        header["x"]["shape"] = [1] * (dimensions - 1) + [6]
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + content[-24:])
        (tmp_path / "previous.safetensors").unlink(missing_ok=True)
        with pytest.raises(GarlError, match=r"can be read \(checkpoint\.safetensors is damaged\)"):
            load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "header",
    [
        {
            "x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            "y": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        },
        {"x": {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 8]}},
        {"x": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
        {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 2**63]}},
        {"x": {"dtype": "O", "shape": [2], "data_offsets": [0, 8]}},
    ],
)
def test_headers_that_lie(tmp_path: Path, header: dict) -> None:
    text = json.dumps({"__metadata__": {"schema": "garl-checkpoint/1", "meta": "{}"}, **header}).encode()
    for length in (len(text), 2**63 - 1, 2**64 - 1):
        (tmp_path / "checkpoint.safetensors").write_bytes(length.to_bytes(8, "little") + text + bytes(8))
        with pytest.raises(GarlError, match="can be read"):
            load_checkpoint(tmp_path)


def test_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(GarlError, match="holds no checkpoint"):
        load_checkpoint(tmp_path)
    for name in ("nowhere", "x" * 5000, "a\0b"):
        with pytest.raises(GarlError, match="there is no run folder"):
            load_checkpoint(tmp_path / name)
    os.mkfifo(tmp_path / "checkpoint.safetensors")
    with pytest.raises(GarlError, match="holds no checkpoint"):
        load_checkpoint(tmp_path)


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    with pytest.raises(GarlError, match="cannot write"):
        save_checkpoint(tmp_path / "gone", {"x": torch.zeros(2)}, {})
    save_checkpoint(tmp_path, {"x": torch.zeros(2)}, {"cycle": 1})
    shared = torch.zeros(4)
    with pytest.raises(RuntimeError):  # a defect of ours, not the user's: two names for one memory
        save_checkpoint(tmp_path, {"a": shared, "b": shared[:]}, {"cycle": 2})
    assert load_checkpoint(tmp_path)[1] == {"cycle": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]


# The folder.


def test_config_json(tmp_path: Path) -> None:
    with Run(tmp_path / "a" / "run", {"strokes": 3, "paint": {"grid": 8}}):
        pass
    about = json.loads((tmp_path / "a" / "run" / "config.json").read_text())
    assert about == {
        "config": {"strokes": 3, "paint": {"grid": 8}},
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    assert read_config(tmp_path / "a" / "run") == {"strokes": 3, "paint": {"grid": 8}}


@pytest.mark.parametrize("config", ["3", "null", "[]", '""', '[["strokes", 3]]', "[" * 10**4, "9" * 5000, "NaN"])
def test_a_config_is_a_record(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(f'{{"config": {config}}}')
    with pytest.raises(GarlError, match=r"config\.json is damaged"):
        read_config(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "\ufeff{}", "\udcff"])
def test_a_damaged_config_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(GarlError, match=r"config\.json is damaged"):
        read_config(tmp_path)


def test_a_folder_without_config_is_no_run(tmp_path: Path) -> None:
    for make in (lambda path: None, os.mkfifo, lambda path: path.write_bytes(bytes(2**16 + 1))):
        path = tmp_path / "config.json"
        path.unlink(missing_ok=True)
        make(path)
        with pytest.raises(GarlError, match=r"is not a run folder: it has no config\.json that can be read"):
            read_config(tmp_path)


def test_a_second_run_in_the_folder_is_refused(tmp_path: Path) -> None:
    with Run(tmp_path, {"seed": 1}) as run:
        run.record({"cycle": 1, "steps": 8, "loss": 0.5})
    with pytest.raises(GarlError, match="already holds a run: add --resume"):
        Run(tmp_path, {"seed": 2})
    assert read_config(tmp_path) == {"seed": 1}
    with Run(tmp_path, {"seed": 2}, resume=True) as run:
        run.record({"cycle": 2, "steps": 16, "loss": 0.25})
    assert read_config(tmp_path) == {"seed": 1}
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(record["cycle"], record["loss"]) for record in records] == [(1, 0.5), (2, 0.25)]


@pytest.mark.parametrize("name", ["file", "file/run", "file/run/deeper"])
def test_a_folder_that_cannot_be_made(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(GarlError, match=r"cannot write the run folder .*; choose another --out"):
        Run(tmp_path / name, {})
    assert (tmp_path / "file").read_text() == "mine"


def test_rewind_drops_the_cycles_after_the_checkpoint(tmp_path: Path) -> None:
    with Run(tmp_path, {}) as run:
        for cycle in (1, 2, 3):
            run.record({"cycle": cycle, "steps": 8 * cycle})
        run.log.write('{"cycle": 4, "ste')  # killed while it wrote
    with Run(tmp_path, {}, resume=True) as run:
        run.rewind(2)
        run.record({"cycle": 3, "steps": 99})
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(record["cycle"], record["steps"]) for record in records] == [(1, 8), (2, 16), (3, 99)]


def test_tensorboard_has_the_same_figures(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Run(tmp_path, {}) as run:
        run.record({"cycle": 1, "steps": 16, "d/loss": 0.5})
        run.record({"cycle": 2, "steps": 32, "d/loss": -2.0})
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [(event.step, event.value) for event in board.Scalars("d/loss")] == [(16, 0.5), (32, -2.0)]


# Signals and versions.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_stops(number: int) -> None:
    class StoppedError(Exception):
        pass

    def stop(*_: object) -> None:
        raise StoppedError

    before = signal.signal(number, stop)
    try:
        with stop_requests() as stopping:
            assert not stopping()
            signal.raise_signal(number)
            assert stopping()
            with pytest.raises(StoppedError):
                signal.raise_signal(number)
        with stop_requests() as stopping:
            assert not stopping()
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)


def test_git_commit(tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None

    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    (tmp_path / "code.py").write_text("1")
    git("add", "code.py")
    git("commit", "-qm", "first")
    assert git_commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "untracked").write_text("")
    assert git_commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "code.py").write_text("2")
    assert git_commit(tmp_path) == git("rev-parse", "HEAD") + "+changes"
