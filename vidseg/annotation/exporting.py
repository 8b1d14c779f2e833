"""Exports a project: every format of `vidseg convert` and `vidseg track`, and its prompts."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vidseg.annotation.formats import PROMPTS
from vidseg.annotation.run_folder import DRAWN
from vidseg.errors import InputError
from vidseg.pipeline import run_record
from vidseg.pipeline.atomic import replacing
from vidseg.pipeline.export import export
from vidseg.pipeline.formats import FORMATS, RLE, FrameFormat, check_formats
from vidseg.pipeline.read import read
from vidseg.pipeline.writers.finished import VideoDescription
from vidseg.pipeline.writers.masklets import FILE_NAME as MASKLETS
from vidseg.pipeline.writers.masklets import read_lines, read_masklets
from vidseg.pipeline.writers.replay import replay

if TYPE_CHECKING:
    from vidseg.annotation.session import AnnotationSession
    from vidseg.trackers.contract import Frame

EXPORTS = "exports"
"""Folder of the exports in that of the project; below it one for all frames, and one for those reviewed."""


def export_project(
    session: AnnotationSession,
    formats: Sequence[str],
    *,
    reviewed_only: bool = False,
    on_format: Callable[[str, int], None] = lambda name, done: None,
) -> list[Path]:
    """Write a project in some formats, below its folder; returns the files and folders.

    Args:
        formats: names of `vidseg.pipeline.formats.FORMATS`, or 'prompts'.
        reviewed_only: whether to write the frames alone that a person has marked as reviewed.
        on_format: called with each format before it is written, and how many were before it.

    Raises:
        InputError: an unknown format, or two that write one file; no frames to write.
    """
    names = [name for name in formats if name != PROMPTS]
    if names:
        check_formats(names)
    if reviewed_only and not session.project.reviewed():
        raise InputError("no frame is marked as reviewed", hint="mark some, or export all frames")
    out = session.folder / EXPORTS / ("reviewed" if reviewed_only else "all")
    out.mkdir(parents=True, exist_ok=True)
    session.write_files()
    done: list[Path] = []
    if PROMPTS in formats:
        done += _copy_prompts(session.folder, out)
    if not names:
        return done
    record = run_record.read_record(session.folder / run_record.FILE_NAME)
    video = run_record.describe_video(record, session.folder)
    with tempfile.TemporaryDirectory(dir=session.folder) as scratch:
        masklets = Path(scratch) / MASKLETS
        session.files.write_masklets(session.project, masklets, reviewed_only=reviewed_only)
        for place, name in enumerate(names):
            on_format(name, place)
            done += _write(session, name, masklets, out, video)
    return done


def _write(
    session: AnnotationSession, name: str, masklets: Path, out: Path, video: VideoDescription
) -> list[Path]:
    row = FORMATS[name]
    if name == RLE:
        with replacing(out / MASKLETS) as part:
            shutil.copyfile(masklets, part)
        return [out / MASKLETS]
    if not isinstance(row, FrameFormat):
        return export(masklets, [name], out, video)
    target = out / row.output
    if target.is_dir():
        shutil.rmtree(target)  # pictures of an earlier export, of frames that may not be written now
    masks = read_masklets(masklets, size_hw=session.size_hw)
    frames = _frames(session, None if row.wants_order else masklets)
    return replay(frames, masks, row.build(out, video))


def _frames(session: AnnotationSession, masklets: Path | None) -> Iterator[Frame]:
    """The frames of the video; those alone that are in `masklets`, if it is given."""
    wanted = None if masklets is None else {line.frame for line in read_lines(masklets)}
    with read(session.video.source, keep_decoded=False) as frames:
        for frame in frames:
            if wanted is None or frame.index in wanted:
                yield frame


def _copy_prompts(folder: Path, out: Path) -> list[Path]:
    path = folder / "prompts.json"
    if not path.is_file():
        raise InputError("nothing was said of any object yet", hint="click an object first")
    with replacing(out / path.name) as part:
        shutil.copyfile(path, part)
    done = [out / path.name]
    if (folder / DRAWN).is_dir() and any((folder / DRAWN).iterdir()):
        with replacing(out / DRAWN) as part:
            shutil.copytree(folder / DRAWN, part)
        done.append(out / DRAWN)
    return done
