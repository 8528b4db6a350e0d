import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from garl.errors import GarlError
from garl.evaluate.frechet import frechet_distance
from garl.evaluate.judge import BATCH, SHIPPED, Judge, as_ink, load_judge


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (BATCH + 3, 1, 28, 28), np.uint8)


@pytest.mark.data
def test_the_shipped_judge_reads_digits(mnist_test):
    images, labels = mnist_test
    assert (load_judge().classify(images) == labels).mean() >= 0.985


@pytest.mark.data
def test_frechet_tells_fives_from_noise(mnist_test, fives_of_training, pictures):
    images, labels = mnist_test
    judge = load_judge()
    real = judge.features(images[labels == 5])
    same, noise = (frechet_distance(judge.features(x), real) for x in (fives_of_training, pictures))
    assert len(real) == 892
    assert same < 2
    assert noise > 100 * same


def test_features_do_not_depend_on_the_batch_nor_on_the_container(pictures):
    judge = load_judge()
    features, digits = judge.look(pictures)
    alone_features, alone_digit = judge.look(torch.from_numpy(pictures[-1:]))
    assert features.dtype == np.float64
    assert digits.dtype == np.int64
    np.testing.assert_allclose(features[-1:], alone_features, rtol=1e-4, atol=1e-5)
    assert digits[-1:] == alone_digit
    assert features.min() >= 0


def test_features_and_classes_are_those_of_the_network(pictures):
    judge = load_judge()
    with torch.no_grad():
        features, logits = judge(torch.from_numpy(pictures[:5]).float() / 255)
    np.testing.assert_allclose(judge.features(pictures[:5]), features.numpy(), rtol=1e-4, atol=1e-5)
    assert judge.classify(pictures[:5]).tolist() == logits.argmax(1).tolist()
    assert not judge.training


def test_colour_becomes_luma():
    red_green_blue = torch.tensor([200, 100, 50], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 28, 28)
    expected = (0.299 * 200 + 0.587 * 100 + 0.114 * 50) / 255
    torch.testing.assert_close(as_ink(red_green_blue), torch.full((1, 1, 28, 28), expected))


def test_shrinking_averages_where_plain_sampling_would_skip():
    image = torch.zeros(1, 1, 28 * 4, 28 * 2, dtype=torch.uint8)
    image[:, :, ::4] = 255  # one row in four: a quarter of the ink
    ink = as_ink(image)
    assert ink.shape == (1, 1, 28, 28)
    torch.testing.assert_close(ink[:, :, 1:-1], torch.full((1, 1, 26, 28), 0.25), atol=0.01, rtol=0)


def test_a_judge_of_another_architecture_returns_from_its_file(tmp_path, pictures):
    torch.manual_seed(0)
    judge = Judge(widths=(3, 5), kernel=5).eval()
    path = tmp_path / "other.safetensors"
    judge.save(path, test_accuracy="0.1")
    loaded = load_judge(path)
    assert (loaded.widths, loaded.kernel) == ((3, 5), 5)
    np.testing.assert_array_equal(loaded.features(pictures[:4]), judge.features(pictures[:4]))
    assert load_judge(path) is loaded


def test_the_shipped_file_is_small():
    assert SHIPPED.stat().st_size <= 2**20
    assert sum(weight.numel() for weight in load_judge().parameters()) <= 250_000


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\x02\x00\x00\x00\x00\x00\x00\x00{}"])
def test_a_file_that_is_no_judge(tmp_path, content):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(GarlError, match=r"broken\.safetensors is not a judge"):
        load_judge(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("widths", "30000 30000"),  # 32 GB
        ("widths", "3 " * 10**5),
        ("widths", ""),
        ("widths", "-3"),
        ("kernel", "4"),
        ("kernel", "100001"),
        ("kernel", "9" * 5000),
    ],
)
def test_a_false_architecture_is_refused_before_it_is_built(tmp_path, name, value):
    judge = Judge(widths=(3, 5), kernel=5)
    save_file(judge.state_dict(), tmp_path / "x.safetensors", {"widths": "3 5", "kernel": "5"} | {name: value})
    with pytest.raises(GarlError, match="is not a judge"):
        load_judge(tmp_path / "x.safetensors")


@pytest.mark.parametrize("change", ["double", "nan", "missing"])
def test_false_weights(tmp_path, change):
    weights = Judge(widths=(3, 5), kernel=5).state_dict()
    if change == "double":
        weights = {key: weight.double() for key, weight in weights.items()}
    elif change == "nan":
        weights["head.1.bias"][3] = float("nan")
    else:
        del weights["head.1.bias"]
    save_file(weights, tmp_path / "x.safetensors", {"widths": "3 5", "kernel": "5"})
    with pytest.raises(GarlError, match="is not a judge"):
        load_judge(tmp_path / "x.safetensors")


def test_a_missing_file(tmp_path):
    with pytest.raises(GarlError, match="train_judge"):
        load_judge("x" * 5000)
    with pytest.raises(GarlError, match="train_judge"):
        load_judge(tmp_path / "none.safetensors")


@pytest.mark.parametrize("images", [np.zeros((2, 1, 28, 28)), np.zeros((2, 2, 9, 9), np.uint8), np.zeros(3, np.uint8)])
def test_what_it_cannot_see(images):
    with pytest.raises(GarlError, match="the judge sees images"):
        load_judge().features(images)


def test_loading_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    load_judge.__wrapped__()
    assert torch.equal(torch.get_rng_state(), before)
