"""A two-way table of names of weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Rows = Iterable[tuple[str, str]]


class Renamer:
    """Renames in one direction.

    Args:
        rows: pairs (before, after) of beginnings of names that end at a dot or at the name's end; `*` stands
            for a number. The first row that fits counts; a name that no row fits stays as it is.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = tuple(rows)

    def __call__(self, name: str) -> str:
        for pattern, template in self._patterns:
            if found := pattern.fullmatch(name):
                return found.expand(template)
        return name

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], str]]:
        """Compiled at the first name: every command imports all tables, and reads one of them at most."""
        return [(_pattern(before), _template(after)) for before, after in self._rows]


class Renames:
    """A table read in both directions.

    Args:
        rows: pairs (official, ours); see `Renamer`.
        heads_of: the model whose prompt encoder and mask decoder complete a checkpoint of an encoder alone.
    """

    def __init__(self, rows: Rows = (), heads_of: str | None = None) -> None:
        self.heads_of = heads_of
        self.rows = tuple(rows)
        self._to_ours = Renamer(self.rows)
        self._to_official = Renamer((ours, official) for official, ours in self.rows)

    def from_public(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a checkpoint under our names."""
        return {self._to_ours(name): value for name, value in state.items()}

    def to_public(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our weights as in a checkpoint, in our order."""
        return {self._to_official(name): value for name, value in state.items()}


OWN_NAMES = Renames()
"""The table of families whose official names are ours."""


def within(official: str, ours: str, rows: Rows) -> list[tuple[str, str]]:
    """Rows of a part, its two names put before theirs."""
    return [(f"{official}.{theirs}", f"{ours}.{own}") for theirs, own in rows]


def _pattern(row: str) -> re.Pattern[str]:
    return re.compile(re.escape(row).replace(r"\*", r"(\d+)") + r"(|\..+)")


def _template(row: str) -> str:
    """`row` with the numbers of the pattern in place of the stars, and the rest of the name at its end."""
    numbers = iter(range(1, row.count("*") + 2))
    return re.sub(r"\*", lambda _: rf"\g<{next(numbers)}>", row) + rf"\g<{row.count('*') + 1}>"
