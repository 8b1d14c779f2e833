"""The mask decoder: from features and prompt embeddings to candidate masks, predicted IoUs, an object score.

Source: Kirillov et al., "Segment Anything", appendix A; Ravi et al., "SAM 2", section 4 and appendix C
(high-resolution features, object score).

Layouts: B objects · K candidates · C channels · h w the low-res grid (4x the feature grid H W).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vidseg.masks import stability
from vidseg.memory.norm import LayerNorm2d
from vidseg.trackers.mlp import MLP
from vidseg.trackers.model import Candidates
from vidseg.trackers.sam2.two_way_transformer import TwoWayTransformer

DECODER_ROWS = (0, 2, 3)
"""Places of the decoder's arguments with a row for each object; see `compile_in_place`."""
STABILITY_DELTA = 0.05
"""A mask's stability is the IoU of its cuts at logits of plus and minus this."""
STABILITY_THRESHOLD = 0.98
"""The single mask is taken if it is at least this stable, else the best alternative."""
VISIBLE = 10.0
"""The object score of a model that does not judge whether objects are visible."""


class MaskDecoder(nn.Module):
    """A decoder with one single-mask token and three multi-mask tokens.

    Parameter names follow the official checkpoints of SAM 2.

    Args:
        use_high_res_features: whether masks are also made from the backbone's maps at strides 4 and 8.
        scores_objects: whether a token and a head judge if the object is visible; else it always is (SAM).
        bounds_ious: whether predicted IoUs go through a sigmoid; SAM's do not, and may leave 0 to 1.
    """

    def __init__(
        self,
        channels: int = 256,
        use_high_res_features: bool = True,
        *,
        scores_objects: bool = True,
        bounds_ious: bool = True,
    ) -> None:
        super().__init__()
        self.scores_objects = scores_objects
        self.transformer = TwoWayTransformer(channels)
        self.iou_token = nn.Embedding(1, channels)
        self.mask_tokens = nn.Embedding(4, channels)
        if scores_objects:
            self.obj_score_token = nn.Embedding(1, channels)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(channels, channels // 4, 2, stride=2),
            LayerNorm2d(channels // 4),
            nn.GELU(),
            nn.ConvTranspose2d(channels // 4, channels // 8, 2, stride=2),
            nn.GELU(),
        )
        self.use_high_res_features = use_high_res_features
        if use_high_res_features:
            self.conv_s0 = nn.Conv2d(channels, channels // 8, 1)
            self.conv_s1 = nn.Conv2d(channels, channels // 4, 1)
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(channels, channels, channels // 8, num_layers=3) for _ in range(4)
        )
        self.iou_prediction_head = MLP(channels, channels, 4, num_layers=3, sigmoid_output=bounds_ious)
        if scores_objects:
            self.pred_obj_score_head = MLP(channels, channels, 1, num_layers=3)

    def reduce_high_res(self, maps: list[Tensor]) -> list[Tensor]:
        """The backbone's maps at strides 4 and 8 in the decoder's widths, made once a frame."""
        if not self.use_high_res_features:
            return []
        return [self.conv_s0(maps[0]), self.conv_s1(maps[1])]

    def forward(
        self,
        features_bchw: Tensor,
        high_res: list[Tensor],
        sparse_btc: Tensor,
        dense_bchw: Tensor,
        grid_pe_1chw: Tensor,
    ) -> Candidates:
        """All four candidates: the single mask first, then the three of the multi-mask tokens.

        Args:
            features_bchw: memory-conditioned features at stride 16.
            high_res: `reduce_high_res` of the frame, batch 1.
            sparse_btc: embeddings of points.
            dense_bchw: embedding of a mask prompt.
            grid_pe_1chw: `PromptEncoder.grid`.
        """
        batch, channels, height, width = features_bchw.shape
        own = [self.iou_token.weight, self.mask_tokens.weight]
        heads = torch.cat([self.obj_score_token.weight, *own] if self.scores_objects else own)
        tokens = torch.cat((heads.expand(batch, -1, -1), sparse_btc), dim=1)
        image_bnc = (features_bchw + dense_bchw).flatten(2).transpose(1, 2)
        tokens, image_bnc = self.transformer(image_bnc, grid_pe_1chw.flatten(2).transpose(1, 2), tokens)

        upscale_1, norm, activation_1, upscale_2, activation_2 = self.output_upscaling
        image = upscale_1(image_bnc.transpose(1, 2).reshape(batch, channels, height, width))
        if self.use_high_res_features:
            image = upscale_2(activation_1(norm(image + high_res[1])))
            image = activation_2(image + high_res[0])
        else:
            image = activation_2(upscale_2(activation_1(norm(image))))
        score_tokens, iou_token, mask_tokens = tokens[:, : len(heads)].split([len(heads) - 5, 1, 4], dim=1)
        filters = torch.stack(
            [mlp(mask_tokens[:, k]) for k, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        return Candidates(
            (filters @ image.flatten(2)).unflatten(2, image.shape[2:]).float(),
            self.iou_prediction_head(iou_token[:, 0]).float(),
            mask_tokens,
            self._object_scores(score_tokens),
            first_offer=1,
        )

    def _object_scores(self, score_tokens_btc: Tensor) -> Tensor:
        if self.scores_objects:
            return self.pred_obj_score_head(score_tokens_btc[:, 0])[:, 0].float()
        return score_tokens_btc.new_full(score_tokens_btc.shape[:1], VISIBLE, dtype=torch.float32)


def choose_single(candidates: Candidates) -> Tensor:
    """The single mask, or the best multi-mask if the single one is not stable: B indices into K.

    Source: SAM 2's `dynamic_multimask_via_stability`.
    """
    best = candidates.predicted_ious_bk[:, 1:].argmax(dim=1) + 1
    stable = stability(candidates.logits_bkhw[:, 0], STABILITY_DELTA) >= STABILITY_THRESHOLD
    return torch.where(stable, 0, best)


def choose_best(candidates: Candidates) -> Tensor:
    """The multi-mask with the highest predicted IoU: B indices into K."""
    return candidates.predicted_ious_bk[:, 1:].argmax(dim=1) + 1
