"""Distances between feature maps: the definition, what they notice, and other people's weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from garl.errors import GarlError
from garl.evaluate.features import VGG16, Features, load_features, perceptual_distance
from garl.evaluate.train_features import crops, painted, same_picture, spoilt


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VGG16's convolutions with random weights, as torchvision names them, and its classifier's beginning."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("features") / "vgg.safetensors"
    weights = {name: tensor.half() for name, tensor in Features(VGG16).state_dict().items()}
    assert len(weights) == 26
    assert weights["features.28.weight"].shape == (512, 512, 3, 3)
    save_file(weights | {"classifier.0.bias": torch.zeros(4)}, path)
    return path


def test_the_distance_is_its_definition() -> None:
    features = Features([(2,), (3,)], [torch.tensor([1.0, 5.0]), torch.tensor([1.0, 1.0, 2.0])])
    x = [torch.tensor([3.0, 4.0]).view(1, 2, 1, 1).expand(1, 2, 2, 3), torch.zeros(1, 3, 1, 1)]
    y = [x[0].clone(), torch.tensor([0.0, 0.0, 7.0]).view(1, 3, 1, 1)]
    y[0][0, :, 1, 2] = torch.tensor([2.0, 0.0])  # one of six places: (3, 4) / 5 against (1, 0)
    first = (1.0 * (0.6 - 1.0) ** 2 + 5.0 * 0.8**2) / 6
    assert features.distance(x, y).tolist() == pytest.approx([first + 2.0])


def test_a_look_is_the_last_maps_averaged_over_quarters_and_the_same_for_grey_in_three_channels() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (130, 1, 16, 24), np.uint8)
    seen, classes = load_features().look(pictures)
    maps = load_features()(torch.from_numpy(pictures[129:]).repeat(1, 3, 1, 1) / 255)[-1][0]  # (128, 2, 3)
    columns = torch.stack([maps[:, :, :2].mean(2), maps[:, :, 1:].mean(2)], 2)  # of three, the middle one counts twice
    assert classes is None
    assert seen.shape == (130, 512)
    np.testing.assert_allclose(seen[129], 10 * columns.flatten(), rtol=1e-4, atol=1e-5)


def test_maps_are_after_the_last_relu_of_each_stage() -> None:
    torch.manual_seed(0)
    features, x = Features([(4, 5), (6,)]), torch.rand(1, 3, 8, 12)
    first, second = features(x)
    assert (first.shape, second.shape) == ((1, 5, 8, 12), (1, 6, 4, 6))
    assert min(first.min(), second.min()) == 0.0
    layers = features.features
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    whole = layers((x - mean.view(3, 1, 1)) / deviation.view(3, 1, 1))
    assert torch.equal(whole, second)
    with pytest.raises(GarlError, match="2 pixels a side"):
        features(x[:, :, :1])


def test_what_ships_is_small_and_ranks_damage() -> None:
    features = load_features()
    pictures = painted(3, np.random.default_rng(7))
    rng = np.random.default_rng(0)
    for picture in pictures:
        assert perceptual_distance(picture, picture, features) == 0.0
        for how, levels in {"blur": (0.5, 1, 2, 4), "noise": (8, 16, 32, 64), "shift": (1, 2, 4, 8)}.items():
            found = [perceptual_distance(spoilt(picture, how, level, rng), picture, features) for level in levels]
            assert found == sorted(found)
            assert found[0] > 0.0


def test_vgg_weights_are_taken_by_their_names(vgg: Path, tmp_path: Path) -> None:
    features = load_features(vgg)
    assert [len(weight) for weight in features.weights] == [64, 128, 256, 512, 512]
    assert all((weight == 1.0).all() for weight in features.weights)
    x = torch.rand(1, 3, 16, 32)
    assert [tuple(each.shape[1:]) for each in features(x)][-1] == (512, 1, 2)


def test_lpips_weights_are_taken_with_them(vgg: Path, tmp_path: Path) -> None:
    lines = {f"lin{i}.model.1.weight": torch.full((1, widths[-1], 1, 1), i + 0.5) for i, widths in enumerate(VGG16)}
    save_file(Features(VGG16).state_dict() | lines, tmp_path / "lpips.safetensors")
    weights = load_features(tmp_path / "lpips.safetensors").weights
    assert [weight[0].item() for weight in weights] == [0.5, 1.5, 2.5, 3.5, 4.5]


def test_another_file_is_one_sentence(vgg: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no weights")
    save_file({"features.0.weight": torch.zeros(64, 3, 5, 5)}, tmp_path / "wrong.safetensors")
    save_file(Features(VGG16).state_dict() | {"features.0.bias": torch.full((64,), torch.nan)}, tmp_path / "nan")
    says = {
        "missing": "cannot read",
        "text": "cannot read",
        "nan": "not all finite",
        "wrong.safetensors": "features.0.w",
    }
    for name, words in says.items():
        with pytest.raises(GarlError, match=f"{words}") as caught:
            load_features(tmp_path / name)
        assert name in str(caught.value)


def test_crops_of_one_picture_are_told_from_others() -> None:
    first = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    alone = torch.log(1 + 2 * torch.exp(torch.tensor(-1.0 / 0.5)))  # partner 1, both others 0
    assert same_picture(first, 3 * first, 0.5).item() == pytest.approx(alone.item())
    assert same_picture(first, first.flip(0), 0.5) > alone


def test_crops_are_parts_of_their_picture() -> None:
    pictures = torch.zeros(20, 3, 64, 64)
    pictures[::2] = 1.0
    parts = crops(pictures, torch.Generator().manual_seed(0)).mean((1, 2, 3))
    assert parts[::2].min() > parts[1::2].max()


def test_loading_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    load_features.__wrapped__()
    assert torch.equal(torch.get_rng_state(), before)
