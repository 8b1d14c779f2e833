"""`log.csv`: one row every few steps, with means over the steps since the previous row."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

from vidseg.pipeline.atomic import write_bytes

FILE_NAME = "log.csv"


class Log:
    """Collects the values that steps report and writes their means.

    Args:
        done: how many steps are done; rows of later ones, which a killed run left, are removed.
        window: `window` of the checkpoint that the run goes on from.
    """

    def __init__(self, out: Path, done: int, window: dict[str, list[float]] | None = None) -> None:
        self._path = out / FILE_NAME
        self.window = window or {}
        """Sum and count of each value since the last row: name -> [sum, count]."""
        self._rows = [row for row in _read(self._path) if int(row["step"]) <= done]
        self._columns = list(self._rows[-1]) if self._rows else []
        if self._path.exists():
            self._rewrite()

    def add(self, told: dict[str, float]) -> None:
        """Take in the values of a step."""
        for name, value in told.items():
            sums = self.window.setdefault(name, [0.0, 0])
            # NaN means that the step has no such value, or changed nothing; it would make the mean NaN.
            if math.isfinite(value):
                sums[0] += value
                sums[1] += 1

    def write_row(self, step: int, seconds: float, clips: int) -> dict[str, Any]:
        """Write and return the row of the steps since the last row, up to the `step`-th (1-based).

        What none of these steps has, such as the J of corrected frames, is left empty: it is not 0.
        """
        means = {name: total / count for name, (total, count) in self.window.items() if count}
        self.window = {}
        row: dict[str, Any] = {"step": step, "seconds": round(seconds, 2), "clips": clips, **means}
        new = [name for name in row if name not in self._columns]
        self._columns += new
        self._rows.append(row)
        if new:
            self._rewrite()
        else:
            with open(self._path, "a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._columns, restval="", lineterminator="\n").writerow(row)
        return row

    def _rewrite(self) -> None:
        text = io.StringIO()
        if self._columns:
            writer = csv.DictWriter(text, self._columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(self._rows)
        write_bytes(self._path, text.getvalue().encode())


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        # A row that was cut short when the run was killed lacks its last columns.
        return [row for row in csv.DictReader(file) if None not in row.values()]
