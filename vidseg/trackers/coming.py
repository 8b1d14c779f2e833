"""Answers that a GPU still computes: they are fetched when somebody asks for them.

So the host prepares the next frame meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from torch import Tensor

from vidseg.memory.bank import MemoryFrame
from vidseg.trackers.device import Download
from vidseg.trackers.result import FrameResult


class ComingFrame(MemoryFrame):
    """A memory frame whose object score and predicted IoU are on their way to the host.

    Args:
        judged: the object scores and the predicted IoUs of all objects.
        row: which of them are the frame's own.
    """

    __slots__ = ("_judged", "_row")

    def __init__(
        self,
        frame_idx: int,
        tokens_nc: Tensor,
        pointer_c: Tensor,
        low_res_logits_hw: Tensor,
        judged: Download,
        row: int,
    ) -> None:
        super().__init__(frame_idx, tokens_nc, pointer_c, 0.0, 0.0, low_res_logits_hw)
        # Attributes that are not there are asked of `__getattr__`.
        del self.object_score_logit, self.predicted_iou
        self._judged, self._row = judged, row

    def __getattr__(self, name: str) -> float:
        if name not in ("object_score_logit", "predicted_iou"):
            raise AttributeError(name)
        scores_b, ious_b = self._judged.tensors()
        self.object_score_logit, self.predicted_iou = float(scores_b[self._row]), float(ious_b[self._row])
        return self.object_score_logit if name == "object_score_logit" else self.predicted_iou


class ComingResult(FrameResult):
    """A result that is fetched as soon as anything of it is asked for.

    Args:
        fetch: gives the arguments of `FrameResult`; it is called once.
    """

    is_coming = True

    def __init__(self, fetch: Callable[[], dict[str, Any]]) -> None:
        self._fetch: Callable[[], dict[str, Any]] | None = fetch
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()  # fetches it
        del state["_lock"]
        return state

    def __getattr__(self, name: str) -> Any:
        # Only what `FrameResult.__init__` has not set yet comes here.
        if name in ("_fetch", "_lock") or name.startswith("__"):
            raise AttributeError(name)
        with self._lock:
            if self._fetch is not None:
                super().__init__(**self._fetch())
                self._fetch = None
        if name not in self.__dict__:
            raise AttributeError(f"{type(self).__name__} has no attribute '{name}'")
        return self.__dict__[name]
