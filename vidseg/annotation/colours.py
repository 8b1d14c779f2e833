"""Colours of new objects: bright, and far apart, so that they are told from each other on any picture."""

from __future__ import annotations

import colorsys

FIRST = (
    *("#2f9bff", "#ff9f1c", "#3ddc84", "#f45bd0", "#f7e01e"),
    *("#19d3da", "#ff5f57", "#a583ff", "#b6e34a", "#ff9ec0"),
)
GOLDEN_SHARE = 0.618034
"""Hues this far apart on the circle of hues never come near each other for long."""


def colour_of(obj_id: int) -> str:
    """'#rrggbb' for an object's id, from 1 on."""
    if obj_id <= len(FIRST):
        return FIRST[obj_id - 1]
    r, g, b = colorsys.hls_to_rgb((obj_id * GOLDEN_SHARE) % 1, 0.62, 0.85)
    return f"#{round(255 * r):02x}{round(255 * g):02x}{round(255 * b):02x}"
