"""Pictures like those to come, and what an image model makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vidseg.export.comparison import box_in
from vidseg.trackers.image.framing import Framing
from vidseg.trackers.image.prompt import ImagePrompt
from vidseg.trackers.model import Candidates, ImageModel

if TYPE_CHECKING:
    from vidseg.trackers.contract import Box


@dataclass(frozen=True)
class Prompted:
    """A picture, and prompts for one object of it."""

    image: npt.NDArray[np.uint8]
    """uint8 H x W x 3, RGB."""
    prompts: list[dict[str, Any]]
    """Arguments of `Embedding.candidates`."""

    @classmethod
    def of(cls, image: npt.NDArray[np.uint8], box: Box | None) -> Prompted:
        """A picture with a box, and with a click on its centre.

        Args:
            box: in pixels; None: the middle of the picture.
        """
        x0, y0, x1, y1 = box_in(image.shape, box)
        return cls(image, [{"box": (x0, y0, x1, y1)}, {"points": [((x0 + x1) / 2, (y0 + y1) / 2)]}])


def answers(model: ImageModel, framing: Framing, picture: Prompted) -> Iterator[Candidates]:
    """The candidates for each prompt; gradients are recorded where they are switched on."""
    size_hw = (picture.image.shape[0], picture.image.shape[1])
    image = framing.model_input(picture.image, model.device)
    # Weights need no gradients; those of activations begin here.
    features = model.encode(image.requires_grad_(torch.is_grad_enabled()))
    for prompt in picture.prompts:
        checked = ImagePrompt.of(size_hw, model.low_res_size, **prompt)
        yield model.candidates(
            features,
            model.without_memory(features),
            points_bp2=framing.to_model_points(torch.from_numpy(checked.points_xy)[None], size_hw),
            labels_bp=torch.from_numpy(checked.labels)[None],
        )


def importance(candidates: Candidates) -> Tensor:
    """A number whose squared gradients are, in expectation, the curvature of what quantising may do.

    That is the divergence of masks (a Bernoulli distribution for each pixel) plus the squared error of
    predicted IoUs, each a mean. Near float32 its Hessian is J'J for the Jacobian J of outputs that are
    divided by their deviations; signs drawn at random give the diagonal.
    """
    logits, ious = candidates.logits_bkhw, candidates.predicted_ious_bk
    deviation = (logits.sigmoid() * (-logits).sigmoid()).sqrt().detach()
    parts = [(logits * deviation, logits.numel()), (ious, ious.numel())]
    return torch.stack([(x * _signs(x)).sum() / count**0.5 for x, count in parts]).sum()


def _signs(like: Tensor) -> Tensor:
    return torch.randint_like(like, 2) * 2 - 1
