"""The tables of a project, in SQLite: each act is a transaction, and can be undone and redone.

Triggers note how each row was before an act first changed it. To undo an act, its rows are exchanged with
those notes; to redo it, they are exchanged once more. So undoing needs no code of its own for any kind of
act, and a process that is killed leaves whole acts only.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from vidseg.errors import OutputError

FORMAT = 1
"""Version of the tables; projects of another one are refused."""
MAX_ACTS = 200
"""How many acts can be undone."""

TABLES: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    # name: (columns of the key, other columns)
    "objects": (("id",), ("place", "label", "colour", "visible", "locked")),
    "prompts": (("obj", "frame"), ("said", "counts")),
    "masks": (("frame", "obj"), ("kind", "time", "counts", "hidden", "score", "area", "box", "reverse")),
    "absent": (("obj", "first"), ("last",)),
    "reviewed": (("first",), ("last",)),
    "flags": (("frame",), ("note",)),
    "doubts": (("first", "last", "objs", "reason"), ()),
    "saved_sessions": (("obj", "reverse", "frame"), ("file",)),
}
"""Tables whose changes can be undone."""


@dataclass(frozen=True)
class Act:
    """An act that was done."""

    act_id: int
    title: str
    obj_ids: tuple[int, ...]
    """The objects whose masks it changed on more than one frame; none for other acts."""
    time: str
    """When it was done, ISO 8601."""


class Database:
    """One project's tables. Any thread may use them; one at a time does.

    Raises:
        OutputError: the file is no such database, or of another version.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._depth = 0
        try:
            # Of a write-ahead log, a killed process loses nothing that was committed.
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._make_tables()
            (version,) = self.row("SELECT value FROM facts WHERE key = 'format'")
        except sqlite3.DatabaseError:
            raise OutputError("the project's database is damaged", where=str(path)) from None
        if version != FORMAT:
            raise OutputError(
                f"the project is of format {version}, this version reads {FORMAT}", where=str(path)
            )

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, *values: Any) -> tuple[Any, ...]:
        """The first row; empty if there is none."""
        with self._lock:
            found: tuple[Any, ...] | None = self._connection.execute(sql, values).fetchone()
            return () if found is None else found

    def write(self, sql: str, *values: Any) -> None:
        with self._lock:
            self._connection.execute(sql, values)

    def put(self, table: str, *values: Any) -> None:
        """Write a row, in the order of the table's columns; it replaces the one with its key."""
        keys, others = TABLES[table]
        columns = [*keys, *others]
        update = ", ".join(f"{name} = excluded.{name}" for name in others)
        # Not INSERT OR REPLACE, in which no trigger sees the row that is replaced.
        self.write(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
            f" ON CONFLICT DO {f'UPDATE SET {update}' if others else 'NOTHING'}",
            *values,
        )

    def fact(self, key: str) -> Any:
        found = self.row("SELECT value FROM facts WHERE key = ?", key)
        return found[0] if found else None

    def set_fact(self, key: str, value: Any) -> None:
        self.write(
            "INSERT INTO facts VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", key, value
        )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside is written, or nothing. It may stand inside another one."""
        with self._lock:
            if self._depth:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            else:
                self._connection.execute("COMMIT")
            finally:
                self._depth -= 1

    def begin(self, title: str, obj_ids: Sequence[int] = ()) -> int:
        """Begin an act, and forget those that were undone; returns its id.

        Args:
            obj_ids: see `Act.obj_ids`.
        """
        with self.transaction():
            self.write("DELETE FROM acts WHERE is_undone")
            self.write(
                "INSERT INTO acts (title, objs, time, is_undone) VALUES (?, ?, ?, 0)",
                title,
                " ".join(map(str, obj_ids)),
                datetime.now(timezone.utc).isoformat(timespec="seconds"),
            )
            (act_id,) = self.row("SELECT max(id) FROM acts")
            self.write("DELETE FROM acts WHERE id <= ?", act_id - MAX_ACTS)
        return int(act_id)

    @contextmanager
    def within(self, act_id: int) -> Iterator[None]:
        """A transaction whose changes belong to an act."""
        with self.transaction():
            before = self.fact("act")
            self.set_fact("act", act_id)
            try:
                yield
            finally:
                self.set_fact("act", before)

    @contextmanager
    def act(self, title: str, obj_ids: Sequence[int] = ()) -> Iterator[int]:
        """An act that is done at once."""
        with self.transaction():
            act_id = self.begin(title, obj_ids)
            with self.within(act_id):
                yield act_id

    def undo(self) -> Act | None:
        """Take the latest act back; returns it, or None if there is none."""
        return self._exchange("SELECT max(id) FROM acts WHERE NOT is_undone", is_undone=True)

    def redo(self) -> Act | None:
        """Do again what was undone last."""
        return self._exchange("SELECT min(id) FROM acts WHERE is_undone", is_undone=False)

    def acts(self, *, are_undone: bool = False) -> list[Act]:
        """The acts that can be undone, or redone, the latest first."""
        found = self.rows(
            "SELECT id, title, objs, time FROM acts WHERE is_undone = ? ORDER BY id DESC", are_undone
        )
        return [Act(i, title, tuple(map(int, objs.split())), time) for i, title, objs, time in found]

    def changes(self, act_id: int, table: str) -> list[tuple[tuple[Any, ...], tuple[Any, ...] | None]]:
        """What the rows of a table were before an act: (key, other columns), or (key, None) for no row."""
        keys, others = TABLES[table]
        return [
            (row[: len(keys)], row[len(keys) + 1 :] if row[len(keys)] else None)
            for row in self.rows(
                f"SELECT {', '.join([*keys, 'was_there', *others])} FROM before_{table} WHERE act = ?", act_id
            )
        ]

    def _exchange(self, which: str, *, is_undone: bool) -> Act | None:
        with self.transaction():
            (act_id,) = self.row(which)
            if act_id is None:
                return None
            self.set_fact("act", None)
            for table, (keys, others) in TABLES.items():
                for key, was in self.changes(act_id, table):
                    where = " AND ".join(f"{name} IS ?" for name in keys)
                    now = self.row(f"SELECT {', '.join([*keys, *others])} FROM {table} WHERE {where}", *key)
                    if was is None:
                        self.write(f"DELETE FROM {table} WHERE {where}", *key)
                    else:
                        self.put(table, *key, *was)
                    self.write(f"DELETE FROM before_{table} WHERE act = ? AND {where}", act_id, *key)
                    values = now[len(keys) :] if now else [None] * len(others)
                    marks = ", ".join("?" * (len(keys) + len(others) + 2))
                    self.write(
                        f"INSERT INTO before_{table} VALUES ({marks})", act_id, *key, bool(now), *values
                    )
            self.write("UPDATE acts SET is_undone = ? WHERE id = ?", is_undone, act_id)
            found = {act.act_id: act for act in self.acts(are_undone=is_undone)}
        return found[act_id]

    def _make_tables(self) -> None:
        with self.transaction():
            self.write("CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value)")
            self.write("INSERT OR IGNORE INTO facts VALUES ('format', ?), ('act', NULL)", FORMAT)
            self.write("UPDATE facts SET value = NULL WHERE key = 'act'")
            self.write(
                "CREATE TABLE IF NOT EXISTS acts"
                " (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT, objs TEXT, time TEXT, is_undone INTEGER)"
            )
            for table, (keys, others) in TABLES.items():
                self._make_table(table, keys, others)
            self.write("CREATE INDEX IF NOT EXISTS masks_of_object ON masks (obj, frame)")

    def _make_table(self, table: str, keys: Sequence[str], others: Sequence[str]) -> None:
        key = ", ".join(keys)
        self.write(
            f"CREATE TABLE IF NOT EXISTS {table}"
            f" ({', '.join([*keys, *others])}, PRIMARY KEY ({key})) WITHOUT ROWID"
        )
        self.write(
            f"CREATE TABLE IF NOT EXISTS before_{table}"
            f" (act, {', '.join([*keys, 'was_there', *others])}, PRIMARY KEY (act, {key})) WITHOUT ROWID"
        )
        self.write(
            f"CREATE TRIGGER IF NOT EXISTS forget_{table} AFTER DELETE ON acts"
            f" BEGIN DELETE FROM before_{table} WHERE act = OLD.id; END"
        )
        for event in ("INSERT", "UPDATE", "DELETE"):
            row = "NEW" if event == "INSERT" else "OLD"
            was = [str(int(event != "INSERT")), *(f"{row}.{name}" for name in others)]
            values = ", ".join([*(f"{row}.{name}" for name in keys), *was])
            self.write(
                f"CREATE TRIGGER IF NOT EXISTS {event.lower()}_{table} AFTER {event} ON {table}"
                f" BEGIN INSERT INTO before_{table} SELECT value, {values} FROM facts"
                " WHERE key = 'act' AND value IS NOT NULL ON CONFLICT DO NOTHING; END"
            )
