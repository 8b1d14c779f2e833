"""EfficientSAM: SAM's kind with other heads; its image encoder is the backbone `plain-vit`.

What differs from SAM: a prompt always makes six tokens; a point off the object has no embedding besides its
place; no masks are taken; tokens keep themselves in the first block of the decoder, and their encoding in the
others; perceptrons have GELUs; a norm over the whole map stands between the two steps of upscaling.

Source: Xiong et al., "EfficientSAM: Leveraged Masked Image Pretraining for Efficient Segment Anything", CVPR
2024 (arXiv:2312.00863), and its code (github.com/yformer/EfficientSAM). Parameter names of the prompt encoder
are those of its checkpoints.

Layouts: B objects · P points · T tokens · C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vidseg.errors import PromptError
from vidseg.trackers.backbones.single_scale_neck import SingleScaleNeck
from vidseg.trackers.image_encoder import ImageEncoder
from vidseg.trackers.image_settings import GivenImage
from vidseg.trackers.mlp import MLP
from vidseg.trackers.sam.image_model import SamImageModel
from vidseg.trackers.sam2.mask_decoder import MaskDecoder
from vidseg.trackers.sam2.prompt_encoder import RandomFourierEncoding
from vidseg.trackers.sam2.two_way_transformer import TwoWayBlock, TwoWayTransformer
from vidseg.validation import Strict

MAX_POINTS = 6
"""How many points a prompt may have; a box counts as two."""


class EfficientSamPromptEncoder(nn.Module):
    """Embeds points and boxes; see `vidseg.trackers.sam2.prompt_encoder.PromptEncoder`."""

    def __init__(self, channels: int = 256) -> None:
        super().__init__()
        self.pe_layer = RandomFourierEncoding(channels // 2)
        self.invalid_points = nn.Embedding(1, channels)
        self.point_embeddings = nn.Embedding(1, channels)
        self.bbox_top_left_embeddings = nn.Embedding(1, channels)
        self.bbox_bottom_right_embeddings = nn.Embedding(1, channels)

    def points(self, xy_bp2: Tensor, labels_bp: Tensor, image_size: int) -> Tensor:
        """Embeddings of points, padded to six: B x 6 x C.

        Args:
            xy_bp2: pixels of the model's square input; half a pixel is added here.
            labels_bp: 1, 0, 2, 3, or -1 for padding.

        Raises:
            PromptError: there are more than six points.
        """
        batch, num_points = labels_bp.shape
        if num_points > MAX_POINTS:
            raise PromptError(
                f"a prompt of {num_points} points (a box counts as two)",
                hint=f"EfficientSAM takes {MAX_POINTS} at most",
            )
        missing = MAX_POINTS - num_points
        xy_bp2 = torch.cat((xy_bp2, xy_bp2.new_full((batch, missing, 2), -1.0)), dim=1)
        labels_bp = torch.cat((labels_bp, labels_bp.new_full((batch, missing), -1)), dim=1)
        return self.as_given(xy_bp2, labels_bp, image_size)

    def as_given(self, xy_bp2: Tensor, labels_bp: Tensor, image_size: int) -> Tensor:
        """Embeddings of six points as in `points`: B x 6 x C."""
        dtype = self.invalid_points.weight.dtype
        embedded = self.pe_layer((xy_bp2 + 0.5) / image_size).to(dtype)
        for label, embedding in (
            (-1, self.invalid_points),
            (1, self.point_embeddings),
            (2, self.bbox_top_left_embeddings),
            (3, self.bbox_bottom_right_embeddings),
        ):
            embedded = embedded + (labels_bp == label)[..., None] * embedding.weight
        return embedded

    def masks(self, low_res_logits_b1hw: Tensor | None) -> Tensor:
        """Nothing, 1 x C x 1 x 1: EfficientSAM has no embedding of masks."""
        weight = self.invalid_points.weight
        return weight.new_zeros(1, weight.shape[1], 1, 1)

    def grid(self, height: int, width: int) -> Tensor:
        """The encoding of each cell's centre: 1 x C x H x W."""
        return self.pe_layer.grid(height, width).to(self.invalid_points.weight.dtype)


class EfficientSamBlock(TwoWayBlock):
    """A round whose tokens add what they read of each other to themselves, in the first one, too.

    From the second one on, their encoding stays added.
    """

    def read_each_other(self, tokens_btc: Tensor, token_pe_btc: Tensor) -> Tensor:
        if not self.first:
            tokens_btc = tokens_btc + token_pe_btc
        return tokens_btc + self.self_attn(tokens_btc, tokens_btc, tokens_btc)


class EfficientSamDecoder(MaskDecoder):
    """SAM's mask decoder, changed as the module says."""

    def __init__(self, channels: int = 256) -> None:
        super().__init__(channels, use_high_res_features=False, scores_objects=False, bounds_ious=False)
        self.transformer = TwoWayTransformer(channels, block=EfficientSamBlock)
        self.output_upscaling[1] = nn.GroupNorm(1, channels // 4)
        for module in self.modules():
            if isinstance(module, MLP):
                module.activate_with("gelu")


class EfficientSamModel(SamImageModel):
    """EfficientSAM; see `vidseg.trackers.model.ImageModel`. It does not read earlier mask logits."""

    takes_masks = False

    def __init__(self, image_encoder: ImageEncoder, image_size: int, stride: int) -> None:
        super().__init__(
            image_encoder=image_encoder, image_size=image_size, stride=stride, prompt_size=image_size
        )
        # It has the methods of the other one, and shares none of its weights.
        self.prompt_encoder = EfficientSamPromptEncoder()  # type: ignore[assignment]
        self.mask_decoder = EfficientSamDecoder()

    def num_prompt_tokens(self, labels_bp: Tensor) -> int:
        return MAX_POINTS


def build_efficient_sam(settings: Strict, given: GivenImage) -> EfficientSamModel:
    """The model, with weights not yet loaded.

    Raises:
        ConfigError: the backbone makes more than one map.
    """
    encoder = ImageEncoder(given.module, SingleScaleNeck(given.channels_of_one_map()))
    return EfficientSamModel(encoder, given.image_size, given.backbone.strides[0])
