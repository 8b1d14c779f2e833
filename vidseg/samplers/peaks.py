"""The peak sampler: a small trained network says where prompts pay, and only there the model is asked.

Coarse to fine: the first round asks the peaks that stand out over a wide surrounding, the second one those of
a narrow surrounding. The most confident peaks come first, and what their masks cover is not asked any more.

Source: Chen et al., "AoP-SAM" (AAAI 2025, arXiv:2505.11980), adaptive sampling and filtering; Fu et al.,
"Lite-SAM" (ECCV 2024, arXiv:2407.08965), points and boxes of AutoPPN.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from vidseg.errors import CheckpointError, ConfigError
from vidseg.samplers.asking import Asking
from vidseg.samplers.boxes import inside
from vidseg.samplers.grid import without_overlaps
from vidseg.samplers.picture import FeatureMap
from vidseg.samplers.proposals import Proposal
from vidseg.samplers.settings import HEAD_HINT, Count, PointSettings, Share
from vidseg.samplers.small_regions import without_small_regions

if TYPE_CHECKING:
    import numpy.typing as npt

    from vidseg.samplers.prompt_head import PromptHead


@dataclass(frozen=True, kw_only=True)
class PeakSettings(PointSettings):
    """Settings of the sampler `peaks`. `points_per_side` has no effect."""

    weights: str | Path | None = None
    """A safetensors file of a prompt head that was trained on the features of this very model."""
    prompts: Literal["points", "boxes"] = "points"
    """Whether the model is asked by the peaks themselves or by the boxes that the head draws about them."""
    max_prompts: Count = 64
    """At most this many prompts are asked, the most confident ones."""
    peak_thresh: Share = 0.1
    """Places of which the head is less confident than this are not asked."""
    coarse_radius: Annotated[int, Field(ge=0)] = 3
    """A peak of the first round is the most confident cell within so many cells, of which a side of the
    picture has as many as the model's features."""
    fine_radius: Annotated[int, Field(ge=0)] = 1
    """The radius of the second round, in cells."""
    prompts_per_step: Count = 8
    """So many prompts are asked before the peaks that their masks cover are dropped."""

    def __post_init__(self) -> None:
        if self.weights is None:
            raise ConfigError(
                "the sampler 'peaks' was given no weights of a prompt head",
                hint="weights=FILE.safetensors, --set weights=FILE.safetensors; " + HEAD_HINT,
            )


def peaks(asking: Asking, settings: PeakSettings) -> list[Proposal]:
    """The masks at the peaks of the head's confidence."""
    places = _Places(asking, settings)
    covered = np.zeros(asking.size_hw, bool) if asking.skip is None else asking.skip.copy()
    kept: list[Proposal] = []
    for radius in (settings.coarse_radius, settings.fine_radius):
        while len(prompts := places.take(radius, covered)):
            for proposal in _ask(asking, settings, prompts):
                covered |= proposal.mask.whole(asking.size_hw)
                kept.append(proposal)
    proposals = without_overlaps(kept, settings.box_nms_thresh)
    if settings.min_mask_region_area:
        return without_small_regions(
            proposals, asking.size_hw, settings.min_mask_region_area, settings.box_nms_thresh
        )
    return proposals


def _ask(asking: Asking, settings: PeakSettings, prompts: npt.NDArray[np.float64]) -> list[Proposal]:
    if settings.prompts == "points":
        return asking.points(prompts, settings)
    found = asking.boxes(inside(prompts, asking.size_hw)[0], settings)
    return [
        proposal
        for proposal in found
        if proposal.predicted_iou > settings.pred_iou_thresh
        and proposal.stability >= settings.stability_score_thresh
    ]


def _check_fits(head: PromptHead, features: FeatureMap, where: str) -> None:
    """Refuse a head that was trained on other features: what it says of these would be noise."""
    hint = "train one for this model and its weights: vidseg train (docs/training.md)"
    theirs, ours = head.scale.num_features, len(features.values_chw)
    if theirs != ours:
        raise CheckpointError(
            f"the prompt head is for features of {theirs} channels, and the model's have {ours}",
            where=where,
            hint=hint,
        )
    digests = head.model_weights_sha256, features.weights_sha256
    if None not in digests and digests[0] != digests[1]:
        raise CheckpointError(
            "the prompt head was trained with other weights of the model "
            f"({digests[0]:.8}..., and these are {digests[1]:.8}...)",
            where=where,
            hint=hint,
        )


class _Places:
    """What the head says of a picture, and what of it was asked already.

    Raises:
        ConfigError: the picture has no features.
        CheckpointError: the head cannot be read, or belongs to another model.
    """

    def __init__(self, asking: Asking, settings: PeakSettings) -> None:
        import torch

        from vidseg.samplers.prompt_head import load_head

        features = asking.picture.features
        if features is None:
            raise ConfigError(
                "the sampler 'peaks' needs features of the whole picture, and there are none",
                hint="take a model that encodes whole pictures, or the sampler 'grid'",
            )
        assert settings.weights is not None
        values = features.values_chw
        head = load_head(settings.weights, values.device)
        _check_fits(head, features, str(settings.weights))
        with torch.inference_mode():
            said = head(values[None])
        self._confidence_hw = said.confidence_logits_rhw[0].sigmoid()
        self._sides_4hw = said.sides_r4hw[0].cpu().numpy().astype(np.float64)
        self._cell_wh = np.array(features.cell_wh)
        self._settings = settings
        self._asked = np.zeros(self._confidence_hw.shape, bool)

    def take(self, radius: int, covered: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """The next prompts of a round, points N x 2 or boxes N x 4, in pixels of the picture; at last none.

        Args:
            covered: H x W; peaks on these pixels are left out.
        """
        from vidseg.samplers.prompt_head import peaks_of

        most = min(self._settings.prompts_per_step, self._settings.max_prompts - self._asked.sum())
        rows, columns = peaks_of(self._confidence_hw, radius, self._settings.peak_thresh).numpy().T
        centres = np.stack((columns, rows), axis=1) + 0.5
        x, y = (centres * self._cell_wh).astype(int).T
        # Where the model pads pictures, cells lie beyond the edge.
        open_ = (y < covered.shape[0]) & (x < covered.shape[1]) & ~self._asked[rows, columns]
        open_[open_] &= ~covered[y[open_], x[open_]]
        rows, columns, centres = (some[open_][:most] for some in (rows, columns, centres))
        self._asked[rows, columns] = True
        if self._settings.prompts == "points":
            return centres * self._cell_wh
        sides = self._sides_4hw[:, rows, columns].T
        boxes = np.concatenate((centres - sides[:, :2], centres + sides[:, 2:]), axis=1)
        return boxes * np.tile(self._cell_wh, 2)
