"""The pen: its actions, its rewards by hand, and demonstrations that end where they should."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from garl.env.pen import PenConfig, PenEnv, decode, demonstrate, draw, encode, pen_brush, reward_of

CONFIG = PenConfig(side=32, reach=4, moves=50)
BRUSH = pen_brush(0.0625)  # two pixels of 32


@given(st.integers(2, 16), st.data())
def test_an_action_is_its_move_and_back(reach: int, data: st.DataObject) -> None:
    dx, dy = (data.draw(st.integers(-reach, reach)) for _ in range(2))
    down = data.draw(st.integers(0, 1))
    config = PenConfig(reach=reach)
    action = encode(dx, dy, down, reach)
    assert 0 <= action < config.actions
    assert [int(each) for each in decode(torch.tensor(action), reach)] == [dx, dy, down]


def test_every_action_is_another_move() -> None:
    config = PenConfig()
    assert config.actions == 242  # the paper's
    moves = torch.stack(decode(torch.arange(242), config.reach), 1)
    assert len(moves.unique(dim=0)) == 242
    assert moves[0].tolist() == [-5, -5, 0]
    assert moves[121 + 11 * 2 + 7].tolist() == [2, -3, 1]
    assert moves[config.done].tolist() == [0, 0, 0]


def test_the_reward_by_hand() -> None:
    config = PenConfig(reach=5, slow=3, slow_penalty=0.5, lift_penalty=0.25, stray_penalty=2.0)
    dx, dy, down = torch.tensor([[5, 2, -2, -2, 0], [0, 1, -3, 1, 5], [1, 1, 0, 0, 1]])
    ink, less_error = torch.tensor([1.0, 0.6, 0.0, 0.0, 0.4]), torch.tensor([10.0, 3.0, 0.0, 0.0, -6.0])
    reward = reward_of(less_error, dx, dy, down, ink, 2.0, config)
    # full and right; slow; lifted; lifted and slow; stray: pens that are lifted cannot stray
    torch.testing.assert_close(reward, torch.tensor([1.0, 0.3 - 0.5, -0.25, -0.75, -0.6 - 2.0]))


def line(length: int) -> torch.Tensor:
    """A target with one horizontal line from the middle to the right."""
    return torch.from_numpy(draw([(np.array([[16.5, 16.5], [16.5 + length, 16.5]], np.float32) / 32,)], 32, BRUSH))


def test_a_line_along_the_target_earns_about_one_and_stops_at_the_edge() -> None:
    target = line(14)
    env = PenEnv(target.repeat(2, 1, 1, 1), BRUSH, CONFIG)
    blank = env.error()
    right, left = encode(4, 0, 1, 4), encode(-4, 0, 1, 4)
    reward = env.move(torch.tensor([right, left]))
    assert reward[0] == pytest.approx(1.0, abs=0.35)  # round ends reach beyond
    assert reward[1] < -0.3  # half of the first pixels are the target's
    assert env.pen.tolist() == [[20, 16, 1], [12, 16, 1]]
    less = (blank - env.error()) / (2 * CONFIG.reach)
    torch.testing.assert_close(reward, less - torch.tensor([0.0, CONFIG.stray_penalty]))
    for _ in range(3):
        reward = env.move(torch.tensor([right, left]))
    assert env.pen[0].tolist() == [31, 16, 1]
    before = env.error()
    reward = env.move(torch.tensor([right, encode(0, -4, 0, 4)]))
    assert env.pen[:, :2].tolist() == [[31, 16], [0, 12]]
    less = (before - env.error()) / (2 * CONFIG.reach)
    assert reward[0] == pytest.approx(less[0] - CONFIG.slow_penalty - CONFIG.stray_penalty)  # it did not move
    assert reward[1] == pytest.approx(-CONFIG.lift_penalty)


def test_a_finished_drawing_stays_as_it_is() -> None:
    env = PenEnv(line(8).repeat(2, 1, 1, 1), BRUSH, CONFIG)
    right = encode(4, 0, 1, 4)
    assert env.move(torch.tensor([CONFIG.done, right]))[0] == 0
    assert env.alive.tolist() == [False, True]
    assert env.move(torch.tensor([right, right]))[0] == 0
    assert not env.canvas[0].any()
    assert env.pen.tolist() == [[16, 16, 0], [24, 16, 1]]


def test_strokes_are_the_canvas() -> None:
    """What a stroke file would hold paints the same, and lifted moves paint nothing."""
    from garl.paint_picture import lay

    env = PenEnv(line(8), BRUSH, CONFIG)
    for dx, dy, down in ((3, -4, 1), (-4, -1, 0), (2, 2, 1)):
        env.move(torch.tensor([encode(dx, dy, down, 4)]))
    canvas = np.zeros((1, 32, 32), np.uint8)
    lay(canvas, np.concatenate(env.strokes), [env.prepared], 0)
    np.testing.assert_array_equal(canvas, env.canvas[0].numpy())
    np.testing.assert_allclose(env.strokes[0][0, :4] * 32, [16.5, 16.5, 19.5, 12.5])
    assert [stroke[0, 10] for stroke in env.strokes] == [1.0, 0.0, 1.0]


way = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(way, min_size=1, max_size=3), st.integers(2, 9), st.sampled_from([16, 33, 56]), st.data())
def test_a_demonstration_follows_every_way(
    ways: list[list[tuple[float, float]]], reach: int, side: int, data: st.DataObject
) -> None:
    """Drawn lines begin and end where the ways do, and all of each way lies within a pixel and a half of a line."""
    config = PenConfig(side=side, reach=reach)
    drawing = tuple(np.array(each, np.float32) for each in ways)
    start = np.array([data.draw(st.integers(0, side - 1)) for _ in range(2)])
    actions = demonstrate(drawing, config, start)
    assert actions[-1] == config.done
    assert (actions[:-1] != config.done).all()
    dx, dy, down = (each.numpy() for each in decode(torch.from_numpy(actions), reach))
    places = start + np.concatenate([[[0, 0]], np.stack([dx, dy], 1).cumsum(0)])
    assert places.min() >= 0
    assert places.max() < side
    begin, end = places[:-1][down == 1], places[1:][down == 1]
    for stroke in drawing:
        ends = np.clip(stroke[[0, -1]] * np.float64(side) - 0.5, 0, side - 1)
        for point in (*ends, *np.clip(stroke * np.float64(side) - 0.5, 0, side - 1)):
            along = end - begin
            share = ((point - begin) * along).sum(1) / np.maximum(1e-9, (along**2).sum(1))
            nearest = begin + share.clip(0, 1)[:, None] * along
            assert np.linalg.norm(nearest - point, axis=1).min() < 1.5
    assert down[:-1].any()


def test_a_straight_way_takes_as_few_moves_as_it_can_and_a_dot_takes_one() -> None:
    to_the_right = np.array([[16.5, 16.5], [28.5, 16.5]], np.float32) / 32
    moves = [
        tuple(int(each) for each in decode(action, 4))
        for action in torch.from_numpy(demonstrate((to_the_right,), CONFIG))
    ]
    assert moves == [(4, 0, 1), (4, 0, 1), (4, 0, 1), (0, 0, 0)]
    dot = np.array([[10.5, 22.5]], np.float32) / 32
    moves = [tuple(int(each) for each in decode(action, 4)) for action in torch.from_numpy(demonstrate((dot,), CONFIG))]
    assert moves == [(-3, 3, 0), (-3, 3, 0), (0, 0, 1), (0, 0, 0)]


def test_demonstrated_drawings_look_like_the_drawings() -> None:
    turn = np.linspace(0, 5, 40)
    circle = np.stack([0.5 + 0.3 * np.cos(turn), 0.4 + 0.3 * np.sin(turn)], 1).astype(np.float32)
    target = torch.from_numpy(draw([(circle, np.array([[0.1, 0.9]], np.float32))], 32, BRUSH))
    env = PenEnv(target, BRUSH, CONFIG, start=torch.tensor([[29, 3]]))
    blank = env.error()
    for action in demonstrate((circle, np.array([[0.1, 0.9]], np.float32)), CONFIG, np.array([29, 3])):
        env.move(torch.tensor([action]))
    assert env.error() < 0.25 * blank
    assert not env.alive.any()
