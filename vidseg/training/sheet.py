"""A picture of clips: one row a clip, frames side by side; the truth in green, the prediction in pink."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from vidseg.pipeline.atomic import write_bytes

MAX_CLIPS, MAX_FRAMES = 6, 8
CELL_PX = 192
GAP_PX = 4
TRUTH, PREDICTION = (60, 220, 60), (255, 60, 200)


def write_sheet(path: Path, images: Tensor, masks: Tensor, logits: Tensor | None = None) -> None:
    """Write a PNG.

    Args:
        images: uint8 B x T x 3 x S x S.
        masks: bool B x T x S x S, the truth.
        logits: B x T x S x S, the prediction; a frame without a positive one is marked as predicted empty.
    """
    import cv2

    rows = []
    num_clips, num_frames = min(len(images), MAX_CLIPS), images.shape[1]
    # A long clip is shown by evenly spaced frames, the first and the last among them.
    times = sorted({round(t) for t in np.linspace(0, num_frames - 1, min(num_frames, MAX_FRAMES))})
    for clip in range(num_clips):
        cells = []
        for t in times:
            picture = images[clip, t].permute(1, 2, 0).cpu().numpy()
            cell = cv2.resize(picture, (CELL_PX, CELL_PX), interpolation=cv2.INTER_AREA)
            _outline(cell, masks[clip, t], TRUTH)
            if logits is not None:
                _outline(cell, logits[clip, t] > 0, PREDICTION)
            cells.append(cv2.copyMakeBorder(cell, 0, GAP_PX, 0, GAP_PX, cv2.BORDER_CONSTANT))
        rows.append(np.concatenate(cells, 1))
    sheet = np.ascontiguousarray(np.concatenate(rows)[..., ::-1])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, cv2.imencode(".png", sheet)[1].tobytes())


def _outline(cell: np.ndarray, mask: Tensor, colour: tuple[int, int, int]) -> None:
    import cv2

    small = mask.cpu().numpy().astype(np.uint8)
    large = cv2.resize(small, (CELL_PX, CELL_PX), interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(large, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(cell, contours, -1, colour, 1)
