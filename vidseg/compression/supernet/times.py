"""How long the blocks of a vision transformer take on this machine, at each width that they may have."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from vidseg.compression.calls import Call
from vidseg.compression.supernet.choices import Choices
from vidseg.compression.supernet.subnet import Elastic, Subnet, slice_of, windows_of

REPEATS = 5
"""How often each is measured, after a run that warms up."""


@dataclass(frozen=True)
class Times:
    """Milliseconds; the time of a subnet is the sum over its blocks and the rest."""

    of_blocks: tuple[Mapping[int, float], ...]
    """The time of each block, by its number of hidden units."""
    rest: float
    """Patch embedding, positions, neck."""

    def of(self, subnet: Subnet) -> float:
        """How long a subnet takes."""
        return self.rest + sum(
            times[units] for times, units in zip(self.of_blocks, subnet, strict=True) if units
        )


def measure(encoder: Elastic, choices: Choices, call: Call) -> Times:
    """Times by the clock, of networks all of whose blocks have the same rank among their widths.

    The least of several runs counts, since other programs can only add to it; blocks with windows of one side
    and equally many hidden units do the same work, and have one time.
    """
    windows = windows_of(encoder.trunk)
    widths = [[units for units in each if units] for each in choices.of_blocks]
    whole = encoder.subnet
    least: dict[tuple[int | None, int], float] = {}
    rests: list[float] = []
    for rank in range(max(map(len, widths))):
        encoder.subnet = tuple(each[min(rank, len(each) - 1)] for each in widths)
        weights = slice_of(dict(encoder.trunk.named_parameters()), encoder.subnet)
        like = encoder.trunk.pos_embed
        trunk = encoder.skeleton().to_empty(device=like.device).to(like.dtype)
        trunk.load_state_dict(weights)
        for turn in range(REPEATS + 1):
            blocks, total = _timed(trunk, encoder.neck, call)
            if turn:  # the first run warms up
                rests.append(total - sum(blocks))
                for work, spent in zip(zip(windows, encoder.subnet, strict=True), blocks, strict=True):
                    least[work] = min(spent, least.get(work, spent))
    encoder.subnet = whole
    of_blocks = (
        {units: least[window, units] for units in each} for window, each in zip(windows, widths, strict=True)
    )
    return Times(tuple(of_blocks), min(rests))


@torch.inference_mode()
def _timed(trunk: nn.Module, neck: nn.Module, call: Call) -> tuple[list[float], float]:
    """Milliseconds of each block in one run, and of the whole run."""
    device = call[0].device
    marks: list[float] = []

    def mark(*_: object) -> None:
        marks.append(_now(device))

    blocks = list(trunk.get_submodule("blocks").children())
    hooks = [block.register_forward_pre_hook(mark) for block in blocks]
    hooks += [block.register_forward_hook(mark) for block in blocks]
    began = _now(device)
    neck(trunk(*call))
    ended = _now(device)
    for hook in hooks:
        hook.remove()
    return [end - start for start, end in zip(marks[::2], marks[1::2], strict=True)], ended - began


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return 1000 * time.perf_counter()
