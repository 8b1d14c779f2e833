"""Clips as a torch data set: clip i is the same in every run and worker."""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, get_worker_info


class Made(Protocol):
    """A clip, or a picture in the shapes of a clip of one frame."""

    @property
    def images(self) -> NDArray[np.uint8]: ...

    @property
    def masks(self) -> NDArray[Any]: ...


class Maker(Protocol):
    """Makes clips, or pictures, from seeds."""

    @property
    def said(self) -> list[str]: ...

    def preload(self) -> None: ...

    def make(self, seed: int) -> Made: ...


class ClipDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """A data set of `num_clips` made clips, each from its own seed.

    Item i is (images, masks): uint8 T x 3 x S x S (RGB) and T x S x S, bool or the numbers of objects.

    Args:
        maker: makes the clips. Call `maker.preload()` before workers are forked, so that they share sources.
        num_clips: length of the data set.
        base_seed: clip i is made from a seed derived from (base_seed, i) alone.
    """

    def __init__(self, maker: Maker, num_clips: int, base_seed: int = 0) -> None:
        self.maker = maker
        self.num_clips = num_clips
        self.base_seed = base_seed

    def __len__(self) -> int:
        return self.num_clips

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        if not 0 <= index < self.num_clips:
            raise IndexError(index)
        if get_worker_info() is not None:
            cv2.setNumThreads(0)  # the workers already use all cores
        clip = self.maker.make(clip_seed(self.base_seed, index))
        images = torch.from_numpy(np.ascontiguousarray(clip.images.transpose(0, 3, 1, 2)))
        return images, torch.from_numpy(clip.masks)


def clip_seed(base_seed: int, index: int) -> int:
    """The 64-bit seed of a clip; seeds of neighbouring clips are unrelated."""
    return int(np.random.SeedSequence((base_seed, index)).generate_state(1, np.uint64)[0])
