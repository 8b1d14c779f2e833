"""Colour tags of decoded pictures, made into what FFmpeg's scaler takes.

Since version 8 the scaler refuses pictures whose tags are reserved or unknown (ITU-T H.273), and some that it
has no formula for. Phones, cameras and ProRes files carry such tags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from av import VideoFrame

UNTAGGED = 2
UNTAGGED_RANGE, LIMITED_RANGE, FULL_RANGE = 0, 1, 2
BT601, YCGCO, CHROMA_DERIVED = 6, 8, 12

MATRICES = {
    0: "RGB", 1: "BT.709", 2: "none", 4: "FCC", 5: "BT.470BG", 6: "BT.601", 7: "SMPTE 240M", 8: "YCgCo",
    9: "BT.2020", 10: "BT.2020 constant luminance", 11: "SMPTE 2085", 12: "derived from primaries",
    13: "derived from primaries, constant luminance", 14: "ICtCp", 15: "IPT-C2", 16: "YCgCo-Re",
    17: "YCgCo-Ro",
}  # fmt: skip
"""The matrices that H.273 defines; every other value is reserved."""

MATRIX_OF_PRIMARIES = {1: 1, 4: 4, 6: 7, 7: 7, 9: 9}
"""Primaries (H.273) -> the matrix that is derived from them, among those that the scaler knows."""


def settle_tags(picture: VideoFrame) -> None:
    """Change the tags of a picture, whose samples stay, so that the scaler converts it to RGB where it can.

    A reserved or unknown tag means an untagged picture. Primaries and transfer are dropped whatever they are:
    they play no part on the way from samples to RGB, and the scaler refuses some.
    """
    tags: Any = picture  # PyAV's stubs know fewer values than its setters take
    if tags.colorspace == CHROMA_DERIVED:
        tags.colorspace = MATRIX_OF_PRIMARIES.get(tags.color_primaries, UNTAGGED)
    elif tags.colorspace not in MATRICES:
        tags.colorspace = UNTAGGED
    if tags.color_range not in (UNTAGGED_RANGE, LIMITED_RANGE, FULL_RANGE):
        tags.color_range = UNTAGGED_RANGE
    tags.color_primaries = tags.color_trc = UNTAGGED


def rgb_of_ycgco(planes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """uint8 3 x H x W in limited range, in the order Y, Cg, Co, as uint8 H x W x 3 RGB (H.273, 8.3)."""
    luma = (planes[0].astype(np.float32) - 16) / 219
    green, orange = (planes[1:].astype(np.float32) - 128) / 224
    rgb = np.stack([luma - green + orange, luma + green, luma - green - orange], axis=-1)
    return (255 * rgb).round().clip(0, 255).astype(np.uint8)
