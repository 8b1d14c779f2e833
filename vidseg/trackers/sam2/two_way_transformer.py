"""The two-way transformer of the mask decoder: prompt tokens read the image, the image reads the tokens.

Source: Kirillov et al., "Segment Anything", appendix A ("Lightweight mask decoder").

Layouts: B objects · T tokens · N cells of the image · C channels.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from vidseg.memory.linear import Linear
from vidseg.trackers.mlp import MLP


class Attention(nn.Module):
    """Multi-head attention that may work in fewer channels than its inputs have."""

    def __init__(self, channels: int, heads: int, downsample: int = 1) -> None:
        super().__init__()
        inner = channels // downsample
        self.heads = heads
        self.q_proj = Linear(channels, inner)
        self.k_proj = Linear(channels, inner)
        self.v_proj = Linear(channels, inner)
        self.out_proj = Linear(inner, channels)
        self.products: nn.Module | None = None
        """Attends where operands are rounded, in place of the kernels; see `vidseg.trackers.low_bits`."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (
            projection(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        if self.products is None:
            out_bhtd = F.scaled_dot_product_attention(q, k, v)
        else:
            out_bhtd = self.products(q, k, v, None)
        return self.out_proj(out_bhtd.transpose(1, 2).flatten(2))


class TwoWayBlock(nn.Module):
    """One round: tokens read each other, then the image; a perceptron; then the image reads the tokens."""

    def __init__(self, channels: int, heads: int, mlp_dim: int, first: bool) -> None:
        super().__init__()
        self.self_attn = Attention(channels, heads)
        self.norm1 = nn.LayerNorm(channels)
        self.cross_attn_token_to_image = Attention(channels, heads, downsample=2)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = MLP(channels, mlp_dim, channels, num_layers=2)
        self.norm3 = nn.LayerNorm(channels)
        self.norm4 = nn.LayerNorm(channels)
        self.cross_attn_image_to_token = Attention(channels, heads, downsample=2)
        self.first = first

    def forward(
        self, tokens_btc: Tensor, image_bnc: Tensor, token_pe_btc: Tensor, image_pe_1nc: Tensor
    ) -> tuple[Tensor, Tensor]:
        tokens_btc = self.norm1(self.read_each_other(tokens_btc, token_pe_btc))
        keyed_image = image_bnc + image_pe_1nc
        tokens_btc = tokens_btc + self.cross_attn_token_to_image(
            tokens_btc + token_pe_btc, keyed_image, image_bnc
        )
        tokens_btc = self.norm2(tokens_btc)
        tokens_btc = self.norm3(tokens_btc + self.mlp(tokens_btc))
        image_bnc = image_bnc + self.cross_attn_image_to_token(
            keyed_image, tokens_btc + token_pe_btc, tokens_btc
        )
        return tokens_btc, self.norm4(image_bnc)

    def read_each_other(self, tokens_btc: Tensor, token_pe_btc: Tensor) -> Tensor:
        """The tokens after their self-attention."""
        if self.first:
            # In the first block the tokens are still their own position encoding, so none is added.
            return self.self_attn(tokens_btc, tokens_btc, tokens_btc)
        q = tokens_btc + token_pe_btc
        return tokens_btc + self.self_attn(q, q, tokens_btc)


class TwoWayTransformer(nn.Module):
    """Blocks in which tokens and image read each other, and a last read of the image by the tokens."""

    def __init__(
        self,
        channels: int = 256,
        heads: int = 8,
        mlp_dim: int = 2048,
        depth: int = 2,
        block: type[TwoWayBlock] = TwoWayBlock,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            block(channels, heads, mlp_dim, first=index == 0) for index in range(depth)
        )
        self.final_attn_token_to_image = Attention(channels, heads, downsample=2)
        self.norm_final_attn = nn.LayerNorm(channels)

    def forward(
        self, image_bnc: Tensor, image_pe_1nc: Tensor, prompt_tokens_btc: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The tokens (B x T x C) and the image (B x N x C) after they have read each other."""
        tokens_btc = prompt_tokens_btc
        for layer in self.layers:
            tokens_btc, image_bnc = layer(tokens_btc, image_bnc, prompt_tokens_btc, image_pe_1nc)
        read = self.final_attn_token_to_image(
            tokens_btc + prompt_tokens_btc, image_bnc + image_pe_1nc, image_bnc
        )
        return self.norm_final_attn(tokens_btc + read), image_bnc
