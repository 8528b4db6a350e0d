"""Learning to Paint, end to end and in small."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from garl.adversary.discriminator import DiscriminatorConfig
from garl.adversary.update import Adversary, AdversaryConfig
from garl.engine.neural import NetworkConfig, Pen, Twin, pen_of
from garl.engine.paint import PreparedBrushes
from garl.errors import GarlError
from garl.learners.ddpg import DDPG, DDPGConfig
from garl.learners.replay import ReplayConfig
from garl.policy.resnet import ResNetConfig
from garl.runs import load_checkpoint, records
from garl.systems import renderer
from garl.systems.learning_to_paint import Config, Easel, load_agent, load_config, make_renderer, paint, train, unit

TINY = Config(
    data="pictures",
    side=16,
    actions=3,
    strokes=2,
    envs=4,
    cycle_updates=2,
    updates=8,
    validation=5,
    validate_every=2,
    checkpoint_every=2,
    threads=1,
    ddpg=DDPGConfig(network=ResNetConfig(width=2), batch_size=6),
    replay=ReplayConfig(capacity=20),
    adversary=AdversaryConfig(batch_size=4, average=0.9, optimizer="adam", network=DiscriminatorConfig(channels=1)),
)


@pytest.fixture(scope="module", autouse=True)
def _pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder of 40 pictures, where the tests run."""
    here = tmp_path_factory.mktemp("here")
    (here / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for i in range(40):
        coarse = Image.fromarray(rng.integers(0, 256, (3, 3, 3), np.uint8))
        coarse.resize((20, 16), Image.Resampling.BICUBIC).save(here / "pictures" / f"{i}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        yield


def changed(**settings: Any) -> Config:
    return TINY.changed(settings)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ltp") / "run"
    train(TINY, folder)
    return folder


def test_what_a_run_leaves(run: Path) -> None:
    lines = records(run)
    assert [line["cycle"] for line in lines] == [1, 2, 3, 4, 4]
    assert [line["updates"] for line in lines] == [2, 4, 6, 8, 8]
    assert lines[-1]["steps"] == 4 * 4 * 3 * 2
    assert all(np.isfinite(value) for line in lines for value in line.values())
    assert [("l2/ratio" in line) for line in lines] == [True, True, False, True, True]
    assert lines[-1]["l2/ratio"] == pytest.approx(lines[-1]["l2"] / lines[-1]["l2/blank"])
    assert (run / "pictures" / "samples.png").exists()
    assert load_config(run) == TINY


OPTIONS: dict[str, dict[str, Any]] = {
    "prioritised": {"replay.prioritised": True},
    "a plan": {"ddpg.plan": True, "reward": "log_l2"},
    "parameter noise": {"ddpg.noise": "parameter"},
    "action noise": {"ddpg.noise": "action"},
    "td3": {"ddpg.critics": 2, "ddpg.actor_delay": 2, "ddpg.smoothing": 0.1},
    "l2": {"reward": "l2"},
    "triangles": {"kind": "triangle"},
    "circles on black": {"kind": "circle", "background": 0},
    "dragan": {
        "adversary.loss": "minimax_logit",
        "adversary.penalised": "any",
        "adversary.penalised_at": "around",
    },
    "fisher": {"adversary.loss": "fisher"},
    "cramer": {"adversary.loss": "cramer", "adversary.network.outputs": 3},
    "sagan": {"adversary.loss": "hinge", "adversary.network.spectral_norm": True, "adversary.network.attention": 2},
}


@pytest.mark.parametrize("settings", OPTIONS.values(), ids=OPTIONS)
def test_every_option_goes_on_from_where_it_stopped_bit_for_bit(tmp_path: Path, settings: dict[str, Any]) -> None:
    config = changed(**settings, updates=4, checkpoint_every=1, validation=2)
    train(config, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "part")
    (tmp_path / "part" / "checkpoint.safetensors").write_bytes(b"")  # what is left is the one of cycle 1
    assert load_checkpoint(tmp_path / "part")[1]["cycle"] == 1
    train(config, tmp_path / "part", resume=True)
    whole, part = (load_checkpoint(tmp_path / name)[0] for name in ("whole", "part"))
    assert whole.keys() == part.keys()
    assert all(torch.equal(whole[name], part[name]) for name in whole)
    assert records(tmp_path / "part")[1]["l2/train"] == records(tmp_path / "whole")[1]["l2/train"]


def test_the_adversary_learns_at_every_update_though_the_actor_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    for kind, name in ((DDPG, "update_critics"), (DDPG, "update_actor"), (Adversary, "update")):
        original = getattr(kind, name)

        def counted(*given: Any, name: str = name, original: Any = original) -> Any:
            steps.append(name)
            return original(*given)

        monkeypatch.setattr(kind, name, counted)
    train(changed(**{"ddpg.actor_delay": 2, "updates": 4}), tmp_path / "run")
    assert steps == 2 * ["update_critics", "update", "update_critics", "update_actor", "update"]


def test_another_seed_is_another_run(run: Path, tmp_path: Path) -> None:
    train(changed(seed=1), tmp_path / "other")
    first, other = load_checkpoint(run)[0], load_checkpoint(tmp_path / "other")[0]
    for part in ("actor.", "critics.", "adversary.", "memory.canvas"):
        assert any(not torch.equal(first[name], other[name]) for name in first if name.startswith(part))


def test_it_learns_through_a_network_as_well(tmp_path: Path) -> None:
    made = renderer.Config(side=16, network=NetworkConfig(width=8), updates=50, threads=1, kind="pixel", cells=4)
    renderer.train(made, tmp_path / "renderer")
    settings = {"renderer": "neural", "renderer_run": tmp_path / "renderer", "kind": "pixel", "cells": 4}
    train(changed(**settings, updates=2), tmp_path / "run")
    assert load_agent(tmp_path / "run").pen.cells == 4
    with pytest.raises(GarlError, match="of cells 4: set cells"):
        make_renderer(changed(**settings | {"cells": 8}))
    with pytest.raises(GarlError, match="of kind pixel"):
        make_renderer(changed(**settings | {"kind": "circle"}))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kind": "pixel"}, "pixel has no twin"),
        ({"renderer": "neural"}, "renderer_run"),
        ({"adversary.networks": 2}, "adversary.networks must be 1"),
        ({"adversary.batch_size": 7}, "at most ddpg.batch_size, 6"),
        ({"data": "nowhere"}, "there is no data"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(GarlError, match=says):
        train(changed(**settings), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_diverges_keeps_its_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(GarlError, match="not finite in cycle"):
        train(changed(**{"ddpg.critic_rate": 1e30, "updates": 80, "checkpoint_every": 1}), tmp_path / "run")
    assert (tmp_path / "run" / "divergence.json").exists()
    kept = load_checkpoint(tmp_path / "run")[0]
    assert all(tensor.isfinite().all() for tensor in kept.values() if tensor.is_floating_point())
    load_agent(tmp_path / "run")


def test_the_engine_paints_what_the_model_says() -> None:
    """Canvases in the order of the actions, each on the one before; the twin tells the same within the rounding."""
    pen = pen_of("bezier", level=True)
    target = torch.randint(0, 256, (3, 3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    actions = torch.rand(4, 3, 2, 13, generator=torch.Generator().manual_seed(1))
    asked: list[int] = []

    def act(canvas: torch.Tensor, wanted: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        assert torch.equal(wanted, unit(target))
        asked.extend(step.tolist())
        return actions[step[0]]

    canvases = paint(act, target, Easel(255, 4, pen, PreparedBrushes(pen.brush)))
    assert asked == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert canvases.shape == (5, 3, 3, 48, 48)
    assert (canvases[0] == 255).all()
    twin = Twin(pen)
    for step in range(4):
        gap = 255 * twin(actions[step], unit(canvases[step])) - canvases[step + 1]
        assert gap.abs().mean() < 3
        assert (canvases[step + 1] != canvases[step]).any()


def test_an_agent_is_loaded_as_it_was(run: Path, tiny_run: Path) -> None:
    agent = load_agent(run)
    assert isinstance(agent.pen, Pen)
    assert agent.pen.level
    canvas = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    step = torch.tensor([0, 2])
    first = agent.act(canvas, canvas.flip(2), step)
    assert first.shape == (2, 2, 13)
    assert not torch.equal(first, agent.act(canvas, canvas.flip(2), torch.tensor([0, 1])))
    with pytest.raises(GarlError, match="is no run of `garl train learning-to-paint`"):
        load_agent(tiny_run)
