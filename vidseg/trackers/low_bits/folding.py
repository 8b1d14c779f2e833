"""Changes of weights that leave a model's results as they are, and make its values easier to round.

Sources: Lv et al., "PTQ4SAM", CVPR 2024, section 3.2 (signs); Liu et al., "PQ-SAM", ECCV 2024 (groups).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vidseg.trackers.backbones import plain_vit, tiny_vit
from vidseg.trackers.sam2 import two_way_transformer


@dataclass(frozen=True)
class Rows:
    """Rows of a linear layer's weight, in the order of head and channel."""

    name: str
    """The layer's name in its attention."""
    index: Tensor


def query_and_key_rows(attention: nn.Module) -> tuple[Rows, Rows] | None:
    """The rows that make queries and those that make keys; None where their products are not all that the
    queries are for.

    In SAM's encoder positions relative to the query are multiplied by the queries, too, and their embeddings
    are shared by all heads.
    """
    if isinstance(attention, two_way_transformer.Attention):
        every = torch.arange(attention.q_proj.out_features)
        return Rows("q_proj", every), Rows("k_proj", every)
    if isinstance(attention, tiny_vit.WindowAttention):
        channels = attention.proj.in_features
        by_head = torch.arange(3 * channels).view(attention.heads, 3, -1)
        return Rows("qkv", by_head[:, 0].flatten()), Rows("qkv", by_head[:, 1].flatten())
    if isinstance(attention, plain_vit.Attention):
        channels = attention.proj.in_features
        return Rows("qkv", torch.arange(channels)), Rows("qkv", torch.arange(channels, 2 * channels))
    return None


@torch.no_grad()
def fold_signs(attention: nn.Module, signs_hd: Tensor) -> set[str]:
    """Multiply each channel of queries and keys by +1 or -1: products of the two stay to the bit.

    Returns:
        The names, in the attention, of the layers that changed.
    """
    places = query_and_key_rows(attention)
    assert places is not None
    for rows in places:
        layer = attention.get_submodule(rows.name)
        assert isinstance(layer, nn.Linear)
        layer.weight[rows.index] *= signs_hd.flatten()[:, None]
        if layer.bias is not None:
            layer.bias[rows.index] *= signs_hd.flatten()
    return {rows.name for rows in places}


def take_groups(
    weight_oi: Tensor, bias_o: Tensor | None, shift_i: Tensor, scale_i: Tensor
) -> tuple[Tensor, Tensor]:
    """Weight and bias with which a linear layer of (x - shift) / scale gives what it gave of x."""
    shifted = weight_oi @ shift_i
    return weight_oi * scale_i, shifted if bias_o is None else bias_o + shifted
