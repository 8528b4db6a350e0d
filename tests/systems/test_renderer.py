"""The renderer learns strokes, says how well, and goes on from where it stopped."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from garl.engine.neural import NetworkConfig, draw, pen_of
from garl.engine.paint import PreparedBrushes
from garl.errors import GarlError
from garl.runs import load_checkpoint, records
from garl.systems.renderer import Config, load_config, load_renderer, measure, optimizer_of, painted, train

TINY = Config(kind="circle", side=16, network=NetworkConfig(width=64), updates=200, threads=1, picture_every=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("renderer") / "run"
    train(TINY, folder)
    return folder


def test_errors_are_means_over_all_pixels() -> None:
    alpha = torch.rand(300, 1, 3, 5, generator=torch.Generator().manual_seed(0))
    grey = torch.nn.Sequential(torch.nn.Linear(10, 15), torch.nn.Unflatten(1, (1, 3, 5)))
    torch.nn.init.zeros_(grey[0].weight)
    torch.nn.init.constant_(grey[0].bias, 0.25)
    figures = measure(grey, torch.rand(300, 10), alpha)
    assert figures["l1"] == pytest.approx(float((alpha - 0.25).abs().mean()), rel=1e-5)
    assert figures["l2"] == pytest.approx(float((alpha - 0.25).square().mean()), rel=1e-5)


def test_it_learns_what_strokes_look_like(run: Path) -> None:
    """Nothing at all, and the mean of all strokes, are what a network says that has learned nothing."""
    renderer, config = load_renderer(run)
    assert config == TINY == load_config(run)
    numbers = torch.rand(500, 10, generator=torch.Generator().manual_seed(77))
    alpha = painted(renderer.pen, PreparedBrushes(renderer.pen.brush), numbers, 16)
    error = measure(renderer.network, numbers, alpha)["l2"]
    assert error < 0.75 * float((alpha - alpha.mean(0)).square().mean())
    last = records(run)[-1]
    assert last["test/l2"] == pytest.approx(error, rel=0.15)
    assert last["updates"] == 200
    assert (run / "pictures" / "samples.png").exists()


def test_a_resumed_run_is_an_uninterrupted_one(run: Path, tmp_path: Path) -> None:
    """The step size follows the budget: the run that is cut off had the whole one, and loses its last checkpoint."""
    config = TINY.model_copy(update={"checkpoint_every": 1, "updates": 100})
    train(config, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "part")
    (tmp_path / "part" / "checkpoint.safetensors").write_bytes(b"")  # what is left is the one after 50 updates
    train(config, tmp_path / "part", resume=True)
    whole, part = (load_checkpoint(tmp_path / name)[0] for name in ("whole", "part"))
    assert whole.keys() == part.keys()
    assert all(torch.equal(whole[name], part[name]) for name in whole)


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_optimisers_are_what_they_are_called(optimizer: str) -> None:
    made = optimizer_of(torch.nn.Linear(2, 2), Config(optimizer=optimizer, learning_rate=0.2))
    assert type(made).__name__.lower() == optimizer
    assert made.param_groups[0]["lr"] == 0.2


def test_pixels_must_be_whole() -> None:
    with pytest.raises(GarlError, match="cells must divide side 64"):
        Config(kind="pixel", cells=12)


def test_a_stroke_of_opacity_less_than_one_is_learned_as_such() -> None:
    """The alpha that is learned includes t: the mean of both, in the brush's range."""
    pen = pen_of("circle")
    numbers = torch.tensor([[0.5, 0.5, 0, 0, 0, 0, 1.0, 0.0, 1.0, 0.5]])
    alpha = painted(pen, PreparedBrushes(pen.brush), numbers, 32)
    assert float(alpha[0, 0, 16, 16]) == pytest.approx(0.2 + 0.25 * 0.8, abs=0.01)
    assert draw(torch.zeros(1, 14), 32, PreparedBrushes(pen.brush)).sum() == 0
