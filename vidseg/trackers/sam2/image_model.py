"""SAM 2 on one picture: an image encoder, a prompt encoder and a mask decoder, without any memory.

Parameter names follow the official checkpoints, so that a published state dict loads unchanged.

Source: Ravi et al., "SAM 2: Segment Anything in Images and Videos", section 4 and appendix C.

Layouts: B objects · C channels · H W the feature grid at stride 16 · h w the low-res grid (4x that) · S the
side of the model's square input.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vidseg.memory.linear import Linear
from vidseg.memory.widths import CHANNELS
from vidseg.trackers.backbones.hiera import Hiera
from vidseg.trackers.backbones.kept_windows import KeptWindows
from vidseg.trackers.compiled import compile_in_place
from vidseg.trackers.image_encoder import ImageEncoder, PyramidNeck
from vidseg.trackers.model import Candidates, Features
from vidseg.trackers.sam2.answers import Sam2Answers
from vidseg.trackers.sam2.mask_decoder import DECODER_ROWS, MaskDecoder
from vidseg.trackers.sam2.prompt_encoder import PromptEncoder


class Sam2ImageModel(Sam2Answers, nn.Module):
    """SAM 2 without memory; see `vidseg.trackers.model.ImageModel`.

    Args:
        image_size: S.
        use_high_res_features: whether the decoder also takes the neck's maps at strides 4 and 8.
    """

    takes_masks = True
    takes_decoded = True
    """Frames of videos are resized by their decoder, as the official loader does it."""
    feedback_limit = 32.0
    """The limit that SAM 2's `add_new_points_or_box` and `SAM2ImagePredictor.predict` clamp to."""

    def __init__(
        self, *, image_encoder: ImageEncoder, image_size: int = 1024, use_high_res_features: bool = True
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.image_encoder = image_encoder
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, CHANNELS))
        self.sam_prompt_encoder = PromptEncoder(CHANNELS)
        self.sam_mask_decoder = MaskDecoder(CHANNELS, use_high_res_features)
        self.fused_high_res = nn.ModuleList()

    @property
    def low_res_size(self) -> int:
        return self.image_size // 4

    @property
    def dtype(self) -> torch.dtype:
        return self.no_mem_embed.dtype

    @property
    def device(self) -> torch.device:
        return self.no_mem_embed.device

    def encode(self, image_3ss: Tensor) -> Features:
        """The features of one normalised image: one row."""
        return self.encode_batch(image_3ss[None])

    def encode_batch(self, images_b3ss: Tensor) -> Features:
        """The features of several images, one a row; in training each object has its own image."""
        images = images_b3ss.to(self.dtype)
        if not self.fused_high_res:
            return self._reduced(self.image_encoder(images))
        return self._fused(self.image_encoder.trunk(images))

    @property
    def keeps_windows(self) -> bool:
        return bool(getattr(self.image_encoder.trunk, "keeps_windows", False))

    def encode_next(self, image_3ss: Tensor, kept: KeptWindows) -> Features:
        encoder = self.image_encoder
        assert isinstance(encoder.trunk, Hiera)
        maps = encoder.trunk.encode_next(image_3ss[None].to(self.dtype), kept)
        return self._fused(maps) if self.fused_high_res else self._reduced(encoder.neck(maps))

    def _reduced(self, maps: list[Tensor]) -> Features:
        return Features(self.sam_mask_decoder.reduce_high_res(maps), maps[-1])

    def _fused(self, maps: list[Tensor]) -> Features:
        """The features of the backbone's maps, once `fuse` has been called."""
        (top,) = self.image_encoder.neck(maps, finest=len(self.fused_high_res))
        high_res = [
            linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            for linear, x in zip(self.fused_high_res, maps, strict=False)
        ]
        return Features(high_res, top)

    @torch.no_grad()
    def fuse(self) -> None:
        """Bring the model into its fastest form for tracking; weights have other names then, so load them
        before.

        At strides 4 and 8 the neck's convolution and that of the mask decoder follow each other directly. One
        convolution with the product of their weights replaces both, and maps of 256 channels are never made.
        """
        self.image_encoder.fuse()
        decoder, neck = self.sam_mask_decoder, self.image_encoder.neck
        if decoder.use_high_res_features and isinstance(neck, PyramidNeck):
            for level, reduce in enumerate((decoder.conv_s0, decoder.conv_s1)):
                linear = _product(neck.lateral(level), reduce)
                self.fused_high_res.append(linear)

    def compile_parts(self) -> None:
        encoder = self.image_encoder
        encoding = (encoder.trunk, encoder.neck) if self.fused_high_res else (encoder,)
        for part in encoding:
            compile_in_place(part)
        compile_in_place(self.sam_mask_decoder, rows=DECODER_ROWS)

    def without_memory(self, features: Features) -> Tensor:
        return features.top_1chw + self.no_mem_embed.transpose(1, 2)[..., None]

    def candidates(
        self,
        features: Features,
        conditioned_bchw: Tensor,
        *,
        points_bp2: Tensor | None = None,
        labels_bp: Tensor | None = None,
        previous_logits_bhw: Tensor | None = None,
    ) -> Candidates:
        """Four candidates: the single mask first, then three for an ambiguous prompt."""
        batch, _, height, width = conditioned_bchw.shape
        encoder = self.sam_prompt_encoder
        if points_bp2 is None or labels_bp is None:
            sparse = encoder.without_points(batch)
        else:
            sparse = encoder.points(points_bp2, labels_bp, self.image_size)
        previous = None if previous_logits_bhw is None else previous_logits_bhw[:, None].to(self.dtype)
        candidates: Candidates = self.sam_mask_decoder(
            conditioned_bchw,
            features.high_res,
            sparse,
            encoder.masks(previous),
            encoder.grid(height, width),
        )
        return candidates

    def _pointers(self, tokens_bc: Tensor, is_present_b: Tensor) -> Tensor:
        """Object pointers. An image model has none; its output tokens stand for them."""
        return tokens_bc


def _product(inner: nn.Conv2d, outer: nn.Conv2d) -> Linear:
    """The linear map of channels that two 1x1 convolutions make, one after the other."""
    linear = Linear(inner.in_channels, outer.out_channels)
    inner_weight, outer_weight = (conv.weight[:, :, 0, 0].double() for conv in (inner, outer))
    assert inner.bias is not None
    assert outer.bias is not None
    linear.weight.copy_(outer_weight @ inner_weight)
    linear.bias.copy_(outer_weight @ inner.bias.double() + outer.bias)
    return linear
