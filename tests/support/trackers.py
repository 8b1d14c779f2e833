"""YAMLs of trackers for `--tracker`. Every test process knows the kind `fake`; see tests/conftest.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NARROW_TRACKER = {
    "kind": "engine",
    "image_size": 64,
    "backbone": {"name": "hiera", "embed_dim": 8, "heads": 1, "stages": [1, 1, 1, 1], "global_blocks": [2]},
    "memory_attention": {"name": "rotary", "layers": 1, "feedforward": 16},
}
"""A tracker of SAM 2's parts, narrower than any that is published."""


def fake_yaml(folder: Path, name: str = "fake", **config: Any) -> Path:
    """A configuration of the fake tracker."""
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps({"kind": "fake", **config}))
    return path
