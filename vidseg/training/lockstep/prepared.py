"""Clips with all of a step that needs no model: flow, prompts, and what GrabCut makes of these.

Layouts: T frames · S the side of a clip · H W the key grid (stride 8) · h w the low-res grid (stride 2).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vidseg.trackers.image_encoder import normalise
from vidseg.trackers.space_time import prompt_maps
from vidseg.trackers.space_time.correction import corrected
from vidseg.trackers.space_time.first_guess import first_guess
from vidseg.trackers.space_time.grids import LOW_RES_STRIDE, STRIDE, low_res_pixels
from vidseg.trackers.space_time.pixel_reading import flow_between
from vidseg.training.data import Clip, ClipMaker
from vidseg.training.data.dataset import clip_seed
from vidseg.training.prompts import PromptShares, correct, sample
from vidseg.training.spoil import spoil
from vidseg.training.unroll import HARMLESS, on_grid

Rows = dict[str, Tensor]
"""Clips side by side, one a row of every tensor; see `prepare`."""

CUT, SPILL = 0.35, 0.25
"""Shares of masks to be corrected that lack all on one side of a line, and that spill over what is around."""


def prepare(clip: Clip, prompts: PromptShares, seed: int) -> Rows:
    """One row: a clip, and what is asked about it. Everything depends on the clip and the seed alone.

    Returns:
        - `images` uint8 1 x T x 3 x S x S, and `masks` bool 1 x T x S x S;
        - `flows` float16 1 x T-1 x 2 x h x w: from each frame to the one before, in low-res pixels;
        - of a prompt on the first frame `drawn` 1 x 3 x H x W, its maps, and `guess` 1 x h x w, where GrabCut
          finds the object; both float16;
        - of a correction of the last frame `click` and `so_far`: the same of a click on a spoilt mask.
    """
    generator = torch.Generator().manual_seed(seed % 2**63)
    images = torch.from_numpy(np.ascontiguousarray(clip.images.transpose(0, 3, 1, 2)))
    masks = torch.from_numpy(clip.masks)
    pixels = low_res_pixels(normalise(images))
    flows = [flow_between(now, before) for before, now in pairwise(pixels)]
    side = pixels.shape[-1]
    given = prompts.model_copy(
        update={"mask": 0.0, "box": min(1.0, prompts.box / max(1 - prompts.mask, 1e-6))}
    )
    _, points, labels = sample(masks[:1], given, generator)
    finely = prompt_maps.draw(points, labels, (side, side), LOW_RES_STRIDE)
    key_grid = masks.shape[-1] // STRIDE, masks.shape[-1] // STRIDE
    so_far = _so_far(masks[-1:], pixels[-1:], generator)
    clicks, signs = correct(so_far, masks[-1:], generator, harmless=HARMLESS)
    improved = corrected(pixels[-1:], so_far.sigmoid(), clicks, signs, LOW_RES_STRIDE)
    return {
        "images": images[None],
        "masks": masks[None],
        "flows": torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2).half()[None]
        if flows
        else torch.zeros(1, 0, 2, side, side, dtype=torch.float16),
        "drawn": prompt_maps.draw(points, labels, key_grid, STRIDE).half(),
        "guess": first_guess(pixels[:1], finely).half(),
        "click": prompt_maps.draw(clicks, signs, key_grid, STRIDE).half(),
        "so_far": improved.half(),
    }


def _so_far(mask_1ss: Tensor, pixels_13hw: Tensor, generator: torch.Generator) -> Tensor:
    """Mask logits 1 x h x w that a user would correct: a spoilt mask, at times without a large part of it, or
    with a large part of what is around it."""
    side = pixels_13hw.shape[-1]
    logits = spoil(on_grid(mask_1ss, side), pixels_13hw / 255, generator)
    kind = float(torch.rand((), generator=generator))
    if kind >= CUT + SPILL or not (logits > 0).any():
        return logits
    rows, columns = (logits[0] > 0).nonzero().unbind(1)
    pick = int(torch.randint(len(rows), (), generator=generator))
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    y, x = (y - rows[pick]).float(), (x - columns[pick]).float()
    if kind < CUT:
        angle = float(torch.rand((), generator=generator)) * 2 * np.pi
        return torch.where((x * np.cos(angle) + y * np.sin(angle) > 0)[None], logits, -6.0)
    reach = (0.5 + float(torch.rand((), generator=generator))) * len(rows) ** 0.5
    return torch.where((x.square() + y.square() < reach**2)[None], 6.0, logits)


class Portions(Dataset[tuple[Rows, Rows]]):
    """Portion i of a run: some clips and some clips of one frame, made from the seed and i alone."""

    def __init__(
        self,
        clips: ClipMaker,
        stills: ClipMaker,
        sizes: tuple[int, int],
        prompts: PromptShares,
        seeds: tuple[int, int],
        count: int,
    ) -> None:
        self._makers = clips, stills
        self._sizes, self._seeds, self._prompts, self._count = sizes, seeds, prompts, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[Rows, Rows]:
        clips, stills = (
            self._made(maker, seed, range(index * size, (index + 1) * size))
            for maker, seed, size in zip(self._makers, self._seeds, self._sizes, strict=True)
        )
        return clips, stills

    def _made(self, maker: ClipMaker, base_seed: int, numbers: range) -> Rows:
        rows = []
        for number in numbers:
            seed = clip_seed(base_seed, number)
            rows.append(prepare(maker.make(seed), self._prompts, seed))
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]} if rows else {}
