"""A finished run shown once more to a writer that wants its frames in rising order and in one go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vidseg.errors import DecodeError
from vidseg.pipeline.writers.contract import FrameMasks, Writer

if TYPE_CHECKING:
    from vidseg.trackers.contract import Frame


def replay(frames: Iterable[Frame], masklets: Iterator[FrameMasks], writer: Writer) -> list[Path]:
    """Give a writer the frames of a run whose own did not come in rising order or in one go.

    Args:
        frames: the source once more, in rising order; a frame without a line in `masklets` has no objects.
        masklets: in rising order; see `read_masklets`.

    Returns:
        What the writer wrote; of a source that breaks, as far as it could be read.
    """
    masks = next(masklets, None)
    try:
        for frame in frames:
            while masks is not None and masks.frame_idx < frame.index:
                masks = next(masklets, None)
            if masks is not None and masks.frame_idx == frame.index:
                writer.write(frame, masks)
            else:
                writer.write(frame, _no_objects(frame))
    except DecodeError:
        pass  # the run itself broke here and said so
    except BaseException:
        writer.discard()
        raise
    return writer.finish()


def _no_objects(frame: Frame) -> FrameMasks:
    return FrameMasks(
        frame.index, frame.pts_seconds, frame.size_hw, [], np.zeros((0, *frame.size_hw), np.bool_), []
    )
