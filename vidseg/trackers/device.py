"""The device that a model computes on."""

from __future__ import annotations

import torch

from vidseg.errors import ConfigError


def pick_device(name: str) -> torch.device:
    """The torch device of a name; 'auto' takes CUDA, then MPS, then the CPU.

    Raises:
        ConfigError: this machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown device '{name}'", hint="auto, cpu, cuda, cuda:1 or mps") from None
    is_here = (
        device.type == "cpu"
        or (device.type == "cuda" and (device.index or 0) < torch.cuda.device_count())
        or (device.type == "mps" and torch.backends.mps.is_available())
    )
    if not is_here:
        raise ConfigError(f"the device '{name}' is not on this machine", hint="--device auto or --device cpu")
    return device
