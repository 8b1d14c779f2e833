"""The widths of memory attention: the hidden channels of its feed-forward parts.

Its other channels are those that the heads and the memory read.
"""

from __future__ import annotations

from vidseg.compression.slimming.widths import Use, Width
from vidseg.memory.attention import MemoryAttention


def feed_forward_widths(attention: MemoryAttention, prefix: str) -> list[Width]:
    """The widths of memory attention.

    Args:
        prefix: what stands before the names of its weights.
    """
    return [
        Width(
            "bottleneck",
            "feedforward",
            len(layer.get_parameter("linear1.bias")),
            (
                Use(f"{prefix}layers.{number}.linear1.weight", 0),
                Use(f"{prefix}layers.{number}.linear1.bias", 0),
                Use(f"{prefix}layers.{number}.linear2.weight", 1),
            ),
        )
        for number, layer in enumerate(attention.layers)
    ]
