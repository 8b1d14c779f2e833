"""JPEGs in one file on the disk, by number of frame, so that a long session takes no more memory than a short
one."""

from __future__ import annotations

import os
import shutil
import tempfile
from bisect import bisect, insort
from pathlib import Path

MAX_BYTES = 4 << 30
"""When the file holds more than this it is begun anew."""
SHARE_OF_DISK = 0.25
"""It never takes more of what is free on the disk than this."""
ROOM_FOR_WANTED = 0.1
"""Share of the room that is kept for pictures that somebody asks for."""


class PictureFile:
    """Pictures of one video, until `close()`. For one thread at a time.

    Args:
        folder: where the file lies; it has no name, and goes with the process.
    """

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (open until close())
        self._max_bytes = min(max_bytes, int(SHARE_OF_DISK * shutil.disk_usage(folder).free))
        self._places: dict[int, tuple[int, int]] = {}
        self._numbers: list[int] = []
        self.num_bytes = 0

    def __contains__(self, number: int) -> bool:
        return number in self._places

    def __len__(self) -> int:
        return len(self._places)

    @property
    def is_nearly_full(self) -> bool:
        """Whether there is room only for pictures that somebody asks for."""
        return self.num_bytes > (1 - ROOM_FOR_WANTED) * self._max_bytes

    def read(self, number: int) -> bytes:
        offset, size = self._places[number]
        return os.pread(self._file.fileno(), size, offset)

    def write(self, number: int, data: bytes) -> bool:
        """Keep a picture; returns whether all others had to go for it."""
        is_full = self.num_bytes + len(data) > self._max_bytes
        if is_full:
            self._places.clear()
            self._numbers.clear()
            self.num_bytes = 0
        os.pwrite(self._file.fileno(), data, self.num_bytes)
        if number not in self._places:
            insort(self._numbers, number)
        self._places[number] = (self.num_bytes, len(data))
        self.num_bytes += len(data)
        return is_full

    def nearest(self, number: int) -> int | None:
        """The frame nearest to this one whose picture is here; None if there is no picture at all."""
        place = bisect(self._numbers, number)
        beside = self._numbers[max(place - 1, 0) : place + 1]
        return min(beside, key=lambda other: abs(other - number), default=None)

    def close(self) -> None:
        self._file.close()
