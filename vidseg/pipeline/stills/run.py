"""A run over pictures: each is read, its objects are found, its files are written; then the next one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vidseg.errors import OutputError, RunError, VidsegError, told
from vidseg.out_of_memory import explained
from vidseg.pipeline.machine import versions
from vidseg.pipeline.progress import Progress
from vidseg.pipeline.stills.folder import StillsFolder
from vidseg.pipeline.stills.formats import COCO, encode, write_coco
from vidseg.pipeline.stills.masks import PictureMasks
from vidseg.pipeline.stills.pictures import Picture

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Status = Literal["done", "some failed", "interrupted"]
Find = Callable[["Picture", "npt.NDArray[np.uint8]"], PictureMasks]
"""(picture, its pixels) -> its objects."""


@dataclass
class StillsSummary:
    """How a run over pictures ended."""

    status: Status
    out: Path
    outputs: list[Path]
    pictures: int
    """Pictures whose files are there, those of earlier tries too."""
    pictures_now: int
    """Those of them that this try wrote."""
    objects: int
    """Objects that this try found."""
    failed: dict[str, VidsegError] = field(default_factory=dict)
    """Name of a picture -> why it failed."""


@dataclass(frozen=True, kw_only=True)
class StillsRun:
    """One call of `vidseg segment` or `vidseg everything`.

    A picture that fails is reported and takes no other down. Ctrl-C leaves whole files; `resume` goes on.
    """

    pictures: Sequence[Picture]
    source: Path
    folder: StillsFolder
    facts: Mapping[str, Any]
    """What decides the masks: model, settings, prompts."""
    find: Find
    told: Mapping[str, Any] = field(default_factory=dict)
    """Further facts for run.json, which decide nothing."""
    tags: bool
    """Whether overlays name their objects."""
    progress: Progress
    resume: bool = False
    overwrite: bool = False

    def run(self) -> StillsSummary:
        """Go through all pictures.

        Raises:
            OutputError: the output folder cannot be used.
            VidsegError: the only picture failed; nothing is written then.
        """
        facts = {
            **self.facts,
            "formats": list(self.folder.formats),
            "pictures": [picture.path.name for picture in self.pictures],
        }
        self.folder.check(facts, self.source, resume=self.resume, overwrite=self.overwrite)
        found_first = self._found_first()
        self.folder.open(overwrite=self.overwrite)
        failed: dict[str, VidsegError] = {}
        earlier = found = 0
        status: Status = "done"
        try:
            told = {**facts, **self.told, "versions": versions()}
            self.folder.save({"status": "running", **told})
            earlier = len(self._done())
            try:
                found = self._go_through(failed, found_first)
            except KeyboardInterrupt:
                status = "interrupted"
            else:
                status = "some failed" if failed else "done"
                self._write_coco()
            done = self._done()
            told_failures = {name: str(error).splitlines() for name, error in failed.items()}
            self.folder.save(
                {
                    "status": status,
                    **told,
                    "done": len(done),
                    "failed": told_failures,
                }
            )
        finally:
            self.progress.close()
            self.folder.close(is_done=status == "done")
        return StillsSummary(
            status=status,
            out=self.folder.path,
            outputs=self.folder.outputs(),
            pictures=len(done),
            pictures_now=len(done) - earlier,
            objects=found,
            failed=failed,
        )

    def _done(self) -> list[Picture]:
        return [picture for picture in self.pictures if self.folder.is_done(picture)]

    def _found_first(self) -> PictureMasks | None:
        """The objects of the only picture.

        They are found before the folder is touched, so that a wrong prompt costs nothing there.
        """
        if len(self.pictures) != 1 or (self.folder.is_done(self.pictures[0]) and not self.overwrite):
            return None
        return self._found_in(self.pictures[0])

    def _go_through(self, failed: dict[str, VidsegError], found_first: PictureMasks | None) -> int:
        left = [picture for picture in self.pictures if not self.folder.is_done(picture)]
        self.progress.start(len(self.pictures), len(self.pictures) - len(left))
        found = 0
        for picture in left:
            try:
                found += self._write(picture, found_first or self._found_in(picture))
            except OutputError:
                raise
            except VidsegError as error:
                failed[picture.path.name] = error
            except Exception as error:  # whatever one picture does, the others are worth their turn
                failed[picture.path.name] = _of_a_picture(error, picture)
            self.progress.advance()
        return found

    def _found_in(self, picture: Picture) -> PictureMasks:
        try:
            return self.find(picture, picture.read())
        except VidsegError:
            raise
        except Exception as error:
            raise _of_a_picture(error, picture) from error

    def _write(self, picture: Picture, masks: PictureMasks) -> int:
        for name in self.folder.per_picture:
            data = encode(name, picture, masks, tags=self.tags)
            try:
                self.folder.write(name, picture, data)
            except OSError as error:  # a full disk is no fault of this picture
                raise OutputError(f"'{self.folder.path}' cannot be written to ({told(error)})") from None
        return len(masks.things)

    def _write_coco(self) -> None:
        if "coco" in self.folder.formats:
            records = [self.folder.path_of("rle", picture) for picture in self._done()]
            write_coco(self.folder.path / COCO, records)


def _of_a_picture(error: Exception, picture: Picture) -> VidsegError:
    return explained(error) or RunError(f"{type(error).__name__}: {told(error)}", where=str(picture.path))
