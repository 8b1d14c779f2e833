"""Asks a picture many prompts in chunks that fit into memory, and keeps the masks that are good enough.

Layouts: N prompts · K candidates · M masks · h w the decoder's grid · H W the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vidseg.masks import stability
from vidseg.samplers.picture import PromptedPicture
from vidseg.samplers.proposals import CutMask, Proposal
from vidseg.samplers.settings import PointSettings

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from vidseg.samplers.points import Crop

    Visit = Callable[[Tensor], object]
    """Is given the logits (M x H x W) of masks that are kept."""

CANDIDATES = 3
"""How many masks a point is expected to have; only the size of chunks depends on it."""
COPIES = 3
"""Resizing, comparing and cutting hold about this many arrays as large as the logits."""


class Asking:
    """One picture while a sampler asks it.

    Args:
        skip: bool H x W; points there are not asked.
    """

    def __init__(self, picture: PromptedPicture, skip: npt.NDArray[np.bool_] | None = None) -> None:
        self.picture = picture
        self.skip = skip
        self.num_asked = 0
        """Prompts that the decoder answered."""

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.picture.size_hw

    def points(
        self, points_xy: npt.NDArray[Any], settings: PointSettings, visit: Visit | None = None
    ) -> list[Proposal]:
        """The good masks at some points, in the points' order and, for one point, in the decoder's.

        Args:
            points_xy: N x 2.
            visit: is given the logits of masks that are kept, at the picture's size.
        """
        import torch

        kept: list[Proposal] = []
        with torch.inference_mode():
            for chunk in self._chunks(self.to_ask(points_xy), settings):
                self.num_asked += len(chunk)
                logits_nkhw, ious_nk = self.picture.at_points(chunk, settings.first_iou_thresh)
                sources = np.repeat(np.arange(len(chunk)), ious_nk.shape[1])
                logits, ious = logits_nkhw.flatten(0, 1), ious_nk.flatten()
                if settings.pred_iou_thresh > 0:
                    # Before resizing, because it is the cheaper check of the two.
                    good = (ious > settings.pred_iou_thresh).cpu()
                    logits, ious, sources = logits[good], ious[good], sources[good.numpy()]
                for some in self._fitting(len(ious), settings.memory_mb):
                    points = [(float(x), float(y)) for x, y in chunk[sources[some]]]
                    kept += self._kept(logits[some], ious[some], points, settings, visit)
        return kept

    def boxes(self, boxes_xyxy: npt.NDArray[Any], settings: PointSettings) -> list[Proposal]:
        """The mask of each box, in the boxes' order. None is dropped: a detector vouches for it."""
        import torch

        found: list[Proposal] = []
        with torch.inference_mode():
            for chunk in self._chunks(boxes_xyxy, settings):
                self.num_asked += len(chunk)
                logits_nkhw, ious_nk = self.picture.in_boxes(chunk)
                for some in self._fitting(len(chunk), settings.memory_mb):
                    full = self.picture.to_picture(logits_nkhw[some, 0])
                    stable = stability(full, settings.stability_score_offset)
                    found += _proposals(full > 0, logits_nkhw[some, 0], ious_nk[some, 0], stable, None)
        return found

    def crop(self, crop: Crop) -> Asking:
        """A crop of the picture, to be asked; what is asked there is not counted here."""
        skip = None if self.skip is None else self.skip[crop.y0 : crop.y1, crop.x0 : crop.x1]
        return Asking(self.picture.crop(crop), skip)

    def _kept(
        self,
        logits: Tensor,
        ious: Tensor,
        points: Sequence[tuple[float, float]],
        settings: PointSettings,
        visit: Visit | None,
    ) -> list[Proposal]:
        full = self.picture.to_picture(logits)
        stable = stability(full, settings.stability_score_offset)
        good = stable >= settings.stability_score_thresh
        chosen = [point for point, is_good in zip(points, good.tolist(), strict=True) if is_good]
        full = full[good]
        if visit is not None and len(full):
            visit(full)
        return _proposals(full > 0, logits[good], ious[good], stable[good], chosen)

    def to_ask(self, points_xy: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Those of some points, N x 2, that are not to be skipped."""
        if self.skip is None or not len(points_xy):
            return points_xy
        x, y = points_xy.astype(int).T
        return points_xy[~self.skip[y, x]]

    def _chunks(self, prompts: npt.NDArray[Any], settings: PointSettings) -> Iterator[npt.NDArray[Any]]:
        height, width = self.picture.grid_hw
        fitting = settings.memory_mb * 2**20 // (CANDIDATES * COPIES * 4 * height * width)
        count = max(1, min(settings.points_per_batch, fitting))
        for start in range(0, len(prompts), count):
            yield prompts[start : start + count]

    def _fitting(self, count: int, memory_mb: int) -> Iterator[slice]:
        """Slices of that many masks, each of which fits into memory at the picture's size."""
        height, width = self.size_hw
        fitting = max(1, memory_mb * 2**20 // (COPIES * 4 * height * width))
        return (slice(start, start + fitting) for start in range(0, count, fitting))


def _proposals(
    masks: Tensor,
    low_res_logits: Tensor,
    ious: Tensor,
    stabilities: Tensor,
    points: Sequence[tuple[float, float]] | None,
) -> list[Proposal]:
    halves = low_res_logits.half().cpu().numpy()
    return [
        Proposal(CutMask(mask), iou, stable, None if points is None else points[row], halves[row : row + 1])
        for row, (mask, iou, stable) in enumerate(
            zip(masks.cpu().numpy(), ious.tolist(), stabilities.tolist(), strict=True)
        )
    ]
