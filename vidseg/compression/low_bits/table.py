"""Calibrators by name."""

from __future__ import annotations

from vidseg.compression.low_bits.calibrator import Calibrator
from vidseg.compression.low_bits.pq_sam import PqSam
from vidseg.compression.low_bits.ptq4sam import Ptq4Sam
from vidseg.compression.low_bits.q_tiny_sam import QTinySam
from vidseg.registry import Registry

CALIBRATORS: Registry[type[Calibrator]] = Registry(
    "calibrator", {"plain": Calibrator, "pq-sam": PqSam, "ptq4sam": Ptq4Sam, "q-tiny-sam": QTinySam}
)
