"""Tokens: what an object looks like, as one vector whose product with a frame's features is its mask.

A token knows nothing of motion, so it finds an object again that the flow has lost. The idea is NanoSAM's
(github.com/NVIDIA-AI-IOT/nanosam, nanosam/utils/tracker.py).

Layouts: N objects · C channels · H W the features' grid.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDING = 1e-8
"""Added to the variance of a channel, so that one that never changes can be divided by it."""


@torch.no_grad()
def fit_tokens(features_chw: Tensor, targets_nhw: Tensor, *, ridge: float, inside_hw: Tensor) -> Tensor:
    """The tokens whose maps come closest to targets: float32 N x (C + 1); the last number is a constant.

    This is ridge regression on channels that are brought to one variance, as channels of some models differ
    by orders of magnitude.

    Args:
        ridge: weight of the tokens' own size, as a share of the variance of channels; at 0 the fit is as
            close as it can be.
        inside_hw: bool, the cells that count; others are padding.
    """
    inside = inside_hw.flatten()
    rows, targets = (_precise(maps.flatten(1)[:, inside].T) for maps in (features_chw, targets_nhw))
    mean, mean_target = rows.mean(0), targets.mean(0)
    rows, targets = rows - mean, targets - mean_target
    gram = rows.T @ rows
    gram.diagonal().mul_(1 + ridge).add_(ROUNDING * len(rows))
    weights = torch.linalg.solve(gram, rows.T @ targets)
    return torch.cat((weights, (mean_target - mean @ weights)[None])).T.float().to(features_chw.device)


@torch.no_grad()
def fit_tokens_exactly(features_chw: Tensor, targets_nhw: Tensor) -> Tensor:
    """The same as NanoSAM fits them: by least squares alone, over all cells; the constant is 0.

    What float32 cannot tell from 0 counts as 0. It is computed on the CPU, as CUDA solves for independent
    features alone, and by "gelsd": torch's "gelsy" does not give the same bits twice.
    """
    rows, targets = features_chw.flatten(1).T.double().cpu(), targets_nhw.flatten(1).T.double().cpu()
    smallest = torch.finfo(torch.float32).eps * max(rows.shape)
    weights = torch.linalg.lstsq(rows, targets, rcond=smallest, driver="gelsd").solution.float()
    return torch.cat((weights, weights.new_zeros(1, weights.shape[1]))).T.contiguous()


@torch.no_grad()
def calibrated(tokens_nc: Tensor, features_chw: Tensor, targets_nhw: Tensor, inside_hw: Tensor) -> Tensor:
    """The tokens scaled and shifted: their maps are 1 on average where targets are above 0, and -1 elsewhere.

    Where features say little of an object, a fit stays near the mean of its targets, which are mostly
    background. After this it can be judged by the same thresholds as others.
    """
    maps = token_maps(features_chw, tokens_nc)
    on = (targets_nhw > 0) & inside_hw
    off = (targets_nhw <= 0) & inside_hw
    mean_on, mean_off = ((maps * side).sum(dim=(1, 2)) / side.sum(dim=(1, 2)) for side in (on, off))
    scale = 2 / (mean_on - mean_off)
    is_known = scale.isfinite() & (scale > 0)  # there is something on both sides, and a difference
    scale = torch.where(is_known, scale, 1.0)[:, None]
    shift = torch.where(is_known, -(mean_on + mean_off) / 2, 0.0)[:, None]
    return torch.cat((tokens_nc[:, :-1] * scale, (tokens_nc[:, -1:] + shift) * scale), dim=1)


def _precise(rows: Tensor) -> Tensor:
    """The same in float64, which MPS does not have."""
    return (rows.cpu() if rows.device.type == "mps" else rows).double()


def token_maps(features_chw: Tensor, tokens_nc: Tensor) -> Tensor:
    """What tokens say of every cell: float32 N x H x W, on the scale of the targets that they were fit to."""
    maps = tokens_nc[:, :-1] @ features_chw.flatten(1).float() + tokens_nc[:, -1:]
    return maps.view(-1, *features_chw.shape[1:])
