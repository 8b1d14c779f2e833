"""Hiera: a plain hierarchical vision transformer with windowed and a few global attention blocks.

Source: Ryali et al., "Hiera" (arXiv:2306.00989); window position embedding from Bolya et al.,
"Window Attention is Bugged" (arXiv:2311.05613); SAM 2, appendix C. Parameter names follow the official SAM 2
checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from vidseg.memory.blocked_attention import attend_in_blocks, fused_lags
from vidseg.memory.linear import Linear
from vidseg.trackers.backbones.kept import KeptPositions
from vidseg.trackers.backbones.kept_windows import KeptWindows, average_cells
from vidseg.trackers.backbones.pieces import by_rows, in_pieces, num_in_piece
from vidseg.trackers.backbones.widths import Width, divided
from vidseg.trackers.image_encoder import pixels_of
from vidseg.trackers.mlp import MLP
from vidseg.validation import Strict


def _pool(x_bhwc: Tensor) -> Tensor:
    return F.max_pool2d(x_bhwc.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


def _to_windows(x_bhwc: Tensor, size: int) -> Tensor:
    """Cut B x H x W x C, padded at the bottom and right, into (B · windows) x size x size x C."""
    batch, height, width, channels = x_bhwc.shape
    pad_h, pad_w = -height % size, -width % size
    if pad_h or pad_w:
        x_bhwc = F.pad(x_bhwc, (0, 0, 0, pad_w, 0, pad_h))
    x = x_bhwc.view(batch, (height + pad_h) // size, size, (width + pad_w) // size, size, channels)
    return x.transpose(2, 3).reshape(-1, size, size, channels)


def _from_windows(windows: Tensor, batch: int, height: int, width: int) -> Tensor:
    size, channels = windows.shape[1], windows.shape[3]
    rows, columns = -(-height // size), -(-width // size)
    x = windows.view(batch, rows, columns, size, size, channels).transpose(2, 3)
    return x.reshape(batch, rows * size, columns * size, channels)[:, :height, :width]


@dataclass(frozen=True)
class StageWidths:
    """Widths of the blocks of a stage."""

    channels: int
    """Channels of the stage's map, and between its blocks."""
    attention: int
    """Channels of queries, keys and values, all heads together."""
    mlp: int
    """Units of the perceptrons' hidden layer."""


class PooledAttention(nn.Module):
    """Multi-head attention inside each window (or picture); it may pool its queries 2 x 2.

    Args:
        inner: width of queries, keys and values, all heads together.
    """

    def __init__(self, dim: int, inner: int, out_dim: int, heads: int, pool_queries: bool) -> None:
        super().__init__()
        self.heads = heads
        self.pool_queries = pool_queries
        self.qkv = Linear(dim, 3 * inner)
        self.proj = Linear(inner, out_dim)

    def forward(self, x_bhwc: Tensor) -> Tensor:
        batch, height, width, _ = x_bhwc.shape
        q, k, v = self.qkv(x_bhwc).chunk(3, dim=-1)
        if self.pool_queries:
            q = _pool(q)
            height, width = q.shape[1:3]
        heads_first = [t.flatten(1, 2).unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v)]
        if fused_lags(heads_first[0]):
            out = attend_in_blocks(*heads_first)
        else:
            out = F.scaled_dot_product_attention(*heads_first)
        return self.proj(out.transpose(1, 2).reshape(batch, height, width, -1))


class Block(nn.Module):
    """Windowed attention, then a perceptron, each with a norm before it; may pool the map 2 x 2.

    Args:
        dim: channels of what comes in, those of the stage before where the block pools.
        window: side of the windows; 0: the block attends to the whole picture.
    """

    def __init__(self, dim: int, widths: StageWidths, heads: int, window: int, pool: bool) -> None:
        super().__init__()
        self.window = window
        self.pool = pool
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        out_dim = widths.channels
        self.attn = PooledAttention(dim, widths.attention, out_dim, heads, pool)
        self.norm2 = nn.LayerNorm(out_dim, eps=1e-6)
        self.mlp = MLP(out_dim, widths.mlp, out_dim, num_layers=2, activation="gelu")
        if pool:
            self.proj = Linear(dim, out_dim)

    def forward(self, x_bhwc: Tensor) -> Tensor:
        if not self.window:
            return self._forward(x_bhwc)
        # Windows are independent; a few rows of them at a time stay in the cache.
        batch, _, width, channels = x_bhwc.shape
        size = self.window * num_in_piece(batch * self.window * width * channels)
        return by_rows(self._forward, x_bhwc, size, stride=2 if self.pool else 1)

    def _forward(self, x_bhwc: Tensor) -> Tensor:
        batch = x_bhwc.shape[0]
        normed = self.norm1(x_bhwc)
        if self.pool:
            x_bhwc = _pool(self.proj(normed))
        if self.window:
            out = self.attn(_to_windows(normed, self.window))
            out = _from_windows(out, batch, x_bhwc.shape[1], x_bhwc.shape[2])
        else:
            out = self.attn(normed)
        rows = (x_bhwc + out).flatten(0, 2)
        return in_pieces(self._feed_forward, rows).view_as(out)

    def _feed_forward(self, x_nc: Tensor) -> Tensor:
        return x_nc + self.mlp(self.norm2(x_nc))


class _PatchEmbed(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, 7, stride=4, padding=3)


class HieraSettings(Strict):
    """Settings of a `Hiera` in a YAML."""

    embed_dim: int = Field(ge=1)
    """Channels of the first stage; they double at each stage."""
    heads: int = Field(ge=1)
    """Heads of the first stage; they double at each stage."""
    stages: list[int] = Field(min_length=4, max_length=4)
    """Number of blocks in each stage."""
    global_blocks: list[int]
    """Numbers of the blocks that attend to the whole picture instead of windows."""
    windows: list[int] = Field(default=[8, 4, 14, 7], min_length=4, max_length=4)
    """Side of the windows in each stage; a block that pools uses the window of the stage before."""
    background_size: int = Field(default=7, ge=1)
    """Side of the grid of the learned position embedding, which is resized to the picture."""
    channels: list[Width] | None = Field(default=None, min_length=4, max_length=4)
    """Channels of each stage; None: `embed_dim`, which doubles at each stage."""
    attention: list[Width] | None = Field(default=None, min_length=4, max_length=4)
    """Width of each stage's queries, keys and values, all heads together; None: as many as its channels."""
    mlp: list[Width] | None = Field(default=None, min_length=4, max_length=4)
    """Width of the hidden layer of each stage's perceptrons; None: four times its channels."""
    keep_below: float = Field(default=0.0, ge=0)
    """In videos on a CPU, windows of the first blocks keep what was made of them as long as no average of
    4 x 4 pixels (0 to 255) has changed by so much (`kept_windows`); 0: frames are encoded whole."""

    def widths(self) -> list[StageWidths]:
        """The widths of each stage."""
        channels = self.channels or [self.embed_dim * 2**stage for stage in range(len(self.stages))]
        mlp = self.mlp or [4 * width for width in channels]
        return [StageWidths(*each) for each in zip(channels, self.attention or channels, mlp, strict=True)]

    @model_validator(mode="after")
    def _fits(self) -> HieraSettings:
        for stage, widths in enumerate(self.widths()):
            divided(widths.attention, self.heads * 2**stage)
        return self


class Hiera(nn.Module):
    """The Hiera encoder: images to four feature maps."""

    mode: Literal["pyramid"] = "pyramid"

    def __init__(self, settings: HieraSettings) -> None:
        super().__init__()
        widths, windows, side = settings.widths(), settings.windows, settings.background_size
        dim = widths[0].channels
        self.patch_embed = _PatchEmbed(dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, dim, side, side))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, dim, windows[0], windows[0]))
        blocks: list[Block] = []
        self._stage_ends: list[int] = []
        for stage, depth in enumerate(settings.stages):
            for place in range(depth):
                pools = stage > 0 and place == 0
                window = windows[stage - 1 if pools else stage]
                if len(blocks) in settings.global_blocks:
                    window = 0
                blocks.append(Block(dim, widths[stage], settings.heads * 2**stage, window, pools))
                dim = widths[stage].channels
            self._stage_ends.append(len(blocks) - 1)
        self.blocks = nn.ModuleList(blocks)
        self._num_local = _num_local(blocks)
        self._keep_below = settings.keep_below
        self._positions = KeptPositions()
        self.channels: tuple[int, ...] = tuple(stage.channels for stage in widths)
        self.strides: tuple[int, ...] = tuple(4 * 2**stage for stage in range(len(widths)))

    def _make_position(self, height: int, width: int) -> Tensor:
        """The position embedding, resized to a grid."""
        background = F.interpolate(self.pos_embed, size=(height, width), mode="bicubic")
        side = self.pos_embed_window.shape[-1]
        return (background + self.pos_embed_window.tile(1, 1, height // side, width // side)).permute(
            0, 2, 3, 1
        )

    def forward(self, images_b3ss: Tensor) -> list[Tensor]:
        """Feature maps B x C x H x W at strides 4, 8, 16 and 32."""
        return self._stage_maps(self._run(self._embed(images_b3ss), range(len(self.blocks))))

    @property
    def keeps_windows(self) -> bool:
        """Whether `encode_next` is for this encoder: a GPU's host would wait to know what has changed."""
        return self._keep_below > 0 and self._num_local > 0 and self.pos_embed.device.type == "cpu"

    def encode_next(self, image_13ss: Tensor, kept: KeptWindows) -> list[Tensor]:
        """The maps of a video's next frame; the first blocks compute only windows that have changed.

        Args:
            kept: of the frames before; it is brought up to date.
        """
        x_bhwc, side = self._embed(image_13ss), self.pos_embed_window.shape[-1]
        cells = average_cells(pixels_of(image_13ss))
        outdated = kept.outdated(cells, side, self._keep_below)
        kept.take(cells, outdated, self._encode_windows(_to_windows(x_bhwc, side)[outdated.flatten()]))
        rows, columns = outdated.shape
        maps = {
            index: _from_windows(windows, 1, rows * windows.shape[1], columns * windows.shape[2])
            for index, windows in kept.outputs.items()
        }
        last = self._num_local - 1
        return self._stage_maps(maps | self._run(maps[last], range(last + 1, len(self.blocks))))

    def _encode_windows(self, windows: Tensor) -> dict[int, Tensor]:
        """What the local blocks make of windows, in pieces that stay in the cache."""
        if not len(windows):
            return {}
        size = num_in_piece(4 * windows[0].numel())
        pieces = [self._run(piece, range(self._num_local)) for piece in windows.split(size)]
        return {index: torch.cat([piece[index] for piece in pieces]) for index in pieces[0]}

    def _embed(self, images_b3ss: Tensor) -> Tensor:
        x_bhwc = self.patch_embed.proj(images_b3ss).permute(0, 2, 3, 1)
        grid_hw = (x_bhwc.shape[1], x_bhwc.shape[2])
        weights = (self.pos_embed, self.pos_embed_window)
        return x_bhwc + self._positions.get(grid_hw, self._make_position, *weights)

    def _run(self, x_bhwc: Tensor, blocks: range) -> dict[int, Tensor]:
        """The maps that some blocks make one after the other: those at the ends of stages, and the last."""
        maps = {}
        for index in blocks:
            x_bhwc = self.blocks[index](x_bhwc)
            if index in self._stage_ends or index == blocks[-1]:
                maps[index] = x_bhwc
        return maps

    def _stage_maps(self, maps: dict[int, Tensor]) -> list[Tensor]:
        return [maps[index].permute(0, 3, 1, 2) for index in self._stage_ends]


def _num_local(blocks: list[Block]) -> int:
    """How many blocks come before the first whose windows cover other pixels than the first block's."""
    side, stride = blocks[0].window, 1
    for index, block in enumerate(blocks):
        if not block.window or block.window * stride != side:
            return index
        stride *= 2 if block.pool else 1
    return len(blocks)
