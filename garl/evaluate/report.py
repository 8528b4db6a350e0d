"""Every metric of a set of paintings in one record, each beside the floor that real pictures reach."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from garl.errors import GarlError
from garl.evaluate.coverage import class_shares, coverage, recognised, total_variation
from garl.evaluate.eye import Eye, choose_eye
from garl.evaluate.frechet import frechet_distance
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
    eye: Eye | None = None,
) -> dict[str, Value]:
    """Paintings (N, C, H, W) against real pictures (M, C, H, W), both uint8 → a JSON-able record.

    `paintings` and `real` count the pictures; `frechet`, `precision`, `recall`, `pixel_mean_gap` and `pixel_std_gap`
    compare them as `eye` sees them, by default the one that suits the pictures. If it knows digits, so do `coverage`
    and `total_variation`; `shares` lists the ten class shares; `recognised`, with a label, is the share of paintings
    taken for it. `asked`, the digit that each painting was to show (N,), then adds `met`, the share that is taken for
    that, and `met_by_class`, the same for each digit asked for, in order.
    With `floor`, at least N further real pictures in random order, its first N are measured as if painted, and each
    figure but `met` gains a companion `…_floor`: what a perfect painter scores.
    Raises GarlError if there are too few pictures.
    """
    painted, reference = _array(paintings, "paintings"), _array(real, "real pictures")
    eye = eye or choose_eye(reference.shape)
    seen = eye.look(reference)
    painted_seen = eye.look(painted)
    record = _compare(painted, painted_seen, reference, seen, label)
    if asked is not None and painted_seen[1] is not None:
        met = painted_seen[1] == asked
        record |= {"met": float(met.mean()), "met_by_class": [float(met[asked == i].mean()) for i in np.unique(asked)]}
    if floor is not None:
        if len(floor) < len(painted):
            raise GarlError(f"the floor has {len(floor)} pictures for {len(painted)} paintings: give at least as many")
        sample = _array(floor, "floor pictures")[: len(painted)]
        record |= {f"{k}_floor": v for k, v in _compare(sample, eye.look(sample), reference, seen, label).items()}
    return {"paintings": len(painted), "real": len(reference), **record}


def _compare(
    painted: np.ndarray,
    painted_seen: tuple[np.ndarray, np.ndarray | None],
    real: np.ndarray,
    real_seen: tuple[np.ndarray, np.ndarray | None],
    label: int | None,
) -> dict[str, Value]:
    """All metrics; `…_seen` are the features (N, F) and digits (N,) that the eye made out."""
    features, digits = painted_seen
    real_features, real_digits = real_seen
    precision, recall = precision_recall(features, real_features)
    mean_gap, std_gap = pixel_gaps(painted, real)
    record: dict[str, Value] = {
        "frechet": frechet_distance(features, real_features),
        "precision": precision,
        "recall": recall,
        "pixel_mean_gap": mean_gap,
        "pixel_std_gap": std_gap,
    }
    if digits is not None and real_digits is not None:
        shares = class_shares(digits)
        record |= {
            "coverage": coverage(shares),
            "total_variation": total_variation(shares, class_shares(real_digits)),
            "shares": shares.tolist(),
        }
        if label is not None:
            record["recognised"] = recognised(digits, label)
    return record


def _array(images: Images, name: str) -> np.ndarray:
    """The pictures as an array on the CPU, enough of them for every metric."""
    if len(images) <= NEIGHBOURS:
        raise GarlError(f"an evaluation needs more than {NEIGHBOURS} {name}, not {len(images)}: give more")
    return images.cpu().numpy() if isinstance(images, torch.Tensor) else images
