"""The memory bank: what is remembered of one object, and what the current frame reads of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Annotated, Any, Protocol, runtime_checkable

import torch
from pydantic import Field
from torch import Tensor

CONDITIONING_SLOT = -1
"""The temporal slot of conditioning frames: the last of a model's learned time codes."""


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
    """Spatial memory: bfloat16, N tokens x C channels of the model's own (SAM 2: 64 channels for each cell of
    the grid). None once only the pointer is within reach."""
    pointer_c: Tensor
    """Object pointer; its width C is the model's own."""
    object_score_logit: float
    """Whether the object is visible: above 0 it is."""
    predicted_iou: float
    """The model's own estimate of its mask's IoU."""
    low_res_logits_hw: Tensor | None
    """Mask logits behind the memory, float32, while a correction or a later visit may need them."""
    is_initial: bool = False
    """The frame was segmented from a prompt, without any memory."""
    was_visited: bool = True
    """Tracking has passed here; False for a frame prompted before tracking came to it."""
    was_corrected: bool = False
    """The frame was tracked, and its mask was then corrected by a prompt."""


TENSOR_PARTS = ("tokens_nc", "pointer_c", "low_res_logits_hw")
PLAIN_PARTS = tuple(part.name for part in fields(MemoryFrame) if part.name not in TENSOR_PARTS)


class ObjectBank:
    """One object's memory frames, by frame index. It alone writes what it holds; others call its methods.

    A bank is one hypothesis about its object; policies that follow several keep the others as `rivals`.
    Hypotheses share their conditioning frames and, where they agree, their tracked ones.
    """

    __slots__ = ("_conditioning", "_tracked", "notes", "rivals")

    def __init__(
        self,
        conditioning: Mapping[int, MemoryFrame] | None = None,
        tracked: Mapping[int, MemoryFrame] | None = None,
        notes: dict[str, Any] | None = None,
    ) -> None:
        self._conditioning = dict(conditioning or {})
        self._tracked = dict(tracked or {})
        self.notes: dict[str, Any] = notes or {}
        """What a policy has noted about the object, as JSON values; saved with the session."""
        self.rivals: list[ObjectBank] = []
        """Other hypotheses about the same object, the likeliest first."""

    @property
    def conditioning(self) -> Mapping[int, MemoryFrame]:
        """Frames whose prompts anchor the object; a view that cannot be written to."""
        return MappingProxyType(self._conditioning)

    @property
    def tracked(self) -> Mapping[int, MemoryFrame]:
        """All other remembered frames; a view that cannot be written to."""
        return MappingProxyType(self._tracked)

    @property
    def hypotheses(self) -> list[ObjectBank]:
        """This bank, whose masks are the result, and then its rivals."""
        return [self, *self.rivals]

    @property
    def frames(self) -> list[MemoryFrame]:
        """The memory frames of all hypotheses, each of them once."""
        every = [f for h in self.hypotheses for f in (*h._conditioning.values(), *h._tracked.values())]
        return list({id(frame): frame for frame in every}.values())

    def at(self, frame_idx: int) -> MemoryFrame | None:
        """What is remembered of a frame; None where nothing is."""
        return self._conditioning.get(frame_idx) or self._tracked.get(frame_idx)

    def num_bytes(self) -> int:
        """Bytes of all tensors that the hypotheses hold."""
        tensors = [t for f in self.frames for t in (f.tokens_nc, f.pointer_c, f.low_res_logits_hw)]
        return sum(t.numel() * t.element_size() for t in tensors if t is not None)

    def without(self, frame_idx: int) -> ObjectBank:
        """This hypothesis as if the prompt on a frame had not been given; the bank itself stays as it is."""
        others = {t: f for t, f in self._conditioning.items() if t != frame_idx}
        return ObjectBank(others, self._tracked, self.notes)

    def remember(self, memory: MemoryFrame, *, as_conditioning: bool = False) -> None:
        """Keep a memory frame; it takes the place of what was remembered of the same frame."""
        if as_conditioning:
            self._conditioning[memory.frame_idx] = memory
            self._tracked.pop(memory.frame_idx, None)
        else:
            self._tracked[memory.frame_idx] = memory

    def grow(self, branches: Sequence[tuple[Branch, MemoryFrame]]) -> None:
        """Replace the hypotheses by branches of them, each with one more memory frame.

        Args:
            branches: the most believed first. A hypothesis that no branch continues is dropped.
        """
        old, grown = self.hypotheses, []
        for branch, memory in branches:
            bank = ObjectBank(None, old[branch.hypothesis]._tracked, branch.notes)
            bank._conditioning = self._conditioning  # shared: a prompt holds in every hypothesis
            bank.remember(memory)
            grown.append(bank)
        self._tracked, self.notes, self.rivals = grown[0]._tracked, grown[0].notes, grown[1:]

    def note(self, notes: dict[str, Any]) -> None:
        """Keep what a policy notes of the object, in place of what it noted before."""
        self.notes = notes

    def end_doubt(self) -> None:
        """Drop the rivals: after a prompt the user has said which object is meant."""
        self.rivals = []

    def demote(self, frame_idx: int) -> bool:
        """Turn a conditioning frame whose prompt was taken back into a tracked one; False if it is none."""
        memory = self._conditioning.pop(frame_idx, None)
        if memory is not None:
            self.remember(memory)
        return memory is not None

    def forget(self, frame_idx: int) -> None:
        """Drop this hypothesis' tracked memory of a frame; nothing happens if it has none."""
        self._tracked.pop(frame_idx, None)

    def forget_conditioning(self, frame_idx: int) -> None:
        """Drop a conditioning frame, which must be one."""
        del self._conditioning[frame_idx]

    def save(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What a file needs to restore the bank: tensors, whose names begin with `name`, and JSON values.

        Hypotheses share frames; each frame is saved once, and hypotheses refer to it by its number.
        """
        tensors: dict[str, Tensor] = {}
        numbers: dict[int, int] = {}
        facts = []
        for number, frame in enumerate(self.frames):
            numbers[id(frame)] = number
            for part in TENSOR_PARTS:
                if (tensor := getattr(frame, part)) is not None:
                    tensors[f"{name}.{number}.{part}"] = tensor
            facts.append({part: getattr(frame, part) for part in PLAIN_PARTS})
        return tensors, {
            "frames": facts,
            "conditioning": [numbers[id(frame)] for frame in self._conditioning.values()],
            "hypotheses": [
                {"tracked": [numbers[id(frame)] for frame in h._tracked.values()], "notes": h.notes}
                for h in self.hypotheses
            ],
        }

    @classmethod
    def restore(cls, name: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> ObjectBank:
        """The bank that `save` described."""
        frames = [
            MemoryFrame(**{part: tensors.get(f"{name}.{number}.{part}") for part in TENSOR_PARTS} | fact)
            for number, fact in enumerate(facts["frames"])
        ]
        conditioning = {frames[n].frame_idx: frames[n] for n in facts["conditioning"]}
        bank, *rivals = (
            cls(conditioning, {frames[n].frame_idx: frames[n] for n in h["tracked"]}, h["notes"])
            for h in facts["hypotheses"]
        )
        for rival in rivals:
            rival._conditioning = bank._conditioning
        bank.rivals = rivals
        return bank


@dataclass(frozen=True, slots=True)
class Recall:
    """What one object's frame reads, in the order in which attention gets it."""

    spatial: Sequence[tuple[int, MemoryFrame]]
    """Pairs of temporal slot and memory frame. Slot k is the memory k places older than the newest;
    conditioning frames have `CONDITIONING_SLOT`. A model has a learned time code for each slot."""
    pointers: Sequence[tuple[int, MemoryFrame]]
    """Pairs of how many frames back a memory frame lies (negative: ahead) and that frame."""
    key_scales: tuple[Sequence[float], Sequence[float]] | None = None
    """Factors on what keys are made from, one for each spatial memory and one for each pointer; None: all 1.
    A policy that gives any says so by an attribute `scales_keys`, as not every model can do it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """What must agree between objects whose recalls are read in one batch."""
        sizes = [frame.tokens_nc.shape[0] for _, frame in self.spatial if frame.tokens_nc is not None]
        return (*sizes, -1, len(self.pointers))


class BankPolicy(Protocol):
    """Which memories a frame reads, and which a bank keeps."""

    @property
    def recent_frames(self) -> int:
        """How many temporal slots the policy uses besides that of conditioning frames."""
        ...

    def recall(self, bank: ObjectBank, moment: Moment) -> Recall:
        """The memories that the frame at `moment` reads."""
        ...

    def evict(self, bank: ObjectBank, moment: Moment) -> None:
        """Drop what no later frame will read. The frame at `moment` may be corrected: what it reads stays."""
        ...

    def forget_around(self, bank: ObjectBank, frame_idx: int) -> None:
        """Drop the tracked frames near a corrected frame, but not that frame itself."""
        ...

    def pointer_limit(self, moment: Moment) -> int:
        """How many pointers a frame reads at most; the model divides their times by it."""
        ...


@dataclass(frozen=True, slots=True)
class Offer:
    """The candidates that the mask decoder gives for one hypothesis on one frame."""

    logits_khw: Tensor
    """Mask logits of K candidates on the low-res grid."""
    predicted_ious: Sequence[float]
    """The predicted IoU of each candidate."""
    object_score_logit: float

    @property
    def best(self) -> int:
        """The number of the candidate with the highest predicted IoU."""
        return max(range(len(self.predicted_ious)), key=self.predicted_ious.__getitem__)


@dataclass(frozen=True, slots=True)
class Branch:
    """The continuation of a hypothesis with one of its candidates."""

    hypothesis: int
    """Which of `ObjectBank.hypotheses` it continues."""
    candidate: int
    """Which candidate of that hypothesis' `Offer` it takes."""
    notes: dict[str, Any]
    """What the policy notes about the branch, in place of the hypothesis' notes."""


@runtime_checkable
class DecidingPolicy(BankPolicy, Protocol):
    """A policy that also chooses among the decoder's candidates, takes notes, or follows rivals."""

    def decide(self, bank: ObjectBank, moment: Moment, offers: Sequence[Offer]) -> list[Branch]:
        """The branches that are kept, the most believed first.

        Args:
            offers: one for each of `bank.hypotheses`, in their order.
        """
        ...

    def note_prompt(self, bank: ObjectBank, memory: MemoryFrame) -> None:
        """Called when the answer to a prompt has been remembered in the bank and its rivals have been
        dropped."""
        ...


def nearest_conditioning(
    frames: Mapping[int, MemoryFrame], frame_idx: int, limit: int | None
) -> tuple[list[MemoryFrame], dict[int, MemoryFrame]]:
    """Split conditioning frames into those that are read, and the rest.

    Read are the nearest one before `frame_idx`, the nearest one at or after it, then the nearest others up to
    `limit` (SAM 2's `select_closest_cond_frames`; None: all). They stay in the order of `frames`: attention
    adds in that order, so its last bits do not depend on whether the rest has been evicted.
    """
    if limit is None or len(frames) <= limit:
        return list(frames.values()), {}
    before = max((t for t in frames if t < frame_idx), default=None)
    after = min((t for t in frames if t >= frame_idx), default=None)
    chosen = [t for t in (before, after) if t is not None]
    others = sorted((t for t in frames if t not in chosen), key=lambda t: abs(t - frame_idx))
    chosen += others[: limit - len(chosen)]
    return [f for t, f in frames.items() if t in chosen], {t: f for t, f in frames.items() if t not in chosen}


@dataclass(frozen=True)
class RecentFrames:
    """SAM 2's own policy: conditioning frames, the last few spatial memories, and more pointers than those.

    It has two horizons: 6 spatial memories and 15 pointers besides the conditioning frames. A bank that cuts
    both at the same length gives other masks than the official predictor.

    Source: `SAM2Base._prepare_memory_conditioned_features`.
    """

    recent_frames: Annotated[int, Field(ge=1)] = 6
    """How many spatial memories are read besides those of conditioning frames."""
    max_pointers: Annotated[int, Field(ge=2)] = 16
    """How many object pointers are read, that of one conditioning frame among them."""
    max_conditioning: Annotated[int, Field(ge=2)] | None = None
    """How many conditioning frames are read, the nearest ones; None: all, so cost grows with the prompts."""
    stride: Annotated[int, Field(ge=1)] = 1
    """Spatial memories are read of the frame before, and then of frames whose number is a multiple of this.
    """

    def recall(self, bank: ObjectBank, moment: Moment) -> Recall:
        chosen, rest = nearest_conditioning(bank.conditioning, moment.frame_idx, self.max_conditioning)
        spatial = [(CONDITIONING_SLOT, frame) for frame in chosen]
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
        # The second nearest memory is at the last multiple of the stride; older ones follow a stride apart.
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
                bank.forget(frame_idx)
            elif back > spatial_reach:
                frame.tokens_nc = None
        self._evict_conditioning(bank, moment)

    def _evict_conditioning(self, bank: ObjectBank, moment: Moment) -> None:
        pointer_reach = max(self.max_pointers - 1, self.recent_frames * self.stride)
        if self.max_conditioning is not None:
            # Frames ahead, the nearest behind and those within reach may still be read.
            behind = [t for t in bank.conditioning if moment.frames_back(t) > 0]
            behind.sort(key=moment.frames_back)
            for frame_idx in behind[self.max_conditioning :]:
                if moment.frames_back(frame_idx) > pointer_reach:
                    bank.forget_conditioning(frame_idx)

    def forget_around(self, bank: ObjectBank, frame_idx: int) -> None:
        # As far as SAM 2's `_clear_obj_non_cond_mem_around_input` reaches.
        reach = self.stride * (self.recent_frames + 1)
        for other in [t for t in bank.tracked if t != frame_idx and abs(t - frame_idx) <= reach]:
            bank.forget(other)


def stack_tokens(recalls: Sequence[Recall]) -> Tensor:
    """Spatial tokens of B objects whose recalls have one shape: B x (T·N) x C."""
    every = [f.tokens_nc for recall in recalls for _, f in recall.spatial if f.tokens_nc is not None]
    return torch.cat(every).unflatten(0, (len(recalls), -1))
