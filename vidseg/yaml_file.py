"""Reads YAML files of users: a mapping, by a safe loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vidseg.errors import ConfigError


def read_mapping(path: Path, what: str, *, hint: str, loader: Any = None) -> dict[str, Any]:
    """The mapping in a YAML file.

    Args:
        what: the kind of file, for messages: 'tracker configuration'.
        hint: where its form is described.
        loader: a subclass of PyYAML's safe loader; None: that loader.

    Raises:
        ConfigError: there is no such file, it cannot be read, or it holds no mapping.
    """
    import yaml

    try:
        content = yaml.load(path.read_text(encoding="utf-8"), loader or yaml.SafeLoader)
    except FileNotFoundError:
        raise ConfigError(f"there is no such {what}", where=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the {what} cannot be read ({error})", where=str(path)) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise ConfigError(f"the {what} is not valid YAML: {problem}", where=f"{path}{line}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"a {what} is a mapping", where=str(path), hint=hint)
    return content
