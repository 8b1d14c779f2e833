"""Reads text files of users, such as the lists of data sets: UTF-8, or what Windows writes with a mark."""

from __future__ import annotations

import codecs
from pathlib import Path

from vidseg.errors import InputError

_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path) -> str:
    """The content of a text file, without a byte order mark.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no text.
    """
    data = path.read_bytes()
    return data.decode("utf-16" if data[:2] in _UTF16_MARKS else "utf-8-sig")


def read_names(path: Path) -> list[str]:
    """The lines of a list, each once, without the space around them; empty lines are passed by.

    Raises:
        InputError: the list cannot be read.
    """
    try:
        lines = read_text(path).splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"the list cannot be read ({error})", where=str(path)) from None
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))
