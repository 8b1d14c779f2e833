"""The grid on which a video is processed: the frame itself, or a smaller copy of a large one."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from vidseg.errors import InputError
from vidseg.trackers.contract import Frame, Prompt


def grid_size(size_hw: tuple[int, int], max_side: int) -> tuple[int, int]:
    """Height and width of the grid: those of the frame, its longer side reduced to `max_side`."""
    scale = min(1.0, max_side / max(size_hw))
    return max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale))


def to_grid(frame: Frame, grid_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The frame's picture on the grid: uint8 h x w x 3, RGB.

    Raises:
        InputError: the frame carries a model input alone.
    """
    if frame.image is None:
        raise InputError(
            f"frame {frame.index} carries no image, and this tracker works on pixels",
            hint="give Frame(index, pts_seconds, image)",
        )
    if frame.size_hw == grid_hw:
        return np.array(frame.image, order="C")  # a copy, as it is compared with the next frame's
    picture: npt.NDArray[np.uint8] = cv2.resize(
        frame.image, (grid_hw[1], grid_hw[0]), interpolation=cv2.INTER_AREA
    )
    return picture


def prompt_to_grid(prompt: Prompt, size_hw: tuple[int, int], grid_hw: tuple[int, int]) -> Prompt:
    """The prompt, which fits the frame, in pixels of the grid."""
    if size_hw == grid_hw:
        return prompt
    scale_xy = np.array([grid_hw[1] / size_hw[1], grid_hw[0] / size_hw[0]], np.float32)
    mask = prompt.mask
    if mask is not None:
        share = cv2.resize(mask.astype(np.float32), (grid_hw[1], grid_hw[0]), interpolation=cv2.INTER_AREA)
        mask = share >= 0.5
        if not mask.any():  # the object is thinner than a cell of the grid
            mask = share >= share.max()
    box = None if prompt.box is None else prompt.box * np.tile(scale_xy, 2)
    return Prompt(prompt.points_xy * scale_xy, prompt.labels, box, mask)


def to_video_res(logits: npt.NDArray[np.float32], size_hw: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Mask logits of the grid (N, h, w), resized to the video (N, H, W), bilinear."""
    if logits.shape[1:] == size_hw:
        return logits
    resized = np.empty((len(logits), *size_hw), np.float32)
    for row, low_res in enumerate(logits):
        resized[row] = cv2.resize(low_res, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_LINEAR)
    return resized
