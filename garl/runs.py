"""The run folder: what a run leaves behind, and how it goes on from there.

RUN/config.json         the resolved configuration, git commit, versions
RUN/metrics.jsonl       one line a cycle
RUN/tensorboard/        the same for TensorBoard
RUN/wandb/              the same for Weights & Biases, with --wandb
RUN/pictures/           samples.png (the newest), samples-*.png, mean-*.png
RUN/checkpoint.safetensors, previous.safetensors (and next.safetensors, for a moment)
RUN/divergence.json     which numbers broke, if some did
RUN/lock                which process writes here
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from garl.agents import find_agent
from garl.atomic import remove_leftovers, replacing, sync_folder, writing
from garl.boards import Board, Histogram, TensorBoard, WeightsAndBiases
from garl.errors import GarlError
from garl.lock import locked
from garl.reading import parse_json, read_plain

SCHEMA = "garl-checkpoint/2"
CHECKPOINTS = ("next.safetensors", "checkpoint.safetensors", "previous.safetensors")
"""Where checkpoints lie, the newest first; the first name is used between two renamings only."""
MAX_CONFIG_BYTES = 2**16
MAX_DIMENSIONS = 8  # of a tensor; PyTorch reads tensors of more than 64, and then fails at nearly everything

Checkpoint = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors by name, and what else JSON can hold; meta["cycle"] counts the finished cycles."""


def git_commit(folder: Path = Path(__file__).parent) -> str | None:
    """The commit of the code that runs, "+changes" behind it if the tree differs; None outside a repository."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True).stdout

    try:
        return git("rev-parse", "HEAD").strip() + ("+changes" if git("status", "--porcelain", "-uno").strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return None


@contextlib.contextmanager
def open_run(folder: Path, config: dict[str, Any], resume: bool = False) -> Iterator[Run]:
    """The run folder, for this process alone to write: a new one, or with `resume` one to go on with.

    Raises GarlError if it cannot be written, if another process writes it, if a new run would write over another one,
    or if there is no checkpoint to go on from.
    """

    def check() -> None:
        if resume and not folder.is_dir():
            raise GarlError(f"there is no run folder {folder}: leave out --resume to make one")
        if not resume and any((folder / name).exists() for name in ("config.json", "metrics.jsonl")):
            raise GarlError(f"{folder} already holds a run: add --resume to go on with it, or choose another --out")

    check()
    with locked(folder):
        check()  # another process may have begun and ended here meanwhile
        checkpoint = load_checkpoint(folder) if resume and not _is_blank(folder) else None
        remove_leftovers(folder)
        remove_leftovers(folder / "pictures")
        with writing(folder / "pictures"):
            (folder / "pictures").mkdir(exist_ok=True)
        if not resume:
            about: dict[str, Any] = {"config": config, "git_commit": git_commit(), "python": platform.python_version()}
            about |= {"torch": torch.__version__, "threads": torch.get_num_threads()}
            with replacing(folder / "config.json") as path:
                path.write_text(json.dumps(about, indent=2) + "\n")
        with contextlib.closing(Run(folder, checkpoint, config)) as run:
            yield run


def records(folder: Path) -> list[dict[str, Any]]:
    """What the run in `folder` has logged, a record for each cycle; [] before the first."""
    log = folder / "metrics.jsonl"
    return [json.loads(line) for line in log.read_text("utf-8").splitlines()] if log.exists() else []


def _is_blank(folder: Path) -> bool:
    """Whether the run in `folder` was killed before its first checkpoint, so that it can only begin again."""
    log = folder / "metrics.jsonl"
    written = log.exists() and log.stat().st_size > 0
    return not written and not any((folder / name).exists() for name in CHECKPOINTS)


class Run:
    """What `open_run` yields: the folder of the run that goes on, and the checkpoint that it goes on from."""

    def __init__(self, folder: Path, checkpoint: Checkpoint | None, config: dict[str, Any]) -> None:
        self.folder, self.checkpoint, self.config = folder, checkpoint, config
        self.saved = checkpoint[1].get("cycle") if checkpoint else None  # the newest checkpoint's cycle
        self.files = contextlib.ExitStack()

    def start_after(self, cycle: int) -> None:
        """Let the records end with `cycle`, and those to come follow: drops what a run wrote before it was cut off."""
        self.close()
        path = self.folder / "metrics.jsonl"
        kept, first_step = [], 0
        for line in path.read_text("utf-8", "replace").splitlines() if path.exists() else ():
            try:
                record = json.loads(line)
                if record["cycle"] > cycle:
                    break
                first_step = int(record["steps"]) + 1
            except (ValueError, TypeError, KeyError):  # what a killed run was writing
                break
            kept.append(line + "\n")
        with replacing(path) as temporary:
            temporary.write_text("".join(kept), "utf-8")
        with writing(path):
            self.log = self.files.enter_context(open(path, "a", encoding="utf-8"))  # noqa: SIM115
        self.boards: list[Board] = [TensorBoard(self.folder / "tensorboard", first_step)]
        if self.config.get("wandb"):
            self.boards.append(WeightsAndBiases(self.folder, self.config))
        for board in self.boards:
            self.files.enter_context(contextlib.closing(board))

    def record(self, metrics: dict[str, float]) -> None:
        """Append one line; `metrics["steps"]` is the abscissa."""
        with writing(self.folder / "metrics.jsonl"):
            self.log.write(json.dumps(metrics) + "\n")
            self.log.flush()
        for board in self.boards:
            board.write(int(metrics["steps"]), metrics)

    def show(self, step: int, pictures: dict[str, np.ndarray], histograms: dict[str, Histogram]) -> None:
        """Hand pictures (H, W, 3) uint8 and histograms to the boards."""
        for board in self.boards:
            board.show(step, pictures, histograms)

    def save(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Write a checkpoint of `meta["cycle"]`; by then the records up to it are on the disk."""
        with writing(self.folder / "metrics.jsonl"):
            os.fsync(self.log.fileno())
        save_checkpoint(self.folder, tensors, meta)
        self.saved = meta["cycle"]

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what could not be written has been told by `record`
            self.files.close()


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether SIGINT or SIGTERM has come; a second signal stops at once."""
    requested = False

    def request(number: int, frame: object) -> None:
        nonlocal requested
        requested = True
        for each, handler in before.items():
            signal.signal(each, handler)
        with contextlib.suppress(OSError):  # not print, which a signal may have interrupted
            os.write(2, b"stopping after this cycle; a second signal stops at once\n")

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}  # as by nohup, `&`
    if threading.current_thread() is threading.main_thread():
        for number in before:
            signal.signal(number, request)
    try:
        yield lambda: requested
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def save_checkpoint(folder: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write `checkpoint.safetensors`; the one before it becomes `previous.safetensors`.

    Wherever this is interrupted, one of `CHECKPOINTS` is whole. Raises GarlError if the disk does not take it.
    """
    newest, path, previous = (folder / name for name in CHECKPOINTS)
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    about = {"schema": SCHEMA, "meta": json.dumps(meta)}
    about["sha256"] = checksum(contiguous, about["meta"])
    with replacing(newest) as temporary:
        try:
            safetensors.torch.save_file(contiguous, temporary, about)
        except safetensors.SafetensorError as error:  # a full disk, or the folder is gone
            raise OSError(str(error)) from error
    with writing(path):
        if path.exists():
            os.replace(path, previous)
        os.replace(newest, path)
        sync_folder(folder)


def checksum(tensors: dict[str, Tensor], meta: str) -> str:
    """SHA-256 of `meta` and of all tensors' names, types, shapes and bytes (safetensors itself checks none)."""
    digest = hashlib.sha256(meta.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_checkpoint(folder: Path) -> Checkpoint:
    """The tensors and the meta data of the newest checkpoint in `folder` that is whole; names damaged ones on stderr.
    `folder` may be the name of an agent that ships.

    No pickle, and nothing is allocated that the file does not hold. Raises GarlError if there is none, or if another
    version of garl wrote it.
    """
    folder = find_agent(folder)
    if not os.path.isdir(folder):  # unlike pathlib's, these never raise
        raise GarlError(f"there is no run folder {folder}: `garl train` makes one, `garl agents` lists those that ship")
    damaged: list[Path] = []
    for path in (folder / name for name in CHECKPOINTS if os.path.isfile(folder / name)):
        try:
            checkpoint = _read_checkpoint(path)
        except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError):
            damaged.append(path)
            continue
        for one in damaged:
            print(f"{one} is damaged: the one before it, {path.name}, is used", file=sys.stderr, flush=True)
        return checkpoint
    if damaged:
        raise GarlError(f"no checkpoint in {folder} can be read ({damaged[0].name} is damaged): train again")
    raise GarlError(f"{folder} holds no checkpoint ({CHECKPOINTS[1]}): name the folder of a `garl train` run")


def _read_checkpoint(path: Path) -> Checkpoint:
    """Raises GarlError for another schema, and one of several errors if the file is damaged."""
    with safetensors.safe_open(path, "pt") as file:
        about = file.metadata() or {}
        if about["schema"] != SCHEMA:
            if not about["schema"].startswith("garl-checkpoint/"):
                raise ValueError("no checkpoint of garl")
            raise GarlError(
                f"{path} has schema {about['schema']!r}, but this garl reads {SCHEMA!r}: use the other garl"
            )
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if any(tensor.ndim > MAX_DIMENSIONS for tensor in tensors.values()):
        raise ValueError("too many dimensions")
    if checksum(tensors, about["meta"]) != about["sha256"]:
        raise ValueError("the checksum differs")
    return tensors, {**parse_json(about["meta"])}


def save_divergence(
    folder: Path, cycle: int, not_finite: list[str], metrics: dict[str, float], tensors: dict[str, Tensor]
) -> None:
    """Write `divergence.json`, small enough to mail: what broke, the cycle's metrics, and the range of each tensor."""

    def describe(tensor: Tensor) -> dict[str, Any]:
        finite = tensor[tensor.isfinite()].double()
        ends = [finite.min().item(), finite.max().item()] if len(finite) else None
        return {"not_finite": tensor.numel() - len(finite), "range": ends, "norm": finite.norm().item()}

    figures = {name: value if math.isfinite(value) else str(value) for name, value in metrics.items()}
    about = {"cycle": cycle, "not_finite": not_finite, "metrics": figures}
    about["tensors"] = {name: describe(tensor) for name, tensor in tensors.items() if tensor.is_floating_point()}
    with replacing(folder / "divergence.json") as path:
        path.write_text(json.dumps(about, indent=1) + "\n")


def read_config(folder: Path) -> dict[str, Any]:
    """The resolved configuration that the run in `folder`, or the agent that ships by that name, started with.

    Raises GarlError.
    """
    folder = find_agent(folder)
    try:
        return {**parse_json(read_plain(folder / "config.json", MAX_CONFIG_BYTES))["config"]}
    except OSError as error:
        raise GarlError(
            f"{folder} is not a run folder: it has no config.json that can be read; `garl train` makes one"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise GarlError(f"{folder / 'config.json'} is damaged: restore it, or train again") from error


def read_settings(folder: Path, system: str) -> dict[str, Any]:
    """The configuration of a run of another system than GARL, whose name stands in it. Raises GarlError."""
    settings = read_config(folder)
    if settings.pop("system", None) != system:
        raise GarlError(f"{folder} is no run of `garl train {system}`: name a folder that it made")
    return settings


def flatten(prefix: str, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's per-parameter state as named tensors (its settings come from the configuration)."""
    return {
        f"{prefix}.{index}.{name}": torch.as_tensor(value)
        for index, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
    }


def unflatten(prefix: str, tensors: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
    """Put the state that `flatten` named into `optimizer`, in place of what it has."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(f"{prefix}."):
            index, key = name[len(prefix) + 1 :].split(".", 1)
            parameter = parameters[int(index)]
            if tensor.shape == parameter.shape:  # in memory laid out like its parameter, as it was: faster
                tensor = torch.empty_like(parameter).copy_(tensor)
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
