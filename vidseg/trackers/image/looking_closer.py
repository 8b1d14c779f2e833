"""A closer look at what prompts on a picture ask for, by models that gain by that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vidseg.trackers.closer_look import CloserLook
from vidseg.trackers.image.framing import Framing
from vidseg.trackers.image.prompt import ImagePrompt
from vidseg.trackers.model import Candidates, Decoded, Features, ImageModel, LooksCloser
from vidseg.trackers.view import View


def looked_closer(
    model: ImageModel,
    framing: Framing,
    picture: npt.NDArray[np.uint8],
    features: Features,
    prompts: Sequence[ImagePrompt],
    candidates: Candidates,
) -> Candidates:
    """Better answers, if the model looks closer; else those given.

    Args:
        picture: uint8 H x W x 3, RGB.
        features: of the whole picture.
        candidates: the answers there, one row a prompt. A model that looks closer makes one candidate.
    """
    if not (isinstance(model, LooksCloser) and model.looks_closer):
        return candidates
    size_hw = picture.shape[0], picture.shape[1]

    def answer(asked: ImagePrompt, decoded: Decoded) -> Decoded:
        if not len(asked.labels):  # mask logits alone say nothing of where to look
            return decoded
        prompt = asked.apart()

        def shown(view: View) -> tuple[Tensor, Tensor, Tensor]:
            here = view.prompt_here(prompt)
            there = ImagePrompt.joined(here.box, here.points_xy, here.labels)
            points = framing.to_model_points(torch.from_numpy(there.points_xy)[None], view.part_hw)
            image = framing.model_input(np.ascontiguousarray(picture[view.pixels]), model.device)
            return image, points.to(model.device), torch.from_numpy(there.labels)[None].to(model.device)

        previous = None if asked.mask_logits is None else asked.mask_logits[None].to(model.device)
        return CloserLook(model, shown, size_hw).answer(features, prompt, decoded, previous)

    rows = [answer(prompt, _alone(candidates, row)) for row, prompt in enumerate(prompts)]
    return replace(
        candidates,
        logits_bkhw=torch.stack([row.low_res_logits_bhw for row in rows]),
        predicted_ious_bk=torch.stack([row.predicted_ious_b for row in rows]),
    )


def _alone(candidates: Candidates, row: int) -> Decoded:
    """The one candidate of a row."""
    of_row = slice(row, row + 1)
    return Decoded(
        candidates.logits_bkhw[of_row, 0],
        candidates.tokens_bkc[of_row, 0],
        candidates.object_score_logits_b[of_row],
        candidates.predicted_ious_bk[of_row, 0],
    )
