"""Opens a project: finds its folder, its video and its database, or makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vidseg.annotation.database import Database
from vidseg.annotation.project import Project
from vidseg.annotation.run_folder import STATE, import_run
from vidseg.errors import OutputBusyError, OutputError, SourceError
from vidseg.pipeline import run_record
from vidseg.pipeline.out_folder import DATABASE
from vidseg.pipeline.plan import default_out
from vidseg.pipeline.read.random_access import RandomAccess
from vidseg.trackers.options import TrackerOptions

_SOURCE_IDENTITY = ("kind", "size_hw", "bytes", "sha256_of_ends")


@dataclass(frozen=True)
class OpenProject:
    """A project that is this process's own until it is closed."""

    folder: Path
    video: RandomAccess
    project: Project
    lock: FileLock

    @classmethod
    def of(cls, source: str | PathLike[str], out: str | PathLike[str] | None) -> OpenProject:
        """Open a video, or the run that lies in a folder.

        Raises:
            InputError: see `AnnotationSession`.
        """
        path = Path(source)
        record = _record_in(path)
        if record is not None:
            folder = path if out is None else Path(out)
            if folder.resolve() != path.resolve():
                raise OutputError(
                    "a run is annotated where it lies", hint="leave --out away, or copy the run first"
                )
            path = _source_of(record, folder)
        else:
            folder = default_out(path) if out is None else Path(out)
            record = _record_in(folder)
        video = RandomAccess(path)
        lock = _claim(folder)
        try:
            facts = run_record.source_facts(video.info)
            if record is not None and any(record["source"].get(k) != facts[k] for k in _SOURCE_IDENTITY):
                raise OutputError(f"'{folder}' holds a run of another video", hint="choose another --out")
            project = _project(folder, record, video)
        except BaseException:
            lock.release()
            raise
        return cls(folder, video, project, lock)

    def close(self) -> None:
        self.project.database.close()
        self.lock.release()


def asked_again(
    asked: TrackerOptions, source: str | PathLike[str], out: str | PathLike[str] | None
) -> TrackerOptions:
    """The options; where they leave the type open, it is that of the project which lies there already.

    Its saved sessions go on in their type alone.

    Raises:
        OutputError: there is something else.
    """
    record = _record_in(Path(source)) or _record_in(default_out(source) if out is None else Path(out))
    return asked if record is None else asked.with_dtype_of(record["options"].get("dtype"))


def _record_in(folder: Path) -> Mapping[str, Any] | None:
    path = folder / run_record.FILE_NAME
    return run_record.read_record(path) if path.is_file() else None


def _source_of(record: Mapping[str, Any], folder: Path) -> Path:
    said = record["source"].get("path")
    if not said:
        raise SourceError(
            f"the run in '{folder}' is of a stream or of arrays", hint="give a video or a folder of frames"
        )
    path = Path(said)
    if not path.exists():
        raise SourceError(
            f"the video of the run, '{path}', is not there any more",
            hint=f"vidseg annotate VIDEO --out '{folder}'",
        )
    return path


def _claim(folder: Path) -> FileLock:
    state = folder / STATE
    try:
        state.mkdir(parents=True, exist_ok=True)
        # Opened in one thread and closed in another.
        lock = FileLock(state / "lock", thread_local=False)
        lock.acquire(timeout=0)
    except Timeout:
        raise OutputBusyError(
            f"'{folder}' is being annotated in another window", hint="close it there, or choose another --out"
        ) from None
    except OSError as error:
        raise OutputError(
            f"the output folder '{folder}' cannot be used ({error.strerror})", hint="choose another --out"
        ) from None
    return lock


def _project(folder: Path, record: Mapping[str, Any] | None, video: RandomAccess) -> Project:
    database = Database(folder / STATE / DATABASE)
    project = Project(database)
    is_begun = True
    try:
        is_begun = bool(database.fact("is_begun"))
        if not is_begun:
            with database.transaction():
                if record is not None:
                    import_run(project, folder, record, video.info.size_hw)
                database.set_fact("is_begun", True)
    except BaseException:
        database.close()
        if not is_begun:  # there is no project; its empty database would keep `track` out of the folder
            for file in (folder / STATE).glob(f"{DATABASE}*"):
                file.unlink()
        raise
    return project


def is_run(path: Path) -> bool:
    """Whether a folder holds a run, and is not a folder of frames or videos."""
    return path.is_dir() and _record_in(path) is not None
