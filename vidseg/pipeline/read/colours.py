"""Changes colour tags of decoded pictures to ones that FFmpeg's scaler accepts.

From version 8 on the scaler refuses pictures whose tags are reserved or unknown (ITU-T H.273), and some for
which it has no formula. Phones, cameras and ProRes files write such tags.
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
"""Names of the matrices that H.273 defines; every other value is reserved."""

MATRIX_OF_PRIMARIES = {1: 1, 4: 4, 6: 7, 7: 7, 9: 9}
"""Primaries (H.273) -> the matrix that is derived from them, among those that the scaler knows."""


def settle_tags(picture: VideoFrame) -> None:
    """Change the tags of a picture, not its samples, so that the scaler converts it to RGB if it can.

    A picture with a reserved or unknown tag counts as untagged. Primaries and transfer are always dropped:
    they play no part in the conversion from samples to RGB, and the scaler refuses some of them.
    """
    tags: Any = picture  # PyAV's type stubs allow fewer values than its setters
    if tags.colorspace == CHROMA_DERIVED:
        tags.colorspace = MATRIX_OF_PRIMARIES.get(tags.color_primaries, UNTAGGED)
    elif tags.colorspace not in MATRICES:
        tags.colorspace = UNTAGGED
    if tags.color_range not in (UNTAGGED_RANGE, LIMITED_RANGE, FULL_RANGE):
        tags.color_range = UNTAGGED_RANGE
    tags.color_primaries = tags.color_trc = UNTAGGED


def rgb_of_ycgco(planes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Convert Y, Cg, Co, uint8 3 x H x W in limited range, to uint8 H x W x 3 RGB (H.273, 8.3)."""
    luma = (planes[0].astype(np.float32) - 16) / 219
    green, orange = (planes[1:].astype(np.float32) - 128) / 224
    rgb = np.stack([luma - green + orange, luma + green, luma - green - orange], axis=-1)
    return (255 * rgb).round().clip(0, 255).astype(np.uint8)
