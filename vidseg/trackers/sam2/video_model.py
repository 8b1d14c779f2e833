"""SAM 2 on videos: the image model with a memory. No state outlives a call.

Source: Ravi et al., "SAM 2: Segment Anything in Images and Videos", section 4 and appendix C.

Layouts: B objects · N tokens · M memory tokens · C channels · H W the feature grid at stride 16 · h w the
low-res grid (4x that) · S the side of the model's square input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidseg.memory.attention import MemoryAttention, MemoryTokens
from vidseg.memory.bank import Recall, stack_tokens
from vidseg.memory.compressor import Compressor
from vidseg.memory.encoder import MemoryEncoder
from vidseg.memory.position import sine_grid, sine_times
from vidseg.memory.widths import CHANNELS, MEMORY_CHANNELS
from vidseg.trackers.compiled import compile_in_place
from vidseg.trackers.device import upload
from vidseg.trackers.graphs.replays import Replays
from vidseg.trackers.image_encoder import ImageEncoder
from vidseg.trackers.mlp import MLP
from vidseg.trackers.model import MASK_LOGIT_BIAS, MASK_LOGIT_SCALE, Decoded, Features, cat, pick
from vidseg.trackers.sam2.image_model import Sam2ImageModel


@dataclass(frozen=True, slots=True)
class _Recalled:
    """What is recalled of B objects, as tensors on the model's device; see `Sam2VideoModel.memory_tokens`."""

    memories_btnc: Tensor
    slots_bt: Tensor
    pointers_brc: Tensor | None
    times_br: Tensor | None
    key_scales_bm: Tensor | None
    """`Recall.key_scales` for each memory token."""


class Sam2VideoModel(Sam2ImageModel):
    """SAM 2 with its memory; see `vidseg.trackers.model.MemoryModel`.

    Args:
        image_size: S.
        compressor: compresses spatial memories; None keeps a token for each cell of the grid.
        memory_slots: number of temporal codes: one for each recent memory, the last one for conditioning
            frames.
        has_absent_embedding: whether the memory of an absent object is marked (`no_obj_embed_spatial`), as in
            SAM 2.1.
        projects_pointer_times: whether pointers have a projected, signed time code, as in SAM 2.1; SAM 2
            gives none.
    """

    clicks_correct = False

    def __init__(
        self,
        *,
        image_encoder: ImageEncoder,
        memory_attention: MemoryAttention,
        memory_encoder: MemoryEncoder,
        image_size: int = 1024,
        memory_slots: int = 7,
        use_high_res_features: bool = True,
        has_absent_embedding: bool = False,
        projects_pointer_times: bool = False,
        compressor: Compressor | None = None,
    ) -> None:
        super().__init__(
            image_encoder=image_encoder, image_size=image_size, use_high_res_features=use_high_res_features
        )
        self.mask_downsample = nn.Conv2d(1, 1, 4, stride=4)
        self.memory_attention = memory_attention
        self.memory_encoder = memory_encoder
        self.maskmem_tpos_enc = nn.Parameter(torch.zeros(memory_slots, 1, 1, MEMORY_CHANNELS))
        # Every checkpoint has this weight, though no released configuration reads it.
        self.no_mem_pos_enc = nn.Parameter(torch.zeros(1, 1, CHANNELS))
        self.no_obj_ptr = nn.Parameter(torch.zeros(1, CHANNELS))
        self.no_obj_embed_spatial = (
            nn.Parameter(torch.zeros(1, MEMORY_CHANNELS)) if has_absent_embedding else None
        )
        self.obj_ptr_proj = MLP(CHANNELS, CHANNELS, CHANNELS, num_layers=3)
        self.obj_ptr_tpos_proj = nn.Linear(CHANNELS, MEMORY_CHANNELS) if projects_pointer_times else None
        self.spatial_perceiver = compressor

    @property
    def pointer_channels(self) -> int:
        return CHANNELS

    @property
    def absent_pointer_c(self) -> Tensor:
        return self.no_obj_ptr[0]

    def compile_parts(self) -> None:
        super().compile_parts()
        compile_in_place(self.memory_encoder, rows=(1,))
        if self.device.type != "cpu":  # on the CPU its kernels are chosen by hand
            compile_in_place(self.memory_attention, dynamic=True, serves=has_several_memories)

    def record_parts(self, replays: Replays) -> None:
        self.encode_batch = replays.of(self.encode_batch, shared=0)  # type: ignore[method-assign]
        self._condition = replays.of(self._condition, shared=1)  # type: ignore[method-assign]
        self.candidates = replays.of(self.candidates, shared=1)  # type: ignore[method-assign]
        self.decode = replays.of(self.decode, shared=1)  # type: ignore[method-assign]
        self.remember = replays.of(self.remember, shared=1)  # type: ignore[method-assign]

    def attend(self, features: Features, recalls: Sequence[Recall], pointer_limit: int) -> Tensor:
        """Features conditioned on the memory of each object: B x C x H x W."""
        return self._condition(features, self._recalled(recalls, pointer_limit))

    def _recalled(self, recalls: Sequence[Recall], pointer_limit: int) -> _Recalled:
        num_frames, num_pointers = len(recalls[0].spatial), len(recalls[0].pointers)
        memories = stack_tokens(recalls).to(self.dtype).unflatten(1, (num_frames, -1))
        slots = upload(torch.tensor([[slot for slot, _ in r.spatial] for r in recalls]), self.device)
        pointers = times = None
        if num_pointers:
            pointers = torch.stack([f.pointer_c for r in recalls for _, f in r.pointers])
            pointers = pointers.unflatten(0, (len(recalls), num_pointers))
            back = upload(torch.tensor([[t for t, _ in r.pointers] for r in recalls]), self.device)
            times = back / (pointer_limit - 1)
        scales = _key_scales(recalls, memories.shape[2], CHANNELS // MEMORY_CHANNELS)
        scales = None if scales is None else upload(scales, self.device).to(self.dtype)
        return _Recalled(memories, slots, pointers, times, scales)

    def _condition(self, features: Features, recalled: _Recalled) -> Tensor:
        _, channels, height, width = features.top_1chw.shape
        position = sine_grid(channels, height, width, features.top_1chw.device, self.dtype)
        memory = self.memory_tokens(
            (height, width),
            recalled.memories_btnc,
            recalled.slots_bt,
            recalled.pointers_brc,
            recalled.times_br,
        )
        if recalled.key_scales_bm is not None:
            memory = _scale_keys(memory, recalled.key_scales_bm)
        return self.memory_attention(features.top_1chw, position, memory)

    def memory_tokens(
        self,
        grid_hw: tuple[int, int],
        memories_btnc: Tensor,
        slots_bt: Tensor,
        pointers_brc: Tensor | None,
        times_br: Tensor | None,
    ) -> MemoryTokens:
        """Memories and object pointers with their places and times, as memory attention reads them.

        Args:
            grid_hw: height and width of the frame's features.
            memories_btnc: T spatial memories of N tokens each.
            slots_bt: number of the time code of each; -1 is that of conditioning frames.
            pointers_brc: R object pointers; None: none is read.
            times_br: how far back they are, as a share of the pointer limit less 1; float32.
        """
        if self.spatial_perceiver is None:
            place = sine_grid(MEMORY_CHANNELS, *grid_hw, memories_btnc.device, self.dtype).flatten(1).T
        else:
            place = self.spatial_perceiver.token_positions(memories_btnc.device).to(self.dtype)
        positions = (place + self.maskmem_tpos_enc[:, 0][slots_bt]).flatten(1, 2)
        spatial, num_frames = memories_btnc.flatten(1, 2), memories_btnc.shape[1]
        if pointers_brc is None or times_br is None:
            return MemoryTokens(spatial, positions, 0, num_frames)
        pieces = pointers_brc.shape[-1] // MEMORY_CHANNELS
        pointer_tokens = pointers_brc.to(self.dtype).unflatten(-1, (pieces, -1)).flatten(1, 2)
        if self.obj_ptr_tpos_proj is None:
            pointer_positions = torch.zeros_like(pointer_tokens)
        else:
            code = sine_times(times_br.flatten(), pointers_brc.shape[-1]).to(self.dtype)
            code = self.obj_ptr_tpos_proj(code).unflatten(0, times_br.shape)
            pointer_positions = code.repeat_interleave(pieces, dim=1)
        return MemoryTokens(
            torch.cat((spatial, pointer_tokens), dim=1),
            torch.cat((positions, pointer_positions), dim=1),
            pointer_tokens.shape[1],
            num_frames,
        )

    def all_passes(
        self,
        features: Features,
        conditioned_bchw: Tensor,
        points_bp2: Tensor | None = None,
        labels_bp: Tensor | None = None,
        *,
        previous_logits_bhw: Tensor | None = None,
    ) -> list[Decoded]:
        """The decoder's answers; SAM 2 has a single pass.

        Rows whose prompts have equally many points (without padding) are answered together: one click gives
        other candidates than several do, and the decoder would see padding points.
        """
        if points_bp2 is None or labels_bp is None:
            return [self.decode(features, conditioned_bchw, previous_logits_bhw=previous_logits_bhw)]
        counts = (labels_bp >= 0).sum(dim=1)
        parts, order = [], []
        for count in counts.unique().tolist():
            rows = (counts == count).nonzero()[:, 0]
            answer = self.decode(
                features.rows(rows),
                conditioned_bchw[rows],
                points_bp2=points_bp2[rows, :count],
                labels_bp=labels_bp[rows, :count],
                previous_logits_bhw=None if previous_logits_bhw is None else previous_logits_bhw[rows],
            )
            parts.append(answer)
            order.append(rows)
        return [pick(cat(parts), torch.cat(order).argsort().tolist())]

    def masks_read(self, conditioned_bchw: Tensor) -> Tensor | None:
        return None

    def _pointers(self, tokens_bc: Tensor, is_present_b: Tensor) -> Tensor:
        return torch.where(is_present_b[:, None], self.obj_ptr_proj(tokens_bc), self.no_obj_ptr)

    def take_mask(self, features: Features, masks_bss: Tensor) -> Decoded:
        """Masks from a user, taken as they are, with pointers made from them.

        Args:
            masks_bss: bool, at the model's input size.
        """
        masks = masks_bss[:, None].float()
        logits = F.interpolate(
            masks * MASK_LOGIT_SCALE + MASK_LOGIT_BIAS,
            scale_factor=0.25,
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )
        prompt = self.mask_downsample(masks.to(self.dtype))[:, 0]
        features_bchw = features.top_1chw.expand(masks.shape[0], -1, -1, -1)
        pointer_source = self._single_token_pointer(features, features_bchw, prompt)
        is_present = masks_bss.flatten(1).any(dim=1)
        pointers = torch.where(is_present[:, None], pointer_source, self.no_obj_ptr)
        scores = is_present.float() * MASK_LOGIT_SCALE + MASK_LOGIT_BIAS
        return Decoded(logits[:, 0], pointers, scores, torch.ones_like(scores))

    def _single_token_pointer(self, features: Features, features_bchw: Tensor, prompt_bhw: Tensor) -> Tensor:
        batch, _, height, width = features_bchw.shape
        encoder = self.sam_prompt_encoder
        candidates = self.sam_mask_decoder(
            features_bchw,
            features.high_res,
            encoder.without_points(batch),
            encoder.masks(prompt_bhw[:, None]),
            encoder.grid(height, width),
        )
        return self._pointers(candidates.tokens_bkc[:, 0], candidates.object_score_logits_b > 0)

    def remember(self, features: Features, decoded: Decoded, *, from_prompt: bool) -> Tensor:
        """Spatial memories as tokens: bfloat16 B x N x 64.

        SAM 2 rounds stored memories to bfloat16 in float32 inference too, and later frames read the rounded
        values; so does this model.

        Args:
            from_prompt: whether the masks answer a prompt; they are then remembered as users see them:
                binary.
        """
        size = (self.image_size, self.image_size)
        logits = F.interpolate(
            decoded.low_res_logits_bhw[:, None], size=size, mode="bilinear", align_corners=False
        )
        masks = (logits > 0).float() if from_prompt else logits.sigmoid()
        masks = (masks * MASK_LOGIT_SCALE + MASK_LOGIT_BIAS).to(self.dtype)
        memory = self.memory_encoder(features.top_1chw, masks)
        if self.no_obj_embed_spatial is not None:
            is_absent = (decoded.object_score_logits_b <= 0)[:, None, None, None]
            memory = memory + is_absent * self.no_obj_embed_spatial[..., None, None]
        if self.spatial_perceiver is None:
            return memory.flatten(2).transpose(1, 2).to(torch.bfloat16)
        height, width = memory.shape[-2:]
        place = sine_grid(MEMORY_CHANNELS, height, width, memory.device, memory.dtype)
        return self.spatial_perceiver(memory, place)[0].to(torch.bfloat16)


def _key_scales(recalls: Sequence[Recall], tokens_per_frame: int, tokens_per_pointer: int) -> Tensor | None:
    """`Recall.key_scales` for each memory token: B x M; None if there are none."""
    if all(recall.key_scales is None for recall in recalls):
        return None
    rows = []
    for recall in recalls:
        of_frames, of_pointers = recall.key_scales or ((), ())
        frames, pointers = (
            torch.tensor(scales or [1.0] * count).repeat_interleave(tokens)
            for scales, count, tokens in (
                (of_frames, len(recall.spatial), tokens_per_frame),
                (of_pointers, len(recall.pointers), tokens_per_pointer),
            )
        )
        rows.append(torch.cat((frames, pointers)))
    return torch.stack(rows)


def has_several_memories(features_1chw: Tensor, position_chw: Tensor, memory: MemoryTokens) -> bool:
    """Whether compiled memory attention serves: for one memory, a size of 1, it would be compiled anew."""
    return memory.num_frames > 1


def _scale_keys(memory: MemoryTokens, scales_bm: Tensor) -> MemoryTokens:
    """Scale keys, but not values.

    Keys are made of tokens plus positions, values of tokens alone; so the positions are changed.
    """
    keyed_bmc = scales_bm[..., None] * (memory.tokens_bmc + memory.positions_bmc)
    return replace(memory, positions_bmc=keyed_bmc - memory.tokens_bmc)
