"""The memory tree: several hypotheses (paths) per object live side by side, and the best-scored one is shown.

Source: Ding et al., "SAM2Long: Enhancing SAM 2 for Long Video Segmentation with a Training-Free Memory Tree",
2024: section 3.2 (constrained tree memory with uncertainty handling), section 3.3 (object-aware memory bank).
The paper gives the masks of the best path once the video has ended. Here each frame's result is that of the
path that is best by then, as a stream needs it; when another path takes over, earlier results stay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from pydantic import Field

from vidseg.memory.bank import Branch, MemoryFrame, Moment, ObjectBank, Offer, Recall
from vidseg.memory.policies.accepted_frames import AcceptedFrames


@dataclass(frozen=True)
class MemoryTree(AcceptedFrames):
    """Each path offers its candidates; the branches with the highest sums of log predicted IoU go on.

    Paths that agree share memories and are computed once, so a clear scene costs little more than plain
    tracking; in doubt a frame costs up to `paths` times as much.
    """

    scales_keys: ClassVar[bool] = True
    """Its recalls have `key_scales`."""

    paths: Annotated[int, Field(ge=1)] = 3
    """How many hypotheses an object has at most."""
    min_memory_iou: Annotated[float, Field(ge=0, le=1)] = 0.1
    """A memory is read if its predicted IoU is above this and its object score above 0."""
    certain_score: Annotated[float, Field(ge=0)] = 2.0
    """If any path has an object score (absolute) above this, the best branches go on; else branches that
    differ are preferred."""
    key_scale_range: Annotated[tuple[float, float], Field(strict=False)] = (0.95, 1.05)
    """Keys of the read memories are scaled from the first to the second, in the order of their object scores.
    """

    def accepts(self, bank: ObjectBank, frame: MemoryFrame) -> bool:
        return frame.predicted_iou > self.min_memory_iou and frame.object_score_logit > 0

    def recall(self, bank: ObjectBank, moment: Moment) -> Recall:
        recall = AcceptedFrames.recall(self, bank, moment)
        conditioning = [entry for entry in recall.pointers if entry[1].frame_idx in bank.conditioning]
        room = self.pointer_limit(moment) - 1
        pointers = conditioning + [
            (moment.frames_back(frame.frame_idx), frame) for frame in self.read_frames(bank, moment, room)
        ]
        scales = [self._key_scales([frame for _, frame in part], bank) for part in (recall.spatial, pointers)]
        return replace(recall, pointers=pointers, key_scales=(scales[0], scales[1]))

    def evict(self, bank: ObjectBank, moment: Moment) -> None:
        tokens_of = set()
        for path in bank.hypotheses:
            behind = self._behind(path, moment, 0)
            accepted = [frame for frame in behind if self.accepts(path, frame)]
            kept = [*behind[:2], *accepted[: self.max_pointers]]
            tokens_of |= {id(frame) for frame in (*behind[:2], *accepted[: self.recent_frames + 1])}
            for frame_idx, frame in list(path.tracked.items()):
                if not any(frame is k for k in kept):
                    path.forget(frame_idx)
        for path in bank.hypotheses:
            for frame in path.tracked.values():
                if id(frame) not in tokens_of:
                    frame.tokens_nc = None
        self._evict_conditioning(bank, moment)

    def decide(self, bank: ObjectBank, moment: Moment, offers: Sequence[Offer]) -> list[Branch]:
        earlier = [float(path.notes.get("score", 0.0)) for path in bank.hypotheses]
        if "score" not in bank.notes:  # after a prompt all paths start the same
            return [Branch(0, offers[0].best, {"score": 0.0})] * self.paths
        branches = [
            Branch(path, k, {"score": earlier[path] + math.log(max(iou, 0.0) + 1e-5)})
            for path, offer in enumerate(offers)
            for k, iou in enumerate(offer.predicted_ious)
        ]
        # A stable sort: of equal scores, that of the earlier path comes first.
        branches.sort(key=lambda branch: -branch.notes["score"])
        if max(abs(offer.object_score_logit) for offer in offers) > self.certain_score:
            return branches[: self.paths]
        return self._different(branches, offers)

    def note_prompt(self, bank: ObjectBank, memory: MemoryFrame) -> None:
        bank.note({})

    def _different(self, branches: Sequence[Branch], offers: Sequence[Offer]) -> list[Branch]:
        """The best branches whose predicted IoUs differ in two decimals; if these are too few, also others,
        those of paths not yet represented first."""
        kept: list[Branch] = []
        seen = set()
        for branch in branches:
            offer = offers[branch.hypothesis]
            sign = 1 if offer.object_score_logit > 0 else -1
            mark = round(sign * offer.predicted_ious[branch.candidate], 2)
            if mark not in seen and len(kept) < self.paths:
                seen.add(mark)
                kept.append(branch)
        for wants_new_path in (True, False):
            for branch in branches:
                is_new = all(branch.hypothesis != other.hypothesis for other in kept)
                if len(kept) < self.paths and (is_new or not wants_new_path) and branch not in kept:
                    kept.append(branch)
        return sorted(kept, key=lambda branch: -branch.notes["score"])

    def _key_scales(self, frames: Sequence[MemoryFrame], bank: ObjectBank) -> list[float]:
        """Scales spread evenly over the range by the rank of the object score; prompted frames rank first."""
        if len(frames) < 2:
            return [1.0] * len(frames)
        low, high = self.key_scale_range
        scores = [10.0 if f.frame_idx in bank.conditioning else f.object_score_logit for f in frames]
        scales = [0.0] * len(frames)
        for rank, place in enumerate(sorted(range(len(frames)), key=scores.__getitem__)):
            scales[place] = low + (high - low) * rank / (len(frames) - 1)
        return scales
