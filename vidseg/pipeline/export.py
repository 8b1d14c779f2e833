"""Formats made from a finished masklets.jsonl: `masklets.<format>.<ext>` for annotation tools, `masks.tar`.

Exporters read the masklets line by line, in as many passes as the format's order of things wants, and hold no
frame's masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vidseg.errors import RunError, VidsegError
from vidseg.pipeline.atomic import replacing
from vidseg.pipeline.formats import ExportFormat, exports_by_name
from vidseg.pipeline.writers.finished import Masklets, VideoDescription
from vidseg.pipeline.writers.masklets import masklets_size


def export(path: Path, formats: Sequence[str], out: Path, video: VideoDescription) -> list[Path]:
    """Write a finished masklets.jsonl in other formats; returns the files. Where one fails, the others come.

    Raises:
        InputError: see `exports_by_name`; a masklets.jsonl that is not one.
        RunError: an exporter failed.
    """
    rows = exports_by_name(formats)
    if 0 in video.size_hw:
        video = replace(video, size_hw=masklets_size(path))
    masklets = Masklets.survey(path, video)
    done: list[Path] = []
    errors: list[Exception] = []
    for name, row in rows.items():
        try:
            done.append(_write(name, row, masklets, out))
        except Exception as error:  # the other formats can still be written
            errors.append(error)
    if errors:
        raise errors[0]
    return done


def _write(name: str, row: ExportFormat, masklets: Masklets, out: Path) -> Path:
    final = out / row.output
    try:
        with replacing(final) as part:
            row.write(part, masklets)
    except (VidsegError, OSError):
        raise
    except Exception as error:  # a plug-in's
        raise RunError(f"writing the format '{name}' failed ({type(error).__name__}: {error})") from error
    return final
