"""The environments keep Gymnasium's contract, and an episode can be painted again from its infos."""

from __future__ import annotations

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import garl.env  # noqa: F401 (registers garl/Paint-v0)
from garl.brush.geometry import BRUSH, OPACITY
from garl.brush.spec import load_brush
from garl.engine.paint import PaintConfig, PreparedBrushes, blank, load_brushes, render_strokes
from garl.env.canvas import PaintEnv
from garl.env.single import PaintSingleEnv
from garl.errors import GarlError

JITTERED = PaintConfig(height=20, width=28, brush="splatter", grid=8, bins=4)
CHANNELS_GREY = PaintConfig(height=20, width=28, channels=1, color_channels=1, brush="line", grid=8, bins=4)
EVERY_CHOICE = JITTERED.model_copy(
    update={"brushes": ("oil", "ink"), "pressure": True, "pen": True, "contiguous": True}
)


def episode(env: PaintEnv, seed: int | None) -> tuple[np.ndarray, dict]:
    """The canvases (T + 1, B, C, H, W) of one episode of fixed actions, and its last infos."""
    canvas, info = env.reset(seed=seed)
    canvases, rng = [canvas], np.random.default_rng(1)
    for _ in range(env.strokes):
        canvas, *_, info = env.step(rng.integers(0, env.single_action_space.nvec, env.action_space.shape))
        canvases.append(canvas)
    return np.stack(canvases), info


@pytest.mark.parametrize("config", [JITTERED, CHANNELS_GREY, EVERY_CHOICE], ids=["colour", "grey", "every choice"])
def test_single_environment_passes_gymnasiums_checker_without_a_warning(config: PaintConfig) -> None:
    env = gym.make("garl/Paint-v0", engine=config, strokes=3, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)


def test_make() -> None:
    env = gym.make("garl/Paint-v0", engine=CHANNELS_GREY, strokes=2)
    assert isinstance(env.unwrapped, PaintSingleEnv)
    canvas, _ = env.reset(seed=0)
    assert (canvas == 255).all()
    _, reward, *first, _ = env.step(np.array([9, 50, 0, 3, 3]))
    canvas, _, *second, info = env.step(np.array([9, 50, 1, 3, 3]))
    assert (first, second, reward) == ([False, False], [True, False], 0.0)
    assert canvas.min() < 100
    assert info["strokes"].shape == (1, 2, 14)


def test_make_vec() -> None:
    env = gym.make_vec("garl/Paint-v0", num_envs=3, engine=JITTERED, strokes=2, render_mode="rgb_array")
    assert isinstance(env.unwrapped, PaintEnv)
    assert env.num_envs == 3
    env.reset(seed=0)
    canvas, *_ = env.step(env.action_space.sample())
    frames = env.render()
    assert env.render_mode == "rgb_array"
    assert len(frames) == 3
    for frame, picture in zip(frames, canvas, strict=True):
        np.testing.assert_array_equal(frame, picture.transpose(1, 2, 0))


def test_a_grey_canvas_renders_as_rgb() -> None:
    env = PaintEnv(2, CHANNELS_GREY, strokes=1)
    canvases, _ = episode(env, seed=0)
    frames = env.render()
    assert frames[1].shape == (20, 28, 3)
    np.testing.assert_array_equal(frames[1][..., 2], canvases[-1, 1, 0])


def test_spaces() -> None:
    env = PaintEnv(3, JITTERED, strokes=2)
    assert env.single_observation_space == gym.spaces.Box(0, 255, (3, 20, 28), np.uint8)
    assert env.single_action_space == gym.spaces.MultiDiscrete([64, 64, 64, 4, 4, 4, 4, 4])
    canvas, _ = env.reset(seed=0)
    assert env.observation_space.contains(canvas)
    canvas, reward, terminated, truncated, _ = env.step(env.action_space.sample())
    assert env.observation_space.contains(canvas)
    assert reward.shape == terminated.shape == truncated.shape == (3,)


def test_the_seed_decides_the_episode_and_the_threads_do_not() -> None:
    env = PaintEnv(3, JITTERED, strokes=4)
    one, _ = episode(env, seed=5)
    env.engine.threads = 1
    two, _ = episode(env, seed=5)
    np.testing.assert_array_equal(one, two)
    other, _ = episode(env, seed=6)
    unseeded, _ = episode(env, seed=None)
    assert (one[-1] != other[-1]).mean() > 0.05
    assert (other[-1] != unseeded[-1]).mean() > 0.05


def test_single_and_batch_paint_the_same_episode() -> None:
    batch, single = PaintEnv(1, JITTERED, strokes=3), PaintSingleEnv(JITTERED, strokes=3)
    expected, _ = episode(batch, seed=9)
    single.reset(seed=9)
    rng = np.random.default_rng(1)
    for step in range(3):
        canvas, *_ = single.step(rng.integers(0, batch.single_action_space.nvec))
        np.testing.assert_array_equal(canvas, expected[step + 1, 0])


def test_rewards_come_from_the_function_attached() -> None:
    seen: list[tuple[np.ndarray, bool]] = []

    def reward(canvas: np.ndarray, last: bool) -> np.ndarray:
        seen.append((canvas, last))
        return np.array([1.5, -2.0]) * len(seen)

    env = PaintEnv(2, JITTERED, strokes=3)
    action = env.action_space.sample()
    env.reset(seed=0)
    np.testing.assert_array_equal(env.step(action)[1], [0.0, 0.0])
    env.reward = reward
    canvas, rewards, *_ = env.step(action)
    np.testing.assert_array_equal(rewards, [1.5, -2.0])
    np.testing.assert_array_equal(seen[0][0], canvas)
    np.testing.assert_array_equal(env.step(action)[1], [3.0, -4.0])
    assert [last for _, last in seen] == [False, True]


def test_single_environment_passes_its_reward_on() -> None:
    env = PaintSingleEnv(JITTERED, strokes=1, reward=lambda canvas, last: np.array([2.5 if last else 0.0]))
    env.reset(seed=0)
    assert env.step(env.action_space.sample())[1] == 2.5


def test_episodes_end_together_and_the_next_step_starts_anew() -> None:
    finished: list[np.ndarray] = []
    env = PaintEnv(2, JITTERED, strokes=3, reward=lambda canvas, last: np.ones(2), on_finished=finished.append)
    assert env.metadata["autoreset_mode"] == gym.vector.AutoresetMode.NEXT_STEP
    env.reset(seed=0)
    env.action_space.seed(0)
    action, ends = env.action_space.sample(), []
    for step in range(1, 9):  # two episodes of three strokes and a step in which nothing is painted
        canvas, reward, terminated, truncated, info = env.step(action)
        ends.append(terminated.tolist())
        assert not truncated.any()
        assert ("strokes" in info) == terminated.all()
        if step % 4 == 0:
            assert (canvas == 255).all()
            np.testing.assert_array_equal(reward, [0.0, 0.0])
        if step % 4 == 3:
            assert len(finished) == (step + 1) // 4
            np.testing.assert_array_equal(finished[-1], canvas)
    assert ends == [[False] * 2, [False] * 2, [True] * 2, [False] * 2] * 2
    assert (finished[0] != finished[1]).mean() > 0.05, "the second episode has its own jitter"


@pytest.mark.parametrize("scale", [1, 2])
def test_infos_replay_to_the_very_final_canvas(scale: int) -> None:
    config = JITTERED.model_copy(update={"render_scale": scale, "background": (10, 60, 200)})
    canvases, info = episode(PaintEnv(3, config, strokes=4), seed=2)
    assert info["strokes"].shape == (3, 4, 14)
    replayed, brush = blank(config, 3), PreparedBrushes(load_brush("splatter"))
    for index in range(4):
        render_strokes(replayed, info["strokes"][:, index], info["seeds"], index, brush, scale)
        np.testing.assert_array_equal(replayed, canvases[index + 1])


def test_infos_replay_with_every_choice() -> None:
    canvases, info = episode(PaintEnv(5, EVERY_CHOICE, strokes=4), seed=2)
    assert {tuple(row) for row in info["strokes"][..., [OPACITY, BRUSH]].reshape(-1, 2) > 0} >= {
        *((painted, other) for painted in (False, True) for other in (False, True))
    }, "the pen must be up and down, with the first brush and with others"
    replayed, brushes = blank(EVERY_CHOICE, 5), PreparedBrushes(*load_brushes(EVERY_CHOICE))
    for index in range(4):
        render_strokes(replayed, info["strokes"][:, index], info["seeds"], index, brushes)
        np.testing.assert_array_equal(replayed, canvases[index + 1])


def test_infos_replay_at_four_times_the_size() -> None:
    config = JITTERED.model_copy(update={"render_scale": 4})
    canvases, info = episode(PaintEnv(3, config, strokes=4), seed=2)
    large = blank(config.model_copy(update={"height": 80, "width": 112}), 3)
    brush = PreparedBrushes(load_brush("splatter"))
    for index in range(4):
        render_strokes(large, info["strokes"][:, index], info["seeds"], index, brush)
    averaged = large.reshape(3, 3, 20, 4, 28, 4).mean((3, 5))
    assert np.abs(averaged - canvases[-1]).mean() <= 2
    assert np.abs(averaged - 255).mean() > 20


def test_misuse() -> None:
    with pytest.raises(gym.error.ResetNeeded, match="call reset before step"):
        PaintEnv(2, JITTERED).step(np.zeros((2, 8), int))
    with pytest.raises(GarlError, match="at least 1 canvas and 1 stroke, not 0 and 64"):
        PaintEnv(0, JITTERED)


def test_an_episode_begins_with_the_canvas_that_is_given_and_keeps_to_what_is_free() -> None:
    rng = np.random.default_rng(3)
    begun, free = rng.integers(0, 256, (3, 20, 28), np.uint8), rng.random((20, 28)) < 0.6
    env, plain = PaintEnv(2, JITTERED, strokes=2), PaintEnv(2, JITTERED, strokes=2)
    canvas, _ = env.reset(seed=4, options={"canvas": begun, "free": free})
    unlocked, _ = plain.reset(seed=4, options={"canvas": np.stack([begun, begun])})
    np.testing.assert_array_equal(canvas, [begun, begun])
    for _ in range(2):
        action = env.action_space.sample()
        canvas, _, _, _, info = env.step(action)
        unlocked, *_ = plain.step(action)
        np.testing.assert_array_equal(canvas[..., ~free], np.stack([begun, begun])[..., ~free])
        np.testing.assert_array_equal(canvas[..., free], unlocked[..., free])
    assert (canvas != begun).any((1, 2, 3)).all()
    assert info["strokes"].shape == (2, 2, 14)
    assert (env.step(action)[0] == 255).all(), "the next episode is blank"
    assert (env.step(action)[0][..., ~free] != 255).any(), "and free"
    own = np.stack([begun, 255 - begun])
    np.testing.assert_array_equal(env.reset(options={"canvas": own})[0], own)


def test_a_single_environment_begins_with_a_canvas_too() -> None:
    env = PaintSingleEnv(CHANNELS_GREY, strokes=1)
    begun, free = np.full((1, 20, 28), 90, np.uint8), np.indices((20, 28))[1] < 14
    np.testing.assert_array_equal(env.reset(seed=0, options={"canvas": begun, "free": free})[0], begun)
    canvas, *_ = env.step(np.array([0, 63, 3, 3, 3]))
    assert (canvas[:, :, 14:] == 90).all()
    assert (canvas != 90).any()


@pytest.mark.parametrize(
    "options",
    [{"canvas": np.zeros((20, 28), np.uint8)}, {"canvas": np.zeros((3, 20, 28))}, {"free": np.ones((28, 20), bool)}],
)
def test_a_canvas_that_does_not_suit_is_refused(options: dict[str, np.ndarray]) -> None:
    with pytest.raises(GarlError, match=rf"options\['{next(iter(options))}'\] is .*: give "):
        PaintEnv(2, JITTERED).reset(options=options)
