"""Tracking sessions saved every few frames, so that a correction tracks on from just before its frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vidseg.annotation.database import Database
from vidseg.annotation.spans import Span
from vidseg.trackers.contract import Session

SPACING_FRAMES = 8
"""Frames between two saved sessions of a pass; as many are stepped again, at most, before a correction."""
FARTHEST_FRAMES = 64
"""A saved session farther than this from the frame wanted is not used: stepping there would take too long."""
MAX_BYTES = 2 << 30
"""When the files hold more than this, every second one is removed."""


class SavedSessions:
    """The saved sessions of a project. Undoing an act makes those valid again that were so before it."""

    def __init__(self, folder: Path, database: Database) -> None:
        self._folder = folder
        self._database = database
        folder.mkdir(exist_ok=True)

    def save(
        self,
        session: Session,
        obj_ids: Sequence[int],
        frame_idx: int,
        *,
        reverse: bool,
        act_id: int,
        instead_of: Span,
    ) -> None:
        """Save a session as it is after a frame; it is then the one of these objects there.

        Args:
            instead_of: frames whose saved sessions of these objects are no longer valid.
        """
        name = f"{act_id}-{'b' if reverse else 'f'}-{frame_idx}-{'_'.join(map(str, obj_ids[:8]))}.safetensors"
        session.save(self._folder / name)
        with self._database.within(act_id):
            for obj_id in obj_ids:
                self._database.write(
                    "DELETE FROM saved_sessions WHERE obj = ? AND reverse = ? AND frame BETWEEN ? AND ?",
                    obj_id,
                    reverse,
                    *instead_of,
                )
                self._database.put("saved_sessions", obj_id, reverse, frame_idx, name)

    def nearest(self, obj_id: int, frame_idx: int, *, reverse: bool) -> tuple[int, Path] | None:
        """The last session before a frame, in the order of tracking: (the frame that it has done, file)."""
        if reverse:
            order, low, high = "ASC", frame_idx + 1, frame_idx + FARTHEST_FRAMES
        else:
            order, low, high = "DESC", frame_idx - FARTHEST_FRAMES, frame_idx - 1
        for frame, name in self._database.rows(
            "SELECT frame, file FROM saved_sessions WHERE obj = ? AND reverse = ? AND frame BETWEEN ? AND ?"
            f" ORDER BY frame {order}",
            obj_id,
            reverse,
            low,
            high,
        ):
            path = self._folder / Path(name).name
            if path.is_file():
                return frame, path
        return None

    def not_tracked_since(self, path: Path, frame_idx: int, *, reverse: bool) -> list[int]:
        """The objects, by their ids, that were not tracked anew to a frame since a file was saved there.

        One that is in the file is in it as it went on, even where that was saved for another object alone.
        """
        sign = -1 if reverse else 1
        found = self._database.rows(  # of each object, SQLite takes the file of the row with the maximum
            "SELECT obj, file, max(frame * ?) FROM saved_sessions WHERE reverse = ? AND frame * ? <= ?"
            " GROUP BY obj ORDER BY obj",
            sign,
            reverse,
            sign,
            sign * frame_idx,
        )
        return [obj_id for obj_id, name, _ in found if _act_of(name) <= _act_of(path.name)]

    def clean(self, max_bytes: int = MAX_BYTES) -> None:
        """Remove files that nothing names any more, and every second one if there are too many bytes."""
        named = {
            name
            for table in ("saved_sessions", "before_saved_sessions")
            for (name,) in self._database.rows(f"SELECT DISTINCT file FROM {table} WHERE file IS NOT NULL")
        }
        sizes: dict[Path, int] = {}
        for path in sorted(self._folder.iterdir()):
            if path.name in named:
                sizes[path] = path.stat().st_size
            else:
                path.unlink(missing_ok=True)
        while sum(sizes.values()) > max_bytes and len(sizes) > 1:
            for path in list(sizes)[1::2]:
                path.unlink(missing_ok=True)
                del sizes[path]


def _act_of(name: str) -> int:
    """The act that saved a file; later ones have higher numbers."""
    return int(name.partition("-")[0])
