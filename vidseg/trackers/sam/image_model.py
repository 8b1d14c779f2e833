"""SAM: an image encoder, a prompt encoder and a mask decoder.

The prompt encoder and the mask decoder are SAM 2's, without what SAM 2 added to them.

Source: Kirillov et al., "Segment Anything", ICCV 2023.

Layouts: B objects · K candidates · C channels · H W the feature grid · h w the low-res grid (4x that) · S the
side of the model's square input.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vidseg.errors import CheckpointError
from vidseg.memory.widths import CHANNELS
from vidseg.trackers.compiled import compile_in_place
from vidseg.trackers.image_encoder import ImageEncoder
from vidseg.trackers.model import Candidates, Features
from vidseg.trackers.sam.answers import Choice, Ranks, SamAnswers
from vidseg.trackers.sam2.mask_decoder import DECODER_ROWS, MaskDecoder
from vidseg.trackers.sam2.prompt_encoder import PromptEncoder


class SamImageModel(SamAnswers, nn.Module):
    """An image model of the first SAM's kind; see `vidseg.trackers.model.ImageModel`.

    Args:
        image_encoder: makes one map of 256 channels.
        image_size: S.
        stride: of that map.
        prompt_size: side of the square on which the prompt encoder places points; EfficientViT-SAM encodes
            pictures of 512 pixels and places points on 1024.
        choice, single_mask, ranks: see `SamAnswers`.
    """

    def __init__(
        self,
        *,
        image_encoder: ImageEncoder,
        image_size: int,
        stride: int,
        prompt_size: int,
        choice: Choice = "predicted-iou",
        single_mask: bool = True,
        ranks: Ranks = "three",
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.stride = stride
        self.prompt_size = prompt_size
        self.choice: Choice = choice
        self.single_mask = single_mask
        self.ranks: Ranks = ranks
        self.unanswerable: CheckpointError | None = None
        """Why prompts cannot be answered, if the heads have no weights."""
        self.image_encoder = image_encoder
        self.prompt_encoder = PromptEncoder(CHANNELS, pads_boxes=False)
        self.mask_decoder = MaskDecoder(
            CHANNELS, use_high_res_features=False, scores_objects=False, bounds_ious=False
        )

    @property
    def low_res_size(self) -> int:
        return 4 * self.image_size // self.stride

    @property
    def dtype(self) -> torch.dtype:
        return self.mask_decoder.iou_token.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.mask_decoder.iou_token.weight.device

    def encode(self, image_3ss: Tensor) -> Features:
        """The features of one normalised image: one row."""
        return self.encode_batch(image_3ss[None])

    def encode_batch(self, images_b3ss: Tensor) -> Features:
        """The features of several normalised images, one a row."""
        return Features([], self.image_encoder(images_b3ss.to(self.dtype))[-1])

    def fuse(self) -> None:
        """Bring the model into its fastest form; weights must be loaded before."""
        self.image_encoder.fuse()

    def compile_parts(self) -> None:
        compile_in_place(self.image_encoder)
        compile_in_place(self.mask_decoder, rows=DECODER_ROWS)

    def candidates(
        self,
        features: Features,
        conditioned_bchw: Tensor,
        *,
        points_bp2: Tensor | None = None,
        labels_bp: Tensor | None = None,
        previous_logits_bhw: Tensor | None = None,
    ) -> Candidates:
        """Four candidates: the single mask first, then three for an ambiguous prompt.

        All prompts of a batch have a box, or none has.

        Raises:
            CheckpointError: only the encoder has weights.
        """
        if self.unanswerable is not None:
            raise self.unanswerable
        batch, _, height, width = conditioned_bchw.shape
        encoder = self.prompt_encoder
        if points_bp2 is None or labels_bp is None:
            points_bp2 = conditioned_bchw.new_zeros(batch, 0, 2, dtype=torch.float32)
            labels_bp = points_bp2.new_zeros(batch, 0, dtype=torch.int32)
        placed_bp2 = points_bp2 * (self.prompt_size / self.image_size)
        previous = None if previous_logits_bhw is None else previous_logits_bhw[:, None].to(self.dtype)
        candidates: Candidates = self.mask_decoder(
            conditioned_bchw,
            features.high_res,
            encoder.points(placed_bp2, labels_bp, self.prompt_size),
            encoder.masks(previous),
            encoder.grid(height, width),
        )
        return candidates

    def num_prompt_tokens(self, labels_bp: Tensor) -> int:
        return labels_bp.shape[1] + int(self.prompt_encoder.pads(labels_bp))
