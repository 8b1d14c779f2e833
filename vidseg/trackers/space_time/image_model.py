"""A space-time model on one picture: an encoder, prompts drawn as maps, and what decodes them to stride 2.

Layouts: R rows (objects) · C channels · H W the key grid (stride 8) · h w the low-res grid (stride 2) · S the
side of the model's input. The features of a frame have one row, shared by all objects, or R rows. The
channels of the top map are keys, then context, then 4 x 4 low-res pixels of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vidseg.trackers.compiled import compile_in_place
from vidseg.trackers.image_encoder import fused
from vidseg.trackers.model import Candidates, Decoded, Features
from vidseg.trackers.space_time import prompt_maps
from vidseg.trackers.space_time.answer import Answer
from vidseg.trackers.space_time.asked import ask
from vidseg.trackers.space_time.colour_reading import by_colour, colour_counts
from vidseg.trackers.space_time.decoder import LabelDecoder, conv, convolved
from vidseg.trackers.space_time.grids import (
    LOW_RES_STRIDE,
    MASK_CHANNELS,
    MEMORY_MAPS,
    PATCH,
    PIXEL_CHANNELS,
    PROMPT_MAPS,
    STRIDE,
    grid_of,
    low_res_pixels,
)
from vidseg.trackers.space_time.label_reading import LabelReading
from vidseg.trackers.space_time.prompt_decoder import PromptDecoder, answer_of
from vidseg.trackers.space_time.screening import as_candidates, screened


class SpaceTimeImageModel(nn.Module):
    """A space-time model without memory; see `vidseg.trackers.model.ImageModel`.

    Args:
        backbone: a pyramid.
        key_channels: D, channels of a memory token's key.
        value_channels: E, channels of its value; the last 16 are the mask, 4 x 4 low-res pixels a cell.
        context_channels: channels of the decoder at stride 8.
        fine_channels: channels of the decoder at strides 2 and 4.
        prompt_passes: how often a box or clicks are answered, each time from the previous answer; corrections
            are answered once.
        prompt_decoder: whether boxes and clicks are answered by a network of their own, not by the decoder
            that follows objects.
    """

    takes_masks = True
    takes_decoded = False
    """The model was trained on images resized by Pillow, not by a video decoder."""
    feedback_limit = 32.0
    low_bit_parts: ClassVar = {
        "image_encoder": ("backbone", "laterals", "smooth", "to_key", "to_context", "to_fine_4"),
        "decoder": ("decoder",),
    }
    """The parts whose products may be computed from few bits -> their modules; see
    `vidseg.trackers.low_bits`."""

    def __init__(
        self,
        *,
        backbone: Any,
        image_size: int,
        key_channels: int = 64,
        value_channels: int = 32,
        context_channels: int = 64,
        fine_channels: Sequence[int] = (16, 32),
        pyramid_channels: int = 96,
        prompt_passes: int = 2,
        prompt_decoder: bool = False,
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.key_channels = key_channels
        self.value_channels = value_channels
        self.context_channels = context_channels
        self.prompt_passes = prompt_passes
        self.backbone = backbone
        widths = backbone.channels
        self.laterals = nn.ModuleList(nn.Conv2d(width, pyramid_channels, 1) for width in widths[1:])
        self.smooth = conv(pyramid_channels, pyramid_channels)
        # The norm subtracts a mean key: without it all keys are alike at first, and reads are blurred.
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
        self.prompt_decoder = (
            PromptDecoder(key_channels, context_channels, fine_channels, widths[2:])
            if prompt_decoder
            else None
        )

    @property
    def low_res_size(self) -> int:
        return self.image_size // LOW_RES_STRIDE

    @property
    def dtype(self) -> torch.dtype:
        return self.no_memory.dtype

    @property
    def device(self) -> torch.device:
        return self.no_memory.device

    def fuse(self) -> None:
        """Bring the model into its fastest form for tracking; weights must be loaded before."""
        self.backbone = fused(self.backbone)
        if isinstance(self.to_key, nn.Sequential):
            self.to_key = fuse_conv_bn_eval(*self.to_key)
        # Channels last is oneDNN's own layout, so no map is reordered between two convolutions.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def compile_parts(self) -> None:
        """Compile the parts that run on every frame; call it after `fuse`."""
        compile_in_place(self.backbone)
        compile_in_place(self.decoder, rows=(0, 1, 2, 3, 4))

    def encode(self, image_3ss: Tensor) -> Features:
        """The features of one normalised image: one row."""
        return self.encode_batch(image_3ss[None])

    def encode_batch(self, images_b3ss: Tensor) -> Features:
        """The features of several normalised images, one a row."""
        images = images_b3ss.to(self.dtype)
        maps = self.backbone(images)
        x = self.pyramid(maps)
        keys = F.normalize(self.to_key(x), dim=1)
        finer = [self.to_fine_2(images), self.to_fine_4(maps[0])]
        if self.prompt_decoder is not None:
            finer += maps[2:]
        patches = F.pixel_unshuffle(low_res_pixels(images_b3ss), PATCH).to(keys.dtype)
        return Features(finer, torch.cat((keys, self.to_context(x), patches), dim=1))

    def pyramid(self, maps: Sequence[Tensor]) -> Tensor:
        """The backbone's maps at strides 8, 16 and 32 summed at stride 8."""
        x = self.laterals[2](maps[3])
        for level in (2, 1):
            x = self.laterals[level - 1](maps[level]) + F.interpolate(x, scale_factor=2.0, mode="nearest")
        return F.relu(x + self.smooth(F.relu(x)))

    def without_memory(self, features: Features) -> Tensor:
        return self.no_memory[None, :, None, None].expand(1, -1, *grid_of(features))

    def decode(
        self,
        features: Features,
        conditioned_bchw: Tensor,
        *,
        points_bp2: Tensor | None = None,
        labels_bp: Tensor | None = None,
        previous_logits_bhw: Tensor | None = None,
    ) -> Decoded:
        """The answer of the last pass, after the rules that need no training (`Answer.settled`)."""
        passes = self._passes(
            features, conditioned_bchw, points_bp2, labels_bp, previous_logits_bhw, is_tracking=True
        )
        return self.decoded(features, passes[-1])

    def num_prompt_tokens(self, labels_bp: Tensor) -> int:
        """Always 0, as prompts are drawn as maps."""
        return 0

    def best_first(self, logits_khw: Tensor, predicted_ious_k: Tensor, *, multimask: bool) -> list[int]:
        return [0]

    def _passes(
        self,
        features: Features,
        conditioned_bchw: Tensor,
        points_bp2: Tensor | None,
        labels_bp: Tensor | None,
        previous_logits_bhw: Tensor | None,
        *,
        is_tracking: bool,
        passes: int | None = None,
        is_sampled: bool = False,
    ) -> list[Answer]:
        """Answers in passes, each of which begins with the mask of the one before.

        Args:
            is_tracking: whether rules that need no training change each answer, and absent objects have no
                mask in the next pass; else the network's own answers are returned, for training to judge.
            passes: how many to make of a prompt that corrects nothing; None: `prompt_passes`.
            is_sampled: whether nobody chose the prompt, so that it may lie on nothing. The network for
                prompts knows only such as lie on something: its predicted IoUs would tell nothing.
        """
        if points_bp2 is None or labels_bp is None:
            no_prompt = self.no_prompt[None, :, None, None].expand(1, -1, *conditioned_bchw.shape[2:])
            nothing = prompt_maps.CHANNELS + 1 + PROMPT_MAPS * MASK_CHANNELS
            drawn = no_prompt.new_zeros(1, nothing, *no_prompt.shape[2:])
            answer = self._decode_maps(features, conditioned_bchw, torch.cat((no_prompt, drawn), dim=1))
            return [answer.settled(is_prompted=False) if is_tracking else answer]
        drawn = prompt_maps.draw(points_bp2, labels_bp, grid_of(features), STRIDE).to(self.dtype)
        asked = ask(self._pixels(features), points_bp2, labels_bp, previous_logits_bhw)
        mask, answers = asked.mask_rhw, []
        has_memory = not torch.equal(conditioned_bchw[:1, :, 0, 0], self.no_memory[None])
        rules = (asked.clicks_rhw, asked.beyond_rhw, asked.corrected_rhw)
        is_first = not (is_sampled or has_memory)
        for _ in range(1 if asked.known_rhw is not None else passes or self.prompt_passes):
            answer = self.answer_prompt(
                features, conditioned_bchw, drawn, mask, asked.known_rhw, is_first=is_first
            )
            answers.append(answer.settled(*rules) if is_tracking else answer)
            mask = (answers[-1].heeded() if is_tracking else answer.logits_rhw).detach().sigmoid()
        return answers

    def answer_prompt(
        self,
        features: Features,
        conditioned_bchw: Tensor,
        drawn_rchw: Tensor,
        mask_rhw: Tensor,
        known_rhw: Tensor | None = None,
        *,
        is_first: bool,
    ) -> Answer:
        """The answer to a prompt in one pass.

        Args:
            drawn_rchw: maps of `prompt_maps.draw` on the key grid.
            mask_rhw: how likely each pixel is on the object, from 0 to 1, as far as is known.
            known_rhw: what is added to mask logits; see `KNOWN`.
            is_first: whether the network for prompts answers, if there is one. It knows nothing of memory:
                clicks on a tracked frame change what is carried into it.
        """
        if self.prompt_decoder is not None and is_first:
            seen = self._keys(features), self._context(features), features.high_res
            return answer_of(
                self.prompt_decoder,
                seen,
                self._pixels(features),
                drawn_rchw,
                mask_rhw.to(self.dtype),
                is_correction=known_rhw is not None,
            )
        read = self._read_prompt(features, drawn_rchw, mask_rhw.to(self.dtype))
        conditioned = conditioned_bchw.expand(read.shape[0], -1, -1, -1)
        return self._decode_maps(features, conditioned, read, known_rhw)

    def _read_prompt(self, features: Features, drawn_rchw: Tensor, mask_rhw: Tensor) -> Tensor:
        """What is read of a prompt: its mask is remembered on the frame and read back, and its drawing is
        added."""
        grid_hw = grid_of(features)
        mask = mask_rhw[:, None]
        values = self._values(features, mask_rhw, drawn_rchw).flatten(2).transpose(1, 2)
        keys_rnd = self._keys(features).flatten(2).transpose(1, 2)
        read = self.reading(keys_rnd, keys_rnd, values).transpose(1, 2).unflatten(2, grid_hw)
        now = self._pixels(features)
        colours = by_colour(now, colour_counts(now, mask)).to(mask.dtype)
        maps = torch.cat((colours, mask), dim=1)
        coarse = F.avg_pool2d(mask, PATCH)
        return torch.cat((read, drawn_rchw, coarse, F.pixel_unshuffle(maps, PATCH)), dim=1)

    def _decode_maps(
        self,
        features: Features,
        memory_rchw: Tensor,
        prompt_rchw: Tensor,
        known_rhw: Tensor | None = None,
    ) -> Answer:
        """The decoder's answer to what was read of memory, and of a prompt, which has 1 row if it is the same
        for all objects."""
        width = self.value_channels
        of_memory, memory_maps = memory_rchw.split((width + 2, MEMORY_MAPS * MASK_CHANNELS), dim=1)
        of_prompt, drawn_maps = prompt_rchw.split(
            (width + prompt_maps.CHANNELS + 1, PROMPT_MAPS * MASK_CHANNELS), dim=1
        )
        # Masks are the last channels of values.
        of_mask = slice(width - MASK_CHANNELS, width)
        memory_maps = F.pixel_shuffle(torch.cat((of_memory[:, of_mask], memory_maps), dim=1), PATCH)
        drawn_maps = F.pixel_shuffle(torch.cat((of_prompt[:, of_mask], drawn_maps), dim=1), PATCH)
        carried, apart = memory_maps[:, 1], memory_maps[:, 2]
        likeness = of_memory[:, width:]
        maps = self.decoder(
            of_memory,
            memory_maps,
            likeness,
            of_prompt,
            drawn_maps,
            self._context(features),
            features.high_res[:2],
        )
        logits = maps.logits_rhw if known_rhw is None else maps.logits_rhw + known_rhw
        return Answer(logits, maps.score_logits_r, maps.iou_logits_r, carried, apart)

    def decoded(self, features: Features, answer: Answer) -> Decoded:
        """An answer as the engine takes it, with the object's pointer."""
        pointers = self._pointers(features, answer.logits_rhw)
        return Decoded(answer.logits_rhw, pointers, answer.score_logits_r, answer.iou_logits_r.sigmoid())

    @property
    def looks_closer(self) -> bool:
        """Whether prompts are answered on the part of the picture around them, too."""
        return self.prompt_decoder is not None

    def with_masks(self, features: Features, decoded: Decoded, logits_bhw: Tensor) -> Decoded:
        """See `vidseg.trackers.model.LooksCloser`."""
        pointers = self._pointers(features, logits_bhw)
        return replace(decoded, low_res_logits_bhw=logits_bhw, pointers_bc=pointers)

    def _pointers(self, features: Features, logits_rhw: Tensor) -> Tensor:
        """Object pointers: the mean key of the object, or `no_object` as far as there is none."""
        weights = F.avg_pool2d(logits_rhw.sigmoid()[:, None], PATCH).to(self.dtype)
        keys = self._keys(features)
        return self._mean_key((keys * weights).sum(dim=(2, 3)), weights.sum(dim=(2, 3)))

    def _mean_key(self, total_rc: Tensor, weight_r1: Tensor) -> Tensor:
        return (total_rc + 0.1 * self.no_object) / (weight_r1 + 0.1)

    def candidates(
        self,
        features: Features,
        conditioned_bchw: Tensor,
        *,
        points_bp2: Tensor | None = None,
        labels_bp: Tensor | None = None,
        previous_logits_bhw: Tensor | None = None,
    ) -> Candidates:
        """A single candidate, as the model makes one mask."""
        if labels_bp is not None and points_bp2 is not None and not labels_bp.shape[1]:
            # Without points, pass one that pads: it draws nothing.
            points_bp2 = points_bp2.new_zeros(len(points_bp2), 1, 2)
            labels_bp = labels_bp.new_full((len(labels_bp), 1), -1)
        decoded = self.decode(
            features,
            conditioned_bchw,
            points_bp2=points_bp2,
            labels_bp=labels_bp,
            previous_logits_bhw=previous_logits_bhw,
        )
        return as_candidates(decoded)

    def screened_candidates(
        self,
        features: Features,
        conditioned_bchw: Tensor,
        *,
        points_bp2: Tensor,
        labels_bp: Tensor,
        least_iou: float,
    ) -> Candidates:
        """See `vidseg.trackers.model.ScreensPrompts`; the quick answer is that of the first pass."""
        alone = conditioned_bchw[:1]

        def answers(points: Tensor, labels: Tensor, passes: int | None = None) -> Candidates:
            asked = (features, alone, points, labels, None)
            found = self._passes(*asked, is_tracking=True, passes=passes, is_sampled=True)
            return as_candidates(self.decoded(features, found[-1]))

        return screened(points_bp2, labels_bp, least_iou, partial(answers, passes=1), answers)

    def _keys(self, features: Features) -> Tensor:
        return features.top_1chw[:, : self.key_channels]

    def _context(self, features: Features) -> Tensor:
        return features.top_1chw[:, self.key_channels : self.key_channels + self.context_channels]

    def _pixels(self, features: Features) -> Tensor:
        """RGB pixels of the frame, 0 to 255, on the low-res grid."""
        return F.pixel_shuffle(features.top_1chw[:, -PIXEL_CHANNELS:].float(), PATCH)

    def _values(self, features: Features, masks_rhw: Tensor, marks_rchw: Tensor) -> Tensor:
        """Values of memory tokens: R x E x H x W; the last 16 channels are the mask.

        Args:
            marks_rchw: maps of the prompt; 1 row if they are the same for all objects.
        """
        patches = F.pixel_unshuffle(masks_rhw[:, None], PATCH)
        return torch.cat((self.remembered(self._context(features), patches, marks_rchw), patches), dim=1)

    def remembered(self, context_rchw: Tensor, patches_rchw: Tensor, marks_rchw: Tensor) -> Tensor:
        """The learned channels of values, from context, masks and marks, each of R rows or 1."""
        conv, norm = self.remember_enter
        assert isinstance(conv, nn.Conv2d)
        seen = convolved(conv, (context_rchw, patches_rchw, marks_rchw))
        out: Tensor = self.remember_leave(F.relu(norm(seen)))
        return out
