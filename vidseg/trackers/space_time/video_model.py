"""A space-time model on videos: the image model, and a memory that holds masks and pixels themselves.

Unlike that of SAM 2, its memory holds the mask and the picture beside learned features. Reading it carries
labels over, by keys and by pixels, which is learned from few examples.

Source: Oh et al., "Space-Time Memory Networks" (ICCV 2019); Cheng et al., "STCN" (NeurIPS 2021), keys that
belong to frames and values to objects.

Layouts: R rows (objects) · N cells · C channels · D key channels · E value channels · H W the key grid
(stride 8) · h w the low-res grid (stride 2) · S the side of the model's input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vidseg.memory.bank import CONDITIONING_SLOT, MemoryFrame, Recall
from vidseg.memory.cached import kept_with_its_source
from vidseg.trackers.graphs.replays import Replays
from vidseg.trackers.model import MASK_LOGIT_BIAS, MASK_LOGIT_SCALE, Candidates, Decoded, Features
from vidseg.trackers.space_time import prompt_maps
from vidseg.trackers.space_time.colour_reading import by_colour, by_near_colour, colour_counts
from vidseg.trackers.space_time.grids import (
    LOW_RES_STRIDE,
    MASK_CHANNELS,
    PATCH,
    PIXEL_CHANNELS,
    grid_of,
    low_res_pixels,
)
from vidseg.trackers.space_time.image_model import SpaceTimeImageModel
from vidseg.trackers.space_time.pixel_reading import by_motion, carry, follow, mismatch

Sources = tuple[list[MemoryFrame], MemoryFrame]
"""Conditioning frames, and the latest frame, which is carried over. Both are read by keys, from anywhere."""
OF_PIXELS, OF_MASKS = slice(-PIXEL_CHANNELS, None), slice(-PIXEL_CHANNELS - MASK_CHANNELS, -PIXEL_CHANNELS)
"""Channels of memory tokens."""


@dataclass(frozen=True, slots=True)
class _Now:
    """The frame itself; 1 row if all objects share it."""

    keys_rnd: Tensor
    pixels_r3hw: Tensor


@dataclass(frozen=True, slots=True)
class _Frames:
    """What is remembered of frames; 1 row if all objects remember the same ones."""

    keys_rmd: Tensor
    before_r3hw: Tensor
    """Pixels of the latest frame."""
    places_rhw2: Tensor
    """Where each pixel was in the latest frame; see `follow`."""


@dataclass(frozen=True, slots=True)
class _Objects:
    """What is remembered of objects, one a row."""

    values_rme: Tensor
    is_read_rm: Tensor | None
    """Which tokens each object reads; None: all."""
    colours_r2k: Tensor
    """Counts of colours on all conditioning frames; see `colour_counts`."""
    before_r1hw: Tensor
    """Masks on the latest frame."""
    keys_r2d: Tensor
    """Mean keys; see `SpaceTimeModel._object_keys`."""


class SpaceTimeModel(SpaceTimeImageModel):
    """A space-time model with its memory; see `vidseg.trackers.model.MemoryModel`.

    A memory token is the key of a cell, the object's value there, and 4 x 4 pixels of the picture.
    """

    clicks_correct = True
    """A click changes what keys and flow carry into the frame, as they know more of the object than a click
    says."""

    def record_parts(self, replays: Replays) -> None:
        self.encode_batch = replays.of(self.encode_batch, shared=0)  # type: ignore[method-assign]
        self._read_shared = replays.of(self._read_shared, shared=2)  # type: ignore[method-assign]
        self._read = replays.of(self._read, shared=1)  # type: ignore[method-assign]
        self.decode = replays.of(self.decode, shared=1)  # type: ignore[method-assign]
        self.remember = replays.of(self.remember, shared=1)  # type: ignore[method-assign]

    @property
    def pointer_channels(self) -> int:
        return self.key_channels

    @property
    def absent_pointer_c(self) -> Tensor:
        """The pointer of a mask without pixels."""
        nothing = self.no_object.new_zeros(1)
        return self._mean_key(nothing, nothing)

    def attend(self, features: Features, recalls: Sequence[Recall], pointer_limit: int) -> Tensor:
        """What each object's memory says about every cell: R x (E + 2 + 80) x H x W.

        The channels are the read by keys, how much a cell resembles the object's pointers, and
        4 x 4 pixels of each of the `MEMORY_MAPS`.
        """
        sources = [self._sources(recall) for recall in recalls]
        kinds: dict[int, list[int]] = {}
        for row, (given, _) in enumerate(sources):
            kinds.setdefault(len(given), []).append(row)
        parts = [
            self._attend_alike(features, [sources[row] for row in rows], [recalls[row] for row in rows], rows)
            for rows in kinds.values()
        ]
        if len(parts) == 1:
            return parts[0]
        order = [row for rows in kinds.values() for row in rows]
        return torch.cat(parts)[torch.tensor(order, device=self.device).argsort()]

    def _sources(self, recall: Recall) -> Sources:
        given = [frame for slot, frame in recall.spatial if slot == CONDITIONING_SLOT]
        tracked = [(slot + 1, frame) for slot, frame in recall.spatial if slot != CONDITIONING_SLOT]
        ids = {id(frame) for frame in given}
        tracked += [(back, frame) for back, frame in recall.pointers if id(frame) in ids and back > 0]
        # If there is only one kind of memory, it is read as both.
        latest = min(tracked, key=lambda source: source[0])[1] if tracked else given[-1]
        return given or [latest], latest

    def _attend_alike(
        self, features: Features, sources: Sequence[Sources], recalls: Sequence[Recall], rows: Sequence[int]
    ) -> Tensor:
        """What `attend` returns, for objects with equally many conditioning frames."""
        grid_hw = grid_of(features)
        keys_rnd = self._keys(features).flatten(2).transpose(1, 2)
        now = self._pixels(features)
        if keys_rnd.shape[0] > 1:
            keys_rnd, now = keys_rnd[list(rows)], now[list(rows)]
        # Objects that remember the same frames share all that does not depend on their masks.
        is_shared = keys_rnd.shape[0] == 1 and len({_frames_of(source) for source in sources}) == 1
        latest = [frame for _, frame in sources]
        adds = [adds_latest(source) for source in sources]
        read = [*zip(*(given for given, _ in sources), strict=True), *([latest] if any(adds) else [])]
        keys, values = self._memories(read, is_shared)
        is_read = None
        if any(adds) and not all(adds):
            is_read = torch.ones(values.shape[:2], dtype=torch.bool)
            is_read[:, -keys_rnd.shape[1] :] = torch.tensor(adds)[:, None]
            is_read = is_read.to(self.device)
        before, masks = _shown(latest, grid_hw, is_shared)
        places = follow(now.expand(before.shape[0], -1, -1, -1), before)
        colours = torch.stack([_colours(given) for given, _ in sources])
        frames = _Frames(keys, before, places)
        objects = _Objects(values, is_read, colours, masks, self._object_keys(recalls))
        combine = self._read_shared if is_shared else self._read
        return combine(_Now(keys_rnd, now), frames, objects)

    def _read(self, now: _Now, frames: _Frames, objects: _Objects) -> Tensor:
        """What `attend` returns, from what is seen and remembered.

        Args:
            frames: of a row for each object, or 1.
        """
        anywhere_rne = self.reading(now.keys_rnd, frames.keys_rmd, objects.values_rme, objects.is_read_rm)
        grid_hw = (now.pixels_r3hw.shape[2] // PATCH, now.pixels_r3hw.shape[3] // PATCH)
        before, places = frames.before_r3hw, frames.places_rhw2
        pixels = now.pixels_r3hw.expand(before.shape[0], -1, -1, -1)
        carried = carry(objects.before_r1hw, places)
        apart = mismatch(pixels, before, places).expand(len(carried), -1, -1, -1)
        near = by_near_colour(pixels, (before, objects.before_r1hw), places)
        colours = by_colour(pixels, objects.colours_r2k), near
        maps = torch.cat((carried, apart, by_motion(carried, places), *colours), dim=1)
        likeness = (objects.keys_r2d @ now.keys_rnd.transpose(1, 2)).unflatten(2, grid_hw)
        parts = (anywhere_rne.transpose(1, 2).unflatten(2, grid_hw), likeness, F.pixel_unshuffle(maps, PATCH))
        return torch.cat([part.to(self.dtype) for part in parts], dim=1)

    def _read_shared(self, now: _Now, frames: _Frames, objects: _Objects) -> Tensor:
        """`_read`, for objects that share one row of frames."""
        return self._read(now, frames, objects)

    def attend_rows(
        self,
        features: Features,
        given_rnc: Tensor,
        latest_rnc: Tensor,
        is_latest_read_r: Tensor,
        pointers_r2c: Tensor,
        places_rhw2: Tensor,
    ) -> Tensor:
        """What `attend` returns, for objects with one conditioning frame each.

        No value is looked at, so that the processor never waits for a GPU.

        Args:
            given_rnc, latest_rnc: memory tokens of that frame and of the latest one, which may be the same.
            is_latest_read_r: whether the latest frame is read by keys, too; see `adds_latest`.
            pointers_r2c: the object on the conditioning frame, and on tracked ones.
            places_rhw2: where each pixel was on the latest frame; see `follow`.
        """
        grid_hw = grid_of(features)
        keys, values = self._keys_and_values(torch.cat((given_rnc, latest_rnc), dim=1))
        is_read = is_latest_read_r[:, None].expand(-1, given_rnc.shape[1])
        is_read = torch.cat((torch.ones_like(is_read), is_read), dim=1)
        now = _Now(self._keys(features).flatten(2).transpose(1, 2), self._pixels(features))
        (given, given_masks), (before, masks) = (shown_by(x, grid_hw) for x in (given_rnc, latest_rnc))
        pointers = F.normalize(pointers_r2c.to(self.dtype), dim=2)
        colours = colour_counts(given, given_masks)
        return self._read(
            now, _Frames(keys, before, places_rhw2), _Objects(values, is_read, colours, masks, pointers)
        )

    def masks_read(self, conditioned_rchw: Tensor) -> Tensor:
        masks = conditioned_rchw[:, self.value_channels - MASK_CHANNELS : self.value_channels]
        return F.pixel_shuffle(masks, PATCH)[:, 0]

    def _memories(self, frames: Sequence[Sequence[MemoryFrame]], is_shared: bool) -> tuple[Tensor, Tensor]:
        """Keys (1 row if shared) and values of frames, one after the other.

        Args:
            frames: each with a memory of every object.
        """
        of_keys, of_values = slice(self.key_channels), slice(self.key_channels, -PIXEL_CHANNELS)
        keys = torch.cat([_tokens(own[:1] if is_shared else own, of_keys) for own in frames], dim=1)
        values = torch.cat([_tokens(own, of_values) for own in frames], dim=1)
        return keys.to(self.dtype), values.to(self.dtype)

    def _keys_and_values(self, tokens_rnc: Tensor) -> tuple[Tensor, Tensor]:
        widths = (self.key_channels, self.value_channels, PIXEL_CHANNELS)
        keys, values, _ = tokens_rnc.to(self.dtype).split(widths, dim=2)
        return keys, values

    def _object_keys(self, recalls: Sequence[Recall]) -> Tensor:
        """The mean key of each object, on conditioning frames and on tracked ones: R x 2 x D, of length 1."""
        rows = []
        for recall in recalls:
            given = {id(frame) for slot, frame in recall.spatial if slot == CONDITIONING_SLOT}
            old = [frame.pointer_c for _, frame in recall.pointers if id(frame) in given]
            new = [frame.pointer_c for _, frame in recall.pointers if id(frame) not in given]
            both = [torch.stack(p).mean(dim=0) if p else self.no_object for p in (old or new, new or old)]
            rows.append(F.normalize(torch.stack(both).to(self.dtype), dim=1))
        return torch.stack(rows)

    def all_passes(
        self,
        features: Features,
        conditioned_bchw: Tensor,
        points_bp2: Tensor | None = None,
        labels_bp: Tensor | None = None,
        *,
        previous_logits_bhw: Tensor | None = None,
    ) -> list[Decoded]:
        """The decoder's own answers in all passes, the best one last; without a prompt there is one pass."""
        passes = self._passes(
            features, conditioned_bchw, points_bp2, labels_bp, previous_logits_bhw, is_tracking=False
        )
        return [self.decoded(features, answer) for answer in passes]

    def take(self, candidates: Candidates, chosen_b: Tensor) -> Decoded:
        row = torch.arange(chosen_b.shape[0], device=chosen_b.device)
        return Decoded(
            candidates.logits_bkhw[row, chosen_b],
            candidates.tokens_bkc[row, chosen_b],
            candidates.object_score_logits_b,
            candidates.predicted_ious_bk[row, chosen_b],
        )

    def take_mask(self, features: Features, masks_bss: Tensor) -> Decoded:
        """Masks from a user, taken as they are.

        Args:
            masks_bss: bool, at the model's input size.
        """
        coverage = F.avg_pool2d(masks_bss[:, None].to(self.dtype), LOW_RES_STRIDE)[:, 0]
        logits = (coverage * MASK_LOGIT_SCALE + MASK_LOGIT_BIAS).float()
        scores = masks_bss.flatten(1).any(dim=1).float() * MASK_LOGIT_SCALE + MASK_LOGIT_BIAS
        return Decoded(logits, self._pointers(features, logits), scores, torch.ones_like(scores))

    def remember(self, features: Features, decoded: Decoded, *, from_prompt: bool) -> Tensor:
        """Memory tokens, bfloat16 R x N x (D + E + 48): the frame's keys, the objects' values, the pixels."""
        masks = decoded.low_res_logits_bhw.sigmoid().to(self.dtype)
        grid_hw = grid_of(features)
        no_marks = masks.new_zeros(1, prompt_maps.CHANNELS, *grid_hw)
        values = self._values(features, masks, no_marks)
        keys = self._keys(features).expand(values.shape[0], -1, -1, -1)
        patches = features.top_1chw[:, -PIXEL_CHANNELS:].expand(values.shape[0], -1, -1, -1)
        return torch.cat((keys, values, patches), dim=1).flatten(2).transpose(1, 2).to(torch.bfloat16)

    def moved(self, tokens_rnc: Tensor, places_hw2: Tensor, image_3ss: Tensor, logits_rhw: Tensor) -> Tensor:
        """See `vidseg.trackers.model.LooksCloser`: keys and learned values are taken from the tokens."""
        learned = tokens_rnc[..., : OF_MASKS.start].float().transpose(1, 2).unflatten(2, places_hw2.shape[:2])
        places = places_hw2.expand(len(learned), -1, -1, -1)
        learned = F.grid_sample(learned, places, padding_mode="border", align_corners=False)
        keys, values = learned.tensor_split((self.key_channels,), dim=1)
        masks = F.pixel_unshuffle(logits_rhw.sigmoid()[:, None], PATCH)
        patches = F.pixel_unshuffle(low_res_pixels(image_3ss[None]), PATCH).expand(len(masks), -1, -1, -1)
        parts = (F.normalize(keys, dim=1), values, masks, patches)
        return torch.cat(parts, dim=1).flatten(2).transpose(1, 2).to(torch.bfloat16)


def adds_latest(sources: Sources) -> bool:
    """Whether the latest frame is read by keys beside those of prompts, as it shows what the object looks
    like by now. A frame on which the object was called absent would only say that it is nowhere."""
    given, latest = sources
    return latest.object_score_logit > 0 and all(latest is not frame for frame in given)


def _tokens(frames: Sequence[MemoryFrame], channels: slice) -> Tensor:
    """Some channels of the tokens of memory frames, one a row."""
    return torch.stack([frame.tokens_nc[:, channels] for frame in frames if frame.tokens_nc is not None])


def _shown(frames: Sequence[MemoryFrame], grid_hw: tuple[int, int], is_shared: bool) -> tuple[Tensor, Tensor]:
    """Pixels (1 row if shared) and masks of one remembered frame for each object."""
    pixels = _tokens(frames[:1] if is_shared else frames, OF_PIXELS)
    return _as_maps(pixels, grid_hw), _as_maps(_tokens(frames, OF_MASKS), grid_hw)


def shown_by(tokens_rnc: Tensor, grid_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Pixels and masks (R x 1 x h x w) that memory tokens of one frame hold."""
    return _as_maps(tokens_rnc[..., OF_PIXELS], grid_hw), _as_maps(tokens_rnc[..., OF_MASKS], grid_hw)


def _as_maps(tokens_rnc: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    return F.pixel_shuffle(tokens_rnc.float().transpose(1, 2).unflatten(2, grid_hw), PATCH)


def _colours(given: Sequence[MemoryFrame]) -> Tensor:
    """Counts of colours on all conditioning frames of an object: 2 x colours; see `colour_counts`."""
    return torch.stack([_colours_of(frame.tokens_nc) for frame in given if frame.tokens_nc is not None]).sum(
        0
    )


@kept_with_its_source
def _colours_of(tokens_nc: Tensor) -> Tensor:
    side = math.isqrt(len(tokens_nc))  # the model's input is square, and so is the grid of its cells
    return colour_counts(*shown_by(tokens_nc.detach()[None], (side, side)))[0]


def _frames_of(sources: Sources) -> tuple[int, ...]:
    given, latest = sources
    return (*(frame.frame_idx for frame in given), latest.frame_idx)
