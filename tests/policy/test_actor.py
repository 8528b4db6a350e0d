"""The actor of Learning to Paint with a plan: where its strokes begin, and in which colours."""

from __future__ import annotations

import pytest
import torch

from garl.engine.neural import Kind
from garl.policy.actor import NARROWEST, RATE, READ, Actor, first_plan, under
from garl.policy.resnet import ResNetConfig, seen

SMALL = ResNetConfig(width=2)


def pictures(n: int, side: int = 32) -> torch.Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(3))


def test_without_a_plan_it_is_the_network_alone() -> None:
    torch.manual_seed(0)
    actor = Actor(2, 5, 32, SMALL, plan=False).eval()
    canvas, target, progress = pictures(3), pictures(3).flip(0), torch.tensor([0.0, 0.2, 0.8])
    logits = super(Actor, actor).forward(seen(canvas, target, progress))
    assert torch.equal(actor(canvas, target, progress), logits.sigmoid().view(3, 2, 13))


def test_a_plan_gives_each_action_its_own_short_strokes_which_become_finer() -> None:
    torch.manual_seed(0)
    actor = Actor(3, 40, 32, SMALL, plan=True).eval()
    assert actor.plan is not None
    target, progress = pictures(40), torch.arange(40) / 40
    action = actor(torch.ones_like(target), target, progress)
    begun = (RATE * actor.plan).sigmoid()
    assert torch.allclose(action[..., :6], begun[..., :6])
    wide = NARROWEST ** progress[:, None, None]
    assert torch.allclose(action[..., 6:10:2], begun[..., 6:10:2] * wide)
    assert torch.allclose(action[..., 7:10:2], begun[..., 7:10:2])
    places = action[..., :6].unflatten(-1, (3, 2))
    assert places[:, :, 0].std() > 0.2  # all over the canvas
    assert (places[:, :, 2] - places[:, :, 0]).norm(dim=-1).median() < 0.25


def test_the_last_canvas_has_a_plan_too() -> None:
    """The critic's target asks what follows after the last action; it does not count."""
    actor = Actor(1, 4, 32, SMALL, plan=True).eval()
    assert actor(pictures(1), pictures(1), torch.ones(1)).shape == (1, 1, 13)


@pytest.mark.parametrize(
    ("kind", "color"), [("bezier", (0.5, 0.499, 0.1)), ("triangle", (0.5, 0.5, 0.1)), ("circle", (0.25, 0.75, 0.1))]
)
def test_colours_are_the_targets_where_the_stroke_lies(kind: Kind, color: tuple[float, float, float]) -> None:
    """On a target that is red by column, green by row, both from 0 to 1, and evenly blue."""
    ramp = (torch.arange(64) + 0.5) / 64
    target = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64), torch.full((64, 64), 0.1)])[None]
    points = torch.tensor([[[0.25, 0.75, 0.5, 0.25, 0.75, 0.5]]])
    read = torch.tensor(READ[kind])
    row = (read @ torch.tensor([0.75, 0.25, 0.5])).mean().item()
    expected = torch.tensor([color[0], row, color[2]])
    assert torch.allclose(under(target, points, read)[0, 0], expected, atol=0.01)
    assert row == pytest.approx(color[1], abs=0.002)


def test_what_it_reads_is_what_it_paints_before_it_learns() -> None:
    torch.manual_seed(0)
    actor = Actor(2, 5, 32, SMALL, plan=True).eval()
    target = torch.full((1, 3, 32, 32), 0.3)
    target[:, 1] = 0.8
    action = actor(torch.ones_like(target), target, torch.tensor([0.4]))
    assert torch.allclose(action[0, :, 10:], torch.tensor([0.3, 0.8, 0.3]), atol=1e-5)


def test_plans_differ_by_the_seed_alone() -> None:
    plans = [first_plan(4, 2) for seed in (0, 0, 1) if torch.manual_seed(seed)]
    assert torch.equal(plans[0], plans[1])
    assert not torch.equal(plans[0], plans[2])
