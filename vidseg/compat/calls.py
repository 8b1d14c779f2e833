"""Parts that all official interfaces share: the error of a wrong call, and arrays of any kind."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from vidseg.errors import PromptError


class CallError(PromptError, ValueError, RuntimeError):
    """A wrong call; scripts that catch what the official predictor raises catch it too."""


def as_array(value: Any, dtype: Any) -> np.ndarray[Any, Any]:
    """A NumPy array of anything that callers of the official code pass: tensors, arrays, lists."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    return np.asarray(value, dtype)
