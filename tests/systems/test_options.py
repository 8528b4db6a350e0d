"""Every option of the policy and the engine, end to end: two cycles, and paintings by the agent that was kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from garl.engine.paint import PaintEngine, render_strokes
from garl.errors import GarlError
from garl.runs import records
from garl.sample import paint
from garl.systems.garl import Config, load_agent, train

OPTIONS: dict[str, dict[str, Any]] = {
    "categorical": {"policy": {"head": "categorical"}},
    "gaussian": {"policy": {"head": "gaussian"}},
    "gaussian, free": {"policy": {"head": "gaussian", "log_std": "free", "embed_action": "head"}},
    "beta": {"policy": {"head": "beta"}},
    "recurrent": {"policy": {"recurrent": 6}},
    "recurrent, separate": {"policy": {"recurrent": 6, "value_separate": True}, "ppo": {"bptt": 1}},
    "recurrent beta": {"policy": {"recurrent": 6, "head": "beta"}, "ppo": {"precision": "bfloat16"}},
    "frames": {"policy": {"frames": 2}},
    "value_separate": {"policy": {"value_separate": True}},
    "embed in head": {"policy": {"embed_noise": "head", "embed_action": "head"}},
    "embed nowhere": {"policy": {"embed_noise": "none", "embed_action": "none"}},
    "steps": {"policy": {"embed_steps": True, "value_steps": True}},
    "steps, separate": {"policy": {"value_steps": True, "value_separate": True}},
    "hsv": {"paint": {"channels": 3, "color_channels": 3, "hsv": True}},
    "grey": {"paint": {"color_channels": 1}},
    "line": {"paint": {"brush": "pencil"}},
    "triangle": {"paint": {"brush": "triangle"}},
    "point": {"paint": {"brush": "point"}},
    "contiguous": {"paint": {"contiguous": True}},
    "contiguous gaussian": {"paint": {"contiguous": True, "brush": "pencil"}, "policy": {"head": "gaussian"}},
    "no thickness": {"paint": {"thickness": False}},
    "opacity, no thickness": {"paint": {"thickness": False, "opacity": True}},
    "render_scale": {"paint": {"render_scale": 4}},
}


def changed(config: Config, changes: dict[str, Any]) -> Config:
    settings = config.model_dump()
    return Config(**settings | {name: settings[name] | values for name, values in changes.items()})


@pytest.mark.parametrize("changes", OPTIONS.values(), ids=OPTIONS)
def test_two_cycles_and_a_sample(tiny_config: Config, tmp_path: Path, changes: dict[str, Any]) -> None:
    config = changed(tiny_config.model_copy(update={"steps": 32}), changes)
    train(config, tmp_path)
    first, second = records(tmp_path)
    assert np.isfinite([*first.values(), *second.values()]).all()
    assert min(first["ppo/gradient_norm"], second["ppo/gradient_norm"]) > 0
    agent = load_agent(tmp_path)
    paintings = paint(agent, 3, seed=1)
    assert np.array_equal(paintings.final, paint(agent, 3, seed=1).final)
    assert (paintings.filmed[-1] != paintings.filmed[0]).any()
    canvas = paintings.filmed[0].copy()  # the stroke file alone paints the same pictures
    engine = PaintEngine(config.paint, agent.brushes)
    for t in range(config.strokes):
        strokes = np.ascontiguousarray(paintings.strokes.strokes[:, t])
        render_strokes(canvas, strokes, paintings.strokes.seeds, t, engine.prepared, config.paint.render_scale)
        np.testing.assert_array_equal(canvas, paintings.filmed[t + 1])
    if config.paint.contiguous:
        points = engine.codec.points
        end = paintings.strokes.strokes[:, 0, 2 * points - 2 : 2 * points]
        np.testing.assert_array_equal(paintings.strokes.strokes[:, 1, :2], end)


def test_subsequences_must_divide_the_strokes(tiny_config: Config) -> None:
    with pytest.raises(GarlError, match=r"ppo.bptt must divide the 6 strokes of a painting, not be 4"):
        changed(tiny_config.model_copy(update={"strokes": 6}), {"policy": {"recurrent": 5}, "ppo": {"bptt": 4}})
