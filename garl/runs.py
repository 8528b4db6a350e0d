"""The run folder: what a run leaves behind, and how it goes on from there.

RUN/config.json         the resolved configuration, git commit, versions
RUN/metrics.jsonl       one line a cycle
RUN/tensorboard/        the same for TensorBoard
RUN/pictures/           samples.png (the newest), samples-*.png, mean-*.png
RUN/checkpoint.safetensors, previous.safetensors
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from garl.atomic import replacing
from garl.errors import GarlError
from garl.reading import parse_json, read_plain

SCHEMA = "garl-checkpoint/1"
MAX_CONFIG_BYTES = 2**16
MAX_DIMENSIONS = 8  # of a tensor; PyTorch reads tensors of more than 64, and then fails at nearly everything


def git_commit(folder: Path = Path(__file__).parent) -> str | None:
    """The commit of the code that runs, "+changes" behind it if the tree differs; None outside a repository."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True).stdout

    try:
        return git("rev-parse", "HEAD").strip() + ("+changes" if git("status", "--porcelain", "-uno").strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return None


class Run:
    """A run folder being written."""

    def __init__(self, folder: Path, config: dict[str, Any], resume: bool = False) -> None:
        self.folder = folder
        if not resume and (folder / "config.json").exists():
            raise GarlError(f"{folder} already holds a run: add --resume to go on with it, or choose another --out")
        try:
            (folder / "pictures").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GarlError(f"cannot write the run folder {folder}: {error.strerror}; choose another --out") from error
        if not resume:
            about: dict[str, Any] = {"config": config, "git_commit": git_commit(), "python": platform.python_version()}
            about |= {"torch": torch.__version__, "threads": torch.get_num_threads()}
            with replacing(folder / "config.json") as path:
                path.write_text(json.dumps(about, indent=2) + "\n")
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and only training needs it

        self.board = SummaryWriter(str(folder / "tensorboard"))
        self.log = open(folder / "metrics.jsonl", "a", encoding="utf-8")  # noqa: SIM115 (open as long as the run)

    def record(self, metrics: dict[str, float]) -> None:
        """Append one line; `metrics["steps"]` is the abscissa."""
        self.log.write(json.dumps(metrics) + "\n")
        self.log.flush()
        for name, value in metrics.items():
            self.board.add_scalar(name, value, int(metrics["steps"]))

    def rewind(self, cycles: int) -> None:
        """Drop the metrics of cycles after the checkpoint that a resumed run starts from."""
        path = self.folder / "metrics.jsonl"
        self.log.close()
        # A line that does not end is what a killed run was writing.
        lines = [line for line in path.read_text().splitlines() if line.endswith("}")]
        lines = [line for line in lines if json.loads(line)["cycle"] <= cycles]
        with replacing(path) as temporary:
            temporary.write_text("".join(line + "\n" for line in lines))
        self.log = open(path, "a", encoding="utf-8")  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.log.close()
        self.board.close()


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether SIGINT or SIGTERM has come; a second signal stops at once."""
    requested = False

    def request(number: int, frame: object) -> None:
        nonlocal requested
        requested = True
        for each, handler in before.items():
            signal.signal(each, handler)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
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
    """Write `checkpoint.safetensors` atomically; the one before it becomes `previous.safetensors`."""
    path = folder / "checkpoint.safetensors"
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        try:
            safetensors.torch.save_file(contiguous, temporary, {"schema": SCHEMA, "meta": json.dumps(meta)})
        except safetensors.SafetensorError as error:  # a full disk, or the folder is gone
            raise OSError(str(error)) from error
        if path.exists():
            os.replace(path, folder / "previous.safetensors")


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the meta data of the newest checkpoint in `folder` that can be read.

    No pickle, and nothing is allocated that the file does not hold. Raises GarlError if there is none, all are damaged,
    or the newest sound one is of another schema.
    """
    if not os.path.isdir(folder):  # unlike pathlib's, these never raise
        raise GarlError(f"there is no run folder {folder}: `garl train` makes one")
    names = ("checkpoint.safetensors", "previous.safetensors")
    found = [folder / name for name in names if os.path.isfile(folder / name)]
    if not found:
        raise GarlError(f"{folder} holds no checkpoint (checkpoint.safetensors): name the folder of a `garl train` run")
    for path in found:
        try:
            with safetensors.safe_open(path, "pt") as file:
                about = file.metadata() or {}
                if about.get("schema") != SCHEMA:
                    raise GarlError(f"{path} has schema {about.get('schema')!r}; this garl reads {SCHEMA!r}")
                meta = {**parse_json(about["meta"])}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if any(tensor.ndim > MAX_DIMENSIONS for tensor in tensors.values()):
                raise ValueError("too many dimensions")
            return tensors, meta
        except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError):
            continue
    raise GarlError(f"no checkpoint in {folder} can be read ({found[0].name} is damaged): train again")


class SizeLimit(TorchFunctionMode):
    """Raises GarlError where a module is built of more numbers than `most`.

    A false config.json must not make us allocate what its checkpoint does not hold.
    """

    def __init__(self, most: int, folder: Path) -> None:
        super().__init__()
        self.left, self.folder = most, folder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.empty:  # what torch.nn makes every parameter with
            self.left -= math.prod(args[0] if isinstance(args[0], tuple | list) else args)
            if self.left < 0:
                raise GarlError(misfit(self.folder))
        return func(*args, **(kwargs or {}))


def misfit(folder: Path) -> str:
    return f"the checkpoint in {folder} does not fit its config.json: restore that file, or train again"


def read_config(folder: Path) -> dict[str, Any]:
    """The resolved configuration that the run in `folder` started with. Raises GarlError."""
    try:
        return {**parse_json(read_plain(folder / "config.json", MAX_CONFIG_BYTES))["config"]}
    except OSError as error:
        raise GarlError(f"{folder} is not a run folder: it has no config.json that can be read") from error
    except (KeyError, TypeError, ValueError) as error:
        raise GarlError(f"{folder / 'config.json'} is damaged: restore it, or train again") from error


def flatten(prefix: str, state: dict[str, Any]) -> dict[str, Tensor]:
    """An optimiser's per-parameter state as named tensors (its settings come from the configuration)."""
    return {
        f"{prefix}.{index}.{name}": torch.as_tensor(value)
        for index, entry in state["state"].items()
        for name, value in entry.items()
    }


def unflatten(prefix: str, tensors: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
    """Load what `flatten` made back into `optimizer`."""
    state = optimizer.state_dict()
    for name, tensor in tensors.items():
        if name.startswith(f"{prefix}."):
            index, key = name[len(prefix) + 1 :].split(".", 1)
            state["state"].setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict(state)
