"""The device that a model computes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

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


def use_channels_last(module: nn.Module) -> None:
    """Lay the weights of convolutions out as a GPU reads them, channels last.

    Feature maps already are: linear layers and norms make them so. With other weights, cuDNN would change the
    layout of maps or weights in every call.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stubs lack it


def upload(values: Tensor | npt.NDArray[Any], device: torch.device) -> Tensor:
    """A copy of values in the host's memory on a device. The caller does not wait until a GPU has it."""
    if device.type != "cuda":
        return torch.as_tensor(values).to(device)
    if isinstance(values, Tensor):
        return values.pin_memory().to(device, non_blocking=True)
    dtype = torch.from_numpy(np.empty(0, values.dtype)).dtype
    pinned = torch.empty(values.shape, dtype=dtype, pin_memory=True)
    np.copyto(pinned.numpy(), values)  # arrays may be read-only, or have strides that tensors have not
    return pinned.to(device, non_blocking=True)


class Download:
    """Tensors on their way to the host; who asks for them waits, and nobody else."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        if not any(tensor.is_cuda for tensor in tensors):
            self._arrived = [tensor.cpu() for tensor in tensors]
            self._events: list[torch.cuda.Event] = []
            return
        # A copy to page-locked memory goes on while the host does other things.
        self._arrived = [
            torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
            for tensor in tensors
        ]
        self._events = [
            torch.cuda.current_stream(device).record_event()
            for device in {tensor.device for tensor in tensors if tensor.is_cuda}
        ]

    def tensors(self) -> list[Tensor]:
        """The tensors in the host's memory."""
        if self._events:
            for event in self._events:
                event.synchronize()
            # Page-locked memory is scarce, and callers may keep what they get.
            self._arrived, self._events = [tensor.clone() for tensor in self._arrived], []
        return self._arrived


def download(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies in the host's memory; for tensors on a GPU, it is waited for but once."""
    return Download(tensors).tensors()


def computes_apart(device: torch.device) -> bool:
    """Whether a device computes while the host goes on, so that answers are better fetched later."""
    return device.type == "cuda"
