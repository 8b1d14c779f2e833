"""Reads the YAML of a training, without what its settings need, which takes seconds to import."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from vidseg.yaml_file import read_mapping


def read_settings_file(path: Path) -> dict[str, Any]:
    """What the file says.

    Raises:
        ConfigError: the file is missing or no YAML.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """A YAML loader that also reads 5e-4 as a number, which YAML 1.1 calls a string."""

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
    )
    return read_mapping(path, "training configuration", hint="see docs/training.md", loader=Loader)
