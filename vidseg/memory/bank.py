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
"""The temporal slot of conditioning frames: a model's last one, however many it has for recent frames."""


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
    """Spatial memory, bfloat16 N tokens x C, both the model's own (SAM 2 has a token of 64 channels for each
    cell of the grid); None once only the pointer is within reach."""
    pointer_c: Tensor
    """Object pointer, of the model's own width."""
    object_score_logit: float
    predicted_iou: float
    low_res_logits_hw: Tensor | None
    """float32, the mask logits behind the memory, while a correction or a later visit may want them."""
    is_initial: bool = False
    """Segmented from a prompt without memory."""
    was_visited: bool = True
    """Tracking has passed here (False: conditioned ahead of its time)."""
    was_corrected: bool = False
    """A tracked frame whose mask answers a later prompt."""


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
        """What a policy has noted of the object, as JSON values; saved with the session."""
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
        """This bank, which is the one believed in, and its rivals."""
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
        """Let hypotheses go on into a frame: each branch's hypothesis with one more memory.

        Args:
            branches: the most believed first; a hypothesis without a branch ends.
        """
        old, grown = self.hypotheses, []
        for branch, memory in branches:
            bank = ObjectBank(None, old[branch.hypothesis]._tracked, branch.notes)
            bank._conditioning = self._conditioning  # shared, so that a prompt is every hypothesis' own
            bank.remember(memory)
            grown.append(bank)
        self._tracked, self.notes, self.rivals = grown[0]._tracked, grown[0].notes, grown[1:]

    def note(self, notes: dict[str, Any]) -> None:
        """Keep what a policy notes of the object, in place of what it noted before."""
        self.notes = notes

    def end_doubt(self) -> None:
        """Drop the rivals: a prompt said what is true."""
        self.rivals = []

    def demote(self, frame_idx: int) -> bool:
        """Let a conditioning frame count as tracked, once its prompt is taken back; False if it is none."""
        memory = self._conditioning.pop(frame_idx, None)
        if memory is not None:
            self.remember(memory)
        return memory is not None

    def forget(self, frame_idx: int) -> None:
        """Drop this hypothesis' tracked memory of a frame, where it has one."""
        self._tracked.pop(frame_idx, None)

    def forget_conditioning(self, frame_idx: int) -> None:
        """Drop a conditioning frame."""
        del self._conditioning[frame_idx]

    def save(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The bank for a file: tensors whose names begin with `name`, and JSON values.

        Hypotheses share frames; each frame is saved once, and hypotheses name it by its number.
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
        """A bank from what `save` gave."""
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
    """(temporal slot, memory frame). Slot 0 is that of the newest memory, k that of a memory k places older;
    conditioning frames have `CONDITIONING_SLOT`. A model has a learned time code for each slot."""
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
        """How many temporal slots it uses besides that of conditioning frames."""
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
    frames: Mapping[int, MemoryFrame], frame_idx: int, limit: int | None
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


@dataclass(frozen=True)
class RecentFrames:
    """SAM 2's own policy: conditioning frames, the last few spatial memories, and more pointers than those.

    Two horizons: 6 spatial memories and 15 pointers besides the conditioning frames. A bank that cuts both
    at the same length gives other masks than the official predictor.

    Source: `SAM2Base._prepare_memory_conditioned_features`.
    """

    recent_frames: Annotated[int, Field(ge=1)] = 6
    """Spatial memories read besides those of conditioning frames."""
    max_pointers: Annotated[int, Field(ge=2)] = 16
    """Object pointers read, that of one conditioning frame among them."""
    max_conditioning: Annotated[int, Field(ge=2)] | None = None
    """Conditioning frames read, the nearest ones; None: all of them, which grow with the prompts given."""
    stride: Annotated[int, Field(ge=1)] = 1
    """Every how many frames a spatial memory is read, besides the frame before."""

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
                bank.forget(frame_idx)
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
                    bank.forget_conditioning(frame_idx)

    def forget_around(self, bank: ObjectBank, frame_idx: int) -> None:
        # The reach of SAM 2's `_clear_obj_non_cond_mem_around_input`.
        reach = self.stride * (self.recent_frames + 1)
        for other in [t for t in bank.tracked if t != frame_idx and abs(t - frame_idx) <= reach]:
            bank.forget(other)


def stack_tokens(recalls: Sequence[Recall]) -> Tensor:
    """Spatial tokens of B objects whose recalls have one shape: B x (T·N) x 64."""
    rows = []
    for recall in recalls:
        rows.append(torch.cat([f.tokens_nc for _, f in recall.spatial if f.tokens_nc is not None]))
    return torch.stack(rows)
