import numpy as np
import pytest

from garl.errors import GarlError
from garl.evaluate.coverage import class_shares, coverage, recognised, total_variation


def test_shares_count_the_verdicts():
    assert class_shares(np.array([2, 0, 2, 2]), 4).tolist() == [0.25, 0, 0.75, 0]
    assert class_shares(np.array([9])).tolist() == [0] * 9 + [1]


def test_recognised_is_the_share_of_one_label():
    assert recognised(np.array([5, 5, 3, 5, 8]), 5) == pytest.approx(0.6)
    with pytest.raises(GarlError, match="labels 0 to 9, not 10"):
        recognised(np.array([5]), 10)


def test_coverage_counts_classes_from_a_quarter_of_an_equal_share():
    assert coverage(np.array([1 / 16, 1 / 16 - 1e-9, 0, 1 - 2 / 16 + 1e-9])) == 2  # 1/(4·4) counts, just below does not
    assert coverage(class_shares(np.arange(10))) == 10


def test_total_variation():
    assert total_variation(np.array([0.5, 0.5, 0]), np.array([0.2, 0.3, 0.5])) == pytest.approx(0.5)
    assert total_variation(np.array([1.0, 0]), np.array([0, 1.0])) == 1


def test_no_verdicts_have_no_shares():
    with pytest.raises(GarlError, match="at least 1 picture"):
        class_shares(np.array([], np.int64))
