"""Assigns proposals to objects: the pairs with the highest sum of scores.

Shortest augmenting paths after Jonker and Volgenant, as D. F. Crouse gives them ("On implementing 2D
rectangular assignment algorithms", IEEE Transactions on Aerospace and Electronic Systems 52(4), 2016). If
several assignments have the same sum, the choice is that of SciPy's `linear_sum_assignment`, which the
official programs use; tests compare the two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Costs = npt.NDArray[np.float64]


def best_pairs(scores: Costs) -> list[tuple[int, int]]:
    """The pairs (row, column) with the highest sum of scores, by row; min(rows, columns) of them.

    Args:
        scores: finite, rows x columns.
    """
    is_tall = scores.shape[0] > scores.shape[1]
    columns = _assign(-(scores.T if is_tall else scores))
    pairs = [(column, row) if is_tall else (row, column) for row, column in enumerate(columns)]
    return sorted(pairs)


@dataclass
class _Path:
    """The shortest path from a row without a column to a column without a row."""

    cost: float
    end: int
    came_from: dict[int, int]
    """Column -> the row before it on the way."""
    length: dict[int, float]
    """Column -> cost of the way to it, for the columns that were passed."""


def _assign(costs: Costs) -> list[int]:
    """The column of each row, at the lowest total cost; there are at least as many columns as rows."""
    rows, columns = costs.shape
    row_price, column_price = [0.0] * rows, [0.0] * columns
    column_of, row_of = [-1] * rows, [-1] * columns
    for start in range(rows):
        path = _shortest_path(costs, start, row_price, column_price, row_of)
        row_price[start] += path.cost
        for column, length in path.length.items():
            column_price[column] -= path.cost - length
            if (row := row_of[column]) >= 0:
                row_price[row] += path.cost - length
        column = path.end
        while True:  # every row on the path takes the column after it
            row = path.came_from[column]
            row_of[column] = row
            column_of[row], column = column, column_of[row]
            if row == start:
                break
    return column_of


def _shortest_path(
    costs: Costs, start: int, row_price: list[float], column_price: list[float], row_of: list[int]
) -> _Path:
    length = [math.inf] * len(row_of)
    """Column -> cost of the path to it, for the columns that were visited."""
    passed: dict[int, float] = {}
    came_from: dict[int, int] = {}
    """Column -> the row before it on the path."""
    # From last to first column, so that costs that are all equal give the identity, as in SciPy.
    left = list(range(len(row_of)))[::-1]
    cost, row = 0.0, start
    while True:
        nearest, lowest = -1, math.inf
        for place, column in enumerate(left):
            reduced = cost + float(costs[row, column]) - row_price[row] - column_price[column]
            if reduced < length[column]:
                came_from[column] = row
                length[column] = reduced
            # Of equally near columns a free one is taken, which ends the search.
            if length[column] < lowest or (length[column] == lowest and row_of[column] < 0):
                lowest, nearest = length[column], place
        cost, column = lowest, left[nearest]
        if row_of[column] < 0:
            return _Path(cost, column, came_from, passed)
        passed[column] = cost
        row = row_of[column]
        left[nearest] = left[-1]
        left.pop()
