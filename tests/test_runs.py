"""The run folder: checkpoints that survive, records that rewind, and one run to a folder."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from garl.errors import GarlError
from garl.runs import (
    SCHEMA,
    checksum,
    flatten,
    git_commit,
    load_checkpoint,
    open_run,
    read_config,
    records,
    save_checkpoint,
    save_divergence,
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
    save_checkpoint(tmp_path, flatten("mine", optimizer) | {"minee.0.step": torch.tensor(9.0)}, {})
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


def test_any_flipped_bit_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = two_checkpoints(tmp_path)
    whole = path.read_bytes()
    number = 8 * (whole.index(b"garl-checkpoint/2") + len("garl-checkpoint/"))  # its bits make another version's name
    chosen = np.random.default_rng(0).choice(8 * len(whole), 400, replace=False)
    for bit in {*range(64), *chosen.tolist()} - {*range(number, number + 8)}:
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert load_checkpoint(tmp_path)[1] == {"cycle": 1}, bit
        assert f"{path} is damaged: the one before it, previous.safetensors, is used" in capsys.readouterr().err
    path.write_bytes(whole)
    assert load_checkpoint(tmp_path)[1] == {"cycle": 2}
    assert capsys.readouterr().err == ""


def test_wherever_a_save_is_cut_off_a_whole_checkpoint_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    def dying(*paths: Path) -> None:
        if renamings == steps:
            raise KilledError
        renamings.append(1)
        replace(*paths)

    replace = os.replace
    found = []
    for steps in ([], [1], [1, 1], [1, 1, 1]):
        for damaged in (False, True):
            folder = tmp_path / f"{len(steps)}-{damaged}"
            folder.mkdir()
            newest = two_checkpoints(folder)
            if damaged:
                newest.write_bytes(newest.read_bytes()[:-1])
            renamings: list[int] = []
            monkeypatch.setattr(os, "replace", dying)
            with contextlib.suppress(KilledError):
                save_checkpoint(folder, {"x": torch.full((50, 3), 3.0)}, {"cycle": 3})
            monkeypatch.setattr(os, "replace", replace)
            found.append(load_checkpoint(folder)[1]["cycle"])
            for cycle in (4, 5):  # and the next ones are kept as ever
                save_checkpoint(folder, {"x": torch.full((50, 3), float(cycle))}, {"cycle": cycle})
            assert load_checkpoint(folder)[1]["cycle"] == 5
            (folder / "checkpoint.safetensors").unlink()
            assert load_checkpoint(folder)[1]["cycle"] == 4
            assert not (folder / "next.safetensors").exists()
    assert found == [2, 1, 3, 3, 3, 3, 3, 3]


def test_another_schema_is_named(tmp_path: Path) -> None:
    two_checkpoints(tmp_path)
    about = {"schema": "garl-checkpoint/1", "meta": "{}"}
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "checkpoint.safetensors", about)
    with pytest.raises(GarlError, match="has schema 'garl-checkpoint/1', but this garl reads 'garl-checkpoint/2'"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("meta", ["[" * 10**5, "9" * 5000, "[]", "null", "3", "{", "NaN", "", None])
def test_meta_data_that_make_no_sense(tmp_path: Path, meta: str | None) -> None:
    tensors = {"x": torch.zeros(1)}
    about = {"schema": SCHEMA} | ({} if meta is None else {"meta": meta, "sha256": checksum(tensors, meta)})
    safetensors.torch.save_file(tensors, tmp_path / "checkpoint.safetensors", about)
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
    with open_run(tmp_path / "a" / "run", {"strokes": 3, "paint": {"grid": 8}}):
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


def losses(folder: Path) -> list[tuple[int, float]]:
    return [(record["cycle"], record["loss"]) for record in records(folder)]


def shown(folder: Path) -> list[tuple[int, float]]:
    """The steps and losses that TensorBoard shows."""
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    return [(event.step, event.value) for event in board.Scalars("loss")]


def go(folder: Path, cycles: range, loss: float, saved: int = 0, resume: bool = True) -> None:
    """Record 8 steps a cycle, and save a checkpoint after the cycle `saved`."""
    with open_run(folder, {"seed": loss}, resume) as run:
        run.start_after(cycles.start - 1)
        for cycle in cycles:
            run.record({"cycle": cycle, "steps": 8 * cycle, "loss": loss})
            if cycle == saved:
                run.save({"x": torch.zeros(3)}, {"cycle": cycle})


def test_a_second_run_in_the_folder_is_refused(tmp_path: Path) -> None:
    go(tmp_path, range(1, 2), 0.5, saved=1, resume=False)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for name in ("config.json", "metrics.jsonl"):
        with pytest.raises(GarlError, match="already holds a run: add --resume"), open_run(tmp_path, {"seed": 2}):
            pass
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
        del before[tmp_path / name]
        (tmp_path / name).unlink()


def test_a_resumed_run_keeps_its_config_and_knows_its_checkpoint(tmp_path: Path) -> None:
    go(tmp_path, range(1, 3), 0.5, saved=2, resume=False)
    with open_run(tmp_path, {"seed": 2}, resume=True) as run:
        assert run.checkpoint is not None
        assert run.checkpoint[1] == {"cycle": 2}
        assert run.saved == 2
    assert read_config(tmp_path) == {"seed": 0.5}


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(tmp_path: Path) -> None:
    with pytest.raises(GarlError, match=r"there is no run folder .*: leave out --resume"):
        go(tmp_path / "new", range(1, 2), 0.5)
    go(tmp_path / "new", range(1, 1), 0.5, resume=False)
    with open_run(tmp_path / "new", {}, resume=True) as run:
        assert run.checkpoint is None
        assert run.saved is None
    go(tmp_path / "new", range(1, 3), 0.5)  # records, but no checkpoint: someone took it away
    with pytest.raises(GarlError, match="holds no checkpoint"):
        go(tmp_path / "new", range(3, 4), 0.5)
    assert losses(tmp_path / "new") == [(1, 0.5), (2, 0.5)]


@pytest.mark.parametrize("name", ["file", "file/run", "file/run/deeper"])
def test_a_folder_that_cannot_be_made(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("mine")
    with (
        pytest.raises(GarlError, match=r"cannot write the run folder .*; choose another --out"),
        open_run(tmp_path / name, {}),
    ):
        pass
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "tail", [b"", b'{"cycle": 4, "ste', b"\0" * 40, b'\0\0{"cycle": 4}\n', b"\xff\n", b"{}}\n", b"{}\n", b"5\n"]
)
def test_a_resumed_run_drops_the_records_after_the_checkpoint(tmp_path: Path, tail: bytes) -> None:
    go(tmp_path, range(1, 4), 0.5, saved=2, resume=False)
    with open(tmp_path / "metrics.jsonl", "ab") as log:  # what a kill or a power failure may leave
        log.write(tail)
    (events,) = (tmp_path / "tensorboard").iterdir()
    with open(events, "r+b") as board:
        board.truncate(events.stat().st_size - 7)
    go(tmp_path, range(3, 6), 0.25)
    assert losses(tmp_path) == [(1, 0.5), (2, 0.5), (3, 0.25), (4, 0.25), (5, 0.25)]
    assert shown(tmp_path) == [(8, 0.5), (16, 0.5), (24, 0.25), (32, 0.25), (40, 0.25)]
    with open_run(tmp_path, {}, resume=True) as run:  # as a roll-back does, twice in one process
        run.start_after(3)
        run.start_after(1)
        run.record({"cycle": 2, "steps": 16, "loss": 7.0})
    assert losses(tmp_path) == [(1, 0.5), (2, 7.0)]
    assert shown(tmp_path) == [(8, 0.5), (16, 7.0)]


def test_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    go(tmp_path, range(1, 2), 0.5, saved=1, resume=False)
    left = [tmp_path / ".next.0123abcd.safetensors", tmp_path / "pictures" / ".samples.89abcdef.png"]
    mine = [tmp_path / ".hidden", tmp_path / "notes.0123abcd.txt", tmp_path / ".keep.0123.png"]
    for path in left + mine:
        path.write_text("")
    go(tmp_path, range(2, 3), 0.5)
    assert [path.exists() for path in left] == [False, False]
    assert all(path.exists() for path in mine)


def test_a_divergence_is_described_in_json(tmp_path: Path) -> None:
    tensors = {"w": torch.tensor([[3.0, -4.0], [torch.nan, -torch.inf]]), "index": torch.tensor([1])}
    tensors["gone"] = torch.full((2,), torch.nan, dtype=torch.bfloat16)
    save_divergence(tmp_path, 7, ["w", "gone"], {"loss": float("nan"), "steps": 5}, tensors)
    assert json.loads((tmp_path / "divergence.json").read_text(), parse_constant=pytest.fail) == {
        "cycle": 7,
        "not_finite": ["w", "gone"],
        "metrics": {"loss": "nan", "steps": 5},
        "tensors": {
            "w": {"not_finite": 2, "range": [-4.0, 3.0], "norm": 5.0},
            "gone": {"not_finite": 2, "range": None, "norm": 0.0},
        },
    }


# The disk.


@pytest.fixture
def files_up_to() -> Iterator[Callable[[int], None]]:
    """Sets the size at which a file of this process is too large, so that a full disk need not be made."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_record_that_the_disk_does_not_take(tmp_path: Path, files_up_to: Callable[[int], None]) -> None:
    go(tmp_path, range(1, 9), 0.5, saved=6, resume=False)
    size = (tmp_path / "metrics.jsonl").stat().st_size
    with open_run(tmp_path, {}, resume=True) as run:
        run.start_after(6)
        files_up_to(size - 20)
        run.record({"cycle": 7, "steps": 56, "loss": 0.5})
        with pytest.raises(
            GarlError, match=r"cannot write .*metrics\.jsonl \(File too large\): .* that its disk has room"
        ):
            run.record({"cycle": 8, "steps": 64, "loss": 0.5})
    files_up_to(10**9)
    assert (tmp_path / "metrics.jsonl").stat().st_size == size - 20
    go(tmp_path, range(7, 8), 0.25)
    assert losses(tmp_path)[5:] == [(6, 0.5), (7, 0.25)]


def test_an_event_that_the_disk_does_not_take(tmp_path: Path, files_up_to: Callable[[int], None]) -> None:
    with open_run(tmp_path, {}) as run:
        run.start_after(0)
        (events,) = (tmp_path / "tensorboard").iterdir()
        size = events.stat().st_size
        files_up_to(size + 50)
        with pytest.raises(GarlError, match=r"cannot write .*tensorboard \(File too large\)"):
            run.record({"cycle": 1, "steps": 8, "loss": 0.5} | dict.fromkeys("abcdefgh", 1.0))


def test_a_checkpoint_that_the_disk_does_not_take(tmp_path: Path, files_up_to: Callable[[int], None]) -> None:
    two_checkpoints(tmp_path)
    files_up_to(50_000)
    with pytest.raises(GarlError, match=r"cannot write .*next\.safetensors \(.*File too large.*\)"):
        save_checkpoint(tmp_path, {"x": torch.zeros(50_000)}, {"cycle": 3})
    assert load_checkpoint(tmp_path)[1] == {"cycle": 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.safetensors", "previous.safetensors"]


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


def test_a_signal_that_was_to_be_ignored_is(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for what runs in the background
    try:
        with stop_requests() as stopping:
            signal.raise_signal(signal.SIGINT)
            assert not stopping()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


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
