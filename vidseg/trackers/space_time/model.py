"""The space-time memory model: encode, attend, decode, remember, as the engine calls them.

Unlike SAM 2's, its memory holds the mask itself and the picture beside learned features, and reading it
carries labels over, by keys and by pixels; that is learned from few examples. Prompts are drawn as maps and
read back from the frame itself: a cell inside a box that looks like cells outside it is background.

Source: Oh et al., "Space-Time Memory Networks" (ICCV 2019); Cheng et al., "STCN" (NeurIPS 2021), keys that
belong to frames and values to objects.

Layouts: R rows (objects) · C channels · H W the key grid (stride 8) · h w the low-res grid (stride 2) · S the
side of the model's input. The features of a frame have one row, shared by all objects, or R rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vidseg.memory.bank import MemoryFrame, Recall
from vidseg.memory.colour_reading import by_colour, by_near_colour
from vidseg.memory.label_reading import LabelReading
from vidseg.memory.pixel_reading import by_motion, carry, follow, mismatch
from vidseg.trackers.compiled import compile_in_place
from vidseg.trackers.contract import ABSENT_LOGIT
from vidseg.trackers.image_encoder import pixels_of
from vidseg.trackers.mask_decoder import Candidates
from vidseg.trackers.model import MASK_LOGIT_BIAS, MASK_LOGIT_SCALE, Decoded, Features
from vidseg.trackers.space_time import prompt_maps
from vidseg.trackers.space_time.continuity import STAYS, goes_on
from vidseg.trackers.space_time.correction import corrected
from vidseg.trackers.space_time.decoder import LabelDecoder, conv
from vidseg.trackers.space_time.first_guess import first_guess
from vidseg.trackers.space_time.pieces import unclicked_pieces

STRIDE = 8
"""Of keys and values."""
LOW_RES_STRIDE = 2
PATCH = STRIDE // LOW_RES_STRIDE
MASK_CHANNELS = PATCH * PATCH
PIXEL_CHANNELS = 3 * PATCH * PATCH
MEMORY_MAPS = 5
"""Pixel by pixel, of memory: the mask carried from the frame before, where what is carried does not fit, what
moves as the object does, colours by conditioning frames, and colours by what was close by before."""
PROMPT_MAPS = 2
"""Colours by the prompt, and its mask."""
KNOWN = 8.0
"""How much more a mask that clicks correct is believed than what is read of the frame anew: half of this is
added to mask logits where it is, and taken away where it is not."""

Sources = tuple[list[MemoryFrame], MemoryFrame]
"""What is read by keys, anywhere: conditioning frames; and the latest frame, which is carried over."""


class SpaceTimeModel(nn.Module):
    """Args:
    backbone: a pyramid.
    key_channels, value_channels: of a memory token, which goes on with 48 channels of pixels; the last
        16 value channels are the mask itself. Both are 4 x 4 low-res pixels a cell.
    context_channels: of the decoder at stride 8.
    fine_channels: of the decoder at strides 2 and 4.
    prompt_passes: how often a box or clicks are answered, each time from the answer before; corrections
        are answered once.
    """

    takes_decoded = False
    """Trained on images that were resized as images."""

    clicks_correct = True
    """See `vidseg.trackers.contract.Tracker`."""

    def __init__(
        self,
        *,
        backbone: Any,
        image_size: int,
        given_slot: int,
        key_channels: int = 64,
        value_channels: int = 32,
        context_channels: int = 64,
        fine_channels: Sequence[int] = (16, 32),
        pyramid_channels: int = 96,
        prompt_passes: int = 2,
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.given_slot = given_slot
        self.key_channels = key_channels
        self.value_channels = value_channels
        self.context_channels = context_channels
        self.prompt_passes = prompt_passes
        self.backbone = backbone
        widths = backbone.channels
        self.laterals = nn.ModuleList(nn.Conv2d(width, pyramid_channels, 1) for width in widths[1:])
        self.smooth = conv(pyramid_channels, pyramid_channels)
        # Norms about a mean key: without them all keys are alike at first, and reads are blurs.
        self.to_key: nn.Module = nn.Sequential(
            nn.Conv2d(pyramid_channels, key_channels, 1, bias=False), nn.BatchNorm2d(key_channels)
        )
        self.to_context = nn.Conv2d(pyramid_channels, context_channels, 1)
        self.to_fine_4 = nn.Conv2d(widths[0], fine_channels[1], 1)
        self.to_fine_2 = nn.Sequential(nn.Conv2d(3, fine_channels[0], 3, 2, 1), nn.ReLU())

        self.reading = LabelReading()
        marks = MASK_CHANNELS + prompt_maps.CHANNELS
        self.remember_enter = conv(context_channels + marks, context_channels)
        self.remember_leave = nn.Conv2d(context_channels, value_channels - MASK_CHANNELS, 3, padding=1)
        self.no_memory = nn.Parameter(torch.zeros(value_channels + 2 + MEMORY_MAPS * MASK_CHANNELS))
        self.no_prompt = nn.Parameter(torch.zeros(value_channels))
        self.no_object = nn.Parameter(torch.zeros(key_channels))
        read = 2 * value_channels + 2 + prompt_maps.CHANNELS + 1
        self.decoder = LabelDecoder(read, context_channels, fine_channels)

    @property
    def low_res_size(self) -> int:
        return self.image_size // LOW_RES_STRIDE

    @property
    def pointer_channels(self) -> int:
        return self.key_channels

    @property
    def absent_pointer_c(self) -> Tensor:
        """Of an object that is not there."""
        return self.no_object

    @property
    def dtype(self) -> torch.dtype:
        return self.no_memory.dtype

    @property
    def device(self) -> torch.device:
        return self.no_memory.device

    def fuse(self) -> None:
        """Take the form that tracks fastest; load weights before."""
        fuse = getattr(self.backbone, "fuse", None)
        if callable(fuse):
            self.backbone = fuse()
        if isinstance(self.to_key, nn.Sequential):
            self.to_key = fuse_conv_bn_eval(*self.to_key)
        # oneDNN's own layout: no map is turned around between two convolutions.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def compile_parts(self) -> None:
        """Compile the parts that every frame goes through; after `fuse`."""
        for part in (self.backbone, self.decoder):
            compile_in_place(part)

    def encode(self, image_3ss: Tensor) -> Features:
        """A normalised image to features of one row."""
        return self.encode_batch(image_3ss[None])

    def encode_batch(self, images_b3ss: Tensor) -> Features:
        """Several images to features of as many rows."""
        images = images_b3ss.to(self.dtype)
        maps = self.backbone(images)
        x = self.laterals[2](maps[3])
        for level in (2, 1):
            x = self.laterals[level - 1](maps[level]) + F.interpolate(x, scale_factor=2.0, mode="nearest")
        x = F.relu(x + self.smooth(F.relu(x)))
        keys = F.normalize(self.to_key(x), dim=1)
        fine = [self.to_fine_2(images), self.to_fine_4(maps[0])]
        # Whole numbers up to 255 are exact in bfloat16, as memories keep them.
        pixels = F.avg_pool2d(pixels_of(images_b3ss), LOW_RES_STRIDE).round()
        patches = F.pixel_unshuffle(pixels, PATCH).to(keys.dtype)
        return Features(fine, torch.cat((keys, self.to_context(x), patches), dim=1))

    def attend(self, features: Features, recalls: Sequence[Recall] | None, pointer_limit: int) -> Tensor:
        """What each object's memory says of every cell: R x (E + 2 + 80) x H x W.

        The read of conditioning frames, how like the object's pointers a cell is, and 4 x 4 pixels of each of
        the `MEMORY_MAPS`.
        """
        grid_hw = _grid(features)
        if recalls is None:
            return self.no_memory[None, :, None, None].expand(1, -1, *grid_hw)
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
        given = [frame for slot, frame in recall.spatial if slot == self.given_slot]
        tracked = [(slot + 1, frame) for slot, frame in recall.spatial if slot != self.given_slot]
        ids = {id(frame) for frame in given}
        tracked += [(back, frame) for back, frame in recall.pointers if id(frame) in ids and back > 0]
        # With one kind of memory alone, it is read as both.
        latest = min(tracked, key=lambda source: source[0])[1] if tracked else given[-1]
        return given or [latest], latest

    def _attend_alike(
        self, features: Features, sources: Sequence[Sources], recalls: Sequence[Recall], rows: Sequence[int]
    ) -> Tensor:
        """Rows that read as many frames."""
        grid_hw = _grid(features)
        keys_rnd = self._keys(features).flatten(2).transpose(1, 2)
        now = self._pixels(features)
        if keys_rnd.shape[0] > 1:
            keys_rnd, now = keys_rnd[list(rows)], now[list(rows)]
        # Objects that remember the same frames share what does not hang on their masks.
        is_shared = keys_rnd.shape[0] == 1 and len({_frames_of(source) for source in sources}) == 1
        keys, values = self._memories([given for given, _ in sources], is_shared)
        anywhere = self.reading(keys_rnd, keys, values).transpose(1, 2).unflatten(2, grid_hw)

        old = [[given[i] for given, _ in sources] for i in range(len(sources[0][0]))]
        shown_old = [_shown(of_rows, grid_hw, is_shared) for of_rows in old]
        before, masks = _shown([latest for _, latest in sources], grid_hw, is_shared)
        now = now.expand(before.shape[0], -1, -1, -1)
        places = follow(now, before)
        carried = carry(masks, places)
        apart = mismatch(now, before, places).expand(len(sources), -1, -1, -1)
        # All colours of a frame are read of conditioning ones alone: what leaked once would be taken for the
        # object's own.
        colours = by_colour(now, shown_old), by_near_colour(now, (before, masks), places)
        maps = torch.cat((carried, apart, by_motion(carried, places), *colours), dim=1)
        likeness = self._likeness(keys_rnd, recalls, grid_hw)
        parts = (anywhere, likeness, F.pixel_unshuffle(maps, PATCH))
        return torch.cat([part.to(self.dtype) for part in parts], dim=1)

    def masks_read(self, conditioned_rchw: Tensor) -> Tensor:
        """Of what `attend` gives, the masks that were read by keys, from 0 to 1: R x h x w."""
        masks = conditioned_rchw[:, self.value_channels - MASK_CHANNELS : self.value_channels]
        return F.pixel_shuffle(masks, PATCH)[:, 0]

    def _memories(self, frames: Sequence[Sequence[MemoryFrame]], is_shared: bool) -> tuple[Tensor, Tensor]:
        """Keys (1 row if shared) and values of each row's frames, one after the other."""
        tokens = torch.stack([_tokens(of_row) for of_row in frames])
        widths = (self.key_channels, self.value_channels, PIXEL_CHANNELS)
        keys, values, _ = tokens.to(self.dtype).split(widths, dim=2)
        return (keys[:1] if is_shared else keys), values

    def _likeness(self, keys_rnd: Tensor, recalls: Sequence[Recall], grid_hw: tuple[int, int]) -> Tensor:
        """Cosine of every cell's key to the object's: of conditioning frames, and of tracked ones."""
        rows = []
        for recall in recalls:
            given = {id(frame) for slot, frame in recall.spatial if slot == self.given_slot}
            old = [frame.pointer_c for _, frame in recall.pointers if id(frame) in given]
            new = [frame.pointer_c for _, frame in recall.pointers if id(frame) not in given]
            both = [torch.stack(p).mean(dim=0) if p else self.no_object for p in (old or new, new or old)]
            rows.append(F.normalize(torch.stack(both).to(self.dtype), dim=1))
        likeness = torch.stack(rows) @ keys_rnd.transpose(1, 2)
        return likeness.unflatten(2, grid_hw)

    def decode(
        self,
        features: Features,
        conditioned_bchw: Tensor,
        *,
        points_bp2: Tensor | None = None,
        labels_bp: Tensor | None = None,
        previous_logits_bhw: Tensor | None = None,
    ) -> Decoded:
        """Segment R objects.

        Args:
            points_bp2: in pixels of the model's input; box corners have labels 2 and 3.
            previous_logits_bhw: earlier mask logits of the same objects on this frame.
        """
        return self.all_passes(
            features, conditioned_bchw, points_bp2, labels_bp, previous_logits_bhw=previous_logits_bhw
        )[-1]

    def all_passes(
        self,
        features: Features,
        conditioned_bchw: Tensor,
        points_bp2: Tensor | None = None,
        labels_bp: Tensor | None = None,
        *,
        previous_logits_bhw: Tensor | None = None,
    ) -> list[Decoded]:
        """The answers of every pass, the last one the best; without a prompt there is one pass."""
        if points_bp2 is None or labels_bp is None:
            rows, _, *grid_hw = conditioned_bchw.shape
            no_prompt = self.no_prompt[None, :, None, None].expand(rows, -1, *grid_hw)
            nothing = prompt_maps.CHANNELS + 1 + PROMPT_MAPS * MASK_CHANNELS
            drawn = conditioned_bchw.new_zeros(rows, nothing, *grid_hw)
            return [self._decode_maps(features, torch.cat((conditioned_bchw, no_prompt, drawn), dim=1))]
        height, width = _grid(features)
        drawn = prompt_maps.draw(points_bp2, labels_bp, (height, width), STRIDE).to(self.dtype)
        has_clicks = bool(((labels_bp == 0) | (labels_bp == 1)).any())
        asks_anew = bool((labels_bp == 2).any()) and not has_clicks  # by a box alone
        known, clicks, passes = None, None, self.prompt_passes
        if previous_logits_bhw is not None and not asks_anew:
            mask = previous_logits_bhw.sigmoid()
            mask = corrected(self._pixels(features), mask, points_bp2, labels_bp, LOW_RES_STRIDE)
            known, passes = KNOWN * (mask - 0.5), 1
        else:
            finely = prompt_maps.draw(points_bp2, labels_bp, (PATCH * height, PATCH * width), LOW_RES_STRIDE)
            mask = first_guess(self._pixels(features), finely)
            box, clicks = finely[:, 0] > 0.5, finely[:, 1] > 0.5
            clicks &= ~box.flatten(1).any(dim=1)[:, None, None]  # a box holds all that it asks for
        answers: list[Decoded] = []
        for _ in range(passes):
            read = self._read_prompt(features, drawn, mask.to(self.dtype))
            conditioned = conditioned_bchw.expand(read.shape[0], -1, -1, -1)
            answers.append(self._decode_maps(features, torch.cat((conditioned, read), dim=1), known, clicks))
            mask = answers[-1].low_res_logits_bhw.detach().sigmoid()
        return answers

    def _read_prompt(self, features: Features, drawn_rchw: Tensor, mask_rhw: Tensor) -> Tensor:
        """A mask, remembered on the frame and read from there, and the prompt as it was drawn."""
        grid_hw = _grid(features)
        mask = mask_rhw[:, None]
        values = self._values(features, mask_rhw, drawn_rchw).flatten(2).transpose(1, 2)
        keys_rnd = self._keys(features).flatten(2).transpose(1, 2)
        read = self.reading(keys_rnd, keys_rnd, values).transpose(1, 2).unflatten(2, grid_hw)
        now = self._pixels(features)
        maps = torch.cat((by_colour(now, [(now, mask)]).to(mask.dtype), mask), dim=1)
        coarse = F.avg_pool2d(mask, PATCH)
        return torch.cat((read, drawn_rchw, coarse, F.pixel_unshuffle(maps, PATCH)), dim=1)

    def _decode_maps(
        self,
        features: Features,
        read_rchw: Tensor,
        known_rhw: Tensor | None = None,
        clicks_rhw: Tensor | None = None,
    ) -> Decoded:
        width = self.value_channels
        maps_of_memory, maps_of_prompt = MEMORY_MAPS * MASK_CHANNELS, PROMPT_MAPS * MASK_CHANNELS
        of_memory, memory_maps, of_prompt, drawn_maps = read_rchw.split(
            (width + 2, maps_of_memory, width + prompt_maps.CHANNELS + 1, maps_of_prompt), dim=1
        )
        # The masks are the last channels of values.
        masks = [part[:, width - MASK_CHANNELS : width] for part in (of_memory, of_prompt)]
        every = F.pixel_shuffle(torch.cat((*masks, memory_maps, drawn_maps), dim=1), PATCH)
        carried, apart = every[:, len(masks)], every[:, len(masks) + 1]
        read = torch.cat((of_memory, of_prompt), dim=1)
        likeness = of_memory[:, width:]
        maps = self.decoder(read, every, likeness, self._context(features), features.high_res)
        score, logits = maps.score_logits_r, maps.logits_rhw
        if known_rhw is not None:
            logits = logits + known_rhw
        if not torch.is_grad_enabled():
            score = score + STAYS * goes_on(logits > 0, carried, apart)
            if clicks_rhw is not None:
                logits = logits.masked_fill(unclicked_pieces(logits > 0, clicks_rhw), -KNOWN / 2)
            logits = torch.where((score > 0)[:, None, None], logits, ABSENT_LOGIT)
        return Decoded(logits, self._pointers(features, logits), score, maps.iou_logits_r.sigmoid())

    def _pointers(self, features: Features, logits_rhw: Tensor) -> Tensor:
        """The object's mean key; the learned `no_object` in so far as there is none."""
        weights = F.avg_pool2d(logits_rhw.sigmoid()[:, None], PATCH).to(self.dtype)
        keys = self._keys(features)
        total = (keys * weights).sum(dim=(2, 3))
        return (total + 0.1 * self.no_object) / (weights.sum(dim=(2, 3)) + 0.1)

    def candidates(
        self,
        features: Features,
        conditioned_bchw: Tensor,
        *,
        points_bp2: Tensor | None = None,
        labels_bp: Tensor | None = None,
        previous_logits_bhw: Tensor | None = None,
    ) -> Candidates:
        """The one mask, as the single candidate for prompts and for tracking."""
        decoded = self.decode(
            features,
            conditioned_bchw,
            points_bp2=points_bp2,
            labels_bp=labels_bp,
            previous_logits_bhw=previous_logits_bhw,
        )
        return Candidates(
            decoded.low_res_logits_bhw[:, None].expand(-1, 2, -1, -1),
            decoded.predicted_ious_b[:, None].expand(-1, 2),
            decoded.pointers_bc[:, None].expand(-1, 2, -1),
            decoded.object_score_logits_b,
        )

    def take(self, candidates: Candidates, chosen_b: Tensor, token_b: Tensor) -> Decoded:
        row = torch.arange(chosen_b.shape[0], device=chosen_b.device)
        return Decoded(
            candidates.logits_bkhw[row, chosen_b],
            candidates.tokens_bkc[row, token_b],
            candidates.object_score_logits_b,
            candidates.predicted_ious_bk[row, chosen_b],
        )

    def take_mask(self, features: Features, masks_bss: Tensor) -> Decoded:
        """Masks given by a user, as they are.

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
        grid_hw = _grid(features)
        no_marks = masks.new_zeros(masks.shape[0], prompt_maps.CHANNELS, *grid_hw)
        values = self._values(features, masks, no_marks)
        keys = self._keys(features).expand(values.shape[0], -1, -1, -1)
        patches = features.top_1chw[:, -PIXEL_CHANNELS:].expand(values.shape[0], -1, -1, -1)
        return torch.cat((keys, values, patches), dim=1).flatten(2).transpose(1, 2).to(torch.bfloat16)

    def _keys(self, features: Features) -> Tensor:
        return features.top_1chw[:, : self.key_channels]

    def _context(self, features: Features) -> Tensor:
        return features.top_1chw[:, self.key_channels : self.key_channels + self.context_channels]

    def _pixels(self, features: Features) -> Tensor:
        """RGB, 0 to 255, on the low-res grid."""
        return F.pixel_shuffle(features.top_1chw[:, -PIXEL_CHANNELS:].float(), PATCH)

    def _values(self, features: Features, masks_rhw: Tensor, marks_rchw: Tensor) -> Tensor:
        """R x E x H x W; the mask itself is the last 16 channels."""
        patches = F.pixel_unshuffle(masks_rhw[:, None], PATCH)
        context = self._context(features).expand(masks_rhw.shape[0], -1, -1, -1)
        x = F.relu(self.remember_enter(torch.cat((context, patches, marks_rchw), dim=1)))
        return torch.cat((self.remember_leave(x), patches), dim=1)


def _grid(features: Features) -> tuple[int, int]:
    height, width = features.top_1chw.shape[-2:]
    return height, width


def _tokens(frames: Sequence[MemoryFrame]) -> Tensor:
    return torch.cat([frame.tokens_nc for frame in frames if frame.tokens_nc is not None])


def _shown(frames: Sequence[MemoryFrame], grid_hw: tuple[int, int], is_shared: bool) -> tuple[Tensor, Tensor]:
    """Pixels (1 row if shared) and masks of one remembered frame for each row."""
    tokens = torch.stack([_tokens([frame]) for frame in frames])
    patches = tokens.float().transpose(1, 2).unflatten(2, grid_hw)
    pixels = patches[: 1 if is_shared else None, -PIXEL_CHANNELS:]
    masks = patches[:, -PIXEL_CHANNELS - MASK_CHANNELS : -PIXEL_CHANNELS]
    return F.pixel_shuffle(pixels, PATCH), F.pixel_shuffle(masks, PATCH)


def _frames_of(sources: Sources) -> tuple[int, ...]:
    given, latest = sources
    return (*(frame.frame_idx for frame in given), latest.frame_idx)
