"""Masked image pretraining of a plain vision transformer from a teacher's features (SAMI).

Most patches are hidden. The encoder sees the rest; a small decoder guesses the hidden patches' features from
what the encoder made of the visible ones, which stay as they are; all features together are held to those of
the teacher.

Source: Xiong et al., "EfficientSAM: Leveraged Masked Image Pretraining for Efficient Segment Anything", CVPR
2024 (arXiv:2312.00863), section 3.2.

Layouts: R pictures · N patches · V visible patches · C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidseg.errors import ConfigError
from vidseg.trackers.backbones.plain_vit import PlainViT
from vidseg.trackers.model import ImageModel, module_of

DECODER_CHANNELS, DECODER_HEADS, DECODER_LAYERS = 256, 8, 2


class MaskedReconstruction(nn.Module):
    """The decoder of the hidden patches, and the loss.

    Raises:
        ConfigError: the student's encoder is no plain vision transformer that attends over the whole grid.
    """

    def __init__(self, student: ImageModel, teacher_channels: int) -> None:
        super().__init__()
        backbone = _plain_vit(student)
        self.embed = nn.Linear(backbone.channels[0], DECODER_CHANNELS)
        self.hidden = nn.Parameter(torch.zeros(1, 1, DECODER_CHANNELS))
        nn.init.normal_(self.hidden, std=0.02)
        self.place = nn.Linear(backbone.channels[0], DECODER_CHANNELS)
        self.layers = nn.ModuleList(_CrossAttention() for _ in range(DECODER_LAYERS))
        self.predict = nn.Linear(DECODER_CHANNELS, teacher_channels)

    def forward(
        self,
        student: ImageModel,
        images_r3ss: Tensor,
        wanted_rchw: Tensor,
        share: float,
        generator: torch.Generator,
    ) -> Tensor:
        """Mean squared difference of all patches' features.

        Args:
            images_r3ss: normalised.
            wanted_rchw: the teacher's features.
            share: of the patches that are hidden.
        """
        backbone = _plain_vit(student)
        patches, places = backbone.patches(images_r3ss)
        height, width = patches.shape[1:3]
        patches, places = patches.flatten(1, 2), places.flatten(1, 2)
        order = torch.randperm(height * width, generator=generator).to(patches.device)
        visible = order[max(1, round(share * len(order))) :]
        seen_rvc = backbone.blocks_on((patches[:, visible] + places[:, visible])[:, None])[:, 0]
        queries = self.hidden + self.place(places)
        seen = self.embed(seen_rvc)
        guessed = queries.expand(len(images_r3ss), -1, -1)
        for layer in self.layers:
            guessed = layer(guessed, seen)
        # Visible patches keep what the encoder made of them.
        merged = guessed.index_copy(1, visible, seen)
        predicted = self.predict(merged).transpose(1, 2).unflatten(2, (height, width))
        if wanted_rchw.shape[-2:] != (height, width):
            wanted_rchw = F.interpolate(wanted_rchw, size=(height, width), mode="bilinear")
        return F.mse_loss(predicted.float(), wanted_rchw.float())


class _CrossAttention(nn.Module):
    """Hidden patches read the visible ones; a perceptron follows."""

    def __init__(self) -> None:
        super().__init__()
        channels = DECODER_CHANNELS
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = nn.MultiheadAttention(channels, DECODER_HEADS, batch_first=True)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )

    def forward(self, x_rnc: Tensor, seen_rvc: Tensor) -> Tensor:
        read, _ = self.attention(self.norm1(x_rnc), seen_rvc, seen_rvc, need_weights=False)
        x_rnc = x_rnc + read
        out: Tensor = x_rnc + self.mlp(self.norm2(x_rnc))
        return out


def _plain_vit(model: ImageModel) -> PlainViT:
    backbones = [module for module in module_of(model).modules() if isinstance(module, PlainViT)]
    if not backbones or backbones[0].windowed:
        raise ConfigError(
            "masked pretraining hides patches of a plain vision transformer that attends over the whole grid",
            where="field 'distil.masked'",
            hint="backbone: {name: plain-vit, windowed: false}, as in efficient-sam-ti",
        )
    return backbones[0]
