"""Reads JSON files of users."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vidseg.errors import InputError
from vidseg.eval.text_file import read_text


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        InputError: it is missing or no JSON.
    """
    try:
        return json.loads(read_text(path))
    except FileNotFoundError:
        raise InputError("there is no such file", where=str(path)) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"the file cannot be read as JSON ({error})", where=str(path)) from None
