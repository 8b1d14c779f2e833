"""The official SAM 2 video predictor behind the tracker contract, for parity tests and benchmarks.

Every number comes from the official code; sessions feed it frame by frame and collect its results. As in the
official package, memory grows with the video: all outputs are kept, and all frames unless `keep_frames:
false`.

Hole filling needs the official CUDA extension. Without it the official code leaves masks as they are and
warns on each call; the option is switched off then, which gives the same masks. `sam2_session` lists other
choices.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch

from vidseg.errors import ConfigError
from vidseg.trackers.contract import TrackerTraits
from vidseg.trackers.device import pick_device
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.sam2_official import OfficialConfig, build_predictor
from vidseg.trackers.sam2_session import Sam2ReferenceSession
from vidseg.trackers.session_file import read_session, whole_session, write_session
from vidseg.trackers.weights import find_weights, read_checkpoint, state_sha256, tracker_of
from vidseg.validation import Strict, parse

if TYPE_CHECKING:
    from sam2.sam2_video_predictor import SAM2VideoPredictor


class Sam2ReferenceConfig(Strict):
    """Settings that the YAML may hold."""

    config: OfficialConfig
    image_size: int | None = None
    """Side of the square model input, a multiple of 32; None: 1024."""
    keep_frames: bool = True
    """Whether frames stay in memory after they have been stepped through, as in the official code."""
    non_overlap_masks: bool = False
    add_all_frames_to_correct_as_cond: bool = False
    fill_hole_area: int = 8


_TAKEN = {
    "weights",
    "device",
    "dtype",
    "image_size",
    "compile",
    "non_overlap_masks",
    "corrections_condition",
    "fill_hole_area",
}
"""Options that the official predictor has, too."""


class Sam2ReferenceTracker:
    """The official predictor as a tracker; see `vidseg.trackers.contract.Tracker`."""

    traits = TrackerTraits(takes_decoded=True)

    def __init__(
        self,
        name: str,
        config: Sam2ReferenceConfig,
        predictor: SAM2VideoPredictor,
        dtype: torch.dtype,
        weights_sha256: str | None,
    ) -> None:
        self.name = name
        self.config = config
        self.predictor = predictor
        self.dtype = dtype
        self.weights_sha256 = weights_sha256

    @classmethod
    def build(cls, name: str, config: Mapping[str, Any], options: TrackerOptions) -> Sam2ReferenceTracker:
        """The tracker of a YAML, with weights.

        `dtype='bfloat16'` is the official use: weights in float32, autocast to bfloat16. 'auto' is float32,
        as others are compared with this tracker.

        Raises:
            MissingExtraError: the package `sam2` is not installed.
            ConfigError: the configuration or an option is wrong, or the device is missing.
            CheckpointError: weights are missing or do not fit.
        """
        where = f"tracker '{name}'"
        options.require_taken(_TAKEN, by=name, why={}, extra=Sam2ReferenceConfig.model_fields)
        asked = {
            "image_size": options.image_size,
            "non_overlap_masks": options.non_overlap_masks,
            "add_all_frames_to_correct_as_cond": options.corrections_condition,
            "fill_hole_area": options.fill_hole_area,
        }
        merged = {
            **config,
            **options.extra,
            **{key: value for key, value in asked.items() if value is not None},
        }
        checked = parse(Sam2ReferenceConfig, merged, where=where, error=ConfigError)
        if checked.image_size is not None and (checked.image_size < 32 or checked.image_size % 32):
            raise ConfigError(
                f"image size {checked.image_size}", where=where, hint="give a multiple of 32, e.g. 512"
            )
        state = None
        if options.weights is not None:
            state = read_checkpoint(options.weights)
        elif not options.allow_random_weights:
            state = read_checkpoint(find_weights(tracker_of(checked.config)))
        predictor = build_predictor(
            checked.config,
            state,
            image_size=checked.image_size,
            device=pick_device(options.device),
            compile=bool(options.compile),
            non_overlap_masks=checked.non_overlap_masks,
            add_all_frames_to_correct_as_cond=checked.add_all_frames_to_correct_as_cond,
            fill_hole_area=checked.fill_hole_area,
        )
        digest = state_sha256(predictor.state_dict()) if state is not None else None
        dtype = torch.float32 if options.dtype == "auto" else getattr(torch, options.dtype)
        return cls(name, checked, predictor, dtype, digest)

    def start(self, num_frames: int | None = None, reverse: bool = False) -> Sam2ReferenceSession:
        return Sam2ReferenceSession(
            self.predictor,
            dtype=self.dtype,
            keep_frames=self.config.keep_frames,
            num_frames=num_frames,
            reverse=reverse,
            write=self._write,
        )

    def restore(self, path: str | PathLike[str]) -> Sam2ReferenceSession:
        tensors, facts = read_session(
            path, tracker=self.name, fingerprint=self.fingerprint(), device=str(self.predictor.device)
        )
        with whole_session(path):
            session = self.start(facts["num_frames"], facts["reverse"])
            session.fill(tensors, facts)
        return session

    def describe(self) -> dict[str, Any]:
        from importlib.metadata import version

        return {
            "name": self.name,
            "config": {"kind": "sam2-reference", **self.config.model_dump()},
            "options": {"fills_holes": self.predictor.fill_hole_area > 0},
            "weights_sha256": self.weights_sha256,
            "parameters": sum(parameter.numel() for parameter in self.predictor.parameters()),
            "device": str(self.predictor.device),
            "dtype": str(self.dtype).removeprefix("torch."),
            "sam2": version("sam2"),
        }

    def fingerprint(self) -> str:
        """A digest of all that must be the same to go on with a saved session."""
        facts = {key: value for key, value in self.describe().items() if key != "device"}
        facts["weights_sha256"] = self.weights_sha256 or state_sha256(self.predictor.state_dict())
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _write(self, session: Sam2ReferenceSession, path: str | PathLike[str]) -> None:
        tensors, facts = session.contents()
        write_session(path, tracker=self.name, fingerprint=self.fingerprint(), tensors=tensors, facts=facts)
