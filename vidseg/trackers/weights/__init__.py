"""Checkpoints: how they are read and recognised, where they come from, and how they are verified.

path = find_weights("sam2.1-hiera-tiny")       # the cached file, its digest checked
state = read_checkpoint(path)                  # tensors only, never pickle
recognise(shapes_of(state)).title              # 'SAM 2.1 tiny'
check_state(expected, state, where=str(path))  # or an error that says what it looks like
"""

from __future__ import annotations

from vidseg.trackers.weights.cache import cache_folder, cached_path, find_weights, sha256_of, verify
from vidseg.trackers.weights.checkpoint import (
    check_state,
    check_values,
    read_checkpoint,
    shapes_of,
    state_sha256,
)
from vidseg.trackers.weights.downloads import download
from vidseg.trackers.weights.layouts import IMAGE_HALF, LAYOUTS, Layout, layout_of, recognise
from vidseg.trackers.weights.published import PUBLISHED, Published, published, tracker_of

__all__ = [
    "IMAGE_HALF",
    "LAYOUTS",
    "PUBLISHED",
    "Layout",
    "Published",
    "cache_folder",
    "cached_path",
    "check_state",
    "check_values",
    "download",
    "find_weights",
    "layout_of",
    "published",
    "read_checkpoint",
    "recognise",
    "sha256_of",
    "shapes_of",
    "state_sha256",
    "tracker_of",
    "verify",
]
