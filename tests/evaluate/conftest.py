import gzip
from pathlib import Path

import numpy as np
import pytest

MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist"


def read_idx(name: str, offset: int) -> np.ndarray:
    if not MNIST.is_dir():
        pytest.skip(f"no pictures in {MNIST}")
    return np.frombuffer(gzip.decompress((MNIST / name).read_bytes()), np.uint8, offset=offset)


@pytest.fixture(scope="session")
def mnist_test() -> tuple[np.ndarray, np.ndarray]:
    """Images (10000, 1, 28, 28) and labels (10000,), both uint8."""
    images = read_idx("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
    return images, read_idx("t10k-labels-idx1-ubyte.gz", 8)


@pytest.fixture(scope="session")
def fives_of_training() -> np.ndarray:
    """The first 2048 fives of the training file, (2048, 1, 28, 28) uint8."""
    images = read_idx("train-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
    return images[read_idx("train-labels-idx1-ubyte.gz", 8) == 5][:2048]
