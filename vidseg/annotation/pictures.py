"""Frames as JPEG, by number: made when asked for, ahead of the playhead, and while nothing else is to do.

Browsers seek in videos to about the right place; these are the very frames that the reader numbers. JPEGs are
kept in one file, so that a long session takes no more memory than a short one.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import cv2

from vidseg.errors import RunError, VidsegError
from vidseg.pipeline.read.random_access import RandomAccess

QUALITY = 88
AHEAD_FRAMES = 64
"""How many frames behind the one in sight are made ready, in the direction of looking."""
MAX_BYTES = 2 << 30
"""When the file holds more than this it is begun anew."""
RESTING_S = 0.5
"""Seconds without a request after which frames nobody asked for are made, from the first one on."""


class Pictures:
    """The pictures of one video, and the thread that makes them.

    Args:
        video: for this class alone.
        folder: where the file of pictures lies while this is open.
        may_rest: whether nothing else needs the processor, so that frames nobody asked for can be made.
    """

    def __init__(
        self,
        video: RandomAccess,
        folder: Path,
        *,
        may_rest: Callable[[], bool] = lambda: True,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._video = video
        self._resting_video = video.another()
        self._may_rest = may_rest
        self._max_bytes = max_bytes
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (open until close())
        self._places: dict[int, tuple[int, int]] = {}
        self._size = 0
        self._wanted: dict[int, Future[bytes]] = {}
        self._ahead: range = range(0)
        self._next_resting = 0
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="vidseg-annotate-pictures", daemon=True)
        self._thread.start()

    @property
    def num_ready(self) -> int:
        """How many frames are ready."""
        return len(self._places)

    def get(self, number: int) -> Future[bytes]:
        """A frame as JPEG; the future has a VidsegError for one that cannot be decoded."""
        with self._changed:
            if number in self._places:
                future: Future[bytes] = Future()
                future.set_result(self._stored(number))
                return future
            future = self._wanted[number] if number in self._wanted else Future()
            self._wanted.pop(number, None)
            self._wanted[number] = future  # the latest request is served first
            self._changed.notify_all()
            return future

    def look(self, number: int) -> None:
        """Say which frame is in sight, so that those after it are made ready."""
        with self._changed:
            self._ahead = range(number, min(number + AHEAD_FRAMES, self._video.num_frames))
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join(5)
        self._video.close()
        self._resting_video.close()
        self._file.close()

    def _run(self) -> None:
        while True:
            with self._changed:
                task = self._next_task()
                if task is None and not self._is_closed:
                    if self._changed.wait(RESTING_S) or not self._may_rest():
                        continue
                    task = self._next_resting_task()
                    if task is None:
                        self._changed.wait()
                        continue
                if self._is_closed or task is None:
                    return
            number, video = task
            try:
                self._keep(number, self._encode(number, video))
            except Exception as error:  # a damaged file makes decoders raise many kinds
                self._fail(number, error)

    def _next_task(self) -> tuple[int, RandomAccess] | None:
        if self._wanted:
            return next(reversed(self._wanted)), self._video
        missing = next((number for number in self._ahead if number not in self._places), None)
        return None if missing is None else (missing, self._video)

    def _next_resting_task(self) -> tuple[int, RandomAccess] | None:
        """The next frame that nobody asked for; None if all are there, or the file is full."""
        while self._next_resting in self._places:
            self._next_resting += 1
        if self._next_resting >= self._video.num_frames or self._size > 0.9 * self._max_bytes:
            return None
        return self._next_resting, self._resting_video

    def _encode(self, number: int, video: RandomAccess) -> bytes:
        image = video.frame(number).image
        assert image is not None
        is_made, data = cv2.imencode(
            ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
        )
        if not is_made:
            raise RunError(f"frame {number} cannot be made a JPEG")
        return data.tobytes()

    def _keep(self, number: int, data: bytes) -> None:
        with self._changed:
            if self._size + len(data) > self._max_bytes:
                self._places.clear()
                self._size = 0
            os.pwrite(self._file.fileno(), data, self._size)
            self._places[number] = (self._size, len(data))
            self._size += len(data)
            future = self._wanted.pop(number, None)
        if future is not None:
            future.set_result(data)

    def _fail(self, number: int, error: Exception) -> None:
        told = (
            error
            if isinstance(error, VidsegError)
            else RunError(f"frame {number} cannot be decoded ({error})")
        )
        with self._changed:
            future = self._wanted.pop(number, None)
            self._ahead = range(number + 1, self._ahead.stop)
            self._next_resting = max(self._next_resting, number + 1)
        if future is not None:
            future.set_exception(told)

    def _stored(self, number: int) -> bytes:
        offset, size = self._places[number]
        return os.pread(self._file.fileno(), size, offset)
