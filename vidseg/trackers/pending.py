"""Prompts that wait for the next frame; all sessions keep them this way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vidseg.errors import PromptError
from vidseg.trackers.contract import Prompt

if TYPE_CHECKING:
    from torch import Tensor

    from vidseg.trackers.contract import Box, Frame, Labels, Points


MAX_ID = 2**31 - 1
"""The highest id that a label map of int32 can hold."""
_PARTS = ("points", "labels", "box", "mask")


class PendingPrompts(dict[int, Prompt]):
    """At most one prompt for each object id, in the order in which they came; and the labels of objects.

    Labels come with prompts, but stay when these have been answered.
    """

    def __init__(
        self, prompts: Mapping[int, Prompt] | None = None, names: Mapping[Any, str] | None = None
    ) -> None:
        super().__init__(prompts or {})
        self.names = {int(obj_id): name for obj_id, name in (names or {}).items()}
        """Object id -> its label."""

    def add(
        self,
        obj_id: int,
        *,
        box: Box | None = None,
        points: Points | None = None,
        labels: Labels | None = None,
        mask: Any = None,
        label: str | None = None,
    ) -> None:
        """Let a prompt wait, merged with one that waits for the same object.

        Raises:
            PromptError: see `checked_id`, `Prompt.of` and `Prompt.merge`; nothing has changed then.
        """
        obj_id = checked_id(obj_id)
        prompt = Prompt.of(box=box, points=points, labels=labels, mask=mask)
        self[obj_id] = self[obj_id].merge(prompt) if obj_id in self else prompt
        if label is not None:
            self.names[obj_id] = str(label)

    def forget(self, obj_id: int) -> None:
        """Drop what waits for an object, and its label."""
        self.pop(obj_id, None)
        self.names.pop(obj_id, None)

    def names_of(self, obj_ids: Iterable[int]) -> list[str | None]:
        """The labels of objects; None for an object without one."""
        return [self.names.get(obj_id) for obj_id in obj_ids]

    def fit(self, frame: Frame) -> dict[int, Prompt]:
        """Every prompt, checked against the frame's size (`Prompt.fit`); they keep waiting until `clear()`.

        Raises:
            PromptError: a prompt does not fit; it is dropped, the others keep waiting.
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
        """Tensors for the file of a session: `pending.<obj_id>.<part>`; it also needs ids, in order, and
        `names`."""
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
    def of_tensors(
        cls, obj_ids: Iterable[int], tensors: Mapping[str, Tensor], names: Mapping[Any, str]
    ) -> PendingPrompts:
        """The prompts that `to_tensors` wrote; `tensors` may hold others. Ids in `names` may be text, as in
        JSON."""
        prompts = cls(names=names)
        for obj_id in obj_ids:
            parts = {
                part: tensors[name].cpu().numpy()
                for part in _PARTS
                if (name := f"pending.{obj_id}.{part}") in tensors
            }
            prompts[obj_id] = Prompt(parts["points"], parts["labels"], parts.get("box"), parts.get("mask"))
        return prompts


def checked_id(obj_id: int) -> int:
    """An object id as a plain int.

    Raises:
        PromptError: it is not an integer from 0 to `MAX_ID`.
    """
    if isinstance(obj_id, bool) or not isinstance(obj_id, int | np.integer) or not 0 <= obj_id <= MAX_ID:
        raise PromptError(f"object id {obj_id!r}", hint="ids are integers from 0 on (label maps: from 1 on)")
    return int(obj_id)
