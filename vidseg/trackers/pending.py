"""Prompts that wait for the next frame, the same way in every session."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vidseg.errors import PromptError
from vidseg.trackers.contract import Prompt

if TYPE_CHECKING:
    from torch import Tensor

    from vidseg.trackers.contract import Frame


class PendingPrompts(dict[int, Prompt]):
    """One prompt at most for each object id, in order of coming."""

    def add(
        self,
        obj_id: int,
        *,
        box: Sequence[float] | None = None,
        points: Sequence[Sequence[float]] | None = None,
        labels: Sequence[int] | None = None,
        mask: Any = None,
    ) -> None:
        """Let a prompt wait; it joins what waits for the same object already.

        Raises:
            PromptError: see `checked_id`, `Prompt.of` and `Prompt.merge`; then nothing has changed.
        """
        obj_id = checked_id(obj_id)
        prompt = Prompt.of(box=box, points=points, labels=labels, mask=mask)
        self[obj_id] = self[obj_id].merge(prompt) if obj_id in self else prompt

    def fit(self, frame: Frame) -> dict[int, Prompt]:
        """Every prompt, checked against the frame's size (`Prompt.fit`); they keep waiting till `clear()`.

        Raises:
            PromptError: a prompt does not fit; that one is dropped, the others keep waiting.
        """
        fitted = {}
        for obj_id, prompt in list(self.items()):
            try:
                fitted[obj_id] = prompt.fit(frame.size_hw)
            except PromptError as error:
                del self[obj_id]
                raise error.at(f"object {obj_id}, frame {frame.index}") from None
        return fitted

    def to_tensors(self) -> dict[str, Tensor]:
        """For a session's file: `pending.<obj_id>.<part>`. The file also needs the ids, in their order."""
        import torch  # here alone: a session of the weight-free tracker works without it

        return {
            f"pending.{obj_id}.{part}": torch.from_numpy(np.asarray(array))
            for obj_id, prompt in self.items()
            for part, array in zip(
                _PARTS, (prompt.points_xy, prompt.labels, prompt.box, prompt.mask), strict=True
            )
            if array is not None
        }

    @classmethod
    def of_tensors(cls, obj_ids: Iterable[int], tensors: Mapping[str, Tensor]) -> PendingPrompts:
        """What `to_tensors` gave; `tensors` may hold others too."""
        prompts = cls()
        for obj_id in obj_ids:
            parts = {
                part: tensors[name].cpu().numpy()
                for part in _PARTS
                if (name := f"pending.{obj_id}.{part}") in tensors
            }
            prompts[obj_id] = Prompt(parts["points"], parts["labels"], parts.get("box"), parts.get("mask"))
        return prompts


_PARTS = ("points", "labels", "box", "mask")


def checked_id(obj_id: int) -> int:
    """An object id as a plain int.

    Raises:
        PromptError: it is not an integer from 0 on.
    """
    if isinstance(obj_id, bool) or not isinstance(obj_id, int | np.integer) or obj_id < 0:
        raise PromptError(f"object id {obj_id!r}", hint="ids are integers from 0 on (label maps: from 1 on)")
    return int(obj_id)
