"""Masks of made objects, as a run would hand them to writers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from vidseg.pipeline.writers import FrameMasks, VideoDescription
from vidseg.trackers.contract import Frame

RATE = Fraction(24)


def described(size_hw: tuple[int, int], labels: Mapping[int, str]) -> VideoDescription:
    return VideoDescription(name="made", size_hw=size_hw, labels=labels, frame_rate=RATE)


def frame_masks(
    frame_idx: int, masks: Sequence[np.ndarray], obj_ids: Sequence[int] | None = None
) -> FrameMasks:
    """One frame's masks; object ids from 1 on if none are given."""
    stacked = np.asarray(masks, np.bool_)
    ids = list(obj_ids) if obj_ids is not None else list(range(1, len(stacked) + 1))
    scores = [round(0.9 - 0.01 * row, 4) if mask.any() else 0.0 for row, mask in enumerate(stacked)]
    return FrameMasks(frame_idx, float(frame_idx / RATE), stacked.shape[1:], ids, stacked, scores)


def picture(masks: FrameMasks) -> Frame:
    """A grey, textured frame to go with masks."""
    height, width = masks.size_hw
    y, x = np.mgrid[:height, :width]
    grey = (96 + 8 * ((x // 4 + y // 4 + masks.frame_idx) % 8)).astype(np.uint8)
    return Frame(masks.frame_idx, masks.pts_seconds, np.repeat(grey[..., None], 3, axis=2))


def moving_squares(
    num_frames: int, size_hw: tuple[int, int] = (48, 64), num_objects: int = 2
) -> list[FrameMasks]:
    """Squares that move to the right, in rows of their own; the last one is absent on every third frame."""
    frames = []
    for frame_idx in range(num_frames):
        masks = np.zeros((num_objects, *size_hw), np.bool_)
        for row in range(num_objects):
            if row < num_objects - 1 or frame_idx % 3:
                top, left = row * size_hw[0] // (num_objects + 1), (frame_idx + row) % (size_hw[1] - 10)
                masks[row, top : top + 14, left : left + 10] = True
        frames.append(frame_masks(frame_idx, masks))
    return frames


@st.composite
def masklets(draw: st.DrawFn) -> list[FrameMasks]:
    """A short video of objects that come and go.

    Random, empty, full, one-pixel and striped masks; gaps in the frames' and the objects' numbers; odd sizes.
    """
    size_hw = draw(st.tuples(st.integers(1, 23), st.integers(1, 23)))
    obj_ids = sorted(draw(st.sets(st.integers(1, 400), max_size=4)))
    frame_ids = sorted(draw(st.sets(st.integers(0, 9), min_size=1, max_size=5)))
    return [
        frame_masks(
            frame_idx,
            np.array([draw(one_mask(size_hw)) for _ in obj_ids]).reshape(len(obj_ids), *size_hw),
            obj_ids,
        )
        for frame_idx in frame_ids
    ]


@st.composite
def one_mask(draw: st.DrawFn, size_hw: tuple[int, int]) -> np.ndarray:
    height, width = size_hw
    mask = np.zeros(size_hw, np.bool_)
    kind = draw(st.sampled_from(["empty", "full", "pixel", "box", "stripes", "noise"]))
    if kind == "full":
        mask[:] = True
    elif kind == "pixel":
        mask[draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))] = True
    elif kind == "box":
        y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        mask[y : draw(st.integers(y + 1, height)), x : draw(st.integers(x + 1, width))] = True
    elif kind == "stripes":
        mask[:, draw(st.integers(0, 1)) :: 2] = True
    elif kind == "noise":
        mask[:] = np.random.default_rng(draw(st.integers(0, 2**16))).random(size_hw) > 0.5
    return mask


def visible(frames: Sequence[FrameMasks]) -> Iterator[tuple[int, int, np.ndarray, float]]:
    """(frame, object, mask, score) of every mask that is not empty."""
    for masks in frames:
        for obj_id, mask, score in zip(masks.obj_ids, masks.masks, masks.scores, strict=True):
            if mask.any():
                yield masks.frame_idx, obj_id, mask, score
