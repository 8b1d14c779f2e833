"""Checkpoints of MobileSAM (ChaoningZhang/MobileSAM) and TinySAM (xinghaochen/TinySAM), named alike."""

from __future__ import annotations

from vidseg.trackers.weights.renames.sam import SAM_DECODER, SAM_NECK
from vidseg.trackers.weights.renames.table import Renames

MOBILE_SAM = Renames([*SAM_DECODER, *SAM_NECK, ("image_encoder", "image_encoder.trunk")])
