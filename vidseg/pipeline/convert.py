"""Writes a finished run in the formats of annotation tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from vidseg.errors import InputError
from vidseg.pipeline import run_record
from vidseg.pipeline.export import export
from vidseg.pipeline.formats import exports_by_name
from vidseg.pipeline.writers.masklets import FILE_NAME as MASKLETS


def convert(
    run: str | PathLike[str], formats: str | Sequence[str], out: str | PathLike[str] | None = None
) -> list[Path]:
    """Write a finished run in other formats, as `vidseg convert` does; returns the files.

    Args:
        run: the folder of a run that holds masklets.jsonl.
        formats: names of formats that `vidseg convert --help` lists: `["coco", "mot"]`, or `"coco"`.
        out: folder to write to; None: that of the run.

    Raises:
        InputError: an unknown format, or no run, or one whose masklets.jsonl lacks frames or
            cannot be read; or `out` cannot be written to.
    """
    formats = [formats] if isinstance(formats, str) else formats
    exports_by_name(formats)
    run = Path(run)
    masklets, out = run / MASKLETS, run if out is None else Path(out)
    if not masklets.is_file():
        raise InputError(
            f"there is no {MASKLETS} in '{run}'",
            hint="give the --out folder of a `vidseg track` run with the format rle (a default)",
        )
    record = run_record.read_finished(run)
    video = run_record.describe_video(record, run)
    try:
        return export(masklets, formats, out, video, frames_done=_frames_done(record))
    except OSError as error:
        raise InputError(
            f"'{out}' cannot be written to ({error.strerror})", hint="choose another --out"
        ) from None


def _frames_done(record: Mapping[str, Any]) -> int:
    """How many frames the masklets of a run hold at least; 0 where its record does not say."""
    has_ended = record["status"] in ("done", "partial", "interrupted")
    return record["frames_done"] if has_ended and isinstance(record["frames_done"], int) else 0
