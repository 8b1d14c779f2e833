"""mIoU of promptable segmentation: prompts are made of annotations, and answers compared with their masks.

As the survey of SAM's efficient variants measures it (Sun et al., arXiv:2410.04960, tables 5 and 6): every
annotation of at least one pixel counts, crowds too; of three masks the one with the best predicted IoU is
taken; the mean is over annotations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vidseg.eval.images.coco import mask_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from vidseg.trackers.image.embedding import Embedding

SMALLEST_AREA = 1
"""Annotations of less, in square pixels, are left out."""
UNION_OFFSET = 1e-7
"""Is added to the union, as the survey's scripts do it."""
PROMPTS_AT_ONCE = 64

Annotation = dict[str, Any]


def box_of(annotation: Annotation) -> list[float]:
    """The annotation's box as (x0, y0, x1, y1)."""
    x, y, width, height = annotation["bbox"]
    return [x, y, x + width, y + height]


def _box(annotation: Annotation, mask: npt.NDArray[np.bool_], seed: int) -> dict[str, Any]:
    return {"box": box_of(annotation)}


def _centre(annotation: Annotation, mask: npt.NDArray[np.bool_], seed: int) -> dict[str, Any]:
    x0, y0, x1, y1 = box_of(annotation)
    return {"points": [[(x0 + x1) / 2, (y0 + y1) / 2]]}


def _random(annotation: Annotation, mask: npt.NDArray[np.bool_], seed: int) -> dict[str, Any]:
    # The place hangs on the annotation, so that neither the order nor a resumed run changes it.
    rng = np.random.default_rng([seed, annotation["id"]])
    ys, xs = np.nonzero(mask)
    if not len(xs):  # polygons thinner than a pixel
        return _centre(annotation, mask, seed)
    chosen = rng.integers(len(xs))
    return {"points": [[float(xs[chosen]), float(ys[chosen])]]}


PROMPTS: dict[str, Callable[[Annotation, Any, int], dict[str, Any]]] = {
    "box": _box,
    "centre": _centre,
    "random": _random,
}
"""The annotation's box; the centre of that box; a point of the mask drawn at random."""


def ious_of_picture(
    embedding: Embedding, annotations: Sequence[Annotation], kinds: Sequence[str], seed: int
) -> dict[str, dict[str, float]]:
    """The IoU of the answer to each prompt of a picture.

    Args:
        kinds: names of `PROMPTS`.
        seed: decides which points are drawn.

    Returns:
        Kind -> id of the annotation, as text -> IoU.
    """
    counted = [a for a in annotations if a["area"] >= SMALLEST_AREA]
    truths = [mask_of(annotation, embedding.size_hw) for annotation in counted]
    found: dict[str, dict[str, float]] = {}
    for kind in kinds:
        found[kind] = {}
        for start in range(0, len(counted), PROMPTS_AT_ONCE):
            few = list(zip(counted, truths, strict=True))[start : start + PROMPTS_AT_ONCE]
            prompts = [PROMPTS[kind](annotation, truth, seed) for annotation, truth in few]
            for (annotation, truth), mask in zip(few, best_masks(embedding, prompts), strict=True):
                found[kind][str(annotation["id"])] = iou(mask, truth)
    return found


def best_masks(embedding: Embedding, prompts: Sequence[dict[str, Any]]) -> list[npt.NDArray[np.bool_]]:
    """The mask that each prompt's answer puts first, with alternatives offered."""
    return [answer.found(multimask=True)[0].mask for answer in embedding.candidates_batch(prompts)]


def iou(mask: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> float:
    """Intersection over union, as the survey's scripts compute it."""
    both = np.count_nonzero(mask & truth)
    return float(both / (np.count_nonzero(mask | truth) + UNION_OFFSET))


def mean_ious(by_picture: Sequence[dict[str, dict[str, float]]]) -> dict[str, float]:
    """The mean over annotations for each kind of prompt; NaN where there are none."""
    kinds = list(by_picture[0]) if by_picture else []
    values = {kind: [v for picture in by_picture for v in picture[kind].values()] for kind in kinds}
    return {kind: float(np.mean(v)) if v else float("nan") for kind, v in values.items()}
