"""Compiles modules in place, for `load(..., compile=True)`: fused kernels, replayed as CUDA graphs on a GPU.

A replay overwrites the results of the previous one, and banks keep results for many frames. So every result
of a compiled module is copied at once.

Compiling takes longer than a short clip, so it is done once: sizes that change from frame to frame are
dynamic, and what was compiled is kept in the cache folder for the next start. PyTorch compiles anew for
sizes of 1 and for other layouts, so a lone object goes in twice, and every row comes in one layout.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.fx.experimental._config as fx_config
from torch import Tensor, nn

from vidseg.kept_figures import cache_root
from vidseg.trackers.graphs.trees import map_tensors

CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
"""Where PyTorch keeps what it compiled; by default in /tmp, which does not outlive a restart."""


def compile_in_place(
    module: nn.Module,
    *,
    rows: Sequence[int] = (),
    dynamic: bool = False,
    serves: Callable[..., bool] = lambda *args: True,
) -> None:
    """Compile `module.forward`, which takes and returns trees of tensors; weights keep their names.

    Args:
        rows: places of the arguments with a row for each object, of which there may be any number.
        dynamic: whether other sizes differ from call to call.
        serves: whether a call is to be compiled; others run as they are.
    """
    os.environ.setdefault(CACHE_VARIABLE, str(cache_root() / "compiled"))
    weights = list(module.parameters())
    on_gpu = weights[0].device.type == "cuda"
    is_channels_last = any(w.dim() == 4 and not w.is_contiguous() for w in weights)
    layout = torch.channels_last if is_channels_last else torch.contiguous_format
    plain = module.forward
    run: Callable[..., Any] = torch.compile(
        plain, fullgraph=True, dynamic=dynamic or bool(rows), mode="reduce-overhead" if on_gpu else None
    )

    def forward(*args: Any, **numbers: Any) -> Any:
        if not serves(*args):
            return plain(*args, **numbers)
        if on_gpu:
            torch.compiler.cudagraph_mark_step_begin()
        count = args[rows[0]].shape[0] if rows else 0
        # Otherwise two objects with two points would be compiled for as many points as objects.
        with fx_config.patch(use_duck_shape=False):  # type: ignore[attr-defined]
            result = run(*_as_several(args, rows, layout), **numbers)
        if count == 1:
            result = map_tensors(result, lambda x: x[:1])
        return map_tensors(result, Tensor.clone) if on_gpu else result

    module.forward = forward


def _as_several(args: tuple[Any, ...], rows: Sequence[int], layout: torch.memory_format) -> list[Any]:
    """The arguments with at least two rows each, as many in all of them, in one layout."""
    changed = list(args)
    for place in rows:
        first, x = args[rows[0]], args[place]
        count = max(2, first.shape[0])
        size = first.shape[2:] if x.shape[2:] == (1, 1) else x.shape[2:]  # one value for a whole map
        x = x.expand(count, -1, *size)
        # A single channel is first and last at once, so PyTorch would take any strides for either layout.
        is_map = x.dim() == 4 and x.shape[1] > 1
        changed[place] = x.contiguous(memory_format=layout if is_map else torch.contiguous_format)
    return changed
