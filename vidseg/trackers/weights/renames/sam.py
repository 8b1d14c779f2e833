"""SAM's checkpoints (facebookresearch/segment-anything), and what families that keep its heads share."""

from __future__ import annotations

from vidseg.trackers.weights.renames.table import Renames, within

_TWO_LAYERS = [("lin1", "layers.0"), ("lin2", "layers.1")]

SAM_DECODER = within(
    "mask_decoder.transformer.layers.*.mlp", "mask_decoder.transformer.layers.*.mlp", _TWO_LAYERS
)
"""Rows of SAM's mask decoder, which most families have."""
SAM_NECK = within(
    "image_encoder.neck",
    "image_encoder.neck.convs.0",
    [("0", "conv_1x1"), ("1", "norm_0"), ("2", "conv_3x3"), ("3", "norm_1")],
)
"""Rows of SAM's neck, which many families have."""
SAM = Renames(
    [
        *SAM_DECODER,
        *SAM_NECK,
        *within("image_encoder.blocks.*.mlp", "image_encoder.trunk.blocks.*.mlp", _TWO_LAYERS),
        ("image_encoder", "image_encoder.trunk"),
    ]
)
