"""Choices that the help of commands lists for trackers. Nothing is imported here, so that help is quick."""

from __future__ import annotations

from typing import Literal

DEFAULT_TRACKER = "vidseg-nano"

DType = Literal["auto", "float32", "bfloat16", "float16"]
"""Types that trackers compute in; 'auto': see `vidseg.trackers.precision`."""
EncoderProducts = Literal["int8", "sparse"]
"""See `vidseg.trackers.encoder_products`."""
SAMPLERS = ("boxes", "grid", "peaks", "two-round")
"""The built-in rows of `vidseg.samplers.SAMPLERS`, for help texts."""
