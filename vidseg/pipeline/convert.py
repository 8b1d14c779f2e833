"""Writes a finished run in the formats of annotation tools."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from vidseg.errors import InputError, OutputError
from vidseg.pipeline import run_record
from vidseg.pipeline.export import export
from vidseg.pipeline.formats import ExportFormat, exports_by_name
from vidseg.pipeline.writers.masklets import FILE_NAME as MASKLETS


def convert(
    run: str | PathLike[str],
    formats: str | Sequence[str],
    out: str | PathLike[str] | None = None,
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Write a finished run in other formats, as `vidseg convert` does; returns the files.

    Args:
        run: the folder of a run that holds masklets.jsonl.
        formats: names of formats that `vidseg convert --help` lists: `["coco", "mot"]`, or `"coco"`.
        out: folder to write to; None: that of the run, in which files of these names are the run's own and
            are replaced.
        overwrite: replace files of these names in another folder, too.

    Raises:
        OutputError: another folder holds such a file already.
        InputError: an unknown format, or no run, or one whose masklets.jsonl lacks frames or
            cannot be read; or `out` cannot be written to.
    """
    formats = [formats] if isinstance(formats, str) else formats
    rows = exports_by_name(formats)
    run = Path(run)
    masklets, out = run / MASKLETS, run if out is None else Path(out)
    if not masklets.is_file():
        raise InputError(
            f"there is no {MASKLETS} in '{run}'",
            hint="give the --out folder of a `vidseg track` run with the format rle (a default)",
        )
    record = run_record.read_finished(run)
    video = run_record.describe_video(record, run)
    if not overwrite and out.resolve() != run.resolve():
        _check_free(out, rows.values())
    try:
        return export(masklets, formats, out, video, frames_done=_frames_done(record))
    except OSError as error:
        raise InputError(
            f"'{out}' cannot be written to ({error.strerror})", hint="choose another --out"
        ) from None


def _check_free(out: Path, rows: Iterable[ExportFormat]) -> None:
    """Raise an OutputError if anything that would be replaced lies in a folder: nobody knows whose it is."""
    for row in rows:
        target = out / row.output
        for path in [target / name for name in row.entries] or [target]:
            if os.path.lexists(path):
                raise OutputError(
                    f"'{path}' is there already", hint="--overwrite replaces it; or choose another --out"
                )


def _frames_done(record: Mapping[str, Any]) -> int:
    """How many frames the masklets of a run hold at least; 0 where its record does not say."""
    has_ended = record["status"] in ("done", "partial", "interrupted")
    return record["frames_done"] if has_ended and isinstance(record["frames_done"], int) else 0
