"""File names that are not UTF-8, which Linux allows: Python carries their odd bytes as lone surrogates.

JSON takes them escaped, `\\udcff`, and gives them back.
"""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

ESCAPED = "backslashreplace"
"""How text with file names in it is encoded: what UTF-8 does not have becomes an escape of JSON."""


def _check(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise PydanticCustomError("file_name", "a file's name or address belongs here, in quotes")
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        raise PydanticCustomError("file_name", "no file can have this name") from None
    return value


FileName = Annotated[
    str, PlainValidator(_check), WithJsonSchema({"type": "string", "minLength": 1}, mode="validation")
]
"""In models of what comes from files; a `str` would refuse names that are not UTF-8."""
