"""COCO's compressed run-length encoding of a mask: `{"size": [h, w], "counts": "..."}`.

Runs go down the columns, from the top-left corner, background first (cocoapi, common/maskApi.c).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vidseg.errors import InputError

if TYPE_CHECKING:
    import numpy.typing as npt


def encode_rle(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """The RLE of a bool (H, W) mask, ready for JSON."""
    import cv2
    from pycocotools import mask as coco

    # OpenCV transposes in blocks: twice as fast as numpy.asfortranarray at 720p.
    columns = cv2.transpose(np.ascontiguousarray(mask).view(np.uint8)).reshape(mask.shape[::-1])
    rle = coco.encode(columns.T)
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode_rle(rle: dict[str, Any]) -> npt.NDArray[np.bool_]:
    """The bool (H, W) mask of an RLE.

    Decoded here, not by pycocotools: where runs end early its decoder leaves the rest of the mask to chance.

    Raises:
        InputError: the runs do not fill the size.
    """
    import cv2

    height, width = rle["size"]
    runs = _checked_runs(rle)
    columns = np.repeat(np.arange(len(runs), dtype=np.uint8) & 1, runs).reshape(width, height)
    return cv2.transpose(columns).reshape(height, width).view(np.bool_)


def uncompressed(rle: dict[str, Any]) -> dict[str, Any]:
    """The same RLE with its runs as a list of numbers, as the data sets that came with COCO's tools have it.

    Raises:
        InputError: see `decode_rle`.
    """
    return {"size": rle["size"], "counts": _checked_runs(rle).tolist()}


def check_rle(rle: dict[str, Any]) -> None:
    """Check an RLE without making its mask.

    Raises:
        InputError: see `decode_rle`.
    """
    _checked_runs(rle)


def _checked_runs(rle: dict[str, Any]) -> npt.NDArray[np.int64]:
    height, width = rle["size"]
    runs = _runs(rle["counts"])
    if runs is None or (runs < 0).any() or runs.sum() != height * width:
        raise InputError(f"an RLE that does not fill its size of {width}x{height}")
    return runs


def _runs(counts: str) -> npt.NDArray[np.int64] | None:
    """The lengths of an RLE's runs, background first; None where `counts` is not one.

    A number is written in groups of five bits, lowest first, one character (from '0') each: bit 5 says that
    more follow, bit 4 of the last one is the sign. From the fourth number on it is the difference from the
    one two before (cocoapi, rleToString).
    """
    groups = np.frombuffer(counts.encode("utf-8"), np.uint8).astype(np.int64) - 48
    if not len(groups) or groups.min() < 0 or groups.max() > 63 or groups[-1] & 32:
        return None
    ends = np.flatnonzero(groups & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() > 6:  # more than any picture has pixels
        return None
    place = np.arange(len(groups)) - np.repeat(starts, ends - starts + 1)
    numbers = np.add.reduceat((groups & 31) << 5 * place, starts)
    numbers -= np.where(groups[ends] & 16, 1 << 5 * (place[ends] + 1), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
