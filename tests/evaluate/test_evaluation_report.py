import json

import numpy as np
import pytest
import torch

from garl.errors import GarlError
from garl.evaluate.coverage import class_shares
from garl.evaluate.frechet import frechet_distance
from garl.evaluate.judge import load_judge
from garl.evaluate.report import evaluate


def blots(n: int, seed: int) -> np.ndarray:
    """White rectangles of random place and size, (n, 1, 28, 28) uint8."""
    rng, images = np.random.default_rng(seed), np.zeros((n, 1, 28, 28), np.uint8)
    for image, (top, left, height, width) in zip(images, rng.integers(3, 14, (n, 4)), strict=True):
        image[0, top : top + height, left : left + width] = 255
    return images


def test_each_figure_is_its_metric_and_the_record_is_json():
    painted, real, floor = blots(40, 0) // 2, blots(70, 1), blots(60, 2)
    record = evaluate(torch.from_numpy(painted), real, label=1, floor=floor)
    assert json.loads(json.dumps(record)) == record
    judge = load_judge()
    assert (record["paintings"], record["real"]) == (40, 70)
    assert record["frechet"] == pytest.approx(frechet_distance(judge.features(painted), judge.features(real)))
    assert record["frechet_floor"] == pytest.approx(frechet_distance(judge.features(floor[:40]), judge.features(real)))
    assert record["shares"] == class_shares(judge.classify(painted)).tolist()
    assert record["recognised"] == record["shares"][1]
    means = [x.mean(0) / 255 for x in (painted, real)]
    assert record["pixel_mean_gap"] == pytest.approx(np.abs(means[0] - means[1]).mean())
    assert record["frechet"] > record["frechet_floor"]
    assert record["pixel_mean_gap"] > record["pixel_mean_gap_floor"]
    compared = {name for name in record if not name.endswith("_floor")} - {"paintings", "real"}
    assert {name for name in record if name.endswith("_floor")} == {f"{name}_floor" for name in compared}


def test_real_pictures_score_perfectly_against_themselves():
    real = blots(30, 3)
    record = evaluate(real, real)
    assert record["frechet"] == pytest.approx(0, abs=1e-9)
    assert (record["precision"], record["recall"], record["total_variation"], record["pixel_std_gap"]) == (1, 1, 0, 0)
    assert "recognised" not in record
    assert not any(name.endswith("_floor") for name in record)


def test_too_few_pictures():
    with pytest.raises(GarlError, match="more than 3 paintings, not 1"):
        evaluate(blots(1, 0), blots(9, 1))
    with pytest.raises(GarlError, match="more than 3 real pictures, not 0"):
        evaluate(blots(9, 0), blots(0, 1))
    with pytest.raises(GarlError, match="the floor has 8 pictures for 9 paintings"):
        evaluate(blots(9, 0), blots(9, 1), floor=blots(8, 2))
