"""The output folder of a run over pictures: what lies in it, whether a run may go on there, which is done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vidseg.errors import OutputError
from vidseg.pipeline.atomic import write_json
from vidseg.pipeline.out_folder import OutFolder
from vidseg.pipeline.run_record import FILE_NAME
from vidseg.pipeline.stills.formats import COCO, FILES, write
from vidseg.pipeline.stills.pictures import Picture

STATE_RECORDS = "rle"
"""Folder in the run's state for `rle` files that only the format `coco` needs."""

_NAMES = {
    "configuration": "configuration of the tracker",
    "weights_sha256": "weights",
    "detector_sha256": "the content of the detector's file",
}
"""What messages call facts whose names say it less well."""


class StillsFolder:
    """A folder with files per picture and a run.json.

    Args:
        formats: checked names of formats.
    """

    def __init__(self, path: Path, formats: Sequence[str]) -> None:
        self.path = path
        self.formats = formats
        self._folder = OutFolder(path)
        self.record_path = path / FILE_NAME

    def check(self, facts: Mapping[str, Any], source: Path, *, resume: bool, overwrite: bool) -> None:
        """Check that the run may write there.

        Args:
            facts: what the run is about; a run may go on only where it is the same.

        Raises:
            OutputError: the folder holds something else, or the pictures themselves.
        """
        if source.resolve() in [(self.path / folder).resolve() for folder, _ in FILES.values()]:
            raise OutputError(f"'{source}' would be written into", hint="choose another --out")
        earlier = self.earlier()
        if earlier is None and (foreign := next(filter(Path.exists, self._outputs()), None)):
            raise OutputError(
                f"'{self.path}' holds '{foreign.name}', but no run.json to say what it is",
                hint="choose another --out",
            )
        if earlier is not None and not (resume or overwrite):
            raise OutputError(
                f"'{self.path}' holds the outputs of another run ({earlier.get('status')})",
                hint="--resume goes on with it, --overwrite replaces it; or choose another --out",
            )
        differing = [
            _NAMES.get(key, key) for key in facts if earlier is not None and earlier.get(key) != facts[key]
        ]
        if differing and not overwrite:
            raise OutputError(
                f"the run in '{self.path}' differs from this call in {', '.join(differing)}",
                hint="give what it was made with; or replace it with --overwrite, or choose another --out",
            )

    def open(self, *, overwrite: bool) -> None:
        """Make the folder, and keep other runs out of it until `close`.

        Raises:
            OutputError: it cannot be made.
        """
        self._folder.claim()
        if overwrite and (earlier := self.earlier()) is not None:
            self._remove(earlier)

    def save(self, facts: Mapping[str, Any]) -> None:
        """Write run.json."""
        write_json(self.record_path, facts)

    def path_of(self, name: str, picture: Picture) -> Path:
        """The file of a format for a picture."""
        folder, suffix = FILES[name]
        parent = self.path / folder
        if name == "rle" and "rle" not in self.formats:
            parent = self._folder.state / STATE_RECORDS
        return parent / f"{picture.name}{suffix}"

    @property
    def per_picture(self) -> list[str]:
        """The formats that are written for each picture, in the order of writing."""
        return [name for name in FILES if name in self.formats or (name == "rle" and "coco" in self.formats)]

    def is_done(self, picture: Picture) -> bool:
        """Whether all files of a picture are there, and newer than the picture and its prompt file; each of
        them is whole."""
        try:
            made = min(self.path_of(name, picture).stat().st_mtime_ns for name in self.per_picture)
            asked = [path.stat().st_mtime_ns for path in (picture.path, picture.prompts) if path is not None]
        except OSError:
            return False
        return made >= max(asked)

    def write(self, name: str, picture: Picture, data: bytes) -> None:
        write(self.path_of(name, picture), data)

    def outputs(self) -> list[Path]:
        """Files and folders that the run wrote, besides run.json."""
        return [path for path in self._outputs() if path.exists()]

    def close(self, *, is_done: bool) -> None:
        """Let other runs in; what only a resumed run needs goes when the run is done."""
        self._folder.release()
        if is_done:
            self._folder.remove_state()

    def _outputs(self) -> list[Path]:
        return [*(self.path / folder for folder, _ in FILES.values()), self.path / COCO]

    def earlier(self) -> dict[str, Any] | None:
        """The record of the run that lies there; None if there is none.

        Raises:
            OutputError: it is not of a run over pictures.
        """
        if not self.record_path.exists():
            return None
        try:
            record = json.loads(self.record_path.read_text(encoding="utf-8"))
            if isinstance(record, dict) and "pictures" in record:
                return record
        except (OSError, ValueError):
            pass
        raise OutputError(f"'{self.record_path}' is not of a run over pictures", hint="choose another --out")

    def _remove(self, earlier: Mapping[str, Any]) -> None:
        """Remove the earlier run's files, and nothing else that people may keep there."""
        for folder, suffix in FILES.values():
            for name in earlier.get("pictures", []):
                (self.path / folder / f"{Path(name).stem}{suffix}").unlink(missing_ok=True)
        (self.path / COCO).unlink(missing_ok=True)
        shutil.rmtree(self._folder.state / STATE_RECORDS, ignore_errors=True)
