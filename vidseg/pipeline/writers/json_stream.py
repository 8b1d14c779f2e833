"""A large JSON object written piece by piece."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, TextIO


class JsonStream:
    """Writes `{"key": value, ...}`; a value may be an array whose items come one at a time.

    Use as a context manager: leaving it closes the object.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._keys = 0

    def __enter__(self) -> JsonStream:
        self._file.write("{")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.write("\n}")

    def value(self, key: str, value: Any) -> None:
        self._key(key)
        self._file.write(_dump(value))

    def array(self, key: str, items: Iterable[Any]) -> None:
        """An array, a line for each item."""
        self._key(key)
        write_array(self._file, items)

    def objects(self, key: str, count: int) -> Iterator[JsonStream]:
        """An array of objects, each to be filled before the next one is asked for."""
        self._key(key)
        self._file.write("[")
        for number in range(count):
            self._file.write(",\n" if number else "\n")
            with JsonStream(self._file) as item:
                yield item
        self._file.write("]")

    def _key(self, key: str) -> None:
        self._file.write(",\n" if self._keys else "\n")
        self._file.write(f"{json.dumps(key)}: ")
        self._keys += 1


def write_array(file: TextIO, items: Iterable[Any]) -> None:
    """A JSON array, a line for each item."""
    file.write("[")
    for number, item in enumerate(items):
        file.write(",\n" if number else "\n")
        file.write(_dump(item))
    file.write("]")


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
