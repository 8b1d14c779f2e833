"""How much each channel matters: Taylor's first term of the loss against a noisy teacher.

The student is the teacher, or close to it, so its loss against the teacher's output is about 0 and so are the
gradients. Gaussian noise on that output makes a loss to which channels contribute.

Source: Chen et al., "SlimSAM: 0.1% Data Makes Segment Anything Slim" (arXiv:2312.05284), "disturbed Taylor
importance"; constants as in github.com/czg1225/SlimSAM.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vidseg.compression.calls import Call, distance, outputs_of, told_by
from vidseg.compression.slimming.widths import Width

NOISE = 0.01
"""The deviation of the noise."""


def importance(
    student: nn.Module,
    teacher: nn.Module,
    calls: Sequence[Call],
    widths: Sequence[Width],
    *,
    noise: float = NOISE,
    seed: int = 0,
) -> list[Tensor]:
    """The importance of each unit of each width: abs(sum of gradient x weight) over all that depends on it.

    Gradients are summed over the calls.
    """
    weights = dict(student.named_parameters())
    generator = torch.Generator().manual_seed(seed)
    student.zero_grad()
    with torch.enable_grad():
        for call in calls:
            disturbed = [
                out + noise * torch.randn(out.shape, generator=generator).to(out)
                for out in told_by(teacher, call)
            ]
            distance(outputs_of(student, call), disturbed).backward()
    scores = []
    for width in widths:
        sums = torch.zeros(width.units)
        for use in width.uses:
            weight = weights[use.weight]
            assert weight.grad is not None
            product = (weight.grad * weight).detach().movedim(use.axis, 0)
            sums += use.sums(product.reshape(len(product), -1).sum(dim=1).float().cpu(), width.units)
        scores.append(sums.abs())
    student.zero_grad()
    return scores
