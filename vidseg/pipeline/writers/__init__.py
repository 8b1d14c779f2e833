"""Writers: what `track` leaves in its folder.

png       masks/00000.png   label maps, DAVIS palette
rle       masklets.jsonl    every object of every frame: the result all other formats are made from
overlay   overlay.mp4       the video with the objects painted on it
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vidseg.errors import InputError, unknown
from vidseg.pipeline.writers import exchange
from vidseg.pipeline.writers.contract import FrameMasks as FrameMasks
from vidseg.pipeline.writers.contract import Writer as Writer
from vidseg.pipeline.writers.masklets import MaskletsProduct, MaskletsWriter
from vidseg.pipeline.writers.masklets import read_masklets as read_masklets
from vidseg.pipeline.writers.overlay import OverlayWriter
from vidseg.pipeline.writers.overlay import render_overlay as render_overlay
from vidseg.pipeline.writers.png import PngWriter

if TYPE_CHECKING:
    from vidseg.pipeline.read import SourceInfo
    from vidseg.trackers.contract import Frame

FORMATS = ("png", "rle", "overlay", *exchange.EXCHANGE_FORMATS)
DEFAULT_FORMATS = ("png", "rle", "overlay")


def check_formats(names: Sequence[str]) -> None:
    """Raises InputError for a name that is not in `FORMATS`, one given twice, or none at all."""
    for name in names:
        if name not in FORMATS:
            raise InputError(unknown("format", name, FORMATS))
    if len(set(names)) < max(len(names), 1):
        raise InputError(f"formats {','.join(names)!r}", hint="name at least one, and each once")


def build_writers(
    formats: Sequence[str],
    out: Path,
    info: SourceInfo,
    labels: Mapping[int, str],
    *,
    read_again: Callable[[], Iterable[Frame]] | None = None,
) -> list[Writer]:
    """The writers of some formats; give each of them every frame.

    Args:
        formats: names of `FORMATS`.
        labels: every object that will be followed, with its label ('' where it has none).
        read_again: opens the source once more, in rising order. Give it when the run's frames will not come
            in one go in rising order (backward, both, resumed): the overlay is then painted by `finish`.

    Raises:
        InputError: see `check_formats`.
    """
    check_formats(formats)
    writers: list[Writer] = []
    products: list[MaskletsProduct] = []
    if "png" in formats:
        writers.append(PngWriter(out, labels))
    if "overlay" in formats and read_again is not None:
        products.append(partial(_paint_finished_run, out, info, labels, read_again))
    exchange_formats = [name for name in formats if name in exchange.EXCHANGE_FORMATS]
    if exchange_formats:
        video = describe_video(info, labels)
        products.append(partial(exchange.convert, formats=exchange_formats, out=out, video=video))
    # Masklets are written beside an overlay in any case: should the run be cut off, they are all that a
    # resumed one can paint it from.
    if set(formats) - {"png"}:
        writers.append(MaskletsWriter(out, keep="rle" in formats, products=products))
    if "overlay" in formats and read_again is None:
        writers.append(OverlayWriter(out, frame_rate=info.frame_rate, labels=labels))
    return writers


def describe_video(info: SourceInfo, labels: Mapping[int, str]) -> exchange.VideoDescription:
    """What the exchange formats say of a source."""
    return exchange.VideoDescription(
        name=info.path.stem if info.path is not None else info.name,
        size_hw=info.size_hw,
        labels=labels,
        frame_rate=info.frame_rate,
        num_frames=info.num_frames,
        frame_names=info.frame_names,
    )


def _paint_finished_run(
    out: Path,
    info: SourceInfo,
    labels: Mapping[int, str],
    read_again: Callable[[], Iterable[Frame]],
    masklets: Path,
) -> list[Path]:
    frames = read_again()
    try:
        return render_overlay(
            frames,
            read_masklets(masklets, size_hw=info.size_hw),
            out,
            frame_rate=info.frame_rate,
            labels=labels,
        )
    finally:
        close = getattr(frames, "close", None)
        if close is not None:
            close()
