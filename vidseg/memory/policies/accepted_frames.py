"""A base for policies that read the last few *accepted* memories, however far back they lie."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from vidseg.memory.bank import CONDITIONING_SLOT, MemoryFrame, Moment, ObjectBank, Recall, RecentFrames
from vidseg.memory.policies.eviction import keep_only


@dataclass(frozen=True)
class AcceptedFrames(RecentFrames):
    """Reads conditioning frames, the frame before, and the newest frames that a subclass accepts.

    The frame before is read whether it is accepted or not, so that motion between two frames is not lost.
    Temporal slots go by order, not by age: the newest memory has slot 0. Pointers are SAM 2's, by recency.
    Whether a frame is accepted is settled when it is remembered, so a frame that can never be read is freed
    at once.
    """

    stride: ClassVar[int] = 1  # type: ignore[misc]
    """Fixed: which frames are read depends on what is accepted, not on their number."""

    def accepts(self, bank: ObjectBank, frame: MemoryFrame) -> bool:
        """Whether a tracked frame is read later on."""
        raise NotImplementedError

    def read_frames(self, bank: ObjectBank, moment: Moment, limit: int) -> list[MemoryFrame]:
        """The tracked frames that are read, newest first: the frame before, then accepted ones; `limit` in
        all."""
        behind = self._behind(bank, moment, 1)
        return [f for k, f in enumerate(behind) if k == 0 or self.accepts(bank, f)][:limit]

    def recall(self, bank: ObjectBank, moment: Moment) -> Recall:
        recent = RecentFrames.recall(self, bank, moment)
        spatial = [entry for entry in recent.spatial if entry[0] == CONDITIONING_SLOT]
        read = self.read_frames(bank, moment, self.recent_frames)
        spatial += [(slot, frame) for slot, frame in reversed(list(enumerate(read)))]
        return replace(recent, spatial=spatial)

    def evict(self, bank: ObjectBank, moment: Moment) -> None:
        behind = self._behind(bank, moment, 0)
        # Kept is what this frame, if it is corrected, or a later frame may read.
        accepted = [frame for frame in behind if self.accepts(bank, frame)]
        read = {f.frame_idx for f in (*behind[:2], *accepted[: self.recent_frames + 1])}
        keep_only(bank, read, moment, self.max_pointers)
        self._evict_conditioning(bank, moment)

    def _behind(self, bank: ObjectBank, moment: Moment, nearest: int) -> list[MemoryFrame]:
        """Tracked frames at least `nearest` frames ago, the newest first."""
        behind = [f for t, f in bank.tracked.items() if moment.frames_back(t) >= nearest]
        return sorted(behind, key=lambda frame: moment.frames_back(frame.frame_idx))
