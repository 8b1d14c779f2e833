"""A run's folder on a store, worked on here: fetched to be resumed, sent there at checkpoints and at the end.

What a kill at any moment leaves on the store can be resumed from, or is overwritten by the same names:

    run.json ("running")  first of all, at the first checkpoint
    outputs, session      newer than the checkpoint does no harm: a resumed run drops what came after it
    checkpoint.json       when all it needs is there
    removals              of what the run itself has removed here
    run.json              last: "done" means that everything is there
"""

from __future__ import annotations

import time
from pathlib import Path

from vidseg.pipeline.atomic import PART
from vidseg.pipeline.batch import stores
from vidseg.pipeline.formats import FORMATS, FrameFormat
from vidseg.pipeline.out_folder import LOCK, STATE
from vidseg.pipeline.run_record import FILE_NAME

CHECKPOINT = f"{STATE}/checkpoint.json"
SHARE_OF_TIME = 0.1
"""At most this share of a run's time goes into sending its state."""


class RemoteFolder:
    """A folder here and its likeness on a store. It is a `Progress`: told of frames, it sends checkpoints.

    Args:
        here: an empty folder.
        send_every_s: least seconds between two checkpoints sent.
    """

    def __init__(self, address: str, here: Path, *, send_every_s: float) -> None:
        self.address = address
        self.here = here
        self._send_every_s = send_every_s
        self._there: dict[str, tuple[int, int]] = {}
        self._next_s = time.monotonic() + send_every_s
        self._sent_checkpoint = 0

    def fetch(self) -> None:
        """Bring what lies on the store here."""
        stores.download(self.address, self.here)
        self._there = self._listed()
        self._sent_checkpoint = self._there.get(CHECKPOINT, (0, 0))[1]

    def send(self) -> None:
        """Make the store's folder like the one here."""
        listed = self._listed()
        changed = [name for name, mark in listed.items() if self._there.get(name) != mark]
        if FILE_NAME in listed and not self._there and CHECKPOINT in listed:
            self._send([FILE_NAME])
        self._send([name for name in changed if name not in (CHECKPOINT, FILE_NAME)])
        self._send([name for name in changed if name == CHECKPOINT])
        gone = sorted(self._there.keys() - listed.keys(), key=lambda name: name != CHECKPOINT)
        for name in gone:
            stores.remove(stores.join(self.address, name))
        self._send([name for name in changed if name == FILE_NAME])
        self._there = listed

    def start(self, total: int | None, done: int) -> None:
        pass

    def advance(self) -> None:
        """Send the run as it is, where it has saved its session and the time has come.

        This is called between two frames: after a checkpoint all writers rest then.
        """
        now = time.monotonic()
        if now < self._next_s:
            return
        mark = self._listed().get(CHECKPOINT, (0, 0))[1]
        if mark == self._sent_checkpoint:
            return
        self.send()
        self._sent_checkpoint = mark
        took = time.monotonic() - now
        self._next_s = time.monotonic() + max(self._send_every_s, took / SHARE_OF_TIME)

    def close(self) -> None:
        pass

    def _send(self, names: list[str]) -> None:
        stores.upload([self.here / name for name in names], self.here, self.address)

    def _listed(self) -> dict[str, tuple[int, int]]:
        """The files here that a resumed run could use: name -> size and time."""
        listed = {}
        of_no_use = {f"{STATE}/{LOCK}", *_made_anew()}
        for path in sorted(self.here.rglob("*")):
            name = path.relative_to(self.here).as_posix()
            if name not in of_no_use and path.is_file():
                facts = path.stat()
                listed[name] = (facts.st_size, facts.st_mtime_ns)
        return listed


def _made_anew() -> list[str]:
    """The names of files under way that a resumed run does not take up, such as an overlay's."""
    rows = (FORMATS[name] for name in FORMATS.known)
    return [f".{row.output}{PART}" for row in rows if isinstance(row, FrameFormat) and row.wants_order]
