"""An image model behind the tracker contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cached_property
from os import PathLike
from typing import Any

from vidseg.trackers.carrying.state import SessionState, fingerprint_of, load_state
from vidseg.trackers.contract import TrackerTraits
from vidseg.trackers.engine import unwatched
from vidseg.trackers.engine_tracker import OF_THE_MACHINE
from vidseg.trackers.exported import export_in_config
from vidseg.trackers.following.frame import Watch
from vidseg.trackers.following.objects import FollowedObject
from vidseg.trackers.following.rules import build_rule
from vidseg.trackers.following.session import FollowingOptions, FollowingSession
from vidseg.trackers.image.build import BuiltImage, build_image
from vidseg.trackers.image.exported import build_exported
from vidseg.trackers.image.segmenter import ImageSegmenter
from vidseg.trackers.model import ImageModel, module_of, num_parameters
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.weights import state_sha256

_CANNOT = {
    "graphs": ("records no CUDA graphs", "leave it out"),
    "fast": ("has no memory to read less of", "leave it out"),
    "max_conditioning": ("has no memory that conditions", "leave it out"),
    "corrections_condition": ("has no memory that conditions", "leave it out"),
    "clear_memory_around_corrections": ("has no memory to clear", "leave it out"),
}
"""Options that mean nothing without a memory -> what to say of the tracker, and how to mend it."""


class FollowingTracker:
    """Follows objects through videos by an image model, without training and without a memory bank.

        tracker = FollowingTracker(vidseg.load_image("vidseg-nano"), {"name": "flow-prior"})

    Args:
        following: the rule and its settings, as `following:` in a YAML; or its name alone.
        config: what the segmenter was built from, for `describe`.

    Raises:
        ConfigError: there is no such rule, or a setting does not fit.
    """

    traits = TrackerTraits(clicks_correct=True)
    stages = ("encode", "decode")
    """Stages of a frame in which the model computes."""

    def __init__(
        self,
        segmenter: ImageSegmenter,
        following: Mapping[str, Any] | str = "flow-prior",
        *,
        config: Mapping[str, Any] | None = None,
        options: FollowingOptions | None = None,
    ) -> None:
        self.segmenter = segmenter
        self.following = {"name": following} if isinstance(following, str) else dict(following)
        self.config = {**(config or {}), "following": self.following}
        self.options = options or FollowingOptions()
        self.watch: Watch = unwatched
        """Entered around each of the `stages` of a frame."""
        self._rule = build_rule(self.following, f"tracker '{segmenter.name}'")

    @classmethod
    def build(cls, name: str, config: Mapping[str, Any], asked: TrackerOptions) -> FollowingTracker:
        """The tracker of a YAML of `kind: image`, with weights.

        Raises:
            ConfigError: the configuration or an option is wrong, or the device is missing.
            CheckpointError: weights are missing or do not fit.
        """
        return cls._around(build_image, name, config, asked)

    @classmethod
    def build_exported(cls, name: str, config: Mapping[str, Any], asked: TrackerOptions) -> FollowingTracker:
        """The tracker of a YAML of `kind: onnx` whose model is one of pictures.

        Raises:
            ConfigError: the configuration or an option is wrong.
            CheckpointError: a graph is missing, damaged, or does not run here.
        """
        return cls._around(build_exported, name, config, asked)

    @classmethod
    def _around(
        cls,
        build: Callable[[str, Mapping[str, Any], TrackerOptions], BuiltImage],
        name: str,
        config: Mapping[str, Any],
        asked: TrackerOptions,
    ) -> FollowingTracker:
        asked.require_taken(set(TrackerOptions.model_fields) - set(_CANNOT), by=name, why=_CANNOT)
        built = build(name, config, asked)
        options = FollowingOptions(
            non_overlap_masks=bool(asked.non_overlap_masks),
            fill_hole_area=asked.fill_hole_area or 0,
            remove_speck_area=asked.remove_speck_area or 0,
        )
        return cls(
            built.segmenter,
            built.settings.following,
            config={
                "kind": "image",
                **built.settings.model_dump(),
                **export_in_config(built.segmenter.model),
            },
            options=options,
        )

    @property
    def name(self) -> str:
        return self.segmenter.name

    @property
    def model(self) -> ImageModel:
        return self.segmenter.model

    @property
    def weights_sha256(self) -> str | None:
        """Digest of the segmenter's weights; None where they are random."""
        return self.segmenter.weights_sha256

    def start(self, num_frames: int | None = None, reverse: bool = False) -> FollowingSession:
        """Begin a video; its length makes no difference to this tracker."""
        return self._session(SessionState(num_frames=num_frames, reverse=reverse))

    def restore(self, path: str | PathLike[str]) -> FollowingSession:
        return self._session(load_state(path, self.name, self._fingerprint(), FollowedObject.of))

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "config": self.config,
            "options": asdict(self.options),
            "weights_sha256": self.weights_sha256,
            "parameters": num_parameters(self.model),
            "device": str(self.segmenter.device),
            "dtype": str(self.segmenter.dtype).removeprefix("torch."),
            "dtype_reason": self.segmenter.dtype_reason,
        }

    def _session(self, state: SessionState[FollowedObject]) -> FollowingSession:
        return FollowingSession(
            self.name,
            self._fingerprint(),
            self.segmenter,
            self._rule,
            self.options,
            state,
            watch=lambda stage: self.watch(stage),  # whoever watches may come later
        )

    @cached_property
    def _digest(self) -> str:
        """A digest of weights from no known file, made once, as it takes seconds for large models."""
        return state_sha256(module_of(self.model).state_dict())

    def _fingerprint(self) -> str:
        """A digest of configuration, options, weights and type, which must be the same to go on with a
        session."""
        facts = {key: value for key, value in self.describe().items() if key not in OF_THE_MACHINE}
        if self.weights_sha256 is None:
            facts["weights_sha256"] = self._digest
        return fingerprint_of({"kind": "following", **facts})
