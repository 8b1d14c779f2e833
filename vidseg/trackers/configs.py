"""Names of trackers and image models, and their YAMLs: one YAML per name in `vidseg/configs/`."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from vidseg.errors import ConfigError
from vidseg.registry import Registry
from vidseg.yaml_file import read_mapping

CONFIGS = Path(__file__).parent.parent / "configs"
TRACKERS: Registry[Path] = Registry("tracker", {path.stem: path for path in CONFIGS.glob("*.yaml")})
"""Name -> YAML file."""


def register_tracker_config(name: str, path: str | PathLike[str]) -> None:
    """Make `load(NAME)` and `--tracker NAME` read a YAML file, such as
    `Path(__file__).with_name("mine.yaml")`.

    Raises:
        ConfigError: the name is taken, or there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"tracker '{name}' has no configuration", where=str(path))
    TRACKERS.register(name, path)


def tracker_names() -> list[str]:
    """The names that `load` takes besides paths of YAML files; those of plug-ins are among them."""
    return list(TRACKERS)


def read_config(name_or_yaml: str | PathLike[str]) -> tuple[str, dict[str, Any]]:
    """The name of a tracker and the mapping in its YAML; its `weights`, if given, as a path from here.

    Raises:
        ConfigError: there is no such name or file, or the YAML is no mapping.
    """
    text = str(name_or_yaml)
    if text.endswith((".yaml", ".yml")):
        path, name = Path(text), Path(text).stem
    else:
        path, name = TRACKERS.lookup(text, hint="give one of these names, or the path of a .yaml file"), text
    config = read_mapping(path, "tracker configuration", hint="see docs/backbones.md")
    if isinstance(config.get("weights"), str):
        config["weights"] = str(path.parent / config["weights"])
    return name, config
