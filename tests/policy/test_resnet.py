"""What the networks of Learning to Paint see, and their layout."""

from __future__ import annotations

import pytest
import torch

from garl.policy.resnet import ResNet, ResNetConfig, TranslatedReLU, seen


def test_each_channel_is_where_it_belongs() -> None:
    canvas, target = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    picture = seen(canvas, target, torch.tensor([0.25, 0.5]))
    assert picture.shape == (2, 9, 4, 5)
    assert torch.equal(picture[:, :3], canvas)
    assert torch.equal(picture[:, 3:6], target)
    assert torch.equal(picture[:, 6].flatten(1).T, torch.tensor([[0.25, 0.5]]).expand(20, 2))
    assert picture[1, 7, 2].tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]  # the column
    assert picture[1, 8, :, 3].tolist() == pytest.approx([0.0, 1 / 3, 2 / 3, 1.0])  # the row


def test_the_paper_s_size_is_resnet_18() -> None:
    network = ResNet(65, 128, ResNetConfig(width=64, blocks=2, head="mean"), batch_norm=True)
    count = sum(p.numel() for p in network.parameters() if p.ndim == 4)
    stages = [(64, 64, 0), (64, 128, 1), (128, 256, 1), (256, 512, 1)]
    wanted = 9 * 64 * 9 + sum(9 * a * b + 3 * 9 * b * b + a * b for a, b, _ in stages)
    assert count == wanted + 0  # each stage: four 3×3 convolutions and a 1×1 shortcut
    assert network(torch.rand(2, 9, 128, 128)).shape == (2, 65)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("side", [16, 37])
def test_places_are_told_apart(batch_norm: bool, side: int) -> None:
    """The mean of the last maps cannot be, by much; the head of all places is."""
    torch.manual_seed(0)
    network = ResNet(4, side, ResNetConfig(width=4), batch_norm).eval()
    assert network(torch.rand(3, 9, side, side)).shape == (3, 4)


def test_the_translated_relu_is_a_floor() -> None:
    layer = TranslatedReLU(2)
    with torch.no_grad():
        layer.floor.copy_(torch.tensor([-1.0, 0.5])[:, None, None])
    x = torch.tensor([-3.0, -0.5, 2.0]).expand(1, 2, 1, 3)
    assert layer(x)[0, :, 0].tolist() == [[-1.0, -0.5, 2.0], [0.5, 0.5, 2.0]]
