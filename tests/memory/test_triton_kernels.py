"""Kernels for GPUs give what PyTorch's own operations give; without a GPU, Triton's interpreter runs them."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vidseg.memory.rope import axial_rotation, rotate

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
pytest.importorskip("triton", reason="needs Triton, which is installed with PyTorch for GPUs")
from vidseg.memory import triton_kernels

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter takes a second for a tile of the real size."""
    if DEVICE == "cpu":
        monkeypatch.setattr(triton_kernels, "READ_TILES", {"ROWS": 32, "KEYS": 16})


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def test_turn_turns_the_first_tokens_frame_by_frame() -> None:
    x, rotation = random(2, 3 * 16 + 5, 32), axial_rotation(32, 4, 4, device=torch.device(DEVICE))
    frames = torch.cat([rotate(x[:, 16 * t : 16 * (t + 1)].cpu(), rotation.cpu()) for t in range(3)], dim=1)
    got = triton_kernels.turn(x, rotation, 48).cpu()
    torch.testing.assert_close(got, torch.cat((frames, x[:, 48:].cpu()), dim=1), atol=1e-6, rtol=1e-6)


def test_turn_takes_tokens_that_do_not_follow_each_other() -> None:
    x, rotation = random(2, 3, 20, 32)[:, 1, :16], axial_rotation(32, 4, 4, device=torch.device(DEVICE))
    want = rotate(x.cpu(), rotation.cpu())
    torch.testing.assert_close(triton_kernels.turn(x, rotation, 16).cpu(), want, atol=1e-6, rtol=1e-6)


@pytest.mark.usefixtures("_small_tiles")
@pytest.mark.parametrize("weighs", [False, True])
@pytest.mark.parametrize("num_tokens", [16, 53])
def test_read_is_attention_with_narrow_values(weighs: bool, num_tokens: int) -> None:
    dtype: Any = torch.bfloat16 if DEVICE == "cuda" else torch.float32
    q, k = (2 * random(2, n, 32, seed=n).to(dtype) for n in (37, num_tokens))
    v = random(2, num_tokens, 16, seed=3).to(dtype)
    counts = torch.randint(1, 5, (num_tokens,), device=DEVICE).float()
    bias = counts.log().expand(2, 1, -1) if weighs else None
    want = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=bias)
    got = triton_kernels.read(q, k, v, counts.log2() if weighs else None)
    tolerance = 2e-2 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(got.float(), want, atol=tolerance, rtol=tolerance)
