"""The seam for compressors, which leave fewer tokens of a spatial memory; and the plainest one, pooling."""

from __future__ import annotations

import math
from typing import Annotated, Protocol

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from vidseg.memory.position import sine_grid
from vidseg.validation import Strict


class Compressor(Protocol):
    """Compresses spatial memories to fewer tokens; memory attention reads from it how they are laid out."""

    window_latents: int
    """How many tokens at the end have a place: they lie on a square grid over the map, row by row, and memory
    attention turns their keys by its rows and columns. The tokens before them have no place."""

    @property
    def grid_multiple(self) -> int:
        """The sides of the map, in cells, must be multiples of this."""
        ...

    def __call__(self, memory_bchw: Tensor, position_chw: Tensor) -> tuple[Tensor, Tensor]:
        """Compress the memories of B objects, each by itself.

        Args:
            memory_bchw: spatial memories.
            position_chw: the sine encoding of the map.

        Returns:
            tokens, B x L x C, and their position codes, L x C.
        """
        ...

    def token_positions(self, device: torch.device) -> Tensor:
        """Position codes of the tokens, the same for every memory: float32 L x C."""
        ...


class PoolingSettings(Strict):
    """What a YAML says of a `MapPooling`."""

    side: int = Field(default=16, ge=1)
    """Tokens on a side of the grid; a memory frame has `side` x `side` of them."""


class MapPooling(nn.Module):
    """Averages the map over a grid of `side` x `side` squares: one token for each, with the square's place.

    It has no weights, keeps no latents and is the baseline that a learned compressor should beat.
    """

    def __init__(self, side: int, channels: int = 64) -> None:
        super().__init__()
        self.side = side
        self.channels = channels
        self.window_latents = side * side

    @property
    def grid_multiple(self) -> int:
        return self.side

    def forward(self, memory_bchw: Tensor, position_chw: Tensor) -> tuple[Tensor, Tensor]:
        tokens = F.adaptive_avg_pool2d(memory_bchw, self.side).flatten(2).transpose(1, 2)
        return tokens, self.token_positions(memory_bchw.device).to(tokens.dtype)

    def token_positions(self, device: torch.device) -> Tensor:
        return sine_grid(self.channels, self.side, self.side, device).flatten(1).T


def is_square(number: int) -> bool:
    """Whether a number is the square of a whole number, so that as many latents fill a square grid."""
    return math.isqrt(number) ** 2 == number


def _checked_square(number: int) -> int:
    if number < 0 or not is_square(number):
        raise ValueError(f"{number} is not a square number")
    return number


SquareNumber = Annotated[int, AfterValidator(_checked_square)]
