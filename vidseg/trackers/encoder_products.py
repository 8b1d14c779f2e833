"""Faster products of an image encoder's linear layers on an NVIDIA GPU, by torchao.

`int8`    weights and inputs are rounded to eight bits, inputs row by row as they come, for int8 tensor cores
`sparse`  of four weights in a row the two smallest are left out, for sparse tensor cores

Source: "Accelerating Generative AI with PyTorch: Segment Anything, Fast" (pytorch.org/blog), which does so
with SAM.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vidseg.errors import ConfigError, MissingExtraError
from vidseg.trackers.choices import EncoderProducts

OLDEST = (8, 0)
"""The compute capability from which on there are sparse tensor cores: Ampere."""
SPARSE_TYPES = (torch.bfloat16, torch.float16)
ROWS, COLUMNS = 32, 64
"""Sparse products take weights whose sides are multiples of these."""


def check_encoder_products(asked: EncoderProducts | None, device: torch.device, where: str) -> None:
    """Refuse faster products where there are none.

    Raises:
        ConfigError: the device has none.
        MissingExtraError: torchao is not installed.
    """
    if asked is None:
        return
    if device.type != "cuda":
        raise ConfigError(
            f"encoder products '{asked}' on the device '{device}'; they need an NVIDIA GPU",
            where=where,
            hint="leave 'encoder_products' out, or --device cuda; on a CPU: vidseg compress --int8",
        )
    try:
        import torchao  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
    except ImportError:
        raise MissingExtraError("torchao", "torchao", needed_for=f"encoder products '{asked}'") from None
    if asked == "sparse" and torch.cuda.get_device_capability(device) < OLDEST:
        raise ConfigError(
            "this GPU has no sparse tensor cores (they came with compute capability 8.0)",
            where=where,
            hint="int8, or leave 'encoder_products' out",
        )


def use_encoder_products(module: nn.Module, asked: EncoderProducts, dtype: torch.dtype, where: str) -> None:
    """Change the linear layers of the image encoder of a model that is on its device, in its type.

    Raises:
        ConfigError: the model has no such encoder, or `sparse` products have no such type.
    """
    encoder = getattr(module, "image_encoder", None)
    if encoder is None or not any(isinstance(part, nn.Linear) for part in encoder.modules()):
        raise ConfigError("the model has no image encoder with linear layers", where=where)
    if asked == "int8":
        from torchao.quantization import (  # type: ignore[import-not-found,unused-ignore]
            Int8DynamicActivationInt8WeightConfig,
            quantize_,
        )

        quantize_(encoder, Int8DynamicActivationInt8WeightConfig(), _is_linear)
        return
    if dtype not in SPARSE_TYPES:
        raise ConfigError("sparse products need 16 bits", where=where, hint="--dtype bfloat16 or float16")
    from torchao.sparsity import semi_sparse_weight, sparsify_  # type: ignore[import-not-found,unused-ignore]

    for part in encoder.modules():
        if _fits_sparse(part):
            part.weight = nn.Parameter(two_of_four(part.weight), requires_grad=False)
    sparsify_(encoder, semi_sparse_weight(), _fits_sparse)


@torch.no_grad()
def two_of_four(weight_oi: Tensor) -> Tensor:
    """A weight whose two smallest magnitudes of every four in a row are 0; I is a multiple of 4."""
    fours = weight_oi.unflatten(1, (-1, 4))
    largest = fours.abs().topk(2, dim=2).indices
    kept = torch.zeros_like(fours, dtype=torch.bool).scatter_(2, largest, True)
    return torch.where(kept, fours, 0).flatten(1)


def _is_linear(part: nn.Module, name: str = "") -> bool:
    return isinstance(part, nn.Linear)


def _fits_sparse(part: Any, name: str = "") -> bool:
    return _is_linear(part) and part.out_features % ROWS == 0 and part.in_features % COLUMNS == 0
