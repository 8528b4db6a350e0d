"""Demonstrations paint what they are to show, and a policy learns to paint so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from garl.brush.spec import load_brush
from garl.demonstrations import (
    DemonstrationsConfig,
    Lessons,
    chosen_from,
    demonstrate,
    demonstrate_all,
    imitate,
    mean_strokes,
    planned,
)
from garl.engine.paint import PaintConfig, PaintEngine, hsv_to_rgb, rgb_to_hsv
from garl.env.canvas import PaintEnv
from garl.errors import GarlError
from garl.evaluate.pixels import mean_squared_error
from garl.learners.ppo import PPOConfig
from garl.policy.actor_critic import ActorCritic
from garl.policy.features import PolicyConfig
from garl.rollout import collect
from garl.runs import load_checkpoint
from garl.systems.garl import Config, load_agent, train
from garl.systems.greedy import GreedyConfig

EFFORT = GreedyConfig(proposals=80, patience=20)


def engine(**settings: Any) -> PaintEngine:
    ground = {"height": 20, "width": 28, "background": (200,), "brush": "soft_round", "grid": 8, "bins": 6}
    return PaintEngine(PaintConfig(**(ground | settings)))


def picture(channels: int) -> np.ndarray:
    y, x = np.indices((20, 28))
    return np.stack([x * 9, y * 12, (x + y) * 5])[:channels].astype(np.uint8)


# Bins of strokes.


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_hue_saturation_and_value_of_any_colour(rgb: list[float]) -> None:
    color = torch.tensor(rgb, dtype=torch.float64)
    hsv = rgb_to_hsv(color)
    assert ((hsv >= 0) & (hsv <= 1)).all()
    torch.testing.assert_close(hsv_to_rgb(hsv), color, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"hsv": True},
        {"channels": 1, "color_channels": 1, "pressure": True},
        {"brush": "line", "color_channels": 0, "opacity": False},
        {"brush": "point", "thickness": False},
        {"brush": "triangle", "pen": True},
        {"brushes": ("ink", "splatter"), "contiguous": True},
    ],
)
def test_the_bins_of_a_decoded_stroke_are_those_of_the_same_stroke(chosen: dict[str, Any]) -> None:
    codec = engine(**chosen).codec
    generator = torch.Generator().manual_seed(0)
    actions = torch.stack([torch.randint(d.n, (50,), generator=generator) for d in codec.action_spec], 1)
    pen = torch.rand(50, 2, generator=generator)
    strokes = codec.decode(actions, pen)
    torch.testing.assert_close(codec.decode(codec.encode(strokes), pen), strokes, rtol=0, atol=1e-6)
    if not codec.config.hsv and not codec.config.pen:  # grey has no hue, and a lifted pen no opacity
        assert torch.equal(codec.encode(strokes), actions)


def test_the_bins_of_any_stroke_are_the_nearest() -> None:
    codec = engine(grid=4, bins=5, channels=1, color_channels=1).codec
    control = load_brush("soft_round").spec.control
    thickness = control.min_thickness + 0.30 * (control.max_thickness - control.min_thickness)
    stroke = torch.tensor([[0.30, 0.0, 1.0, 0.51, 0.74, 0.99, 0.6, 0.9, 0.1, thickness, 2.0, 1, 1, 0]])
    assert codec.encode(stroke).tolist() == [[1, 4 * 2 + 3, 4 * 3 + 2, 2, 1, 4]]


# Demonstrations.


@pytest.mark.parametrize(
    ("channels", "settings"),
    [
        (3, {}),
        (1, {}),
        (3, {"hsv": True, "brushes": ("ink",)}),
        (3, {"opacity": False, "thickness": False, "pen": True}),
    ],
)
def test_actions_paint_the_picture(channels: int, settings: dict[str, Any]) -> None:
    paint, target = engine(channels=channels, color_channels=channels, **settings), picture(channels)
    canvas = paint.reset(2, np.random.default_rng(0))
    before = mean_squared_error(canvas[0].numpy(), target)
    actions = torch.stack([demonstrate(target, paint.codec, paint.brushes, 12, i, EFFORT) for i in (0, 1)], 1)
    for action in actions:
        canvas = paint.apply(canvas, action)
    assert actions.dtype == torch.int64
    for painting in canvas.numpy():
        assert mean_squared_error(painting, target) < 0.4 * before
    assert not torch.equal(actions[:, 0], actions[:, 1])


def test_white_strokes_paint_white_on_black() -> None:
    paint = engine(channels=1, color_channels=0, background=(0,), brush="hard_round", opacity=False, grid=16)
    target = np.zeros((1, 20, 28), np.uint8)
    target[:, 4:16, 10:14] = 255
    target[:, 14:18, 4:24] = 90  # nearer to black
    canvas = paint.reset(1, np.random.default_rng(0))
    for action in demonstrate(target, paint.codec, paint.brushes, 2, 0, EFFORT):
        canvas = paint.apply(canvas, action[None])
    assert (canvas[0, 0, 5:13, 11:13] > 128).all()
    assert (canvas[0, 0, 14:18, 18:24] < 128).all()


def test_a_plan_goes_from_coarse_to_fine() -> None:
    parts = planned(15)
    assert parts[:2] == pytest.approx(np.array([[0, 0, 5 / 8, 5 / 8], [3 / 8, 0, 1, 5 / 8]]))
    assert parts[4:13].shape == (9, 4)
    assert parts[9] == pytest.approx([7 / 12, 1 / 4, 1, 3 / 4])  # the second row's last of 3×3
    assert (parts[13:] == [0, 0, 1, 1]).all()
    assert planned(3).tolist() == [[0, 0, 1, 1]] * 3


@pytest.mark.parametrize("kind", ["soft_round", "line"])
def test_planned_actions_lie_in_their_parts_and_go_from_left_to_right(kind: str) -> None:
    paint, target = engine(channels=1, color_channels=1, brush=kind, grid=16), picture(1)
    canvas = paint.reset(1, np.random.default_rng(0))
    before = mean_squared_error(canvas[0].numpy(), target)
    actions = demonstrate(target, paint.codec, paint.brushes, 14, 0, EFFORT, plan=True)
    for action in actions:
        canvas = paint.apply(canvas, action[None])
    assert mean_squared_error(canvas[0].numpy(), target) < 0.4 * before
    ends = paint.codec.decode(actions, torch.zeros(14, 2)).numpy()[:, :6].reshape(14, 3, 2)
    assert (ends[:, 0, 0] <= ends[:, 2, 0]).all()
    parts, cell = planned(14)[:, None], 0.5 / 16
    assert ((ends >= parts[..., :2] - cell - 1e-6) & (ends <= parts[..., 2:] + cell + 1e-6)).all()


GRADIENT = DemonstrationsConfig(pictures=3, method="gradient", moves=60)


def silent(figures: dict[str, str], share: float, seconds: float) -> None: ...


@pytest.mark.parametrize(("channels", "brush", "settings"), [(3, "soft_round", {}), (1, "line", {"opacity": False})])
def test_strokes_moved_by_gradient_paint_the_pictures(channels: int, brush: str, settings: dict[str, Any]) -> None:
    """Better than the strokes that they begin as, which paint the pictures' mean."""
    paint = engine(channels=channels, color_channels=channels, brush=brush, grid=16, bins=12, **settings)
    targets = np.stack([picture(channels), 255 - picture(channels), picture(channels)[:, ::-1]])
    actions = demonstrate_all(targets, paint, 10, GRADIENT, 0, silent)
    assert (actions.dtype, actions.shape) == (torch.int64, (10, 3, len(paint.action_spec)))
    begun = mean_strokes(targets, chosen_from(paint.brushes[0], paint.config), paint.config, 10, 0)
    unmoved = paint.codec.encode(torch.from_numpy(begun))
    left = []
    for chosen in (actions, unmoved[:, None].expand(-1, 3, -1)):
        canvas = paint.reset(3, np.random.default_rng(0))
        for action in chosen:
            canvas = paint.apply(canvas, action)
        left.append([mean_squared_error(*each) for each in zip(canvas.numpy(), targets, strict=True)])
    assert max(np.divide(*left)) < 0.5
    assert torch.equal(actions, demonstrate_all(targets, paint, 10, GRADIENT, 0, silent))


def test_a_stroke_shows_the_same_thing_in_all_pictures() -> None:
    """A dark bar on the left and a light one on the right, up or down: the stroke that paints the dark one in the mean
    paints it in each, and follows it."""
    paint = engine(channels=1, color_channels=1, brush="line", background=(128,), opacity=False, grid=16, bins=16)
    shifts = [(-4, 3), (0, -4), (4, 0), (2, -2)]
    targets = np.full((4, 1, 20, 28), 128, np.uint8)
    for target, (dark, light) in zip(targets, shifts, strict=True):
        target[0, 6 + dark : 14 + dark, 5:8] = 0
        target[0, 6 + light : 14 + light, 20:23] = 255
    actions = demonstrate_all(targets, paint, 2, GRADIENT, 0, silent)
    strokes = torch.stack([paint.codec.decode(actions[:, i], torch.zeros(2, 2)) for i in range(4)])  # (4, 2, 14)
    darker = strokes[..., 6].argmin(1)
    assert (darker == darker[0]).all()
    for stroke, (dark, light) in zip(strokes, shifts, strict=True):
        for which, shift, column in ((darker[0], dark, 6.5 / 28), (1 - darker[0], light, 21.5 / 28)):
            middle = stroke[which, :4].view(2, 2).mean(0)
            assert middle.tolist() == pytest.approx([column, (10 + shift) / 20], abs=0.08)


def test_what_no_gradient_moves_is_refused(tiny_config: Config, tmp_path: Path) -> None:
    chosen = {"demonstrations.pictures": 3, "demonstrations.method": "gradient", "paint.channels": 1}
    chosen |= {"paint.color_channels": 1}
    for unfit, named in (
        ({"paint.color_channels": 0}, r"paint\.color_channels"),
        ({"paint.brushes": ("ink",)}, r"paint\.brushes"),
        ({"demonstrations.plan": True}, r"demonstrations\.plan"),
    ):
        with pytest.raises(GarlError, match=f"gradient cannot demonstrate under .*{named}"):
            tiny_config.changed(chosen | unfit)
    with pytest.raises(GarlError, match=r"jitter of the brush 'splatter': set demonstrations\.method to search"):
        train(tiny_config.changed(chosen | {"paint.brush": "splatter"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_they_depend_on_the_seed_and_not_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    paint, told = engine(channels=1, color_channels=1), []

    def tell(figures: dict[str, str], share: float, seconds: float) -> None:
        told.append((figures["demonstrations"], share))

    config = DemonstrationsConfig(pictures=5, proposals=20, patience=3)
    pictures = np.stack([picture(1) // (1 + i) for i in range(5)])
    ours = demonstrate_all(pictures, paint, 3, config, 0, tell)
    monkeypatch.setattr(paint, "threads", 1)
    assert torch.equal(demonstrate_all(pictures, paint, 3, config, 0, tell), ours)
    assert not torch.equal(demonstrate_all(pictures, paint, 3, config, 1, tell), ours)
    assert ours.shape == (3, 5, len(paint.action_spec))
    assert told[4] == ("5 of 5", 1.0)


@pytest.mark.parametrize(
    ("unfit", "named"),
    [
        ({"paint.contiguous": True}, "paint.contiguous"),
        ({"paint.channels": 3}, "paint.color_channels"),
        ({"policy.head": "gaussian"}, "policy.head"),
    ],
)
def test_what_search_cannot_show_is_refused(tiny_config: Config, unfit: dict[str, Any], named: str) -> None:
    with pytest.raises(GarlError, match=f"greedy search cannot demonstrate under .*{named}"):
        tiny_config.changed({"demonstrations.pictures": 3, "paint.color_channels": 1} | unfit)


# Imitation.


def test_an_anchor_needs_something_to_imitate(tiny_config: Config) -> None:
    with pytest.raises(GarlError, match=r"ppo\.anchor holds .*: set demonstrations\.pictures above 0"):
        tiny_config.changed({"ppo.anchor": 0.1})


def test_a_policy_that_imitates_one_painting_paints_it() -> None:
    """The least −E[log π] of one demonstration is 0: the policy that is certain of it."""
    torch.manual_seed(0)
    env = PaintEnv(4, engine(channels=1, color_channels=1), strokes=3)
    policy = ActorCritic(env.action_spec, (1, 20, 28), PolicyConfig(channels=8, blocks=1), 3)
    generator = torch.Generator().manual_seed(0)
    actions = torch.stack([torch.randint(d.n, (3, 1), generator=generator) for d in env.action_spec], 2)
    config = DemonstrationsConfig(pictures=1, epochs=600, batch_size=12, learning_rate=3e-3)
    told: list[float] = []
    lessons = Lessons(actions, None, generator)
    env.reset(seed=0)

    def tell(figures: dict[str, str], share: float, seconds: float) -> None:
        told.append(float(figures["log-likelihood"]))

    imitate(policy, env, lessons, lambda: torch.randn(4, 10, generator=generator), PPOConfig(), config, tell)
    assert told[0] < -15
    assert told[-1] > -0.1
    painted = collect(env, policy, torch.randn(4, 10, generator=generator), generator)
    assert torch.equal(painted.action, actions.expand(-1, 4, -1))


def test_what_goes_on_is_what_has_imitated_at_its_temperature() -> None:
    def imitated(temperature: float) -> ActorCritic:
        torch.manual_seed(0)
        env = PaintEnv(4, engine(channels=1, color_channels=1), strokes=3)
        env.reset(seed=0)
        policy, generator = ActorCritic(env.action_spec, (1, 20, 28)), torch.Generator().manual_seed(0)
        actions = torch.stack([torch.randint(d.n, (3, 4), generator=generator) for d in env.action_spec], 2)
        config = DemonstrationsConfig(pictures=4, epochs=2, temperature=temperature)
        lessons = Lessons(actions, None, generator)
        imitate(policy, env, lessons, lambda: torch.zeros(4, 10), PPOConfig(), config, lambda *figures: None)
        return policy

    by_hand, tempered = imitated(1.0), imitated(0.25)
    by_hand.temper(0.25)
    for name, weight in tempered.state_dict().items():
        assert torch.equal(weight, by_hand.state_dict()[name])


@pytest.mark.parametrize("condition", ["none", "label", "picture"])
def test_a_run_begins_with_what_was_demonstrated(tiny_config: Config, tmp_path: Path, condition: str) -> None:
    config = tiny_config.changed(
        {
            "condition": condition,
            "label": None,
            "warm_up": 4,
            "paint.channels": 1,
            "paint.color_channels": 1,
            "demonstrations.pictures": 6,
            "demonstrations.proposals": 10,
            "demonstrations.epochs": 1,
            "ppo.anchor": 0.1,
        }
    )
    train(config, tmp_path / "whole")
    first = config.changed({"steps": config.envs * config.strokes})
    train(first, tmp_path / "parts")
    agent = load_agent(tmp_path / "parts", "cpu")
    untaught = first.changed({"demonstrations.pictures": 0, "ppo.anchor": 0.0})
    train(untaught, tmp_path / "untaught")
    fresh = load_agent(tmp_path / "untaught", "cpu")
    assert not torch.equal(agent.policy.critic[0].weight, fresh.policy.critic[0].weight)
    train(config, tmp_path / "parts", resume=True)
    whole, parts = (load_checkpoint(tmp_path / name)[0] for name in ("whole", "parts"))
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []
    critic = "anchor.critic.0.weight"  # the anchor is what imitation made of the policy, whatever it learns later
    assert not torch.equal(whole[critic], whole[critic.replace("anchor", "policy")])
