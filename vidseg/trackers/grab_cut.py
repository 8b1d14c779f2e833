"""GrabCut (Rother et al., SIGGRAPH 2004) by OpenCV, seeded so that it gives the same answer each time."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt


def grab_cut(
    picture: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], rounds: int
) -> npt.NDArray[np.bool_]:
    """The pixels of the object: bool h x w.

    Args:
        picture: h x w x 3.
        labels: h x w of OpenCV's `GC_*`, updated in place. If all are of one side, they are the answer.
        rounds: how many iterations to run.
    """
    is_object = _on_object(labels)
    if not is_object.any() or is_object.all():
        return is_object
    cv2.setRNGSeed(0)  # GrabCut starts from a random k-means; fix the seed
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(picture, labels, None, *models, rounds, cv2.GC_INIT_WITH_MASK)
    return _on_object(labels)


def _on_object(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    is_object: npt.NDArray[np.bool_] = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    return is_object
