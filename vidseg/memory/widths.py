"""The widths of SAM 2's family, which its parts have to keep for published checkpoints to fit."""

CHANNELS = 256
"""Channels of the features that memory attention conditions, of decoder tokens and of object pointers."""
MEMORY_CHANNELS = 64
"""Channels of a memory token."""
