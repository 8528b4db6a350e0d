"""The discriminator's layers against the thesis's tables 5.1 and 5.2."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from garl.adversary.discriminator import Committee, Discriminator, DiscriminatorConfig, SelfAttention


def maps(network: Discriminator, images: torch.Tensor) -> list[tuple[int, ...]]:
    """(C, H, W) after each convolution."""
    seen: list[tuple[int, ...]] = []
    for layer in network.layers:
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _m, _i, out: seen.append(tuple(out.shape[1:])))
    network(images)
    return seen


@pytest.mark.parametrize(
    ("canvas", "sizes"),
    [
        ((3, 64, 64), [(32, 32), (16, 16), (8, 8), (4, 4)]),
        ((1, 28, 28), [(14, 14), (7, 7), (4, 4), (2, 2)]),
        ((3, 48, 20), [(24, 10), (12, 5), (6, 3), (3, 2)]),
        ((1, 2, 9), [(1, 5), (1, 3), (1, 2), (1, 1)]),
    ],
)
def test_feature_maps_halve_and_their_number_doubles(canvas: tuple, sizes: list) -> None:
    network = Discriminator(canvas, DiscriminatorConfig(channels=3))
    expected = [(6 * 2**i, *size) for i, size in enumerate(sizes)]
    assert maps(network, torch.zeros(2, *canvas)) == [*expected, (1, 1, 1)]
    assert network(torch.zeros(5, *canvas)).shape == (5,)


def test_the_default_is_the_thesis_size() -> None:
    network = Discriminator((3, 64, 64))
    convolutions = [layer for layer in network.layers if isinstance(layer, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [128, 256, 512, 1024, 1]
    assert [(c.kernel_size, c.stride, c.padding) for c in convolutions[:4]] == [((3, 3), (2, 2), (1, 1))] * 4
    assert convolutions[4].kernel_size == (4, 4)
    assert convolutions[4].padding == (0, 0)
    assert all(c.bias is not None for c in convolutions[:4])


def test_without_norms_it_is_convolutions_and_leaky_relus_and_no_sigmoid() -> None:
    torch.manual_seed(0)
    network = Discriminator((2, 12, 20), DiscriminatorConfig(channels=2, spectral_norm=False))
    weights = [p.detach().double() for p in network.parameters()]
    x = 3 * torch.randn(4, 2, 12, 20, generator=torch.Generator().manual_seed(1))
    y = x.double()
    for i in range(4):
        y = F.conv2d(y, weights[2 * i], weights[2 * i + 1], stride=2, padding=1)
        y = torch.where(y > 0, y, 0.2 * y)
    bias = weights[9] if len(weights) > 9 else 0.0
    y = (y * weights[8]).flatten(1).sum(1) + bias
    torch.testing.assert_close(network(x).double(), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("norm", "kind"),
    [("none", ()), ("layer", nn.GroupNorm), ("instance", nn.InstanceNorm2d), ("batch", nn.BatchNorm2d)],
)
def test_each_hidden_layer_but_not_the_output_is_normalised(norm: str, kind: type) -> None:
    """Mean 0 and variance 1 over what the norm is named for, before the leaky ReLU."""
    torch.manual_seed(0)
    network = Discriminator((1, 32, 48), DiscriminatorConfig(channels=2, norm=norm, spectral_norm=False))
    norms = [layer for layer in network.layers if kind and isinstance(layer, kind)]
    assert len(norms) == (0 if norm == "none" else 4)
    outputs: list[torch.Tensor] = []
    for layer in norms:
        layer.register_forward_hook(lambda _m, _i, out: outputs.append(out.detach()))
    network.train()(5 + 9 * torch.randn(6, 1, 32, 48, generator=torch.Generator().manual_seed(1)))
    over = {"layer": (1, 2, 3), "instance": (2, 3), "batch": (0, 2, 3), "none": ()}[norm]
    for out in outputs:
        assert out.mean(over).abs().max() < 1e-4
        torch.testing.assert_close(out.var(over, correction=0), torch.ones_like(out.mean(over)), rtol=0, atol=0.01)
    kinds = [type(layer) for layer in network.layers]
    assert kinds[-1] is not kind
    assert kinds[-2] is nn.LeakyReLU


def test_instance_norm_leaves_out_maps_of_one_pixel() -> None:
    """Their variance is 0: the norm would erase them, and PyTorch refuses."""
    network = Discriminator((1, 16, 16), DiscriminatorConfig(channels=2, norm="instance"))
    assert sum(isinstance(layer, nn.InstanceNorm2d) for layer in network.layers) == 3
    a, b = network.train()(torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)))
    assert a != b


def test_spectral_norm_brings_the_largest_singular_value_to_one() -> None:
    torch.manual_seed(0)
    canvas = (3, 10, 20)
    network = Discriminator(canvas, DiscriminatorConfig(channels=2))
    for layer in network.layers:
        if isinstance(layer, nn.Conv2d):
            layer.parametrizations.weight.original.data.mul_(7.0)
    network.train()
    for _ in range(400):
        network(torch.zeros(1, *canvas))
    network.eval()
    layers = [layer for layer in network.layers if isinstance(layer, nn.Conv2d)]
    assert len(layers) == 5, "the output layer is normalised too"
    for layer in layers:
        largest = torch.linalg.svdvals(layer.weight.detach().flatten(1).double())[0].item()
        assert largest == pytest.approx(1.0, abs=0.01)


def test_dropout_works_in_training_only() -> None:
    torch.manual_seed(0)
    network = Discriminator((1, 16, 32), DiscriminatorConfig(channels=4, dropout=0.5, spectral_norm=False))
    x = torch.randn(3, 1, 16, 32, generator=torch.Generator().manual_seed(1))
    assert not torch.equal(network.train()(x), network(x))
    assert torch.equal(network.eval()(x), network(x))
    network = Discriminator((1, 16, 32), DiscriminatorConfig(channels=4, spectral_norm=False)).train()
    assert torch.equal(network(x), network(x))


def test_attention_against_a_slow_loop() -> None:
    """Each place takes the values of all others, weighted by how well its query fits their keys."""
    torch.manual_seed(0)
    block = SelfAttention(16, lambda layer: layer)
    x = torch.randn(2, 16, 3, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)  # γ = 0
    with torch.no_grad():
        block.gamma.fill_(0.7)
    query, key, value, out = (layer.weight[..., 0, 0] for layer in (block.query, block.key, block.value, block.out))
    assert query.shape == key.shape == value.shape == (2, 16)
    expected = x.clone()
    for n in range(2):
        places = x[n].flatten(1).T  # (12, 16)
        for j, here in enumerate(places):
            fit = torch.stack([(query @ here) @ (key @ there) for there in places])
            share = fit.exp() / fit.exp().sum()
            seen = sum(s * (value @ there) for s, there in zip(share, places, strict=True))
            expected[n, :, j // 4, j % 4] += 0.7 * (out @ seen)
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", [1, 4])
def test_attention_follows_its_layer(layer: int) -> None:
    network = Discriminator((1, 16, 20), DiscriminatorConfig(channels=2, attention=layer))
    where = [i for i, each in enumerate(network.layers) if isinstance(each, SelfAttention)]
    assert where == [2 * layer]
    assert network.layers[2 * layer].out.out_channels == 2 * 2**layer


def test_projection_adds_the_inner_product_of_class_and_features() -> None:
    torch.manual_seed(0)
    config = DiscriminatorConfig(channels=2, spectral_norm=False)
    network = Discriminator((1, 12, 20), config, classes=3)
    plain = Discriminator((1, 12, 20), config)
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("projection")})
    x = torch.randn(4, 1, 12, 20, generator=torch.Generator().manual_seed(1))
    classes = torch.tensor([2, 0, 1, 2])
    features = network.layers[:-1](x).flatten(1)
    inner = torch.stack([network.projection.weight[c] @ f for c, f in zip(classes, features, strict=True)])
    torch.testing.assert_close(network(x, classes), plain(x) + inner)
    assert inner.abs().min() > 1e-4


def test_a_committee_scores_the_mean_of_its_members() -> None:
    torch.manual_seed(0)
    members = [Discriminator((1, 12, 20), DiscriminatorConfig(channels=2)).eval() for _ in range(3)]
    x = torch.randn(4, 1, 12, 20, generator=torch.Generator().manual_seed(1))
    scores = [member(x) for member in members]
    torch.testing.assert_close(Committee(members)(x), (scores[0] + scores[1] + scores[2]) / 3)
    assert (scores[0] - scores[1]).abs().max() > 1e-3
