"""Builds the writers of a run from the names of formats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vidseg.pipeline.export import export_all_it_can
from vidseg.pipeline.formats import FORMATS, RLE, ExportFormat, FrameFormat, check_formats
from vidseg.pipeline.writers import VideoDescription, Writer, read_masklets
from vidseg.pipeline.writers.masklets import MaskletsProduct, MaskletsWriter
from vidseg.pipeline.writers.replay import replay

if TYPE_CHECKING:
    from vidseg.trackers.contract import Frame


def build_writers(
    formats: Sequence[str],
    out: Path,
    video: VideoDescription,
    *,
    state: Path,
    read_again: Callable[[], Iterable[Frame]] | None = None,
) -> list[Writer]:
    """The writers of some formats; each must be given every frame.

    Args:
        formats: names of `FORMATS`.
        state: folder for what a run is resumed from.
        read_again: opens the source once more, in rising order. Needed if the frames of the run do not come
            in rising order in one go (backward, both, resumed): writers that want that order use it.

    Raises:
        InputError: see `check_formats`.
    """
    check_formats(formats)
    writers: list[Writer] = []
    ordered: list[Writer] = []
    products: list[MaskletsProduct] = []
    for name in formats:
        row = FORMATS[name]
        if name == RLE or isinstance(row, ExportFormat):
            continue
        if not row.wants_order:
            writers.append(row.build(out, video))
        elif read_again is None:
            ordered.append(row.build(out, video))
        else:
            products.append(partial(_replay_run, row, out, video, read_again))
    if exports := [name for name in formats if isinstance(FORMATS[name], ExportFormat)]:
        products.append(partial(export_all_it_can, formats=exports, out=out, video=video))
    # Beside a writer that wants order in any case: should the run be cut off, masklets are all that a resumed
    # one can replay it from.
    if RLE in formats or products or ordered:
        aside = None if RLE in formats else state
        writers.append(MaskletsWriter(out, aside=aside, products=products))
    return writers + ordered


def _replay_run(
    row: FrameFormat,
    out: Path,
    video: VideoDescription,
    read_again: Callable[[], Iterable[Frame]],
    masklets: Path,
) -> list[Path]:
    frames = read_again()
    try:
        return replay(frames, read_masklets(masklets, size_hw=video.size_hw), row.build(out, video))
    finally:
        close = getattr(frames, "close", None)
        if close is not None:
            close()
