"""Tables of names, with built-in rows and rows that plug-ins add. One class serves every kind of thing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from vidseg import plugins
from vidseg.errors import ConfigError, unknown

Row = TypeVar("Row")


class Registry(Generic[Row]):
    """A table from names to things of one kind.

    Plug-ins are imported when a name is not known, and when names are listed; iterating over a table lists
    its names, including those of all plug-ins. `known` leaves out what has not been imported.

    Args:
        kind: what a row is, in words for messages: 'backbone'.
        rows: the built-in rows.
    """

    def __init__(self, kind: str, rows: Mapping[str, Row]) -> None:
        self.kind = kind
        self._rows = dict(rows)
        self._added_by: dict[str, str] = {}

    def register(self, name: str, row: Row) -> None:
        """Add a row.

        Raises:
            ConfigError: the name is taken.
        """
        if name in self._rows:
            whose = f" ({self._added_by[name]} added it)" if name in self._added_by else ""
            raise ConfigError(f"the {self.kind} '{name}' is there already{whose}", hint="choose another name")
        self._rows[name] = row
        if label := plugins.loading():
            self._added_by[name] = label

    def unregister(self, name: str) -> None:
        """Remove a row, for example before a notebook cell is run again, or at the end of a test."""
        del self._rows[name]
        self._added_by.pop(name, None)

    def lookup(self, name: object, *, where: str | None = None, hint: str | None = None) -> Row:
        """The row of a name.

        Args:
            where: the file and field in which the name stands.
            hint: how to mend an unknown name.

        Raises:
            ConfigError: no such name. It has the nearest one, all that are known, and the plug-ins that could
                not be imported.
        """
        if name not in self:
            raise ConfigError(
                unknown(self.kind, name, self._rows),
                where=where,
                hint="; ".join([*plugins.broken(), *([hint] if hint else [])]) or None,
            )
        return self._rows[str(name)]

    def added_by(self, name: str) -> str | None:
        """The plug-in that registered a name, in words; None for what is built in."""
        return self._added_by.get(name)

    @property
    def known(self) -> list[str]:
        """The names known so far, in order: built in, registered, and of plug-ins that have been imported."""
        return sorted(self._rows)

    def __getitem__(self, name: str) -> Row:
        return self.lookup(name)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):  # a YAML may hold any value here
            return False
        if name not in self._rows:
            plugins.load()
        return name in self._rows

    def __iter__(self) -> Iterator[str]:
        plugins.load()
        return iter(self.known)

    def __len__(self) -> int:
        plugins.load()
        return len(self._rows)
