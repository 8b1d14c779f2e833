"""Prompts drawn as maps: a box as its inside, a click as a small disk.

Source: Xu et al., "Deep Interactive Object Selection" (CVPR 2016); disks after Sofiiuk et al., "Reviving
Iterative Training with Mask Guidance" (RITM, arXiv:2102.06583).
"""

from __future__ import annotations

import torch
from torch import Tensor

CHANNELS = 3
"""Maps of a prompt: inside of the box, clicks on the object, clicks off it."""
DISK_RADIUS = 5.0
"""Radius of a click's disk, in pixels of the model's input."""


BOX_MARGIN = 0.1
"""How far an object may reach beyond each side of a drawn box, as a share of its width or height."""


def beyond_box(points_bp2: Tensor, labels_bp: Tensor, grid_hw: tuple[int, int], stride: int) -> Tensor:
    """Where an object cannot be that was asked for with a box: bool B x H x W; nowhere without a box.

    Args:
        points_bp2, labels_bp: as of `draw`.
    """
    first, second = (points_bp2[(labels_bp == label)] for label in (2, 3))
    has_box = (labels_bp == 2).any(dim=1)
    margin = BOX_MARGIN * (second - first)
    grown = points_bp2.clone()
    grown[labels_bp == 2], grown[labels_bp == 3] = first - margin, second + margin
    return (draw(grown, labels_bp, grid_hw, stride)[:, 0] == 0) & has_box[:, None, None]


def draw(points_bp2: Tensor, labels_bp: Tensor, grid_hw: tuple[int, int], stride: int) -> Tensor:
    """Maps of prompts: B x 3 x H x W, from 0 to 1.

    Args:
        points_bp2: pixels of the model's input, x before y.
        labels_bp: 1 on the object, 0 off it, 2 and 3 the corners of a box, -1 padding.
    """
    height, width = grid_hw
    y = (torch.arange(height, device=points_bp2.device) + 0.5) * stride
    x = (torch.arange(width, device=points_bp2.device) + 0.5) * stride
    dx = x - points_bp2[..., :1]
    dy = y - points_bp2[..., 1:]
    distance_bphw = (dx.square()[:, :, None] + dy.square()[:, :, :, None]).sqrt()
    disk_bphw = (1 + (DISK_RADIUS - distance_bphw) / stride).clamp(0, 1)

    def clicks(label: int) -> Tensor:
        return (disk_bphw * (labels_bp == label)[:, :, None, None]).amax(dim=1)

    # Inside is right of and below the first corner, left of and above the second; without a box, nowhere.
    def side(d_bpn: Tensor, label: int, sign: float) -> Tensor:
        inside = (0.5 + sign * d_bpn / stride).clamp(0, 1)
        return (inside * (labels_bp == label)[:, :, None]).amax(dim=1)

    box_x = side(dx, 2, 1.0) * side(dx, 3, -1.0)
    box_y = side(dy, 2, 1.0) * side(dy, 3, -1.0)
    return torch.stack((box_y[:, :, None] * box_x[:, None], clicks(1), clicks(0)), dim=1)
