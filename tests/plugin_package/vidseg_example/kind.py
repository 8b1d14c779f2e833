"""A kind of tracker, and a tracker of it: the weight-free one on a coarse grid."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidseg import register_tracker, register_tracker_config


def _build(name: str, config: Mapping[str, Any], options: Any) -> Any:
    from vidseg.trackers.flow import FlowTracker  # when it is asked for: OpenCV takes a while

    return FlowTracker.build(name, {"max_side": 64, **config}, options)


register_tracker("outside-coarse", _build)
register_tracker_config("outside-coarse-flow", Path(__file__).with_suffix(".yaml"))
