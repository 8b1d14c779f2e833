"""A subnet: some blocks of a vision transformer, with the first hidden units of their perceptrons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vidseg.trackers.backbones.plain_vit import PlainViT
from vidseg.trackers.backbones.sam_vit import SamViT
from vidseg.trackers.image_encoder import ImageEncoder
from vidseg.trackers.parts import build_backbone

Subnet = tuple[int, ...]
"""How many hidden units each block of the supernet uses; 0: the block is left out."""


def widths_of(trunk: SamViT | PlainViT) -> Subnet:
    """The whole of a network as a subnet."""
    return tuple(len(block.get_parameter("mlp.layers.0.bias")) for block in trunk.blocks)


def windows_of(trunk: SamViT | PlainViT) -> list[int | None]:
    """The side of the windows in which each block attends; None for the whole grid."""
    blocks: Any = trunk.blocks
    return [block.window if isinstance(trunk, SamViT) else block.attn.window for block in blocks]


def settings_of(trunk: SamViT | PlainViT, subnet: Subnet) -> dict[str, Any]:
    """What a YAML says of the backbone to build a subnet."""
    layers = [number for number, units in enumerate(subnet) if units]
    windows = windows_of(trunk)
    return {
        "depth": len(layers),
        "global_blocks": [place for place, number in enumerate(layers) if windows[number] is None],
        "mlp": [subnet[number] for number in layers],
    }


def slice_of(state: Mapping[str, Tensor], subnet: Subnet) -> dict[str, Tensor]:
    """A subnet's weights out of a supernet's, whose hidden units are in order; gradients reach these.

    Args:
        state: weights of the trunk, under its own names.
    """
    out = {name: value for name, value in state.items() if not name.startswith("blocks.")}
    layers = [number for number, units in enumerate(subnet) if units]
    for place, number in enumerate(layers):
        prefix, units = f"blocks.{number}.", subnet[number]
        for name, value in state.items():
            if name.startswith(prefix):
                own = name.removeprefix(prefix)
                if own in ("mlp.layers.0.weight", "mlp.layers.0.bias"):
                    value = value[:units]
                elif own == "mlp.layers.1.weight":
                    # oneDNN multiplies by weights with gaps in memory a hundred times more slowly.
                    value = value[:, :units].contiguous()
                out[f"blocks.{place}.{own}"] = value
    return out


class Elastic(nn.Module):
    """An image encoder any subnet of which can run; all share its weights, and gradients reach them.

    Args:
        encoder: with a plain vision transformer, whose hidden units are in order.
        entry: what the YAML says of its backbone.
        image_size: side of the model's input.
    """

    def __init__(self, encoder: ImageEncoder, entry: Mapping[str, Any], image_size: int) -> None:
        super().__init__()
        trunk = encoder.trunk
        assert isinstance(trunk, (SamViT, PlainViT))
        self.trunk, self.neck = trunk, encoder.neck
        self._entry, self._image_size = entry, image_size
        self.subnet = widths_of(trunk)
        """The one that runs."""

    def forward(self, images_b3ss: Tensor) -> list[Tensor]:
        """The maps of the subnet in `self.subnet`."""
        weights = slice_of(dict(self.trunk.named_parameters()), self.subnet)
        maps = torch.func.functional_call(self.skeleton(), weights, (images_b3ss,))
        out: list[Tensor] = self.neck(maps)
        return out

    def skeleton(self) -> nn.Module:
        """The subnet's trunk, without weights."""
        entry = {**self._entry, **settings_of(self.trunk, self.subnet)}
        with torch.device("meta"):
            trunk: nn.Module = build_backbone(entry, self._image_size, "subnet")
        return trunk.eval()
