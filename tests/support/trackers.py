"""YAMLs of trackers for `--tracker`. Every test process knows the kind `fake`; see tests/conftest.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def fake_yaml(folder: Path, name: str = "fake", **config: Any) -> Path:
    """A configuration of the fake tracker."""
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps({"kind": "fake", **config}))
    return path
