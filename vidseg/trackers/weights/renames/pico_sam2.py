"""PicoSAM2's checkpoints (pbonazzi/picosam2): the network alone, whose layers our model holds as a part."""

from __future__ import annotations

from vidseg.trackers.weights.renames.table import Renames

_LAYERS = ("encoder_stage*", "down*", "bottleneck", "up*", "skip_conn*", "output_head")
PICO_SAM2 = Renames([(layer, f"network.{layer}") for layer in _LAYERS])
