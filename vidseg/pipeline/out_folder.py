"""The folder of one run: whether it belongs to vidseg, and what in it may be removed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from vidseg.errors import OutputBusyError, OutputError
from vidseg.pipeline import run_record
from vidseg.pipeline.atomic import PART
from vidseg.pipeline.file_lock import lock
from vidseg.pipeline.formats import is_output

STATE = ".state"
LOCK = "lock"
PROJECT, DATABASE = ".annotate", "project.sqlite"
"""Folder and file of a project of `vidseg annotate`, which lies in the folder of its run."""
_OURS = ("run.json", "overlay.mp4", "alpha.mov", "alpha.webm")
"""Files of a run besides folders of pictures and what `is_output` knows."""
_PICTURES = {"masks": ("png", ".png"), "frames": ("frames", ".jpg"), "alpha": ("alpha", ".png")}
"""Folder of pictures -> the format that writes it, and the suffix of the pictures."""
_PICTURE = re.compile(r"([a-z]+)/([0-9]+/)?[^/]+")
_UNFINISHED = re.compile(r"\.?(.+?)\.part(\.[a-z0-9]+)?")


class OutFolder:
    """A run's output folder. Nothing is made before `claim`.

    Args:
        formats: names of the formats that the run will write.
        earlier: the record of the run that lies there, where `earlier_run` is not asked for it.
    """

    def __init__(
        self, path: Path, formats: Collection[str] = (), *, earlier: Mapping[str, Any] | None = None
    ) -> None:
        self.path = path
        self.formats = formats
        self.state = path / STATE
        self.record_path = path / run_record.FILE_NAME
        self._earlier = None if earlier is None else dict(earlier)
        self._earlier_stems: set[str] | None = None
        self._seen = _checksum(self.record_path)
        """The checksum of the run.json that was there when this run began to look at the folder."""
        self._made: list[Path] = []
        self._lock: int | None = None

    def earlier_run(self) -> dict[str, Any] | None:
        """The record of the run that lies in the folder, if one does.

        Raises:
            OutputError: the path is no folder, or holds outputs of which vidseg knows nothing, or a project
                of `vidseg annotate`.
        """
        try:
            try:
                self.path.stat()
            except FileNotFoundError:
                return None
            if not self.path.is_dir():
                raise OutputError(
                    f"the output '{self.path}' is a file", hint="give the name of a folder as --out"
                )
            if (self.path / PROJECT / DATABASE).exists():
                raise _annotated(self.path)
            if self.record_path.exists():
                self._earlier = run_record.read_record(self.record_path)
            foreign = next(self._foreign_files(), None)
        except (OSError, ValueError) as error:
            raise _unusable(self.path, error) from None
        if foreign is not None:
            what = "no run.json to say what it is" if self._earlier is None else "its run wrote none of that"
            raise OutputError(
                f"'{self.path}' holds '{foreign.relative_to(self.path)}', but {what}",
                hint="choose another --out",
            )
        return self._earlier

    def claim(self) -> None:
        """Make the folder, and keep other runs out of it until this one ends.

        Raises:
            OutputError: it cannot be made, or another run is writing there, or has done so since this object
                was made: what was checked before does not hold then.
        """
        try:
            missing = [p for p in (self.state, *self.state.parents) if not p.exists()]
            self.state.mkdir(parents=True, exist_ok=True)
            self._made = missing
            self._lock = os.open(self.state / LOCK, os.O_CREAT | os.O_RDWR)
            self._lock_file(self._lock)
        except (OSError, ValueError) as error:
            raise _unusable(self.path, error) from None
        if _checksum(self.record_path) != self._seen:
            if self.state in missing:
                self.remove_state()
            self.release()
            raise OutputBusyError(
                f"another run began in '{self.path}' while this one was made ready",
                hint="run the same command again, or choose another --out",
            )

    def release(self) -> None:
        """Let other runs in."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def remove_state(self) -> None:
        shutil.rmtree(self.state, ignore_errors=True)

    def check_inputs(self, inputs: Iterable[Path]) -> None:
        """Refuse to write over what the run reads.

        Raises:
            OutputError: an input is a file that `remove_outputs` would remove, or the folder of such files.
        """
        # A folder of frames may also take the outputs of a run, as none of them is a frame.
        read = {path.resolve() for path in inputs} - {self.path.resolve()}
        for path in self._our_files():
            resolved = path.resolve()
            if resolved in read or resolved.parent in read:
                raise OutputError(
                    f"'{path}' is an input of this run and would be written over",
                    hint="choose another --out",
                )

    def clear_state(self) -> None:
        """Forget the checkpoints of an earlier run. The folder must be claimed."""
        for path in self.state.iterdir():
            if path.name != LOCK:
                path.unlink()

    def remove_outputs(self, *, besides: Collection[str] = ()) -> list[str]:
        """Remove what vidseg wrote, except run.json; other files stay. The folder must be claimed.

        Args:
            besides: names of files and folders in the folder that stay.

        Returns:
            the names of files and folders in the folder of which something was removed.
        """
        doomed = list(self._outputs(besides))
        try:
            for path in doomed:
                path.unlink()
            emptied = {p for path in doomed for p in path.parents if p.is_relative_to(self.path)}
            for folder in sorted(emptied - {self.path}, reverse=True):
                with contextlib.suppress(OSError):  # the folder holds other files
                    folder.rmdir()
        except OSError as error:
            raise _unusable(self.path, error) from None
        return sorted({path.relative_to(self.path).parts[0] for path in doomed})

    def has_outputs(self, *, besides: Collection[str]) -> bool:
        """Whether `remove_outputs` would remove anything."""
        return any(True for _ in self._outputs(besides))

    def undo(self, *, keep_record: bool = False) -> None:
        """Remove every trace of a run that wrote nothing: our files, and folders made for it.

        Args:
            keep_record: whether run.json, if there is one, is still that of an earlier run.
        """
        self.release()
        self.remove_state()
        if not keep_record:
            with contextlib.suppress(OSError):
                self.record_path.unlink(missing_ok=True)
        for folder in [*(self.path / name for name in _PICTURES), *self._made]:
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _our_files(self) -> Iterator[Path]:
        """Files that the earlier run wrote."""
        for path, name in self._files():
            if _is_ours(name) or self._is_earlier_picture(name):
                yield path

    def _outputs(self, besides: Collection[str]) -> Iterator[Path]:
        """Files that the earlier run wrote, except run.json and some others."""
        for path in self._our_files():
            name = _without_part(path.relative_to(self.path).parts[0])
            if path != self.record_path and name not in besides:
                yield path

    def _foreign_files(self) -> Iterator[Path]:
        """Files that this run might overwrite, but that no earlier run wrote."""
        new_formats = set(self.formats) - set(self._earlier_formats)
        for path, name in self._files():
            if _is_ours(name):
                # run.json is the first file of a run; a run killed at once may leave half of it, and nothing
                # else.
                if self._earlier is None and path.name != self.record_path.name + PART:
                    yield path
            elif _format_of_picture(name) in new_formats:
                yield path

    def _files(self) -> Iterator[tuple[Path, str]]:
        """Files in places where a run may write, with their final names below its folder."""
        for folder, names, files in os.walk(self.path):
            here = Path(folder)
            if here == self.path:
                names[:] = [n for n in names if n in _PICTURES or n.startswith(("masklets.", ".masklets."))]
            for name in files:
                path = here / name
                yield path, "/".join(map(_without_part, path.relative_to(self.path).parts))

    def _is_earlier_picture(self, name: str) -> bool:
        if _format_of_picture(name) not in self._earlier_formats:
            return False
        stem = PurePosixPath(name).stem
        frame_files = (self._earlier or {}).get("frame_files")
        if frame_files is None:
            return stem.isdecimal() and len(stem) >= 5
        if self._earlier_stems is None:
            self._earlier_stems = {Path(file).stem for file in frame_files}
        return stem in self._earlier_stems

    @property
    def _earlier_formats(self) -> list[str]:
        options = (self._earlier or {}).get("options") or {}
        return str(options.get("format", "")).split(",")

    def _lock_file(self, file: int) -> None:
        try:
            lock(file)
        except BlockingIOError:
            raise OutputBusyError(
                f"another run is writing to '{self.path}'", hint="wait for it, or choose another --out"
            ) from None


def _checksum(path: Path) -> str | None:
    """The checksum of a file's content, as its inode may change on network file systems; None if there is no
    file."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, ValueError):
        return None


def _is_ours(name: str) -> bool:
    return name in _OURS or is_output(name)


def _format_of_picture(name: str) -> str | None:
    """The format that writes such a picture: FOLDER/NAME.SUFFIX, or for one object FOLDER/ID/NAME.SUFFIX."""
    match = _PICTURE.fullmatch(name)
    written, suffix = _PICTURES.get(match[1], (None, "")) if match else (None, "")
    return written if name.endswith(suffix) else None


def _without_part(name: str) -> str:
    """The final name of a file that is still being written."""
    match = _UNFINISHED.fullmatch(name)
    return name if match is None else match[1]


def _annotated(path: Path) -> OutputError:
    # The project would write its own masks over those of the run.
    return OutputError(
        f"'{path}' is a project of `vidseg annotate`, which keeps its masks", hint="choose another --out"
    )


def _unusable(path: Path, error: OSError | ValueError) -> OutputError:
    reason = error.strerror if isinstance(error, OSError) else error
    return OutputError(f"the output folder '{path}' cannot be used ({reason})", hint="choose another --out")
