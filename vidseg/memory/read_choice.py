"""Chooses how memory attention reads the memory on a GPU: as is the fastest there by a measurement.

The figures are kept in the cache folder, so that each GPU is measured once for a kind of attention and a
size. A way that fails here, or gives other results than PyTorch's own choice, is left out: kernels of ours
are used where they are right and faster, and nowhere else.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import get_args

import torch
from torch import Tensor, nn

from vidseg.kept_figures import kept_figures
from vidseg.memory.attention import MemoryCrossAttention, MemoryTokens
from vidseg.memory.gpu_kernels import ReadBy, has_triton
from vidseg.memory.widths import MEMORY_CHANNELS

STRIDE = 16
"""Stride of the features that read the memory, in pixels of the model's input."""
FRAMES, POINTER_TOKENS, LATENTS = 7, 64, 512
"""A full bank: memory frames, tokens of pointers, and latents of a frame where memories are compressed."""
REPEATS = 5
"""How often each is measured, after a run that warms up."""
ENOUGH = 0.95
"""Another way than PyTorch's own must take less than this share of its time."""
MOST_APART = 0.02
"""How far a result may be from PyTorch's own, as a share of its norm: twice the rounding of bfloat16."""


def choose_reads(model: nn.Module, image_size: int) -> None:
    """Have all memory attention of a model, which is on its GPU and has its type, read the fastest way."""
    attentions = [part for part in model.modules() if isinstance(part, MemoryCrossAttention)]
    if not attentions:
        return
    first = attentions[0]
    weight = first.q_proj.weight
    depends_on = {
        "gpu": torch.cuda.get_device_name(weight.device),
        "torch": torch.__version__,
        "dtype": str(weight.dtype),
        "attention": [type(first).__name__, weight.shape[0], image_size],
        "triton": has_triton(),
    }
    times = kept_figures("reads", depends_on, lambda: read_ms(first, image_size, _gpu_ms))
    way = fastest(times)
    for attention in attentions:
        attention.read_by = way


def fastest(times: Mapping[str, float]) -> ReadBy:
    """The way to read that takes least; PyTorch's own unless another is clearly faster."""
    ways: tuple[ReadBy, ...] = get_args(ReadBy)
    best = min(ways, key=lambda way: times.get(way, float("inf")))
    return best if times[best] < ENOUGH * times["any"] else "any"


@torch.inference_mode()
def read_ms(
    attention: MemoryCrossAttention, image_size: int, time_ms: Callable[[Callable[[], Tensor]], float]
) -> dict[str, float]:
    """Milliseconds of reading a full bank by each way that is right here; 'any' is always among them.

    Args:
        time_ms: gives the milliseconds of a call.
    """
    side, before = image_size // STRIDE, attention.read_by
    weight = attention.q_proj.weight
    of_frame = side**2 if attention.window_latents is None else LATENTS
    shape = (2, 1, FRAMES * of_frame + POINTER_TOKENS, MEMORY_CHANNELS)
    # The same numbers each time, and no others for whoever draws at random.
    source = torch.Generator().manual_seed(0)
    x, tokens = (
        torch.randn(size, generator=source).to(weight) for size in ((1, side**2, weight.shape[1]), shape)
    )
    memory = MemoryTokens(tokens[0], tokens[1], POINTER_TOKENS, FRAMES)
    times: dict[str, float] = {}
    try:
        attention.read_by = "any"
        want = attention(x, memory, (side, side))
        for way in get_args(ReadBy):
            attention.read_by = way
            try:
                got = attention(x, memory, (side, side))
                if (got - want).float().norm() <= MOST_APART * want.float().norm():
                    times[way] = time_ms(lambda: attention(x, memory, (side, side)))
            except Exception:  # also Triton's errors, which have no common class
                if way == "any":
                    raise
    finally:
        attention.read_by = before
    return times


def _gpu_ms(run: Callable[[], Tensor]) -> float:
    times = []
    for _ in range(REPEATS + 1):
        torch.cuda.synchronize()
        began = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times[1:])  # the first one warms up
