"""The model object that official scripts hold: they move it, put it into evaluation mode, set its options."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import is_dataclass, replace
from typing import Any

import torch
from torch import nn

from vidseg.compat.calls import CallError
from vidseg.errors import InputError
from vidseg.trackers.contract import Tracker
from vidseg.trackers.engine_tracker import EngineTracker
from vidseg.trackers.model import module_of

SESSION_OPTIONS = {
    "non_overlap_masks": "non_overlap_masks",
    "add_all_frames_to_correct_as_cond": "corrections_condition",
    "clear_non_cond_mem_around_input": "clear_memory_around_corrections",
}
"""Attributes of the official model -> our options."""
OPTIONS = (*SESSION_OPTIONS, "fill_hole_area", "max_cond_frames_in_attn")
"""Attributes of the official model that can be set."""


class SAM2Base:
    """What `build_sam2` returns: a tracker of the engine with the official model's handles.

    The official options are attributes, which act from the next call on: `fill_hole_area`,
    `non_overlap_masks`, `add_all_frames_to_correct_as_cond`, `clear_non_cond_mem_around_input`,
    `max_cond_frames_in_attn` (-1: all). Any other attribute is refused: it would have no effect.

    Args:
        tracker: from `vidseg.load`, any tracker on the engine. Its weights are shared; options
            set here are not.
    """

    tracker: EngineTracker

    def __init__(self, tracker: Tracker) -> None:
        if not isinstance(tracker, EngineTracker):
            raise InputError(
                f"the tracker '{getattr(tracker, 'name', tracker)}' is not one of the SAM 2 family",
                hint="vidseg.load('sam2.1-hiera-tiny', ...), or another tracker with the kind 'engine'",
            )
        own = copy.copy(tracker)
        own.engine = copy.copy(tracker.engine)
        object.__setattr__(self, "tracker", own)

    @property
    def image_size(self) -> int:
        return self.tracker.engine.model.image_size

    @property
    def device(self) -> torch.device:
        return self.tracker.engine.model.device

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Move the model or change its type, as `torch.nn.Module.to`; videos are opened afterwards."""
        self._module.to(*args, **kwargs)
        return self

    def cuda(self, device: int | None = None) -> Any:
        return self.to(torch.device("cuda", device) if device is not None else "cuda")

    def cpu(self) -> Any:
        return self.to("cpu")

    def eval(self) -> Any:
        """No effect: the model is in evaluation mode."""
        return self

    def train(self, mode: bool = True) -> Any:
        """
        Raises:
            CallError: training is asked for.
        """
        if mode:
            raise CallError("this model does not train", hint="vidseg train CONFIG (docs/training.md)")
        return self

    def parameters(self) -> Iterator[nn.Parameter]:
        return self._module.parameters()

    @property
    def _module(self) -> nn.Module:
        return module_of(self.tracker.engine.model)

    def __getattr__(self, name: str) -> Any:
        tracker = self.__dict__["tracker"]
        if name in SESSION_OPTIONS:
            return getattr(tracker.options, SESSION_OPTIONS[name])
        if name == "fill_hole_area":
            return tracker.engine.fill_hole_area
        if name == "max_cond_frames_in_attn":
            limit = getattr(tracker.engine.policy, "max_conditioning", None)
            return -1 if limit is None else limit
        raise AttributeError(f"'{type(self).__name__}' has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        tracker = self.tracker
        if name in SESSION_OPTIONS:
            tracker.options = replace(tracker.options, **{SESSION_OPTIONS[name]: bool(value)})
        elif name == "fill_hole_area":
            tracker.engine.fill_hole_area = int(value)
        elif name == "max_cond_frames_in_attn":
            tracker.engine.policy = _limited(tracker.engine.policy, int(value))
        else:
            raise CallError(
                f"setting '{name}' would have no effect", hint=f"what can be set: {', '.join(OPTIONS)}"
            )


def _limited(policy: Any, limit: int) -> Any:
    """The policy of a bank with another limit of conditioning frames; -1: none."""
    if limit != -1 and limit < 2:
        raise CallError(f"max_cond_frames_in_attn = {limit}", hint="-1 (all of them), or 2 and more")
    if not is_dataclass(policy) or not hasattr(policy, "max_conditioning"):
        raise CallError(f"the bank policy {type(policy).__name__} has no limit of conditioning frames")
    return replace(policy, max_conditioning=None if limit == -1 else limit)  # type: ignore[type-var]
