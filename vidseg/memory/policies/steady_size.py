"""Steady size: of a mask that has grown to hold two things of the object's size, the one on its way is kept.

When an object meets its twin, keys, colours and flow say the same of both, and masks take in both from then
on. Two things that need no training tell them apart once they part: an object's size changes slowly, and it
goes on as it went. Its way is taken from frames on which it has its size, as the mask of an object that is
half hidden by its twin creeps onto the twin. A mask that fits the size, or is in one piece, is left as it is.

Layouts: h w the low-res grid, in whose pixels places and areas are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from vidseg.masks import iou
from vidseg.memory.bank import MemoryFrame, Moment, ObjectBank, RecentFrames
from vidseg.memory.placing import Pair

Mask = npt.NDArray[np.bool_]

CUT = -4.0
"""The mask logit of what is cut off."""
LEAST_AREA = 12
"""Masks of fewer pixels say nothing of size or way."""
FASTEST_GROWTH, FASTEST_LOSS = 1.03, 0.985
"""By so much a frame the expected area follows that of the masks, up and down. It falls more slowly, so that
an object that comes out from behind something may have its size again."""
FASTEST_ENTRY = 1.5
"""An object that the picture's border cuts may grow by so much a frame."""
SURE_AREA = 0.8, 1.15
"""Masks of so many expected areas give the way; smaller ones may be partly hidden, and larger ones may hold
something else."""
SURE_IOU = 0.5
"""After a frame whose mask gave no way, one does again that has this IoU with the expected mask, or more:
others may be of the twin behind which the object went."""
MOST_AREA = 2.6
"""A mask of more than this many expected areas is more than two of a kind: the expectation was wrong."""
LEAST_PART = 0.7
"""A smaller piece, as a share of the expected area, may be a part of an object that something divides."""
LEAST_IOU = 0.1
"""The piece that is kept has this IoU with the expected mask, or more."""
LONGEST_DOUBT = 20
"""After so many frames without a mask that gives the way, masks are believed again."""
WAY = 8
"""So many places give the way that the object goes."""
FEWEST_PLACES = 3
"""Before so many nothing is cut."""


@dataclass(frozen=True)
class SteadySize(RecentFrames):
    """Recent frames; a tracked mask that holds two things of the object's size loses one of them."""

    most_growth: Annotated[float, Field(gt=1)] = 1.5
    """A mask of more than this many expected areas is looked at."""

    def note_prompt(self, bank: ObjectBank, memory: MemoryFrame) -> None:
        """Expect the size and the place that the answer to a prompt has."""
        if memory.low_res_logits_hw is None:
            bank.note({})
            return
        mask = _mask_of(memory.low_res_logits_hw)
        bank.note(_begun(mask, memory.frame_idx) if mask.sum() >= LEAST_AREA else {})

    def trim(self, bank: ObjectBank, moment: Moment, logits_hw: Tensor) -> Tensor:
        """Mask logits of a tracked object, without what is not the object; see `TrimmingPolicy`."""
        mask, now = _mask_of(logits_hw), moment.frame_idx
        if mask.sum() < LEAST_AREA:
            return logits_hw
        notes = bank.notes
        if not notes or _is_outdated(notes, bank, now) or mask.sum() > MOST_AREA * notes["area"]:
            bank.note(_begun(mask, now))
            return logits_hw
        if _enters(notes, mask, now):
            bank.note({**_gone_on(notes, mask, now), "area": float(mask.sum())})
            return logits_hw
        if len(notes["way"]) < FEWEST_PLACES:
            bank.note(_gone_on(notes, mask, now))
            return logits_hw
        expected = _expected(notes, now)
        if _is_sure(notes, mask, now, expected):
            bank.note(_gone_on(notes, mask, now))
            return logits_hw
        if mask.sum() <= self.most_growth * notes["area"]:
            return logits_hw
        kept = _piece_on_the_way(mask, expected, notes["area"])
        if kept is None:
            return logits_hw
        if _is_sure(notes, kept, now, expected):
            bank.note(_gone_on(notes, kept, now))
        is_cut = torch.from_numpy(mask & ~kept).to(logits_hw.device)
        return logits_hw.masked_fill(is_cut, CUT)

    def place(self, bank: ObjectBank, scale_xy: Pair, shift_xy: Pair) -> None:
        """See `vidseg.memory.placing.PlacingPolicy`."""
        if bank.notes:
            bank.note(_placed(bank.notes, scale_xy, shift_xy))


def _placed(notes: dict[str, Any], scale_xy: Pair, shift_xy: Pair) -> dict[str, Any]:
    """Notes on a grid that shows another part of the picture."""
    (x, y), mask = scale_xy, _unpacked(notes["mask"])
    # Places are counted from the centre of the first pixel, edges from its corner.
    dx, dy = (shift + (scale - 1) / 2 for scale, shift in zip(scale_xy, shift_xy, strict=True))
    moved = np.array([[x, 0, dx], [0, y, dy]], np.float32)
    seen = cv2.warpAffine(mask.astype(np.uint8), moved, mask.shape[::-1], flags=cv2.INTER_NEAREST) > 0
    way = [[frame, x * column + dx, y * row + dy] for frame, column, row in notes["way"]]
    return {"area": notes["area"] * x * y, "mask": _packed(seen), "way": way}


def _mask_of(logits_hw: Tensor) -> Mask:
    mask: Mask = (logits_hw > 0).cpu().numpy()
    return mask


def _begun(mask: Mask, frame_idx: int) -> dict[str, Any]:
    """What is noted of an object: its area, its last mask, and the frames and places of its way."""
    return {"area": float(mask.sum()), "mask": _packed(mask), "way": [[frame_idx, *_centre(mask)]]}


def _gone_on(notes: dict[str, Any], mask: Mask, frame_idx: int) -> dict[str, Any]:
    old = notes["area"]
    area = min(max(float(mask.sum()), FASTEST_LOSS * old), FASTEST_GROWTH * old)
    way = [*notes["way"], [frame_idx, *_centre(mask)]][-WAY:]
    return {"area": area, "mask": _packed(mask), "way": way}


def _is_outdated(notes: dict[str, Any], bank: ObjectBank, now: int) -> bool:
    """Whether the last place on the way is long ago, or a prompt came after it."""
    last = notes["way"][-1][0]
    low, high = sorted((last, now))
    return high - low > LONGEST_DOUBT or any(low < prompted < high for prompted in bank.conditioning)


def _enters(notes: dict[str, Any], mask: Mask, now: int) -> bool:
    """Whether an object grows as it comes into the picture: its last mask lay on the border."""
    last = _unpacked(notes["mask"])
    on_border = last[[0, -1]].any() or last[:, [0, -1]].any()
    is_new = abs(now - notes["way"][-1][0]) <= 2
    return bool(on_border and is_new and mask.sum() <= FASTEST_ENTRY * notes["area"])


def _is_sure(notes: dict[str, Any], mask: Mask, now: int, expected: Mask) -> bool:
    """Whether a mask has the object's size, and after a doubt its place, so that it gives the way."""
    low, high = SURE_AREA
    if not low * notes["area"] <= mask.sum() <= high * notes["area"]:
        return False
    return abs(now - notes["way"][-1][0]) <= 1 or iou(mask, expected) >= SURE_IOU


def _expected(notes: dict[str, Any], now: int) -> Mask:
    """The last mask on the way, moved to where the object should be by now at a constant speed."""
    frames, *places = np.array(notes["way"]).T
    mask = _unpacked(notes["mask"])
    moved = [np.polyval(np.polyfit(frames - now, place, 1), 0) - place[-1] for place in places]
    shift = np.array([[1, 0, moved[0]], [0, 1, moved[1]]], np.float32)
    return cv2.warpAffine(mask.astype(np.uint8), shift, mask.shape[::-1]) > 0


def _piece_on_the_way(mask: Mask, expected: Mask, area: float) -> Mask | None:
    """Of two or more large pieces, the one that fits what is expected best; None if there is but one, or none
    fits."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8))
    pieces = [labels == label for label in range(1, count)]
    pieces = [piece for piece in pieces if piece.sum() > LEAST_PART * area]
    if len(pieces) < 2:
        return None
    ious = [iou(piece, expected) for piece in pieces]
    best = int(np.argmax(ious))
    return pieces[best] if ious[best] >= LEAST_IOU else None


def _centre(mask: Mask) -> list[float]:
    """x and y."""
    y, x = np.nonzero(mask)
    return [float(x.mean()), float(y.mean())]


def _packed(mask: Mask) -> dict[str, list[int]]:
    """A mask as JSON: its height and width, and where it changes, row by row."""
    flat = np.concatenate(([False], mask.ravel(), [False]))
    return {"size": list(mask.shape), "changes": np.flatnonzero(flat[1:] != flat[:-1]).tolist()}


def _unpacked(packed: dict[str, list[int]]) -> Mask:
    height, width = packed["size"]
    flat = np.zeros(height * width, bool)
    for begin, end in zip(packed["changes"][::2], packed["changes"][1::2], strict=True):
        flat[begin:end] = True
    return flat.reshape(height, width)
