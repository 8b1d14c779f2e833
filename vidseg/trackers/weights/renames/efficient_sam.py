"""EfficientSAM's checkpoints (yformer/EfficientSAM): a hidden layer of its perceptrons is numbered twice, the
last one is `fc`."""

from __future__ import annotations

from vidseg.trackers.weights.renames.sam import SAM_NECK
from vidseg.trackers.weights.renames.table import Renames, within

_THREE_LAYERS = [("layers.0.0", "layers.0"), ("layers.1.0", "layers.1"), ("fc", "layers.2")]

EFFICIENT_SAM = Renames(
    [
        *within(
            "mask_decoder.transformer.layers.*.mlp",
            "mask_decoder.transformer.layers.*.mlp",
            [("layers.0.0", "layers.0"), ("fc", "layers.1")],
        ),
        *within(
            "mask_decoder.output_hypernetworks_mlps.*",
            "mask_decoder.output_hypernetworks_mlps.*",
            _THREE_LAYERS,
        ),
        *within("mask_decoder.iou_prediction_head", "mask_decoder.iou_prediction_head", _THREE_LAYERS),
        *within(
            "mask_decoder.final_output_upscaling_layers",
            "mask_decoder.output_upscaling",
            [("0.0", "0"), ("0.1", "1"), ("1.0", "3")],
        ),
        *SAM_NECK,
        *within(
            "image_encoder.blocks.*.mlp",
            "image_encoder.trunk.blocks.*.mlp",
            [("fc1", "layers.0"), ("fc2", "layers.1")],
        ),
        ("image_encoder", "image_encoder.trunk"),
    ]
)
