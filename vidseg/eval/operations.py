"""Counts the floating-point operations of torch models; a multiply-add counts as two."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode

ATTENTION = ("bmm", "baddbmm", "scaled_dot_product", "flash_attention", "efficient_attention")
"""Parts of the names of operators that multiply activations with each other."""


@contextmanager
def counter() -> Iterator[FlopCounterMode]:
    """PyTorch's counter; what runs meanwhile uses the operators that it knows."""
    from torch.utils.flop_counter import FlopCounterMode

    from vidseg.memory.cpu_kernels import without_cpu_kernels

    counting = FlopCounterMode(display=False, custom_mapping=uncounted_operations())
    with without_cpu_kernels(), counting:
        yield counting


def without_attention(counted: FlopCounterMode) -> int:
    """The operations of convolutions and linear layers alone, which is what the survey of SAM's efficient
    variants (arXiv:2410.04960) prints: its counter sees no products of attention."""
    by_operator = counted.get_flop_counts()["Global"]
    return sum(
        n for operator, n in by_operator.items() if not any(part in str(operator) for part in ATTENTION)
    )


def uncounted_operations() -> dict[Any, Any]:
    """Operators that PyTorch's counter does not know, with functions that count them: oneDNN's, and attention
    on the CPU."""
    import torch
    from torch.utils.flop_counter import sdpa_flop_count

    def linear(x: Any, weight: Any, *args: Any, **kwargs: Any) -> int:
        return 2 * math.prod(x) * weight[0]

    def attention(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
        return int(sdpa_flop_count(query, key, value))

    return {
        torch.ops.mkldnn._linear_pointwise: linear,
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention,
    }
