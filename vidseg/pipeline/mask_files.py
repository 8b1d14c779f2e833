"""Reads masks from PNG files: which pixels belong to which object.

0 is always background. What other values mean depends on the file:

    indexed     every value is an object id; 255 beside other values is void (DAVIS, YouTube-VOS) and left out
    greyscale   a single value, whatever it is, marks one object; several values are object ids, and the
                highest is not 255 (grey levels up to 255 are a soft mask, and only its owner can say where it
                ends)
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from vidseg.errors import PromptError

if TYPE_CHECKING:
    from vidseg.trackers.contract import BoolArray

VOID = 255
ROUNDING = 0.02
"""Share of a side that may be lost in rounding it to whole pixels, but no more than one pixel."""
_INDEXED = ("P",)
_GREY = ("1", "L", "I", "I;16", "I;16B", "I;16L")


@dataclass(frozen=True)
class MaskFile:
    """The pixels of a mask file, and the objects in it."""

    values: npt.NDArray[np.int32]
    """int32 H x W."""
    ids: list[int]
    """Values that stand for objects, in rising order."""
    is_indexed: bool
    where: str
    """File and field, for messages."""

    def objects(self) -> dict[int, BoolArray]:
        """Object id -> bool H x W. A single value in a greyscale file, or 255, is object 1."""
        if len(self.ids) == 1 and (not self.is_indexed or self.ids[0] == VOID):
            return {1: self.values == self.ids[0]}
        return {obj_id: self.values == obj_id for obj_id in self.ids}

    def check_is_one(self) -> None:
        """Check that the file marks one object.

        Raises:
            PromptError: it has several, of which all but one would be lost.
        """
        if len(self.ids) > 1:
            raise PromptError(
                f"the mask has {len(self.ids)} objects, and stands for one beside other prompts",
                where=self.where,
                hint="give it alone, or name its objects: "
                '{"objects": [{"id": 1, "prompts": [{"frame": 0, "mask": ...}]}, ...]}',
            )

    def of_object(self, obj_id: int) -> BoolArray:
        """The pixels of one object, bool H x W; in a file with a single value, those of that value.

        Raises:
            PromptError: the file has several ids, and this one is not among them.
        """
        if len(self.ids) == 1:
            return self.values == self.ids[0]
        if obj_id not in self.ids:
            raise PromptError(
                f"the mask has the ids {', '.join(map(str, self.ids[:10]))}, but not {obj_id}",
                where=self.where,
                hint="give the object the id it has in the mask, or a mask of this object alone",
            )
        return self.values == obj_id


def read_mask(path: Path, where: str) -> MaskFile:
    """The mask in a PNG file.

    Args:
        where: file and field that name the mask file, for messages.

    Raises:
        PromptError: no such file, not an indexed or greyscale PNG, or nothing marked in it.
    """
    values, is_indexed = _read_png(path, where)
    ids = [int(v) for v in np.unique(values) if v != 0]
    if not ids:
        raise PromptError(f"the mask '{path}' is empty", where=where, hint="mark at least one pixel")
    if len(ids) > 1 and ids[-1] == VOID:
        if not is_indexed:
            raise PromptError(
                f"the mask '{path}' has {len(ids)} grey levels up to 255: a soft mask?",
                where=where,
                hint="threshold it; or save it as an indexed PNG if the values are object ids",
            )
        ids.remove(VOID)
    return MaskFile(values, ids, is_indexed, where)


def _read_png(path: Path, where: str) -> tuple[npt.NDArray[np.int32], bool]:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=["PNG"]) as image:
                mode = image.mode
                values = np.asarray(image).astype(np.int32) if mode in _INDEXED + _GREY else None
    except FileNotFoundError:
        raise PromptError(
            f"there is no mask file '{path}'",
            where=where,
            hint="paths start at the prompt file's folder (from standard input: at the working directory)",
        ) from None
    except UnidentifiedImageError:
        raise PromptError(f"the mask '{path}' is not a PNG image", where=where) from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise PromptError(f"the mask '{path}' is too large an image", where=where) from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # the last three: Pillow on broken chunks
        reason = getattr(error, "strerror", None) or error
        raise PromptError(f"the mask '{path}' cannot be read ({reason})", where=where) from None
    if values is None:
        raise PromptError(
            f"the mask '{path}' is a colour image (mode {mode})",
            where=where,
            hint="save it as an indexed or greyscale PNG without transparency",
        )
    return values, mode in _INDEXED


def resize_mask(mask: BoolArray, size_hw: tuple[int, int]) -> BoolArray:
    """A mask at the video's size, by nearest neighbour.

    Raises:
        PromptError: the aspect ratios differ by more than the rounding of a side to whole pixels.
    """
    (mask_h, mask_w), (height, width) = mask.shape, size_hw
    off_w, off_h = abs(width * mask_h / height - mask_w), abs(height * mask_w / width - mask_h)
    if not (off_w <= min(1, ROUNDING * mask_w) or off_h <= min(1, ROUNDING * mask_h)):
        raise PromptError(
            f"a mask of {mask_w}x{mask_h} for a video of {width}x{height}: another aspect ratio",
            hint="give the mask at the video's size",
        )
    resized = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT) > 0
    if not resized.any():
        raise PromptError(f"nothing is left of the mask when it is resized from {mask_w}x{mask_h}")
    return resized
