"""What a run must find again to go on as if it had never stopped: all that changes from cycle to cycle is here."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from garl.adversary.gallery import Gallery
from garl.adversary.likeness import Likeness
from garl.adversary.memory import FakeMemory
from garl.adversary.update import Adversary
from garl.brush.spec import Brush
from garl.curriculum import Targets
from garl.env.canvas import PaintEnv
from garl.errors import GarlError
from garl.runs import Checkpoint, flatten, unflatten
from garl.systems.population import Member


@dataclass
class State:
    """The parts of a run that change, to be saved and restored in place; `recent` holds (B, C, H, W) uint8."""

    env: PaintEnv
    agents: list[Member]
    adversary: Adversary | Likeness
    targets: Targets
    generator: torch.Generator  # every draw but the policies'
    sampler: torch.Generator  # the policies', on their device
    recent: deque[Tensor]  # the newest paintings, one batch a cycle, the agents' in turn
    gallery: Gallery
    constants: dict[str, Any]  # what never changes, but is found again: the brush, the data's checksum
    cycle: int = 0  # finished ones
    seconds: float = 0.0
    steps: int = 0  # strokes painted, over all canvases
    roll_backs: int = 0

    def modules(self) -> dict[str, torch.nn.Module]:
        """What has parameters or buffers, by name."""
        modules = {"targets": self.targets, **self.adversary.modules()}
        for agent in self.agents:
            modules |= agent.modules()
        return modules

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """What makes the steps, by name."""
        policies = {f"{agent.prefix}policy_optimizer": agent.optimizer for agent in self.agents}
        return policies | {"adversary_optimizer": self.adversary.optimizer}

    def networks(self) -> dict[str, torch.nn.Module]:
        """What they are made in, by name."""
        return {f"{agent.prefix}policy": agent.policy for agent in self.agents} | {"adversary": self.adversary.network}

    def remembered(self) -> dict[str, FakeMemory | Gallery]:
        """What keeps paintings, by name."""
        return {f"{agent.prefix}memory": agent.memory for agent in self.agents} | {"gallery": self.gallery}

    def learned(self) -> dict[str, Tensor]:
        """What learning changes, and could break, by name."""
        modules = self.modules().items()
        tensors = {f"{name}.{key}": value for name, module in modules for key, value in module.state_dict().items()}
        for prefix, optimizer in self.optimizers().items():
            tensors |= flatten(prefix, optimizer)
        return tensors

    def tensors(self) -> dict[str, Tensor]:
        """Everything that is a tensor, by name."""
        tensors = self.learned()
        for name, part in self.remembered().items():
            tensors |= {f"{name}.{key}": value for key, value in part.state_dict().items()}
        tensors["recent"] = torch.cat(list(self.recent)) if self.recent else torch.empty(0, dtype=torch.uint8)
        tensors |= {"generator": self.generator.get_state(), "sampler": self.sampler.get_state()}
        tensors["dropout"] = torch.get_rng_state()
        if self.sampler.device.type == "cuda":
            tensors["dropout_cuda"] = torch.cuda.get_rng_state(self.sampler.device)
        return tensors

    def meta(self) -> dict[str, Any]:
        """Everything else."""
        counters = {"cycle": self.cycle, "seconds": self.seconds, "roll_backs": self.roll_backs}
        counters |= {"steps": self.steps, "strokes": self.env.strokes}
        return counters | {"env": self.env.np_random.bit_generator.state} | self.constants

    def restore(self, checkpoint: Checkpoint, folder: Path) -> None:
        """Become what `tensors` and `meta` described. Raises GarlError, which names `folder`, if they do not fit."""
        try:
            self._restore(*checkpoint, folder)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:  # a checkpoint may come from a stranger
            raise GarlError(misfit(folder)) from error

    def _restore(self, tensors: dict[str, Tensor], meta: dict[str, Any], folder: Path) -> None:
        if "data" not in meta:
            raise KeyError("data")
        for name, module in self.modules().items():
            restore_module(module, f"{name}.", tensors, folder)
        for prefix, optimizer in self.optimizers().items():
            unflatten(prefix, tensors, optimizer)
        device = self.sampler.device
        for prefix, part in self.remembered().items():
            part.load_state_dict({name: value.to(device) for name, value in under(f"{prefix}.", tensors).items()})
        self.recent.clear()
        recent = tensors["recent"].to(device)
        self.recent.extend(recent.split(self.env.num_envs * len(self.agents)) if len(recent) else ())
        self.generator.set_state(tensors["generator"])
        torch.set_rng_state(tensors["dropout"])
        if len(tensors["sampler"]) == len(self.sampler.get_state()):  # else the run moves between CPU and GPU
            self.sampler.set_state(tensors["sampler"])
        if device.type == "cuda" and "dropout_cuda" in tensors:
            torch.cuda.set_rng_state(tensors["dropout_cuda"], device)
        self.env.np_random.bit_generator.state = meta["env"]
        self.cycle, self.seconds = int(meta["cycle"]), float(meta["seconds"])
        self.roll_backs = int(meta["roll_backs"])
        # Older versions painted as many strokes always.
        self.env.strokes = int(meta.get("strokes", self.env.strokes))
        self.steps = int(meta.get("steps", self.cycle * self.env.num_envs * self.env.strokes))

    def gradients(self) -> dict[str, Tensor]:
        """The gradients of the last minibatches, by name."""
        networks = self.networks().items()
        named = {f"{name}.{key}": p for name, network in networks for key, p in network.named_parameters()}
        return {f"gradient of {name}": p.grad for name, p in named.items() if p.grad is not None}


def size(tensors: dict[str, Tensor]) -> Tensor:
    """The norm of all together: finite only if they are, and one number for a GPU to be waited for.

    Only tensors on the first one's device count: optimizers keep counters on the CPU.
    """
    device = next(iter(tensors.values())).device
    floating = [tensor for tensor in tensors.values() if tensor.is_floating_point() and tensor.device == device]
    return torch.nn.utils.get_total_norm(floating)


def not_finite(tensors: dict[str, Tensor]) -> list[str]:
    """Names of the tensors that hold a NaN or an infinity."""
    floating = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    return [name for name, tensor in floating.items() if not tensor.isfinite().all()]


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, without it."""
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def restore_module(module: torch.nn.Module, prefix: str, tensors: dict[str, Tensor], folder: Path) -> None:
    """Load the tensors whose names start with `prefix` into `module`. Raises GarlError if they do not fit."""
    try:
        module.load_state_dict(under(prefix, tensors))
    except RuntimeError as error:
        raise GarlError(misfit(folder)) from error


Network = TypeVar("Network", bound=torch.nn.Module)


def rebuild(make: Callable[[], Network], prefix: str, tensors: dict[str, Tensor], folder: Path) -> Network:
    """What `make` makes, with the weights whose names start with `prefix`. Raises GarlError if they do not fit, or are
    not all finite. An agent that ships may have been rounded to bfloat16, in which it paints."""
    weights, kinds = under(prefix, tensors).values(), (torch.float32, torch.bfloat16, torch.int64)
    if not all(weight.dtype in kinds and weight.isfinite().all() for weight in weights):
        raise GarlError(f"the weights in {folder} are not all finite float32 or bfloat16: train again")
    with SizeLimit(sum(weight.numel() for weight in weights), folder):
        network = make()
    restore_module(network, prefix, tensors, folder)
    return network


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


def saved_brush(meta: dict[str, object], folder: Path) -> Brush:
    """The brush of a checkpoint in `folder`. Raises GarlError if there is none."""
    return Brush.from_dict(meta.get("brush"), f"the brush in {folder}")


def misfit(folder: Path) -> str:
    """What to say of a checkpoint and a configuration that do not belong together."""
    return f"the checkpoint in {folder} does not fit its config.json: restore that file, or train again"


class Remembers(Protocol):
    """What keeps tensors that change."""

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state: dict[str, Tensor]) -> Any: ...


Parts = Mapping[str, torch.nn.Module | torch.optim.Optimizer | torch.Generator | Remembers]
"""What changes in a run, by name."""


def tensors_of(parts: Parts) -> dict[str, Tensor]:
    """All that `parts` are, as named tensors."""
    tensors: dict[str, Tensor] = {}
    for name, part in parts.items():
        if isinstance(part, torch.optim.Optimizer):
            tensors |= flatten(name, part)
        elif isinstance(part, torch.Generator):
            tensors[name] = part.get_state()
        else:
            tensors |= {f"{name}.{key}": value for key, value in part.state_dict().items()}
    return tensors


def restore_parts(parts: Parts, tensors: dict[str, Tensor], folder: Path) -> None:
    """Make `parts` what `tensors_of` named, in place. Raises GarlError, which names `folder`, if they do not fit."""
    try:
        for name, part in parts.items():
            if isinstance(part, torch.optim.Optimizer):
                unflatten(name, tensors, part)
            elif isinstance(part, torch.Generator):
                part.set_state(tensors[name])
            else:
                part.load_state_dict(under(f"{name}.", tensors))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:  # a checkpoint may come from a stranger
        raise GarlError(misfit(folder)) from error


def share_of_budget(minutes: float | None, updates: int | None, seconds: float, done: int) -> float:
    """How much of a budget is used up, 0..1 and beyond; what runs out first counts. Without one it is 10 minutes."""
    shares = []
    if minutes is not None or updates is None:
        shares.append(seconds / (60 * (minutes or 10.0)))
    if updates is not None:
        shares.append(done / updates)
    return max(shares)
