"""A cycle of training queues work on its device and waits for it once, when its figures are read.

A GPU that is waited for idles meanwhile. There is none here, but what waits is known: to ask for a tensor's value.
"""

from __future__ import annotations

import traceback
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from garl.data.images import Images
from garl.systems import garl as system
from garl.systems.garl import Config, train

READS = {"item", "tolist", "cpu", "__bool__", "__int__", "__float__", "__index__", "__contains__"}
KERNELS = {"nonzero", "masked_select", "_unique2", "unique_consecutive", "equal", "repeat_interleave"}
"""Kernels that wait, as the shape of their result depends on values, or as they return one."""


class Calls(TorchFunctionMode):
    """Counts the lines of garl that read a tensor's value."""

    def __init__(self, waits: Counter[str]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, function: Any, kinds: Any, arguments: Any = (), settings: Any = None) -> Any:
        if getattr(function, "__name__", "") in READS:
            self.waits[line()] += 1
        return function(*arguments, **(settings or {}))


class Kernels(TorchDispatchMode):
    """Counts the lines of garl that run a kernel that waits; an index of booleans is one."""

    def __init__(self, waits: Counter[str]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(self, kernel: Any, kinds: Any, arguments: Any = (), settings: Any = None) -> Any:
        name = kernel.overloadpacket.__name__
        indices = arguments[1] if name in ("index", "index_put_", "index_put") else []
        if name in KERNELS or any(index is not None and index.dtype == torch.bool for index in indices):
            self.waits[line()] += 1
        return kernel(*arguments, **(settings or {}))


def line() -> str:
    """The innermost line of the library, or of this file, that is being executed."""
    ours = (str(Path(system.__file__).parents[1]), __file__)
    frames = [frame for frame in traceback.extract_stack()[:-1] if frame.filename.startswith(ours)]
    return str([frame.line for frame in frames if not frame.name.startswith("__torch_")][-1])


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: float(x[0]),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: 1 if (x > 0).all() else 0,
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.unique(),
    ],
)
def test_what_waits_is_seen(wait: Any) -> None:
    waits: Counter[str] = Counter()
    x = torch.rand(3)
    with Calls(waits), Kernels(waits):
        x = x.square() @ x[torch.tensor([2, 1, 0])] + x
        assert not waits
        wait(x)
    assert waits.total() >= 1


ADAPTING = {
    "ppo.penalty": "kl",
    "ppo.entropy_target": 0.5,
    "ppo.batch_size": 8,
    "advantage.estimator": "n_step",
    "advantage.normalize": "return",
}
CHOICES = {"paint.brushes": ("ink", "splatter"), "paint.pressure": True, "paint.pen": True}
ADVERSARY = {
    "condition": "label",
    "label": None,
    "adversary": {
        "optimizer": "optimistic_adam",
        "networks": 2,
        "batch_size": 4,
        "updates": 2,
        "average": 0.9,
        "stay_close": 0.1,
        "l2_penalty": 1e-3,
        "penalised": "any",
        "loss": "relativistic",
        "memory_priority": "mixed",
        "network": {"channels": 2, "attention": 1},
    },
}


PAIRS = {"condition": "picture", "label": None, "adversary.mask": 0.5, "adversary.updates": 1}
PAINTBOT = {
    "condition": "picture",
    "policy.head": "gaussian",
    "reward": {"source": "l_half", "perceptual": 1.0},
    "curriculum": {"targets": "difficulty"},
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"learner": "a2c"},
        ADAPTING,
        CHOICES,
        ADVERSARY,
        {"adversary": {"intermediate": "mixed", "updates": 1}},
        {"adversary": {"intermediate": "weighted", "updates": 1}},
        ADAPTING | {"steps": 192, "population": {"agents": 3, "rescue_every": 100}},
        {"paint.color_channels": 1, "demonstrations.pictures": 2, "ppo.anchor": 0.1},
        PAIRS,
        PAINTBOT,
    ],
    ids=[
        "default",
        "a2c",
        "adapting",
        "every_choice",
        "adversary",
        "mixed",
        "weighted",
        "population",
        "anchor",
        "pairs",
        "paintbot",
    ],
)
def test_a_cycle_waits_once(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    waits: Counter[str] = Counter()
    cycles: list[Counter[str]] = []
    watch, watching = ExitStack(), []
    collect, draw, show = system.collect, Images._draw, system.Progress.show

    def begin(*arguments: Any, **named: Any) -> Any:
        if not watching:  # else it is another agent's turn
            watch.enter_context(Calls(waits))
            watch.enter_context(Kernels(waits))
            watching.append(True)
        return collect(*arguments, **named)

    def pictures(*arguments: Any) -> Any:
        with torch._C.DisableTorchFunction():  # all is on the CPU there: nothing waits
            return draw(*arguments)

    def end(*arguments: Any) -> None:
        watch.close()
        watching.clear()
        cycles.append(waits.copy())
        waits.clear()
        show(*arguments)

    monkeypatch.setattr(system, "collect", begin)
    monkeypatch.setattr(Images, "_draw", pictures)
    monkeypatch.setattr(system.Progress, "show", end)
    train(tiny_config.changed({"picture_every": 100, "checkpoint_every": 100} | changes), tmp_path)
    assert len(cycles) == 4
    for seen in cycles[1:]:  # after the first one a picture is made
        del seen["agent.average.update_parameters(agent.policy)"]  # its counter is on the CPU: docs/gpu.md
        del seen["loss = super().step(closure)"]  # and so are Adam's
        assert seen.total() == 1, seen
        assert "figures" in next(iter(seen))
