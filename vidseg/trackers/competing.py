"""Objects that compete for pixels: what one of them holds more surely is not remembered as another one's.

Each object is followed by itself, so that its mask soon takes in what resembles it, which may be another
object. Two objects compete, unless one of them lay on the other when it was prompted, as a shirt on a person.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from vidseg.trackers.postprocess import LOSER_LOGIT

SHARED = 0.5
"""Two objects share their pixels if so much of the smaller mask lies on the other one."""


class Competition:
    """Which objects of a session compete, and which share their pixels."""

    def __init__(self) -> None:
        self._sharing: set[frozenset[int]] = set()
        """Pairs that do not compete."""

    def note(self, prompted: Collection[int], masks: Mapping[int, Tensor]) -> None:
        """Take note of how masks lie as objects are prompted.

        Args:
            prompted: object ids.
            masks: bool h x w, of all objects on the frame with the prompts.
        """
        for obj_id in prompted:
            for other, mask in masks.items():
                if other == obj_id or obj_id not in masks:
                    continue
                own = masks[obj_id]
                smaller = min(int(own.sum()), int(mask.sum()))
                self._sharing.discard(frozenset((obj_id, other)))
                if int((own & mask).sum()) > SHARED * smaller:
                    self._sharing.add(frozenset((obj_id, other)))

    def forget(self, obj_id: int) -> None:
        """Forget an object."""
        self._sharing = {pair for pair in self._sharing if obj_id not in pair}

    def rivals(self, obj_ids: Sequence[int]) -> list[list[int]]:
        """For each of some objects, which rows among them compete with it."""
        return [
            [row for row, other in enumerate(obj_ids) if other != own and {own, other} not in self._sharing]
            for own in obj_ids
        ]

    def to_json(self) -> list[list[int]]:
        return sorted(sorted(pair) for pair in self._sharing)

    @classmethod
    def of_json(cls, pairs: Sequence[Sequence[int]]) -> Competition:
        competition = cls()
        competition._sharing = {frozenset(pair) for pair in pairs}
        return competition


def without_rivals(logits_nhw: Tensor, rivals: Sequence[Sequence[int]]) -> Tensor:
    """Mask logits of objects, with no pixel on which a rival's are higher; the first object wins a tie.

    Args:
        rivals: the rows with which each row competes.
    """
    rows = []
    for row, (logits, others) in enumerate(zip(logits_nhw, rivals, strict=True)):
        lost = torch.zeros_like(logits, dtype=torch.bool)
        for other in others:
            lost |= logits_nhw[other] >= logits if other < row else logits_nhw[other] > logits
        rows.append(torch.where(lost, logits.clamp(max=LOSER_LOGIT), logits))
    return torch.stack(rows)
