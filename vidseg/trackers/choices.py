"""What the help of commands says of trackers. Nothing is imported here, so that help comes at once."""

from __future__ import annotations

from typing import Literal

DEFAULT_TRACKER = "vidseg-nano"

DType = Literal["float32", "bfloat16", "float16"]
"""What trackers compute in."""
