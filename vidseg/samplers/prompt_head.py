"""A small network over an image model's features that says where prompts pay; the sampler `peaks` asks there.

What it predicts is what AoP-SAM's prompt predictor and Lite-SAM's AutoPPN do: how far inside an object each
cell lies, and the box of that object. The layers are our own. `vidseg train` makes its weights.

Source: Chen et al., "AoP-SAM: Automation of Prompts for Efficient Segmentation", AAAI 2025
(arXiv:2505.11980); Fu et al., "Lite-SAM Is Actually What You Need for Segment Everything", ECCV 2024
(arXiv:2407.08965).

Layouts: R pictures · C channels of the features · h w their grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidseg.errors import CheckpointError, told
from vidseg.samplers.settings import HEAD_HINT

MODEL_KEY = "model_weights_sha256"
"""Key of the file's metadata: the digest of the weights of the model on whose features the head was trained.
"""


class Proposed(NamedTuple):
    """What the head says of each cell."""

    confidence_logits_rhw: Tensor
    """Before sigmoid: 1 in the middle of an object, 0 at its edge and outside of all."""
    sides_r4hw: Tensor
    """Distances of the object's left, upper, right and lower side from the cell's centre, in cells."""


class PromptHead(nn.Module):
    """The head of an image model whose features have C channels.

    Args:
        width: channels inside.
        blocks: how many convolutions see the surroundings; each looks twice as far as the one before.
    """

    def __init__(self, channels: int, width: int = 48, blocks: int = 3) -> None:
        super().__init__()
        # Features of different models have different scales, and these norms are all that has to know them.
        self.scale = nn.BatchNorm2d(channels)
        self.enter = _convolution(channels, width, kernel=1)
        self.blocks = nn.ModuleList(
            _convolution(width, width, kernel=3, dilation=2**number) for number in range(blocks)
        )
        self.leave = nn.Conv2d(width, 5, 1)
        self.model_weights_sha256: str | None = None
        """Digest of the weights of the model on whose features the head was trained; None if the head's file
        does not say."""

    def forward(self, features_rchw: Tensor) -> Proposed:
        x = self.enter(self.scale(features_rchw))
        for block in self.blocks:
            x = x + block(x)
        said = self.leave(x)
        # Sides are learned as logarithms, so that those of small objects are as exact as those of large ones.
        return Proposed(said[:, 0], (1 + said[:, 1:]).clamp(max=6).exp())


def _convolution(channels: int, width: int, *, kernel: int, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(channels, width, kernel, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU())


def head_of(state: Mapping[str, Tensor], where: str) -> PromptHead:
    """The head in a state dict, ready to use; the shapes of its tensors say how large it is.

    Raises:
        CheckpointError: these are weights of something else.
    """
    try:
        width, channels = state["enter.0.weight"].shape[:2]
        blocks = sum(name.startswith("blocks.") and name.endswith(".0.weight") for name in state)
        head = PromptHead(channels, width, blocks)
        head.load_state_dict(state)
    except (KeyError, RuntimeError, ValueError):
        raise CheckpointError("these are no weights of a prompt head", where=where, hint=HEAD_HINT) from None
    return head.eval().requires_grad_(False)


def load_head(path: str | PathLike[str], device: torch.device) -> PromptHead:
    """The head in a safetensors file; it is kept for the next picture.

    Raises:
        CheckpointError: there is no such file, or it holds something else.
    """
    try:
        written = Path(path).stat().st_mtime_ns
    except OSError as failure:
        raise CheckpointError(
            f"the prompt head cannot be read ({told(failure)})", where=str(path), hint=HEAD_HINT
        ) from None
    return _loaded(str(path), written, device)


@lru_cache(maxsize=2)
def _loaded(path: str, written: int, device: torch.device) -> PromptHead:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping
            metadata: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError) as failure:
        raise CheckpointError(
            f"the prompt head is no safetensors file ({told(failure)})", where=path, hint=HEAD_HINT
        ) from None
    head = head_of(state, path).to(device)
    head.model_weights_sha256 = metadata.get(MODEL_KEY)
    return head


@torch.inference_mode()
def peaks_of(confidence_hw: Tensor, radius: int, least: float) -> Tensor:
    """The cells whose confidence no other one within `radius` rows and columns exceeds: int64 N x 2 (row,
    column), on the CPU, the most confident one first. Of equal ones that are so close the first one stays.

    Args:
        least: cells with less confidence than this are no peaks.
    """
    confidence_hw = confidence_hw.cpu()
    highest = F.max_pool2d(confidence_hw[None, None], 2 * radius + 1, stride=1, padding=radius)[0, 0]
    cells = ((confidence_hw == highest) & (confidence_hw >= least)).nonzero()
    cells = cells[confidence_hw[cells[:, 0], cells[:, 1]].argsort(descending=True, stable=True)]
    stays = torch.ones(len(cells), dtype=torch.bool)
    for place in range(len(cells)):
        if stays[place]:
            stays[place + 1 :] &= (cells[place + 1 :] - cells[place]).abs().amax(dim=1) > radius
    return cells[stays]
