"""TinyViT: a stage of convolutions, then three stages of windowed attention with a convolution in each block.

Source: Wu et al., "TinyViT: Fast Pretraining Distillation for Small Vision Transformers", ECCV 2022, and its
code (github.com/microsoft/Cream/tree/main/TinyViT). MobileSAM (arXiv:2306.14289) and TinySAM
(arXiv:2312.13789) use the smallest one as SAM's image encoder; parameter names are those of MobileSAM's
checkpoint.

Layouts: B images · H W the grid · C channels · W windows (in `wn`) · N cells of a window · M heads.
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidseg.errors import ConfigError, unknown
from vidseg.memory.linear import Linear
from vidseg.memory.window_attention import attend_in_windows
from vidseg.trackers.backbones.conv_norm import ConvNorm
from vidseg.trackers.backbones.pieces import by_rows, num_in_piece
from vidseg.validation import Strict

DEPTHS = (2, 2, 6, 2)
"""Number of blocks in each stage."""
WINDOWS = (7, 14, 7)
"""Side of the windows in stages 1, 2 and 3; stage 0 has convolutions alone."""
CLASSES = 1000
"""Classes of the head that the network was first trained with."""

VARIANTS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "5m": ((64, 128, 160, 320), (4, 5, 10)),
    "11m": ((64, 128, 256, 448), (4, 8, 14)),
    "21m": ((96, 192, 384, 576), (6, 12, 18)),
}
"""Name -> channels of the four stages, heads of stages 1, 2 and 3."""


def _on_map(conv: nn.Module, x_bhwc: Tensor) -> Tensor:
    """A convolution on a map whose channels are last, in memory too."""
    out: Tensor = conv(x_bhwc.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return out


class PatchEmbedding(nn.Module):
    """Two strided 3x3 convolutions with a GELU between them: an image to a map at stride 4."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Checkpoints count the GELU as a layer.
        first, second = (
            ConvNorm(3, channels // 2, 3, stride=2),
            ConvNorm(channels // 2, channels, 3, stride=2),
        )
        self.seq = nn.Sequential(first, nn.GELU(), second)

    def forward(self, images_bhw3: Tensor) -> Tensor:
        batch, _, width, _ = images_bhw3.shape
        first, gelu, second = self.seq
        size = 4 * num_in_piece(2 * batch * width * 16)
        return by_rows(
            lambda x: _on_map(second, gelu(_on_map(first, x))),
            images_bhw3,
            size,
            stride=4,
            halo=1,
            whole=self.training,
        )


class ThreeConvs(nn.Module):
    """A pointwise, a depthwise and a pointwise convolution, with a GELU after the first and the second.

    Args:
        inner: channels of the depthwise convolution.
        stride: its stride.
    """

    def __init__(self, in_channels: int, inner: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1: nn.Module = ConvNorm(in_channels, inner, 1)
        self.conv2: nn.Module = ConvNorm(inner, inner, 3, stride, groups=inner)
        self.conv3: nn.Module = ConvNorm(inner, out_channels, 1)
        self.gelu: nn.Module = nn.GELU()
        self.inner = inner
        self.stride = stride

    def forward(self, x_bhwc: Tensor) -> Tensor:
        batch, _, width, _ = x_bhwc.shape
        size = self.stride * num_in_piece(self.stride * batch * width * self.inner)
        return by_rows(self._rows, x_bhwc, size, stride=self.stride, halo=1, whole=self.training)

    def _rows(self, x_bhwc: Tensor) -> Tensor:
        inner = self.gelu(_on_map(self.conv1, x_bhwc))
        return _on_map(self.conv3, F.gelu(_on_map(self.conv2, inner)))

    def fuse(self) -> None:
        """Fold the norms, and the first GELU, into the convolutions."""
        first, second, third = self.conv1, self.conv2, self.conv3
        assert isinstance(first, ConvNorm)
        assert isinstance(second, ConvNorm)
        assert isinstance(third, ConvNorm)
        self.conv1, self.gelu = first.fused("gelu"), nn.Identity()
        self.conv2, self.conv3 = second.fused(), third.fused()


class ConvBlock(ThreeConvs):
    """Widens four times, mixes space, narrows again; the input is added, then a GELU."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 4 * channels, channels)

    def _rows(self, x_bhwc: Tensor) -> Tensor:
        return F.gelu(super()._rows(x_bhwc) + x_bhwc)


class WindowAttention(nn.Module):
    """Multi-head self-attention in windows, with a learned bias for each distance between two cells.

    Args:
        channels: a multiple of `heads`.
        window: side of a window, in cells.
    """

    index_nn: Tensor

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.norm = nn.LayerNorm(channels)
        self.qkv = Linear(channels, 3 * channels)
        self.proj = Linear(channels, channels)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window**2))
        place = torch.arange(window)
        apart = (place[:, None] - place).abs()
        index = apart[:, None, :, None] * window + apart[None, :, None, :]
        self.register_buffer("index_nn", index.reshape(window**2, window**2), persistent=False)
        self.register_buffer("bias_mnn", None, persistent=False)
        self.products: nn.Module | None = None
        """Attends where operands are rounded, in place of the kernels; see `vidseg.trackers.low_bits`."""

    def forward(self, x_bhwc: Tensor) -> Tensor:
        batch, height, width, channels = x_bhwc.shape
        # The model was trained with windows filled up with zeros before the norm and without a mask, so they
        # take part in attention.
        filled = F.pad(x_bhwc, (0, 0, 0, -width % self.window, 0, -height % self.window))
        rows, columns = filled.shape[1] // self.window, filled.shape[2] // self.window
        grid = filled.view(batch, rows, self.window, columns, self.window, channels)
        windows_wnc = grid.transpose(2, 3).reshape(-1, self.window**2, channels)
        out = self._attend(self.norm(windows_wnc)).view(
            batch, rows, columns, self.window, self.window, channels
        )
        return out.transpose(2, 3).reshape(filled.shape)[:, :height, :width]

    def _attend(self, x_wnc: Tensor) -> Tensor:
        # Checkpoints have the queries, keys and values of a head beside each other.
        q, k, v = self.qkv(x_wnc).unflatten(2, (self.heads, 3, -1)).permute(3, 0, 2, 1, 4)
        bias_mnn = self.attention_biases[:, self.index_nn] if self.bias_mnn is None else self.bias_mnn
        attend = attend_in_windows if self.products is None else self.products
        # Graphs of float16 keep learned tables in float32.
        out_wmnd: Tensor = attend(q, k, v, bias_mnn[None].to(q.dtype))
        return self.proj(out_wmnd.transpose(1, 2).flatten(2))

    def fuse(self) -> None:
        """Look up the bias of each pair of cells once and for all."""
        self.bias_mnn = self.attention_biases.detach()[:, self.index_nn].contiguous()
        del self.attention_biases


class Perceptron(nn.Module):
    """A norm, and two linear layers with a GELU between them, four times as wide inside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.fc1 = Linear(channels, 4 * channels, "gelu")
        self.fc2 = Linear(4 * channels, channels)

    def forward(self, x_bhwc: Tensor) -> Tensor:
        return self.fc2(self.fc1(self.norm(x_bhwc)))


class AttentionBlock(nn.Module):
    """Windowed attention, a depthwise convolution that joins the windows, a perceptron."""

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.attn = WindowAttention(channels, heads, window)
        self.mlp = Perceptron(channels)
        self.local_conv: nn.Module = ConvNorm(channels, channels, 3, groups=channels)

    def forward(self, x_bhwc: Tensor) -> Tensor:
        batch, _, width, channels = x_bhwc.shape
        row = batch * width * 4 * channels
        window = self.attn.window
        x_bhwc = by_rows(lambda x: x + self.attn(x), x_bhwc, window * num_in_piece(window * row))
        return by_rows(self._mix, x_bhwc, num_in_piece(row), halo=1, whole=self.training)

    def _mix(self, x_bhwc: Tensor) -> Tensor:
        x_bhwc = _on_map(self.local_conv, x_bhwc)
        out: Tensor = x_bhwc + self.mlp(x_bhwc)
        return out


class Stage(nn.Module):
    """Blocks of one width, and the way into the next stage, if there is one."""

    def __init__(self, blocks: list[nn.Module], downsample: ThreeConvs | None) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.downsample = downsample


class TinyViTSettings(Strict):
    """Settings of a `TinyViT` in a YAML; see its arguments."""

    variant: str = "5m"
    mode: Literal["pyramid", "single-scale"] = "pyramid"
    classifier: bool = False


class TinyViT(nn.Module):
    """The TinyViT encoder: images to the features of its stages.

    Args:
        variant: a name in `VARIANTS`.
        mode: 'pyramid' gives all four stages (strides 4, 8, 16, 32); 'single-scale' the last one alone, which
            keeps stride 16, as MobileSAM has it.
        classifier: whether to keep the head of the first training, as MobileSAM's and TinySAM's checkpoints
            do; nothing uses it.
    """

    @classmethod
    def of(cls, settings: TinyViTSettings) -> TinyViT:
        """A `TinyViT` with these settings.

        Raises:
            ConfigError: no such variant.
        """
        if settings.variant not in VARIANTS:
            raise ConfigError(unknown("TinyViT", settings.variant, VARIANTS))
        return cls(settings.variant, settings.mode, settings.classifier)

    def __init__(
        self,
        variant: str = "5m",
        mode: Literal["pyramid", "single-scale"] = "pyramid",
        classifier: bool = False,
    ) -> None:
        super().__init__()
        channels, heads = VARIANTS[variant]
        self.mode: Literal["pyramid", "single-scale"] = mode
        last_stride = 2 if mode == "pyramid" else 1
        self.patch_embed = PatchEmbedding(channels[0])
        self.layers = nn.ModuleList()
        for index, width in enumerate(channels):
            blocks: list[nn.Module] = [
                AttentionBlock(width, heads[index - 1], WINDOWS[index - 1]) if index else ConvBlock(width)
                for _ in range(DEPTHS[index])
            ]
            is_last = index == len(channels) - 1
            stride = last_stride if index == len(channels) - 2 else 2
            merging = None if is_last else ThreeConvs(width, channels[index + 1], channels[index + 1], stride)
            self.layers.append(Stage(blocks, merging))
        if classifier:
            self.norm_head = nn.LayerNorm(channels[-1])
            self.head = nn.Linear(channels[-1], CLASSES)
        strides: tuple[int, ...] = (4, 8, 16, 16 * last_stride)
        kept = slice(None) if mode == "pyramid" else slice(-1, None)
        self._kept = kept
        self.channels: tuple[int, ...] = channels[kept]
        """Channels of the returned maps, fine to coarse."""
        self.strides: tuple[int, ...] = strides[kept]
        """Their strides in pixels of the image."""

    def forward(self, images_b3ss: Tensor) -> list[Tensor]:
        """Feature maps, fine to coarse: B x channels[i] x S / strides[i] x S / strides[i]."""
        # Depthwise and pointwise convolutions run faster on channels-last maps, on the CPU too.
        x_bhwc = self.patch_embed(images_b3ss.permute(0, 2, 3, 1).contiguous())
        maps = []
        for stage in self.layers:
            assert isinstance(stage, Stage)
            x_bhwc = stage.blocks(x_bhwc)
            maps.append(x_bhwc.permute(0, 3, 1, 2))
            if stage.downsample is not None:
                x_bhwc = stage.downsample(x_bhwc)
        return maps[self._kept]

    @torch.no_grad()
    def fuse(self) -> TinyViT:
        """A copy for inference: norms folded into convolutions, biases of attention looked up, no classifier.

        The copy cannot be trained further, and its state dict has other names; load published weights before
        fusing.
        """
        fused = copy.deepcopy(self).eval().requires_grad_(False)
        if hasattr(fused, "head"):
            del fused.norm_head, fused.head
        _fuse_children(fused)
        return fused


def _fuse_children(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, WindowAttention | ThreeConvs):
            child.fuse()
        elif isinstance(child, ConvNorm):
            setattr(module, name, child.fused())
        else:
            _fuse_children(child)
