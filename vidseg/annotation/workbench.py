"""A queue of videos, one of which is open: what the pages of one server share."""

from __future__ import annotations

import threading
from os import PathLike
from pathlib import Path
from typing import Any

from vidseg.annotation.events import Listeners, error_document
from vidseg.annotation.exporting import export_project
from vidseg.annotation.opening import is_run
from vidseg.annotation.pictures import Pictures
from vidseg.annotation.run_folder import STATE
from vidseg.annotation.session import AnnotationSession
from vidseg.errors import InputError, SourceError
from vidseg.pipeline import run_record
from vidseg.pipeline.plan import default_out
from vidseg.pipeline.read.folder import IMAGE_SUFFIXES, natural_key
from vidseg.trackers.contract import Tracker
from vidseg.trackers.options import TrackerOptions

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".mpg", ".mpeg", ".ogv", ".wmv", ".flv",
    ".gif",
)  # fmt: skip
"""Files that are taken for videos in a folder of videos."""


def videos_of(source: str | PathLike[str], out: str | PathLike[str] | None) -> list[tuple[Path, Path | None]]:
    """The videos that a source stands for, each with the folder of its project (None: a default).

    A folder of frames, a run and a file are one; a folder of videos is a queue.

    Raises:
        SourceError: there is no such source.
    """
    path = Path(source)
    if not path.exists():
        raise SourceError(
            f"'{path}' does not exist", hint="give a video, a folder of frames or videos, or a run"
        )
    if path.is_file() or is_run(path):
        return [(path, None if out is None else Path(out))]
    files = [file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")]
    videos = sorted(
        (file for file in files if file.suffix.lower() in VIDEO_SUFFIXES), key=lambda f: natural_key(f.name)
    )
    if not videos or any(file.suffix.lower() in IMAGE_SUFFIXES for file in files):
        return [(path, None if out is None else Path(out))]
    folder = default_out(path) if out is None else Path(out)
    stems = [file.stem for file in videos]
    return [(file, folder / (file.stem if stems.count(file.stem) == 1 else file.name)) for file in videos]


class Workbench:
    """The videos of one server, and the session on the one that is open.

    Args:
        source: see `videos_of`.
        out: the project's folder; of a queue, the folder of its projects.
    """

    def __init__(
        self,
        source: str | PathLike[str],
        out: str | PathLike[str] | None = None,
        *,
        tracker: Tracker,
        asked: TrackerOptions,
    ) -> None:
        self._videos = videos_of(source, out)
        self._tracker = tracker
        self._asked = asked
        self.listeners = Listeners()
        """Those who are told of the events of whichever session is open."""
        self._lock = threading.RLock()
        self._export: dict[str, Any] | None = None
        self.exported: dict[str, Path] = {}
        """Names of downloads -> files that were exported."""
        self.index = 0
        self.session, self.pictures = self._opened(0)

    def open(self, index: int) -> None:
        """Open another video of the queue.

        Raises:
            InputError: there is none of this number, or it cannot be opened; the one before stays open then.
        """
        if not 0 <= index < len(self._videos):
            raise InputError(f"there is no video {index}", hint=f"the queue has {len(self._videos)}")
        with self._lock:
            if index == self.index:
                return
            if self._export is not None:
                raise InputError("an export is under way", hint="wait until it is done")
            session, pictures = self._opened(index)
            before = self.session, self.pictures
            self.session, self.pictures, self.index = session, pictures, index
            self.exported = {}
            before[1].close()
            before[0].close()
        self.listeners.tell({"type": "state", "state": self.state()})
        for event in session.timelines():
            self.listeners.tell(event)

    def _opened(self, index: int) -> tuple[AnnotationSession, Pictures]:
        source, out = self._videos[index]
        session = AnnotationSession(source, out, tracker=self._tracker, asked=self._asked)
        session.listeners.add(self.listeners.tell)
        return session, Pictures(session.video, session.folder / STATE, may_rest=lambda: session.is_at_rest)

    def state(self) -> dict[str, Any]:
        """STATE of docs/annotate_protocol.md."""
        state = self.session.state()
        state["video"] = {"index": self.index, **state["video"]}
        queue = [
            {"index": index, "name": source.name, "status": self._status(index)}
            for index, (source, _) in enumerate(self._videos)
        ]
        return {**state, "queue": queue, "job": state["job"] or self._export}

    def export(self, formats: list[str], *, reviewed_only: bool) -> None:
        """Begin to export, in a thread of its own; `exported` is told in the end.

        Raises:
            InputError: an export is under way.
        """
        with self._lock:
            if self._export is not None:
                raise InputError("an export is under way", hint="wait until it is done")
            self._tell_export({"title": "Export", "done": 0, "total": len(formats)})
        threading.Thread(
            target=self._run_export, args=(formats, reviewed_only), name="vidseg-annotate-export", daemon=True
        ).start()

    def close(self) -> None:
        self.pictures.close()
        self.session.close()

    def _status(self, index: int) -> str:
        """How far a video of the queue has come: 'new', 'begun', 'open' or 'reviewed'."""
        if index == self.index:
            return "open"
        out = self._videos[index][1]
        if out is None or not is_run(out):
            return "new"
        said = run_record.read_record(out / run_record.FILE_NAME).get("annotation", {}).get("statistics", {})
        is_reviewed = 0 < said.get("frames", 0) <= said.get("frames_reviewed", 0)
        return "reviewed" if is_reviewed else "begun"

    def _run_export(self, formats: list[str], reviewed_only: bool) -> None:
        try:
            paths = export_project(
                self.session,
                formats,
                reviewed_only=reviewed_only,
                on_format=lambda name, done: self._tell_export(
                    {"title": f"Export {name}", "done": done, "total": len(formats)}
                ),
            )
            told = self._offered(paths)
        except Exception as error:  # whatever it is, pages are to know
            told = error_document(error)
        # The export ends before pages are told what came of it, as they may ask for another one at once.
        self._tell_export(None)
        self.listeners.tell(told)

    def _tell_export(self, progress: dict[str, Any] | None) -> None:
        fixed: dict[str, Any] = {"kind": "export", "objects": [], "frame": None, "seconds_left": None}
        self._export = None if progress is None else fixed | progress
        self.listeners.tell({"type": "patch", "state": {"job": self.session.job_document() or self._export}})

    def _offered(self, paths: list[Path]) -> dict[str, Any]:
        """Offer exported files for download; returns the message that names them."""
        files = []
        for path in paths:
            name = f"{path.name}.zip" if path.is_dir() else path.name
            self.exported[name] = path
            parts = path.rglob("*") if path.is_dir() else [path]
            size = sum(part.stat().st_size for part in parts if part.is_file())
            files.append({"name": name, "url": f"/download/{name}", "bytes": size})
        folder = str(paths[0].parent.resolve()) if paths else ""
        return {"type": "exported", "files": files, "folder": folder}
