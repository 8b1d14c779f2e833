"""Makes formats from a finished masklets.jsonl: `masklets.<format>.<ext>` for annotation tools, `masks.tar`.

Exporters read the masklets line by line, in as many passes as the order of the format needs, and keep the
masks of no frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vidseg.errors import InputError, RunError, VidsegError
from vidseg.pipeline.atomic import replacing
from vidseg.pipeline.formats import ExportFormat, exports_by_name
from vidseg.pipeline.writers.contract import PartlyFinishedError
from vidseg.pipeline.writers.finished import Masklets, VideoDescription
from vidseg.pipeline.writers.masklets import masklets_size


def export(
    path: Path, formats: Sequence[str], out: Path, video: VideoDescription, *, frames_done: int = 0
) -> list[Path]:
    """Write a finished masklets.jsonl in other formats; if one fails, the others are still written.

    Args:
        frames_done: how many frames the file must hold at least.

    Returns:
        the files.

    Raises:
        InputError: see `exports_by_name`; or the file is no masklets.jsonl, or lacks frames.
        RunError: an exporter failed.
    """
    try:
        return export_all_it_can(path, formats, out, video, frames_done=frames_done)
    except PartlyFinishedError as partly:
        raise partly.cause from None


def export_all_it_can(
    path: Path, formats: Sequence[str], out: Path, video: VideoDescription, *, frames_done: int = 0
) -> list[Path]:
    """Do as `export` does, but raise a `PartlyFinishedError` if a format fails."""
    rows = exports_by_name(formats)
    if 0 in video.size_hw:
        video = replace(video, size_hw=masklets_size(path))
    masklets = Masklets.survey(path, video)
    if masklets.num_lines < frames_done:
        raise InputError(
            f"the masklets hold {masklets.num_lines} of the {frames_done} frames that were tracked",
            where=str(path),
            hint="the file was cut or changed: track again, with --overwrite",
        )
    done: list[Path] = []
    errors: list[Exception] = []
    for name, row in rows.items():
        try:
            done.append(_write(name, row, masklets, out))
        except Exception as error:  # the other formats can still be written
            errors.append(error)
    if errors:
        raise PartlyFinishedError(done, errors[0])
    return done


def _write(name: str, row: ExportFormat, masklets: Masklets, out: Path) -> Path:
    final = out / row.output
    try:
        with replacing(final, entries=row.entries) as part:
            row.write(part, masklets)
    except (VidsegError, OSError):
        raise
    except Exception as error:  # an exporter of a plug-in may raise anything
        raise RunError(f"writing the format '{name}' failed ({type(error).__name__}: {error})") from error
    return final
