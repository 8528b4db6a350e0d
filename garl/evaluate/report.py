"""Every metric of a set of paintings in one record, each beside the floor that real pictures reach."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from garl.errors import GarlError
from garl.evaluate.coverage import class_shares, coverage, recognised, total_variation
from garl.evaluate.frechet import frechet_distance
from garl.evaluate.judge import Judge, load_judge
from garl.evaluate.pixels import pixel_gaps
from garl.evaluate.precision_recall import NEIGHBOURS, precision_recall

Images = Tensor | np.ndarray
Value = float | list[float]


def evaluate(
    paintings: Images,
    real: Images,
    *,
    label: int | None = None,
    asked: np.ndarray | None = None,
    floor: Images | None = None,
    judge: Judge | None = None,
) -> dict[str, Value]:
    """Paintings (N, C, H, W) against real pictures (M, C, H, W), both uint8 → a JSON-able record.

    `paintings` and `real` count the pictures; `frechet`, `precision`, `recall`, `pixel_mean_gap`, `pixel_std_gap`,
    `coverage` and `total_variation` compare them; `shares` lists the ten class shares; `recognised`, with a label, is
    the share of paintings that the judge takes for it. `asked`, the digit that each painting was to show (N,), adds
    `met`, the share that the judge takes for that, and `met_by_class`, the same for each digit asked for, in order.
    With `floor`, at least N further real pictures in random order, its first N are measured as if painted, and each
    figure but `met` gains a companion `…_floor`: what a perfect painter scores.
    Raises GarlError if there are too few pictures.
    """
    judge = judge or load_judge()
    painted, reference = _array(paintings, "paintings"), _array(real, "real pictures")
    seen = judge.both(reference)
    painted_seen = judge.both(painted)
    record = _compare(painted, painted_seen, reference, seen, label)
    if asked is not None:
        met = painted_seen[1] == asked
        record |= {"met": float(met.mean()), "met_by_class": [float(met[asked == i].mean()) for i in np.unique(asked)]}
    if floor is not None:
        if len(floor) < len(painted):
            raise GarlError(f"the floor has {len(floor)} pictures for {len(painted)} paintings: give at least as many")
        sample = _array(floor, "floor pictures")[: len(painted)]
        record |= {f"{k}_floor": v for k, v in _compare(sample, judge.both(sample), reference, seen, label).items()}
    return {"paintings": len(painted), "real": len(reference), **record}


def _compare(
    painted: np.ndarray,
    painted_seen: tuple[np.ndarray, np.ndarray],
    real: np.ndarray,
    real_seen: tuple[np.ndarray, np.ndarray],
    label: int | None,
) -> dict[str, Value]:
    """All metrics; `…_seen` are the judge's features (N, 64) and digits (N,)."""
    features, digits = painted_seen
    real_features, real_digits = real_seen
    shares = class_shares(digits)
    precision, recall = precision_recall(features, real_features)
    mean_gap, std_gap = pixel_gaps(painted, real)
    record: dict[str, Value] = {
        "frechet": frechet_distance(features, real_features),
        "precision": precision,
        "recall": recall,
        "pixel_mean_gap": mean_gap,
        "pixel_std_gap": std_gap,
        "coverage": coverage(shares),
        "total_variation": total_variation(shares, class_shares(real_digits)),
        "shares": shares.tolist(),
    }
    return record if label is None else record | {"recognised": recognised(digits, label)}


def _array(images: Images, name: str) -> np.ndarray:
    """The pictures as an array on the CPU, enough of them for every metric."""
    if len(images) <= NEIGHBOURS:
        raise GarlError(f"an evaluation needs more than {NEIGHBOURS} {name}, not {len(images)}: give more")
    return images.cpu().numpy() if isinstance(images, torch.Tensor) else images
