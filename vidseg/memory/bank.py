"""The memory bank: what is remembered of one object, and what the current frame reads of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Moment:
    """Where tracking stands: a frame, the direction, and the video's length where it is known."""

    frame_idx: int
    reverse: bool = False
    num_frames: int | None = None

    def frames_back(self, frame_idx: int) -> int:
        """How many frames ago `frame_idx` was, in the direction of tracking; negative when it lies ahead."""
        return frame_idx - self.frame_idx if self.reverse else self.frame_idx - frame_idx


@dataclass(slots=True)
class MemoryFrame:
    """What is remembered of one object on one frame."""

    frame_idx: int
    tokens_nc: Tensor | None
    """Spatial memory, N tokens x 64, bfloat16; None once only the pointer is within reach."""
    pointer_c: Tensor
    """Object pointer."""
    object_score_logit: float
    predicted_iou: float
    low_res_logits_hw: Tensor | None
    """The mask logits behind the memory, while a correction or a later visit may want them."""
    is_initial: bool = False
    """Segmented from a prompt without memory."""
    was_visited: bool = True
    """Tracking has passed here (False: conditioned ahead of its time)."""
    was_corrected: bool = False
    """A tracked frame whose mask answers a later prompt."""


@dataclass(slots=True)
class ObjectBank:
    """One object's memory frames, by frame index."""

    conditioning: dict[int, MemoryFrame] = field(default_factory=dict)
    tracked: dict[int, MemoryFrame] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    """What a policy has noted of the object, as JSON values; saved with the session."""
    rivals: list[ObjectBank] = field(default_factory=list)
    """Other hypotheses about the same object, the likeliest first; hypotheses share memory frames."""

    @property
    def hypotheses(self) -> list[ObjectBank]:
        """This bank, which is the one believed in, and its rivals."""
        return [self, *self.rivals]

    def at(self, frame_idx: int) -> MemoryFrame | None:
        return self.conditioning.get(frame_idx) or self.tracked.get(frame_idx)

    def num_bytes(self) -> int:
        hypotheses = self.hypotheses
        every = [f for h in hypotheses for f in (*h.conditioning.values(), *h.tracked.values())]
        frames = {id(frame): frame for frame in every}.values()
        tensors = [
            t for f in frames for t in (f.tokens_nc, f.pointer_c, f.low_res_logits_hw) if t is not None
        ]
        return sum(t.numel() * t.element_size() for t in tensors)


@dataclass(frozen=True, slots=True)
class Recall:
    """What one object's frame reads, in the order in which attention gets it."""

    spatial: Sequence[tuple[int, MemoryFrame]]
    """(temporal slot, memory frame): slot 0 is the frame before, the last slot is for conditioning frames."""
    pointers: Sequence[tuple[int, MemoryFrame]]
    """(frames back, signed; memory frame)."""
    key_scales: tuple[Sequence[float], Sequence[float]] | None = None
    """Factors of the keys' inputs, one per spatial memory and one per pointer; None: all 1."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Objects whose recalls agree in this can be read in one batch."""
        sizes = [frame.tokens_nc.shape[0] for _, frame in self.spatial if frame.tokens_nc is not None]
        return (*sizes, -1, len(self.pointers))


class BankPolicy(Protocol):
    """What is read and what is kept."""

    @property
    def recent_frames(self) -> int:
        """Temporal slots besides that of conditioning frames, which is the last."""
        ...

    def recall(self, bank: ObjectBank, moment: Moment) -> Recall:
        """What the frame at `moment` reads."""
        ...

    def evict(self, bank: ObjectBank, moment: Moment) -> None:
        """Drop what is read neither at `moment`, whose frame may yet be corrected, nor later."""
        ...

    def forget_around(self, bank: ObjectBank, frame_idx: int) -> None:
        """Drop tracked frames near a corrected one, but not that one."""
        ...

    def pointer_limit(self, moment: Moment) -> int:
        """How many pointers a frame reads at most; their times are scaled by it."""
        ...


@dataclass(frozen=True, slots=True)
class Offer:
    """What the mask decoder offers one hypothesis on one frame."""

    logits_khw: Tensor
    """Low-res mask logits of K candidates."""
    predicted_ious: Sequence[float]
    """One per candidate."""
    object_score_logit: float

    @property
    def best(self) -> int:
        return max(range(len(self.predicted_ious)), key=self.predicted_ious.__getitem__)


@dataclass(frozen=True, slots=True)
class Branch:
    """A hypothesis goes on with one of its candidates."""

    hypothesis: int
    candidate: int
    notes: dict[str, Any]
    """What the policy notes of it; takes the place of the hypothesis' notes."""


@runtime_checkable
class DecidingPolicy(BankPolicy, Protocol):
    """A policy that also chooses among the decoder's candidates, takes notes, or follows rivals."""

    def decide(self, bank: ObjectBank, moment: Moment, offers: Sequence[Offer]) -> list[Branch]:
        """What is taken of the offers, one for each of `bank.hypotheses`: the most believed branch first."""
        ...

    def note_prompt(self, bank: ObjectBank, memory: MemoryFrame) -> None:
        """An answer to a prompt was remembered in the bank; its rivals are gone."""
        ...


def nearest_conditioning(
    frames: dict[int, MemoryFrame], frame_idx: int, limit: int | None
) -> tuple[list[MemoryFrame], dict[int, MemoryFrame]]:
    """Split conditioning frames into those that are read, and the rest.

    The nearest one before `frame_idx`, the nearest one at or after it, then the nearest others up to `limit`
    (SAM 2's `select_closest_cond_frames`). Those that are read stay in the order of `frames`, so that what is
    added up, and with it the last bits, is the same whether the rest has been forgotten or not.
    """
    if limit is None or len(frames) <= limit:
        return list(frames.values()), {}
    before = max((t for t in frames if t < frame_idx), default=None)
    after = min((t for t in frames if t >= frame_idx), default=None)
    chosen = [t for t in (before, after) if t is not None]
    others = sorted((t for t in frames if t not in chosen), key=lambda t: abs(t - frame_idx))
    chosen += others[: limit - len(chosen)]
    return [f for t, f in frames.items() if t in chosen], {t: f for t, f in frames.items() if t not in chosen}


@dataclass(frozen=True, slots=True)
class RecentFrames:
    """SAM 2's own policy: conditioning frames, the last few spatial memories, and more pointers than those.

    Two horizons: 6 spatial memories and 15 pointers besides the conditioning frames. A bank that cuts both
    at the same length gives other masks than the official predictor.

    Source: `SAM2Base._prepare_memory_conditioned_features`.
    """

    recent_frames: int = 6
    max_pointers: int = 16
    max_conditioning: int | None = None
    stride: int = 1
    """Every how many frames a spatial memory is read, besides the frame before."""

    def recall(self, bank: ObjectBank, moment: Moment) -> Recall:
        chosen, rest = nearest_conditioning(bank.conditioning, moment.frame_idx, self.max_conditioning)
        spatial = [(self.recent_frames, frame) for frame in chosen]
        for back in range(self.recent_frames, 0, -1):
            frame_idx = self._frame_at(back, moment)
            frame = bank.tracked.get(frame_idx) or rest.get(frame_idx)
            if frame is not None:
                spatial.append((back - 1, frame))
        pointers = [
            (moment.frames_back(frame.frame_idx), frame)
            for frame in chosen
            if moment.frames_back(frame.frame_idx) >= 0
        ]
        for back in range(1, self.pointer_limit(moment)):
            frame_idx = moment.frame_idx + back if moment.reverse else moment.frame_idx - back
            frame = bank.tracked.get(frame_idx) or rest.get(frame_idx)
            if frame is not None:
                pointers.append((back, frame))
        return Recall(spatial, pointers)

    def pointer_limit(self, moment: Moment) -> int:
        # SAM 2 reads at most as many pointers as the video has frames.
        return self.max_pointers if moment.num_frames is None else min(moment.num_frames, self.max_pointers)

    def _frame_at(self, back: int, moment: Moment) -> int:
        sign = 1 if moment.reverse else -1
        if back == 1:
            return moment.frame_idx + sign
        # The nearest multiple of the stride that has been seen, then further ones.
        nearest = moment.frame_idx + 2 * sign
        multiple = -(-nearest // self.stride) if moment.reverse else nearest // self.stride
        nearest = multiple * self.stride
        return nearest + sign * (back - 2) * self.stride

    def evict(self, bank: ObjectBank, moment: Moment) -> None:
        spatial_reach = max(1, self.recent_frames * self.stride)
        pointer_reach = max(self.max_pointers - 1, spatial_reach)
        for frame_idx, frame in list(bank.tracked.items()):
            back = moment.frames_back(frame_idx)
            if back < 0 or back > pointer_reach:
                del bank.tracked[frame_idx]
            elif back > spatial_reach:
                frame.tokens_nc = None
        self._evict_conditioning(bank, moment)

    def _evict_conditioning(self, bank: ObjectBank, moment: Moment) -> None:
        pointer_reach = max(self.max_pointers - 1, self.recent_frames * self.stride)
        if self.max_conditioning is not None:
            # Frames ahead, and the nearest behind, may still be chosen; so may those within reach.
            behind = [t for t in bank.conditioning if moment.frames_back(t) > 0]
            behind.sort(key=moment.frames_back)
            for frame_idx in behind[self.max_conditioning :]:
                if moment.frames_back(frame_idx) > pointer_reach:
                    del bank.conditioning[frame_idx]

    def forget_around(self, bank: ObjectBank, frame_idx: int) -> None:
        # The reach of SAM 2's `_clear_obj_non_cond_mem_around_input`.
        reach = self.stride * (self.recent_frames + 1)
        for other in [t for t in bank.tracked if t != frame_idx and abs(t - frame_idx) <= reach]:
            del bank.tracked[other]


def stack_tokens(recalls: Sequence[Recall]) -> Tensor:
    """Spatial tokens of B objects whose recalls have one shape: B x (T·N) x 64."""
    rows = []
    for recall in recalls:
        rows.append(torch.cat([f.tokens_nc for _, f in recall.spatial if f.tokens_nc is not None]))
    return torch.stack(rows)
