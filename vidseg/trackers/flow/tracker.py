"""The weight-free tracker behind the contract."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

from vidseg.errors import ConfigError
from vidseg.trackers.carrying.state import SessionState, load_state
from vidseg.trackers.contract import TrackerTraits
from vidseg.trackers.flow.config import FlowConfig
from vidseg.trackers.flow.objects import TrackedObject
from vidseg.trackers.flow.session import FlowSession, fingerprint
from vidseg.trackers.options import TrackerOptions
from vidseg.validation import parse

_CANNOT = {
    "weights": ("has no weights", "leave the weights out"),
    "dtype": ("computes in float32 alone", "use float32"),
    "image_size": ("has no model input to size", "set max_side in a YAML of its own"),
    "compile": ("has nothing to compile", "leave compile out"),
}
"""Options that mean nothing without a model -> what to say of the tracker, and how to mend it."""


class FlowTracker:
    """Follows objects by dense optical flow and by their colours; nothing to download, CPU only."""

    traits = TrackerTraits(clicks_correct=True)

    def __init__(self, config: FlowConfig | None = None, *, name: str = "flow") -> None:
        self._name = name
        self.config = config or FlowConfig()

    @classmethod
    def build(cls, name: str, config: Mapping[str, Any], options: TrackerOptions) -> FlowTracker:
        """The tracker of a YAML with `kind: flow`.

        Raises:
            ConfigError: an unknown key or option, or one that means nothing without a model.
        """
        options.require_taken({"device", "non_overlap_masks"}, by=name, why=_CANNOT)
        if options.device not in ("auto", "cpu"):
            raise ConfigError(
                f"the tracker '{name}' runs on the CPU, not on '{options.device}'", hint="use device 'cpu'"
            )
        return cls(parse(FlowConfig, dict(config), where=f"{name}.yaml", error=ConfigError), name=name)

    @property
    def name(self) -> str:
        return self._name

    def start(self, num_frames: int | None = None, reverse: bool = False) -> FlowSession:
        """Begin a video; its length makes no difference to this tracker."""
        return FlowSession(self._name, self.config, SessionState(num_frames=num_frames, reverse=reverse))

    def restore(self, path: str | PathLike[str]) -> FlowSession:
        """A session saved by this tracker; going on gives the very same masks.

        Raises:
            CheckpointError: the file is not a session of this tracker with this configuration.
        """
        state = load_state(path, self._name, fingerprint(self.config), TrackedObject.of)
        return FlowSession(self._name, self.config, state)

    def describe(self) -> dict[str, Any]:
        """Facts for run.json: `name`, `kind`, `config`, `weights_sha256` (None), `device`."""
        return {
            "name": self._name,
            "kind": "flow",
            "config": self.config.model_dump(),
            "weights_sha256": None,
            "device": "cpu",
        }
