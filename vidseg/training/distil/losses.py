"""Distances of a student from its teacher; each is 0 where they agree.

Layouts: R rows (one object of one clip on one frame each) · C channels · H W a feature grid · h w the
student's low-res grid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vidseg.training.losses import true_iou

EPSILON = 1e-6


def feature_distance(student_rchw: Tensor, teacher_rchw: Tensor) -> Tensor:
    """Mean squared difference of feature maps, as a scalar; the teacher's map is resized to the student's
    grid.

    Source: Zhang et al., "Faster Segment Anything" (MobileSAM, arXiv:2306.14289), decoupled distillation;
    Zhou et al., "EdgeTAM" (CVPR 2025), distillation pipeline, for features that the memory has changed.
    """
    size = student_rchw.shape[-2:]
    if teacher_rchw.shape[-2:] != size:
        teacher_rchw = F.interpolate(teacher_rchw, size=size, mode="bilinear")
    return F.mse_loss(student_rchw.float(), teacher_rchw.float())


def mask_distance(student_rhw: Tensor, teacher_rhw: Tensor) -> Tensor:
    """Kullback-Leibler divergence, averaged over pixels, plus Dice loss, of each row: R.

    EdgeSAM takes cross-entropy and Dice against the teacher's mask cut at 0. The teacher's probabilities say
    more, and a student that meets them exactly has a loss of 0. TinySAM takes the difference of logits, whose
    size says little far from 0.

    Source: Zhou et al., "EdgeSAM" (arXiv:2312.06660), prompt-in-the-loop knowledge distillation; Dice with
    squares in its denominator as in Milletari et al., "V-Net" (3DV 2016).

    Args:
        student_rhw: mask logits.
        teacher_rhw: mask logits on the same grid.
    """
    p, q = student_rhw.sigmoid().flatten(1), teacher_rhw.sigmoid().flatten(1)
    dice = 1 - (2 * (p * q).sum(dim=1) + 1) / ((p * p).sum(dim=1) + (q * q).sum(dim=1) + 1)
    return divergence(student_rhw, teacher_rhw).flatten(1).mean(dim=1) + dice


def divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Kullback-Leibler divergence of yes-or-no probabilities given as logits, element by element."""
    p_teacher = teacher.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(teacher, p_teacher, reduction="none")
    return F.binary_cross_entropy_with_logits(student, p_teacher, reduction="none") - entropy


def hard_weight(student_rhw: Tensor, teacher_rhw: Tensor, targets_rhw: Tensor) -> Tensor:
    """Weights of rows, from 0.5 to 1: the further the student's mask falls behind the teacher's, the higher.
    R.

    Source: Shu et al., "TinySAM" (arXiv:2312.13789), hard mask weighting.

    Args:
        student_rhw: mask logits.
        teacher_rhw: mask logits.
        targets_rhw: true coverage of each cell.
    """
    student, teacher = true_iou(student_rhw, targets_rhw), true_iou(teacher_rhw, targets_rhw)
    return torch.sigmoid(teacher / (student + EPSILON))


def to_grid(logits_rhw: Tensor, side: int) -> Tensor:
    """Mask logits resized to another square grid."""
    if logits_rhw.shape[-1] == side:
        return logits_rhw
    return F.interpolate(logits_rhw[:, None], size=(side, side), mode="bilinear")[:, 0]
