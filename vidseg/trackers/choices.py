"""Choices that the help of commands lists for trackers. Nothing is imported here, so that help is quick."""

from __future__ import annotations

from typing import Literal

DEFAULT_TRACKER = "vidseg-nano"

DType = Literal["float32", "bfloat16", "float16"]
"""Types that trackers compute in."""
