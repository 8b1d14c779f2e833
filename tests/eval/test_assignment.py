"""The pairs that get matched are SciPy's, ties included."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from vidseg.eval.metrics.assignment import best_pairs


@pytest.mark.parametrize("levels", [1, 2, 3, 6, 1000], ids=lambda levels: f"{levels} levels")
def test_pairs_against_scipy(levels: int) -> None:
    """Few levels of scores make many assignments of the same sum."""
    generator = np.random.default_rng(levels)
    for _ in range(200):
        size = generator.integers(1, 21, 2)
        scores = generator.integers(0, levels, size) / max(1, levels - 1)
        rows, columns = linear_sum_assignment(-scores)
        assert best_pairs(scores) == list(zip(rows.tolist(), columns.tolist(), strict=True))


def test_no_other_assignment_of_a_small_table_is_better() -> None:
    assert best_pairs(np.array([[0.9, 0.8], [0.8, 0.1]])) == [(0, 1), (1, 0)]
