"""What PicoSAM2 makes of a prompt: its picture is its features, and a prompt says which square is segmented.

Layouts: B objects · S side of the square · H W the picture.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from vidseg.errors import PromptError
from vidseg.trackers.model import Candidates, Features
from vidseg.trackers.pico_sam2.framing import Square, centre_of
from vidseg.trackers.sam2.mask_decoder import stability

STABILITY_OFFSET = 1.0
"""Logits above and below 0 at which a mask is cut to measure its stability."""


class PicoAnswers(ABC):
    """The rules of PicoSAM2, wherever its network runs.

    There is one candidate. The network does not estimate its quality, so the mask's stability stands for it.
    """

    takes_masks = False
    takes_decoded = False
    """Squares are cut at the picture's own scale, which frames resized by a decoder have lost."""
    feedback_limit = 0.0
    """Earlier masks cannot be fed back."""
    image_size: int
    """S, a multiple of the network's `STRIDE`."""

    @abstractmethod
    def segment_squares(self, squares_b3ss: Tensor) -> Tensor:
        """Mask logits, float32 B x 1 x S x S, of normalised squares."""

    @property
    def low_res_size(self) -> int:
        return self.image_size

    def encode(self, image_3hw: Tensor) -> Features:
        """One normalised picture as its own features: one row."""
        return self.encode_batch(image_3hw[None])

    def encode_batch(self, images_b3hw: Tensor) -> Features:
        """Pictures of one size as their own features, one a row."""
        return Features([], images_b3hw)

    def without_memory(self, features: Features) -> Tensor:
        return features.top_1chw

    def candidates(
        self,
        features: Features,
        conditioned_bchw: Tensor,
        *,
        points_bp2: Tensor | None = None,
        labels_bp: Tensor | None = None,
        previous_logits_bhw: Tensor | None = None,
    ) -> Candidates:
        """One candidate for each object, on the grid of its own square.

        Raises:
            PromptError: no place is given; see `centre_of`.
        """
        if points_bp2 is None or labels_bp is None:
            raise PromptError("a prompt without a place", hint="give a point on the object, or a box")
        pictures_b3hw = conditioned_bchw.expand(len(points_bp2), -1, -1, -1)
        crops_b3ss = torch.cat(
            [
                self._crop(picture, centre_of(points, labels))
                for picture, points, labels in zip(
                    pictures_b3hw, points_bp2.cpu(), labels_bp.cpu(), strict=True
                )
            ]
        )
        logits_b1ss = self.segment_squares(crops_b3ss)
        quality_b1 = stability(logits_b1ss, STABILITY_OFFSET)
        tokens = logits_b1ss.new_zeros(len(logits_b1ss), 1, 1)
        # The network says nothing about visibility: an object that was asked for is there.
        visible_b = torch.ones_like(quality_b1[:, 0])
        return Candidates(logits_b1ss, quality_b1, tokens, visible_b)

    def _crop(self, picture_3hw: Tensor, centre_xy: tuple[float, float]) -> Tensor:
        side = self.image_size
        square = Square.about(centre_xy, side, (picture_3hw.shape[1], picture_3hw.shape[2]))
        crop = picture_3hw[None, :, square.top : square.bottom, square.left : square.right]
        if crop.shape[2:] == (side, side):
            return crop
        # As in training, a square that the border cuts off is enlarged to its full size.
        return F.interpolate(crop, (side, side), mode="bilinear", align_corners=False)

    def num_prompt_tokens(self, labels_bp: Tensor) -> int:
        return 0

    def best_first(self, logits_khw: Tensor, predicted_ious_k: Tensor, *, multimask: bool) -> list[int]:
        return [0]
