"""EdgeSAM's encoder: a RepViT whose maps at strides 16 and 32 are summed at stride 16.

Source: Zhou et al., "EdgeSAM: Prompt-In-the-Loop Distillation for On-Device Deployment of SAM", 2023. Its
code (github.com/chongzhou96/EdgeSAM) is for non-commercial use: only shapes and the order of operations were
read.
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidseg.errors import ConfigError
from vidseg.trackers.backbones.conv_norm import folded
from vidseg.trackers.backbones.repvit import RepViT, RepViTSettings, RepViTStage, Transition
from vidseg.validation import Strict

FUSED_CHANNELS = 256
"""Channels of the sum, which SAM's neck takes."""


class FusedRepViTSettings(Strict):
    """Settings of a `FusedRepViT` in a YAML; see its arguments."""

    variant: str = "m1"


class FusedRepViT(nn.Module):
    """Images to one map of 256 channels at stride 16.

    Args:
        variant: a name in `vidseg.trackers.backbones.repvit.VARIANTS` whose strides are 4, 8, 16 and 32;
            EdgeSAM's are m1, m2 and m3.
    """

    mode: Literal["pyramid", "single-scale"] = "single-scale"
    channels = (FUSED_CHANNELS,)
    strides = (16,)

    @classmethod
    def of(cls, settings: FusedRepViTSettings) -> FusedRepViT:
        """A `FusedRepViT` with these settings.

        Raises:
            ConfigError: no such variant, or one whose coarsest map has another stride than 32.
        """
        encoder = cls(settings.variant)
        if encoder.repvit.strides[-2:] != (16, 32):
            raise ConfigError(
                f"RepViT '{settings.variant}' makes no maps at strides 16 and 32", hint="variant: m1"
            )
        return encoder

    def __init__(self, variant: str = "m1") -> None:
        super().__init__()
        self.repvit = RepViT.of(RepViTSettings(variant=variant))
        at_16, at_32 = self.repvit.channels[-2:]
        self.fuse_stage2: nn.Module = nn.Conv2d(at_16, FUSED_CHANNELS, 1, bias=False)
        self.fuse_stage3: nn.Module = nn.Conv2d(at_32, FUSED_CHANNELS, 1, bias=False)

    def forward(self, images_b3ss: Tensor) -> list[Tensor]:
        """One map: B x 256 x S/16 x S/16."""
        x_bchw = images_b3ss.contiguous(memory_format=torch.channels_last)
        stem, *fine, coarse = self.repvit.body.values()
        x_bchw = stem(x_bchw)
        for stage in fine:
            x_bchw = stage(x_bchw)
        assert isinstance(coarse, RepViTStage)
        assert isinstance(coarse.downsample, Transition)
        # Unlike the pyramid, EdgeSAM takes the map behind the block with which the transition begins.
        at_16 = coarse.downsample.pre_block(x_bchw)
        at_32 = coarse.blocks(coarse.downsample.cross(at_16))
        raised = F.interpolate(self.fuse_stage3(at_32).float(), scale_factor=2.0, mode="bicubic")
        return [self.fuse_stage2(at_16) + raised.to(at_16.dtype)]

    @torch.no_grad()
    def fuse(self) -> FusedRepViT:
        """A copy for inference; see `RepViT.fuse`."""
        fused = copy.deepcopy(self).eval().requires_grad_(False)
        fused.repvit = fused.repvit.fuse()
        for name in ("fuse_stage2", "fuse_stage3"):
            conv = fused.get_submodule(name)
            assert isinstance(conv, nn.Conv2d)
            fused.set_submodule(name, folded(conv))
        return fused
