"""Attention in small windows, with a bias for each pair of a query and a key.

Layouts: W windows · H heads · N queries and keys of a window · D channels of a head.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vidseg.memory.blocked_attention import LOG2_E, lags_in_bfloat16

SUMS = (2.0**-60, 2.0**60)
"""Between these sums of a row's exponentials, neither overflow nor what vanishes changes the result."""


def attend_in_windows(q_whnd: Tensor, k_whnd: Tensor, v_whnd: Tensor, bias_whnn: Tensor) -> Tensor:
    """Scaled dot-product attention, W x H x N x D; the bias may have one row for all windows.

    In bfloat16 PyTorch's fused attention takes two to three times as long for windows this small as two
    products with an exponential between them. That leaves out the usual look for each row's maximum, which
    would cost more than the exponential; the sums show whether it was missed.
    """
    if lags_in_bfloat16(q_whnd):
        scores_whnn = torch.matmul(q_whnd, k_whnd.transpose(2, 3))
        scores_whnn.mul_(LOG2_E / math.sqrt(q_whnd.shape[3])).add_(bias_whnn * LOG2_E).exp2_()
        sums_whn1 = scores_whnn.sum(dim=3, keepdim=True, dtype=torch.float32)
        lowest, highest = sums_whn1.aminmax()
        if float(lowest) > SUMS[0] and float(highest) < SUMS[1]:
            return (torch.matmul(scores_whnn, v_whnd) / sums_whn1).to(q_whnd.dtype)
    return F.scaled_dot_product_attention(q_whnd, k_whnd, v_whnd, attn_mask=bias_whnn)
