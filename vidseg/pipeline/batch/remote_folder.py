"""Works here on the folder of a run that lies on a store, and sends it there at resume points and at the end.

If the process is killed, the run can be resumed from what is on the store, or its files are overwritten:

    run.json ("running")  sent first, at the first resume point
    outputs, session      may be newer than the resume point: a resumed run drops what came after it
    checkpoint.json       the resume point, sent when all that it needs is there
    removals              of files that the run itself has removed here
    run.json              sent last: "done" means that everything is there
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from vidseg.errors import SourceError
from vidseg.pipeline.atomic import PART
from vidseg.pipeline.batch import stores
from vidseg.pipeline.formats import FORMATS, FrameFormat
from vidseg.pipeline.out_folder import LOCK, STATE
from vidseg.pipeline.run_record import FILE_NAME

RESUME_POINT = f"{STATE}/checkpoint.json"
SHARE_OF_TIME = 0.1
"""Sending its state may take at most this share of a run's time."""


class RemoteFolder:
    """A folder here and its copy on a store. It is a `Progress`: with every frame it may send a resume point.

    Args:
        here: an empty folder.
        send_every_s: least seconds between two resume points sent.
        replaces: whether another run lies on the store. It is removed when there is something to send.
    """

    def __init__(self, address: str, here: Path, *, send_every_s: float, replaces: bool = False) -> None:
        self.address = address
        self.here = here
        self._replaces = replaces
        self._send_every_s = send_every_s
        self._there: dict[str, tuple[int, int]] = {}
        self._next_s = time.monotonic() + send_every_s
        self._sent_point = 0

    def fetch(self) -> None:
        """Copy what lies on the store here."""
        stores.download(self.address, self.here)
        self._there = self._listed()
        self._sent_point = self._there.get(RESUME_POINT, (0, 0))[1]

    def send(self) -> None:
        """Make the folder on the store equal to the one here."""
        listed = self._listed()
        if self._replaces and listed:
            stores.remove(self.address)
            self._replaces = False
        changed = [name for name, mark in listed.items() if self._there.get(name) != mark]
        if FILE_NAME in listed and not self._there and RESUME_POINT in listed:
            self._send([FILE_NAME])
        self._send([name for name in changed if name not in (RESUME_POINT, FILE_NAME)])
        self._send([name for name in changed if name == RESUME_POINT])
        gone = sorted(self._there.keys() - listed.keys(), key=lambda name: name != RESUME_POINT)
        for name in gone:
            # A store that lets nobody delete keeps saved states; what is done is known by run.json.
            with suppress(SourceError):
                stores.remove(stores.join(self.address, name))
        self._send([name for name in changed if name == FILE_NAME])
        self._there = listed

    def start(self, total: int | None, done: int) -> None:
        pass

    def advance(self) -> None:
        """Send the run if it has saved its session and the time has come.

        This is called between two frames, while writers may be busy with those before.
        """
        now = time.monotonic()
        if now < self._next_s:
            return
        mark = self._mark()
        if mark == self._sent_point:
            return
        self.send()
        self._sent_point = mark
        took = time.monotonic() - now
        self._next_s = time.monotonic() + max(self._send_every_s, took / SHARE_OF_TIME)

    def close(self) -> None:
        pass

    def _send(self, names: list[str]) -> None:
        stores.upload([self.here / name for name in names], self.here, self.address)

    def _mark(self) -> int:
        """The time of the resume point here; 0 if there is none."""
        try:
            return (self.here / RESUME_POINT).stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _listed(self) -> dict[str, tuple[int, int]]:
        """The files here that a resumed run could use: name -> size and time."""
        listed = {}
        of_no_use = {f"{STATE}/{LOCK}", *_made_anew()}
        for path in sorted(self.here.rglob("*")):
            name = path.relative_to(self.here).as_posix()
            if name not in of_no_use and not _is_passing(path) and path.is_file():
                facts = path.stat()
                listed[name] = (facts.st_size, facts.st_mtime_ns)
        return listed


def _is_passing(path: Path) -> bool:
    """Whether a file gets its own name at any moment, as a frame's picture does; one that grows with the run
    is hidden until then."""
    return path.name.endswith(PART) and not path.name.startswith(".")


def _made_anew() -> list[str]:
    """Names of unfinished files that a resumed run makes anew, such as an overlay."""
    rows = (FORMATS[name] for name in FORMATS.known)
    return [f".{row.output}{PART}" for row in rows if isinstance(row, FrameFormat) and row.wants_order]
