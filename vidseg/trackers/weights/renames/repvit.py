"""RepViT-SAM's checkpoints (THU-MIG/RepViT) and EdgeSAM's (chongzhou96/EdgeSAM): blocks without stages."""

from __future__ import annotations

from vidseg.trackers.backbones.repvit import VARIANTS
from vidseg.trackers.weights.renames.sam import SAM_DECODER, SAM_NECK
from vidseg.trackers.weights.renames.table import Renames, within

_MIXER = [("channel_mixer.m.0", "channel_mixer.conv1"), ("channel_mixer.m.2", "channel_mixer.conv2")]
_BLOCK = [("token_mixer.0", "token_mixer"), ("token_mixer.1", "se"), *_MIXER]
_CROSSING = [
    ("token_mixer.0", "spatial_downsample"),
    ("token_mixer.2", "channel_downsample"),
    ("channel_mixer.m.0", "ffn.conv1"),
    ("channel_mixer.m.2", "ffn.conv2"),
]


def _trunk(variant: str) -> list[tuple[str, str]]:
    """Rows of a RepViT; 0 is the stem, and a transition is two blocks."""
    rows = [("0.0", "stem.conv1"), ("0.2", "stem.conv2")]
    number = 1
    for stage, depth in enumerate(VARIANTS[variant].depths):
        ours = f"stages_{stage}"
        if stage:
            rows += within(f"{number}", f"{ours}.downsample.pre_block", _BLOCK)
            rows += within(f"{number + 1}", f"{ours}.downsample", _CROSSING)
            number += 2
        for index in range(depth):
            rows += within(f"{number}", f"{ours}.blocks.{index}", _BLOCK)
            number += 1
    return rows


def _edge_sam(variant: str) -> Renames:
    fused = [
        ("image_encoder.fuse_stage2", "image_encoder.trunk.fuse_stage2"),
        ("image_encoder.fuse_stage3.op_list.0", "image_encoder.trunk.fuse_stage3"),
    ]
    trunk = within("image_encoder.features", "image_encoder.trunk.repvit.body", _trunk(variant))
    return Renames([*SAM_DECODER, *SAM_NECK, *fused, *trunk])


REPVIT_SAM = Renames(
    [
        *SAM_DECODER,
        *SAM_NECK,
        *within("image_encoder.features", "image_encoder.trunk.body", _trunk("sam")),
    ]
)
EDGE_SAM, EDGE_SAM_M2, EDGE_SAM_M3 = (_edge_sam(variant) for variant in ("m1", "m2", "m3"))
"""The blocks of each variant have other numbers. Only m1 has been published."""
