"""PicoSAM2 as an image model of torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vidseg.trackers.compiled import compile_in_place
from vidseg.trackers.pico_sam2.answers import PicoAnswers
from vidseg.trackers.pico_sam2.network import PicoNetwork


class PicoImageModel(PicoAnswers, nn.Module):
    """An image model; see `vidseg.trackers.model.ImageModel`.

    Args:
        image_size: S, a multiple of `STRIDE`.
    """

    def __init__(self, image_size: int = 96) -> None:
        super().__init__()
        self.image_size = image_size
        self.network = PicoNetwork()

    @property
    def dtype(self) -> torch.dtype:
        return self.network.output_head.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.network.output_head.weight.device

    def fuse(self) -> None:
        """Bring the network into its fastest form; weights must be loaded before."""
        self.network.fuse()

    def compile_parts(self) -> None:
        compile_in_place(self.network)

    def segment_squares(self, squares_b3ss: Tensor) -> Tensor:
        logits: Tensor = self.network(squares_b3ss.to(self.dtype)).float()
        return logits
