"""A seam is seen where there is one, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from garl.evaluate.seams import seam_ratio


def test_the_ratio_is_that_of_the_jumps() -> None:
    """Errors that rise by 1 from row to row, and by 5 where column 3 begins and by 7 where row 2 begins."""
    target = np.full((2, 4, 6), 30, np.uint8)
    error = np.zeros((2, 4, 6), np.uint8) + np.arange(4, dtype=np.uint8)[:, None]
    error[:, :, 3:] += 5
    error[:, 2:] += 6
    picture = target + error
    # Borders: 2·4 jumps of 5 and 2·6 of 7. Elsewhere: 2·4·4 of 0 between columns, 2·2·6 of 1 between rows.
    wanted = ((8 * 5 + 12 * 7) / 20) / ((32 * 0 + 24 * 1) / 56)
    assert seam_ratio(picture, target, [3], [2]) == pytest.approx(wanted)


def test_a_picture_of_its_own_edges_has_no_seam() -> None:
    """What the target shows, too, is no error; noise is as rough across a border as elsewhere."""
    rng = np.random.default_rng(0)
    target = np.zeros((3, 60, 90), np.uint8)
    target[:, :, 45:] = 200
    picture = target + rng.integers(0, 20, target.shape, np.uint8)
    assert seam_ratio(picture, target, [45], [30]) == pytest.approx(1.0, abs=0.1)
    shifted = picture.copy()
    shifted[:, 30:, :45] += 20
    assert seam_ratio(shifted, target, [45], [30]) > 1.5
    assert seam_ratio(shifted, target, [44], [29]) < 1.05
