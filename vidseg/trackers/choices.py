"""Choices that the help of commands lists for trackers. Nothing is imported here, so that help is quick."""

from __future__ import annotations

from typing import Literal

DEFAULT_TRACKER = "vidseg-nano"

DType = Literal["float32", "bfloat16", "float16"]
"""Types that trackers compute in."""
SAMPLERS = ("boxes", "grid", "two-round")
"""The built-in rows of `vidseg.samplers.SAMPLERS`, for help texts, which load no torch."""
