"""The plug-in that adds the fake tracker:

    vidseg track ... --plugin vidseg.testing.fake_plugin --tracker fake

A YAML of `kind: fake` may set `seconds_a_frame` and `fails_on`; see `FakeTracker`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidseg.trackers.registry import register_tracker, register_tracker_config

if TYPE_CHECKING:
    from vidseg.testing.fake_tracker import FakeTracker
    from vidseg.trackers.options import TrackerOptions


def _build(name: str, config: Mapping[str, Any], options: TrackerOptions) -> FakeTracker:
    from vidseg.testing.fake_tracker import FakeTracker  # here, so that `--help` stays quick

    return FakeTracker(name, **config)


register_tracker("fake", _build)
register_tracker_config("fake", Path(__file__).with_name("fake.yaml"))
