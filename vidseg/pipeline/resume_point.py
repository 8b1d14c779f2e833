"""The state that `--resume` goes on from: the session after some frame, and which frame that was.

    OUT/.state/checkpoint.json         pass, last frame of it that is done, name of the session file
               session-<n>.safetensors the session after that frame
               masklets...             masks that a later pass will merge

The session is written first, then checkpoint.json is replaced at once. So a run that is killed in between
goes on from the resume point before. Outputs written after it are dropped and made again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vidseg.errors import DecodeError, OutputError
from vidseg.pipeline.atomic import write_json
from vidseg.trackers.contract import Session, Tracker


@dataclass(frozen=True, kw_only=True)
class Break:
    """What a pass said of its source when that broke."""

    message: str
    where: str | None
    hint: str | None

    @classmethod
    def of(cls, error: DecodeError) -> Break:
        return cls(message=error.message, where=error.where, hint=error.hint)

    def error(self, frames_read: int) -> DecodeError:
        return DecodeError(self.message, frames_read=frames_read, where=self.where, hint=self.hint)


@dataclass(frozen=True, kw_only=True)
class ResumePoint:
    """How far a run has come."""

    pass_idx: int = 0
    frame_idx: int | None = None
    """Last frame of the pass that is done; None before its first one."""
    frames_done: int = 0
    """How many frames the writers have been given, over all passes."""
    session_file: str | None = None
    """Name of the session file; None while no object has started."""
    discovery: dict[str, Any] | None = None
    """The state of discovery after the frame (`Discovery.state`); None for runs without it."""
    is_damaged: bool = False
    """Whether damage was met in what was read of the source. Then the pass is read again from its start: only
    so are the frames behind the damage numbered as before, and is the damage told in the end."""
    broken: Break | None = None
    """What an earlier pass said of the source; None if it did not break there."""

    def restore(self, tracker: Tracker, folder: Path) -> Session | None:
        return None if self.session_file is None else tracker.restore(folder / Path(self.session_file).name)


class ResumePointStore:
    """Keeps the latest resume point of a run in its state folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "checkpoint.json"

    @property
    def exists(self) -> bool:
        return self._path.exists()

    def load(self) -> ResumePoint | None:
        """The latest resume point; None if the run made none.

        Raises:
            OutputError: the state folder holds something else.
        """
        if not self.exists:
            return None
        try:
            said = json.loads(self._path.read_text(encoding="utf-8"))
            broken = said.pop("broken", None)
            point = ResumePoint(**said, broken=None if broken is None else Break(**broken))
        except (OSError, ValueError, TypeError, AttributeError):
            raise OutputError(
                "the saved state is damaged", where=str(self._path), hint="start again with --overwrite"
            ) from None
        session_file = point.session_file
        if session_file is not None and not (self.folder / Path(session_file).name).is_file():
            raise OutputError(
                f"the saved state lacks '{session_file}'",
                where=str(self.folder),
                hint="start again with --overwrite",
            )
        return point

    def save(self, session: Session | None, point: ResumePoint) -> None:
        """Make this the latest resume point, with the session's file. Everything up to the frame must be on
        the disk already."""
        session_file = None
        if session is not None:
            session_file = f"session-{point.pass_idx}-{point.frame_idx}.safetensors"
            session.save(self.folder / session_file)
        point = replace(point, session_file=session_file)
        write_json(self._path, asdict(point))
        for path in self.folder.glob("session-*"):
            if path.name != session_file:
                path.unlink()
