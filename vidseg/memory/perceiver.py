"""The spatial perceiver compresses a frame's memory map to latents, some global, some with a window each.

Source: Zhou et al., "EdgeTAM: On-Device Track Anything Model", CVPR 2025 ("2D Spatial Perceiver"). Parameter
names are those of its published checkpoints.

Layouts in names: B objects · G groups of latents · L latents of a group · N tokens that a group reads · C
channels. All global latents are one group, which reads the whole map; each window latent is its own group.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vidseg.memory.attention import AttentionSettings, MemoryCrossAttention, MemoryTokens
from vidseg.memory.cached import cached
from vidseg.memory.compressor import SquareNumber
from vidseg.memory.position import sine_grid
from vidseg.memory.rope import axial_rotation, rotate
from vidseg.validation import Strict


def _feed_forward(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(channels),
        nn.Linear(channels, 4 * channels, bias=False),
        nn.GELU(),
        nn.Linear(4 * channels, channels, bias=False),
    )


class _Projections(nn.Module):
    """The projections of single-head attention; one matrix makes keys and values."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_kv = nn.Linear(channels, 2 * channels, bias=False)
        self.to_out = nn.Linear(channels, channels, bias=False)


class LatentsFromMap(_Projections):
    """Cross-attention in which latents read the tokens of a map."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.norm_x = nn.LayerNorm(channels)
        self.norm_latents = nn.LayerNorm(channels)

    def keys_and_values(self, tokens_bnc: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the map's tokens: twice B x N x C."""
        keys_bnc, values_bnc = self.to_kv(self.norm_x(tokens_bnc)).chunk(2, dim=-1)
        return keys_bnc, values_bnc

    def forward(self, latents_bglc: Tensor, keys_bgnc: Tensor, values_bgnc: Tensor) -> Tensor:
        q = self.to_q(self.norm_latents(latents_bglc))
        out: Tensor = self.to_out(F.scaled_dot_product_attention(q, keys_bgnc, values_bgnc))
        return out


class LatentsAmongThemselves(_Projections):
    """Self-attention among the latents of a group."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, latents_bglc: Tensor) -> Tensor:
        x = self.norm(latents_bglc)
        keys, values = self.to_kv(x).chunk(2, dim=-1)
        if latents_bglc.shape[2] > 1:
            values = F.scaled_dot_product_attention(self.to_q(x), keys, values)
        # The softmax over a single latent is 1: the answer is its value.
        out: Tensor = self.to_out(values)
        return out


class PerceiverLayer(nn.Module):
    """Latents read the map, feed forward, read each other, feed forward; each step has a norm before it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attn = LatentsFromMap(channels)
        self.ff = _feed_forward(channels)
        self.self_attn = LatentsAmongThemselves(channels)
        self.self_ff = _feed_forward(channels)

    def forward(self, latents_bglc: Tensor, keys_bgnc: Tensor, values_bgnc: Tensor) -> Tensor:
        latents_bglc = latents_bglc + self.attn(latents_bglc, keys_bgnc, values_bgnc)
        latents_bglc = latents_bglc + self.ff(latents_bglc)
        latents_bglc = latents_bglc + self.self_attn(latents_bglc)
        return latents_bglc + self.self_ff(latents_bglc)


class GlobalPerceiverSettings(Strict):
    """What a YAML says of a `SpatialPerceiver` without window latents."""

    global_latents: int = Field(default=256, ge=1)
    """How many latents read the whole map."""
    layers: int = Field(default=2, ge=1)
    """How often the latents read the map."""


class PerceiverSettings(GlobalPerceiverSettings):
    """What a YAML says of a `SpatialPerceiver`."""

    window_latents: Annotated[SquareNumber, Field(ge=1)] = 256
    """How many latents read one window of the map each; a square number."""


class LatentSettings(AttentionSettings):
    """What a YAML says of memory attention over latents."""

    window_latents: Annotated[SquareNumber, Field(ge=0)] = 256
    """How many latents with a window the compressor leaves; both must say the same."""


class SpatialPerceiver(nn.Module):
    """Compresses spatial memories to `global_latents + window_latents` tokens per frame.

    Both kinds of latent go through the same layers. A *global* latent reads the whole map, whose position
    code is added to keys *and* values: so it carries place inside it, and its own position code is zero. A
    *window* latent reads one cell of a grid laid over the map, without position code, and is given the code
    of that cell.

    Args:
        channels: C of the memory and of the latents.
        global_latents: how many latents read the whole map.
        window_latents: how many latents have a window each; a square number, or 0 for global latents alone.
        num_layers: how often the latents read the map.
    """

    def __init__(
        self, channels: int = 64, global_latents: int = 256, window_latents: int = 256, num_layers: int = 2
    ) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(global_latents, channels))
        self.latents_2d = nn.Parameter(torch.randn(window_latents, channels))
        self.layers = nn.ModuleList(PerceiverLayer(channels) for _ in range(num_layers))
        self.norm = nn.LayerNorm(channels)
        self.window_latents = window_latents
        self.windows_per_side = math.isqrt(window_latents)

    @property
    def grid_multiple(self) -> int:
        return max(1, self.windows_per_side)

    def forward(self, memory_bchw: Tensor, position_chw: Tensor) -> tuple[Tensor, Tensor]:
        """Compress the memories of B objects.

        Args:
            memory_bchw: spatial memories.
            position_chw: the map's sine encoding, the same for all objects.

        Returns:
            tokens, B x L x C: the global latents, then the window latents row by row;
            their position codes, L x C.
        """
        batch, _, height, width = memory_bchw.shape
        tokens_bnc = memory_bchw.flatten(2).transpose(1, 2)
        position_nc = position_chw.flatten(1).T.to(memory_bchw.dtype)
        global_b1lc = self.latents.expand(batch, 1, -1, -1)
        window_bg1c = self.latents_2d[:, None].expand(batch, -1, -1, -1)
        for layer in self.layers:
            assert isinstance(layer, PerceiverLayer)
            # Both kinds of latent read the same keys and values, so these are made once.
            keys_bnc, values_bnc = layer.attn.keys_and_values(tokens_bnc)
            global_b1lc = layer(
                global_b1lc, (keys_bnc + position_nc)[:, None], (values_bnc + position_nc)[:, None]
            )
            if self.window_latents:
                windows = (self._windows(x, height, width) for x in (keys_bnc, values_bnc))
                window_bg1c = layer(window_bg1c, *windows)
        tokens_blc = self.norm(torch.cat((global_b1lc.squeeze(1), window_bg1c.squeeze(2)), dim=1))
        return tokens_blc, self.token_positions(memory_bchw.device).to(tokens_blc.dtype)

    def token_positions(self, device: torch.device) -> Tensor:
        """Position codes of the tokens, the same for every memory: float32 L x C."""
        num_global, channels = self.latents.shape
        return _token_positions(num_global, channels, self.windows_per_side, device)

    def _windows(self, tokens_bnc: Tensor, height: int, width: int) -> Tensor:
        """The tokens of each window, windows in rows: B x (H·W) x C becomes B x G x N x C."""
        n = self.windows_per_side
        grid = tokens_bnc.unflatten(1, (n, height // n, n, width // n))
        return grid.transpose(2, 3).flatten(3, 4).flatten(1, 2)


@cached(maxsize=16)
def _token_positions(num_global: int, channels: int, windows_per_side: int, device: torch.device) -> Tensor:
    """`SpatialPerceiver.token_positions`."""
    window_lc = sine_grid(channels, windows_per_side, windows_per_side, device).flatten(1).T
    return torch.cat((window_lc.new_zeros(num_global, channels), window_lc))


def rotate_window_latents(
    keys_bmc: Tensor, num_frames: int, window_latents: int, num_pointer_tokens: int
) -> Tensor:
    """Turn the keys that have a place: the last `window_latents` of each memory frame.

    They turn by their row and column in the grid of windows, counted in windows, not in cells of the query's
    grid: EdgeTAM was trained this way. Global latents and object pointers are left as they are.

    Args:
        keys_bmc: projected keys: the tokens of `num_frames` frames, then `num_pointer_tokens` of pointers.

    Returns:
        the keys, B x M x C.
    """
    if not window_latents:
        return keys_bmc
    n = math.isqrt(window_latents)
    rotation = axial_rotation(keys_bmc.shape[-1], n, n, device=keys_bmc.device)
    num_spatial = keys_bmc.shape[1] - num_pointer_tokens
    frames_btlc = keys_bmc[:, :num_spatial].unflatten(1, (num_frames, -1))
    num_global = frames_btlc.shape[2] - window_latents
    turned_btlc = rotate(frames_btlc[:, :, num_global:], rotation)
    spatial_btlc = torch.cat((frames_btlc[:, :, :num_global], turned_btlc), dim=2)
    return torch.cat((spatial_btlc.flatten(1, 2), keys_bmc[:, num_spatial:]), dim=1)


class LatentCrossAttention(MemoryCrossAttention):
    """Cross-attention to compressed memories: the keys of window latents turn with their window.

    Args:
        channels: C of the queries.
        kv_channels: C of the memory tokens.
        window_latents: how many tokens at the end of each frame have a place.
    """

    def __init__(self, channels: int, kv_channels: int, window_latents: int = 256) -> None:
        super().__init__(channels, kv_channels)
        self.window_latents: int = window_latents

    def keys(self, memory: MemoryTokens, grid_hw: tuple[int, int]) -> Tensor:
        k = self.k_proj(memory.tokens_bmc + memory.positions_bmc)
        return rotate_window_latents(k, memory.num_frames, self.window_latents, memory.num_pointer_tokens)
