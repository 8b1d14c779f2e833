"""The answer of a decoder to one prompt on a picture, and the masks that are chosen of it.

Layouts: K candidates · h w the low-res grid · H W the picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vidseg.masks import box_xywh, stability
from vidseg.samplers import Found
from vidseg.trackers.image.framing import Framing
from vidseg.trackers.image.prompt import ImagePrompt
from vidseg.trackers.model import ImageModel

if TYPE_CHECKING:
    from vidseg.trackers.contract import FloatArray

STABILITY_OFFSET = 1.0
"""Logits above and below 0 at which a mask is cut to measure its stability (SAM's mask generator)."""


class Answer:
    """All candidates of a decoder for one prompt, in its own order."""

    def __init__(
        self,
        model: ImageModel,
        framing: Framing,
        prompt: ImagePrompt,
        size_hw: tuple[int, int],
        logits_khw: Tensor,
        predicted_ious_k: Tensor,
        num_prompt_tokens: int,
    ) -> None:
        self._model = model
        self._framing = framing
        self._prompt = prompt
        self._size_hw = size_hw
        self._logits_khw = logits_khw
        self._predicted_ious_k = predicted_ious_k
        self.num_prompt_tokens = num_prompt_tokens
        """How many sparse tokens the prompt encoder made of the prompt; 0 for models that draw prompts as
        maps."""

    @property
    def low_res_logits(self) -> FloatArray:
        """float32 (K, h, w): mask logits (before sigmoid) on the decoder's grid."""
        return self._logits_khw.cpu().numpy()

    @property
    def predicted_ious(self) -> FloatArray:
        """float32 (K,): the model's own estimate of each candidate's quality."""
        return self._predicted_ious_k.cpu().numpy()

    def logits(self) -> FloatArray:
        """float32 (K, H, W): mask logits at the picture's size; above 0 is on the object."""
        return self.resized(self._logits_khw).cpu().numpy()

    @torch.inference_mode()
    def best_first(self, *, multimask: bool = True) -> list[int]:
        """The candidates that the model's family answers with, as indices into K, best first.

        Args:
            multimask: whether to offer alternatives, for an ambiguous prompt; else one mask.
        """
        return self._model.best_first(self._logits_khw, self._predicted_ious_k, multimask=multimask)

    @torch.inference_mode()
    def found(self, *, multimask: bool = True) -> list[Found]:
        """The candidates of `best_first` as masks of the picture."""
        chosen = self.best_first(multimask=multimask)
        low_res_logits = self._logits_khw[chosen]
        logits = self.resized(low_res_logits)
        stabilities = stability(logits, STABILITY_OFFSET).tolist()
        ious = self._predicted_ious_k[chosen].tolist()
        masks = (logits > 0).cpu().numpy()
        return [
            Found(
                mask,
                box_xywh(mask),
                ious[row],
                stabilities[row],
                low_res_logits[row : row + 1].cpu().numpy(),
                self._prompt.first_click_xy,
            )
            for row, mask in enumerate(masks)
        ]

    @torch.inference_mode()
    def resized(self, logits_khw: Tensor) -> Tensor:
        """Low-res logits (K x h x w, for example changed ones) at the picture's size: K x H x W."""
        return self._framing.to_picture(logits_khw, self._size_hw)

    def __repr__(self) -> str:
        return (
            f"Answer(low_res_logits=float32{tuple(self._logits_khw.shape)}, "
            f"predicted_ious={self.predicted_ious.round(3).tolist()})"
        )
