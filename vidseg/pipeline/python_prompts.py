"""Prompts given in Python: arrays, tuples and lists, as the document that a prompt file would be."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any

import numpy as np

from vidseg.pipeline.mask_source import MaskSource


def as_document(source: Any, masks: MaskSource, first_frame: int) -> Any:
    """What a prompt file would say; what cannot be said there is left for its checks to find.

    Args:
        source: a mapping, a mask array, or a list of these for several objects.
        masks: takes mask arrays, which then have names as files have.
        first_frame: the first frame that is tracked, to which the prompts of a list belong.

    Raises:
        PromptError: a mask that is none, or one of several objects in a list, where each stands for one.
    """
    return _plain(_listed(source, masks, first_frame), masks)


def _listed(source: Any, masks: MaskSource, first_frame: int) -> Any:
    """A list of objects, or a mask alone, as the mapping that says the same."""
    if isinstance(source, np.ndarray):
        return {"mask": source}
    is_list = isinstance(source, list | tuple) and source
    if not is_list or not all(isinstance(each, Mapping | np.ndarray) for each in source):
        return source
    regions = [_plain(each if isinstance(each, Mapping) else {"mask": each}, masks) for each in source]
    for number, region in enumerate(regions, start=1):
        if isinstance(mask := region.get("mask"), str):
            masks.get(mask, f"prompt {number}, field 'mask'").check_is_one()
    return {
        "objects": [
            {"id": number, "prompts": [{"frame": first_frame, **region}]}
            for number, region in enumerate(regions, start=1)
        ]
    }


def _plain(value: Any, masks: MaskSource) -> Any:
    """Python's own kinds of list and number as JSON's; mask arrays go to `masks`, and their names come."""
    if isinstance(value, Mapping):
        return {
            str(key): masks.add(item) if key == "mask" and _is_array(item) else _plain(item, masks)
            for key, item in value.items()
        }
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item, masks) for item in value]
    if isinstance(value, PathLike):
        return fspath(value)
    return value


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | list | tuple)
