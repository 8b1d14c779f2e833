"""NanoSAM's checkpoints (NVIDIA-AI-IOT/nanosam): an encoder, to which MobileSAM's heads belong."""

from __future__ import annotations

from vidseg.trackers.weights.renames.sam import SAM_DECODER
from vidseg.trackers.weights.renames.table import Renames

NANO_SAM = Renames(
    [
        *SAM_DECODER,
        ("pos_embedding", "image_encoder.trunk.raised.pos_embedding"),
        ("up_1", "image_encoder.trunk.raised.up_1"),
        ("proj", "image_encoder.trunk.raised.proj"),
        ("backbone", "image_encoder.trunk"),
    ],
    heads_of="mobile-sam",
)
