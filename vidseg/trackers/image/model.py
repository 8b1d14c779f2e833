"""What a model has to do so that `load_image` can offer it.

Layouts: B pictures · N prompts · P points · K candidates · C channels · S side of the model's input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vidseg.trackers.image.framing import Framing
from vidseg.trackers.mask_decoder import Candidates
from vidseg.trackers.model import Features


@dataclass(frozen=True, slots=True)
class Encoded:
    """One picture, encoded; what every prompt on it shares."""

    features: Features
    """Of one row."""
    conditioned_1chw: Tensor
    """What the decoder reads in place of features that have seen a memory."""


class ImageModel(Protocol):
    """An encoder, and a decoder of prompts, with the ways of its family."""

    framing: Framing
    feedback_limit: float | None
    """Mask logits that come back as a prompt are clamped to this at either side; None: they are not."""

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def low_res_size(self) -> int:
        """Side of the decoder's grid."""
        ...

    def encode(self, images_b3ss: Tensor) -> list[Encoded]:
        """Model inputs to one `Encoded` a picture, in one run of the encoder."""
        ...

    def candidates(
        self, encoded: Encoded, points_np2: Tensor, labels_np: Tensor, previous_logits_nhw: Tensor | None
    ) -> Candidates:
        """All that the decoder says of N prompts on one picture, in one batch.

        Args:
            points_np2: float32, in pixels of the model's input; the corners of a box come first, with labels
                2 and 3. P is 0 where there is a mask alone.
            labels_np: int32, 1 on the object, 0 off it.
            previous_logits_nhw: earlier mask logits, on the low-res grid.
        """
        ...

    def num_prompt_tokens(self, labels_np: Tensor) -> int:
        """How many sparse tokens the prompt encoder makes of such a prompt."""
        ...

    def best_first(self, logits_khw: Tensor, predicted_ious_k: Tensor, *, multimask: bool) -> list[int]:
        """The candidates that answer one prompt, the best one first.

        Args:
            multimask: offer alternatives, for a prompt that leaves open what is meant; else one mask.
        """
        ...
