"""The examples run as they stand."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_by_hand(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "by_hand.py"), "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.startswith("   0  entropy ")
    assert done.stdout.count("\n") == 1
    picture = np.asarray(Image.open(tmp_path / "by_hand.png"))
    side = 3 * (8 * (28 + 2) + 2)  # 8 × 8 paintings of 28 pixels, three times as large
    assert picture.shape == (side, side, 3)
    tiles = {picture[6 + 90 * i : 90 * i + 90, 6 + 90 * j : 90 * j + 90].tobytes() for i in range(8) for j in range(8)}
    assert len(tiles) == 64
