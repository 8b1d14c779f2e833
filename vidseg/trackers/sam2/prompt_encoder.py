"""The prompt encoder: from points, boxes and masks to sparse and dense embeddings.

Source: Kirillov et al., "Segment Anything", appendix A ("Prompt encoder"). A box is its two corners, given as
points with labels 2 and 3; label -1 pads.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vidseg.memory.norm import LayerNorm2d
from vidseg.trackers.backbones.kept import KeptPositions

FIRST_CORNER = 2
"""The label of a box's first corner, which comes before all other points."""


def have_boxes(labels_bp: Tensor) -> bool:
    """Whether each of several prompts, which have points, has a box."""
    return bool((labels_bp[:, 0] == FIRST_CORNER).all())


class RandomFourierEncoding(nn.Module):
    """Features of places in [0, 1]², by a fixed random matrix that is part of the checkpoint."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, features))

    def forward(self, xy_norm: Tensor) -> Tensor:
        """Places ... x 2 as features ... x 2·features, in float32."""
        angle = 2 * math.pi * ((2 * xy_norm - 1) @ self.positional_encoding_gaussian_matrix.float())
        return torch.cat((angle.sin(), angle.cos()), dim=-1)

    def grid(self, height: int, width: int) -> Tensor:
        """The features of each cell's centre: 1 x 2·features x H x W, in float32."""
        device = self.positional_encoding_gaussian_matrix.device
        y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) / height
        x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) / width
        xy = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        return self(xy).permute(2, 0, 1)[None]


class PromptEncoder(nn.Module):
    """Embeds points, mask logits, and the cells of the feature grid.

    Args:
        pads_boxes: whether points are padded where a box is given, too (SAM 2), or only without one (SAM).
    """

    def __init__(self, channels: int = 256, mask_channels: int = 16, *, pads_boxes: bool = True) -> None:
        super().__init__()
        self.pads_boxes = pads_boxes
        self.pe_layer = RandomFourierEncoding(channels // 2)
        # In this order: off the object, on it, first corner of a box, second corner.
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, channels) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, channels)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_channels // 4, 2, stride=2),
            LayerNorm2d(mask_channels // 4),
            nn.GELU(),
            nn.Conv2d(mask_channels // 4, mask_channels, 2, stride=2),
            LayerNorm2d(mask_channels),
            nn.GELU(),
            nn.Conv2d(mask_channels, channels, 1),
        )
        self.no_mask_embed = nn.Embedding(1, channels)
        self._grids = KeptPositions()

    def pads(self, labels_bp: Tensor) -> bool:
        """Whether a padding point is added to such prompts, all of which have a box, or none."""
        return labels_bp.shape[1] > 0 and (self.pads_boxes or not have_boxes(labels_bp))

    def points(self, xy_bp2: Tensor, labels_bp: Tensor, image_size: int) -> Tensor:
        """Embeddings of points and of a padding point at the end, if `pads` says so: B x (P or P + 1) x C.

        Args:
            xy_bp2: pixels of the model's square input; half a pixel is added here.
            labels_bp: 1, 0, 2, 3, or -1 for padding.
        """
        batch, num_points, _ = xy_bp2.shape
        if not num_points:
            return self.not_a_point_embed.weight.new_zeros(batch, 0, self.not_a_point_embed.embedding_dim)
        if self.pads(labels_bp):
            xy_bp2 = torch.cat((xy_bp2, xy_bp2.new_zeros(batch, 1, 2)), dim=1)
            labels_bp = torch.cat((labels_bp, labels_bp.new_full((batch, 1), -1)), dim=1)
        return self.as_given(xy_bp2, labels_bp, image_size)

    def without_points(self, batch: int) -> Tensor:
        """`points` of the one padding point that SAM 2 passes where nothing is prompted: B x 2 x C."""
        return self.not_a_point_embed.weight.expand(batch, 2, -1)

    def as_given(self, xy_bp2: Tensor, labels_bp: Tensor, image_size: int) -> Tensor:
        """Embeddings of points as in `points`, without padding: B x P x C."""
        labels = labels_bp[..., None]
        dtype = self.not_a_point_embed.weight.dtype
        embedded = self.pe_layer((xy_bp2 + 0.5) / image_size).to(dtype)
        embedded = torch.where(labels == -1, self.not_a_point_embed.weight, embedded)
        weights = torch.cat(list(self.point_embeddings.parameters()))
        for label, weight in enumerate(weights):
            embedded = torch.where(labels == label, embedded + weight, embedded)
        return embedded

    def masks(self, low_res_logits_b1hw: Tensor | None) -> Tensor:
        """Dense embedding of earlier mask logits (4x the feature grid), or of none: B x C x H x W."""
        if low_res_logits_b1hw is None:
            return self.no_mask_embed.weight[:, :, None, None]
        return self.mask_downscaling(low_res_logits_b1hw)

    def grid(self, height: int, width: int) -> Tensor:
        """The encoding of each cell's centre: 1 x C x H x W."""
        weights = (self.pe_layer.positional_encoding_gaussian_matrix, self.not_a_point_embed.weight)
        return self._grids.get((height, width), self._make_grid, *weights)

    def _make_grid(self, height: int, width: int) -> Tensor:
        return self.pe_layer.grid(height, width).to(self.not_a_point_embed.weight.dtype)
