"""Similarity pruning: of a full bank, the memories most like the newest one are not read.

Source: Liu et al., "Surgical SAM 2: Real-time Segment Anything in Surgical Video by Efficient Frame Pruning",
2024, section 2.2; their code for what the paper leaves open (the first entry and the newest are safe).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from vidseg.errors import ConfigError
from vidseg.memory.bank import MemoryFrame, Moment, ObjectBank, Recall, RecentFrames

NOISE = 1 / 128
"""Sums this little below a half are rounded up too, as a share of the step that the sum is rounded to; it
covers the last bits of two cosines at 256 tokens."""


@dataclass(frozen=True)
class SimilarityPruning(RecentFrames):
    """SAM 2's policy, but `pruned_frames` memories of a full bank are left out each time; pointers stay.

    A memory is judged by the sum over its tokens of their cosine with the newest memory's tokens; tokens may
    be cells or latents. The official code sums over all objects of a batch; here each object is judged alone.
    The choice is made anew for every frame: a memory left out now may be read by the next frame, so only what
    `RecentFrames` frees can be freed without changing results. `frees_pruned` frees more, and changes masks.
    """

    pruned_frames: Annotated[int, Field(ge=1)] = 2
    """How many memories of a full bank are not read; the newest one always is."""
    frees_pruned: bool = False
    """Whether memories that the next frame would leave out are freed at once. The bank is smaller, and
    results are not Surgical SAM 2's."""

    def __post_init__(self) -> None:
        if self.pruned_frames > self.recent_frames - 1:
            raise ConfigError(
                f"pruned_frames {self.pruned_frames} of {self.recent_frames}: the newest frame stays",
                hint=f"at most {self.recent_frames - 1}",
            )

    def recall(self, bank: ObjectBank, moment: Moment) -> Recall:
        recall = RecentFrames.recall(self, bank, moment)
        entries = [entry for entry in recall.spatial if entry[1].tokens_nc is not None]
        pruned = self._pruned(entries)
        return replace(recall, spatial=[entry for k, entry in enumerate(entries) if k not in pruned])

    def evict(self, bank: ObjectBank, moment: Moment) -> None:
        RecentFrames.evict(self, bank, moment)
        if not self.frees_pruned:
            return
        coming = replace(moment, frame_idx=moment.frame_idx + (-1 if moment.reverse else 1))
        entries = RecentFrames.recall(self, bank, coming).spatial
        entries = [entry for entry in entries if entry[1].tokens_nc is not None]
        for k in self._pruned(entries):
            frame = entries[k][1]
            if frame.frame_idx in bank.tracked:
                frame.tokens_nc = None

    def _pruned(self, entries: Sequence[tuple[int, MemoryFrame]]) -> list[int]:
        """The places of the entries that are left out; of equally similar ones the earlier."""
        if len(entries) < self.recent_frames + 1:
            return []
        tokens = [_tokens(frame) for _, frame in entries]
        similarity = {k: token_similarity(tokens[k], tokens[-1]) for k in range(1, len(entries) - 1)}
        return sorted(similarity, key=lambda k: -similarity[k])[: self.pruned_frames]


def token_similarity(one_nc: Tensor, other_nc: Tensor) -> float:
    """The sum over tokens of the cosine of bfloat16 tokens, rounded to the eight bits of a bfloat16.

    The official sum is a bfloat16 (steps of 4 at 1024 tokens), so ties are common. Where the true sum lies
    halfway between two of its values, the official result depends on the order in which a machine adds. Here
    the sum is taken in float32 and a half is rounded up, which agrees with all official results that were
    compared; rounding half to even would be as true. A sum less than `NOISE` below a half is rounded up as
    well: processors differ in the last bit of some cosines, and would otherwise prune different frames.
    """
    total = torch.cosine_similarity(one_nc, other_nc, dim=-1).float().sum().item()
    fraction, exponent = math.frexp(total)
    return math.ldexp(math.floor(fraction * 256 + 0.5 + NOISE), exponent - 8)


def _tokens(frame: MemoryFrame) -> Tensor:
    assert frame.tokens_nc is not None
    return frame.tokens_nc
