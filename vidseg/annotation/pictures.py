"""Frames as JPEG, by number: made when asked for, ahead of the playhead, and while nothing else is to do.

Browsers seek in videos to about the right place; these are the very frames that the reader numbers. A frame
far from the keyframe before it takes a while to decode, so all pictures of the video are made beforehand, as
far as there is room: first a few all over it, then those near the playhead, then those farther away.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

import cv2

from vidseg.annotation.picture_file import MAX_BYTES, PictureFile
from vidseg.annotation.picture_plan import PicturePlan
from vidseg.errors import RunError, VidsegError
from vidseg.pipeline.read.random_access import RandomAccess

QUALITY = 85
AHEAD_FRAMES = 64
"""How many frames behind the one in sight are made ready, in the direction of looking."""
BACK_FRAMES = 16
"""How many frames before one that is stepped back to are made on the way to it."""
RESTING_THREADS = 2
"""Threads that make pictures nobody asked for."""
RESTING_NICENESS = 10
"""They leave the processor to whoever waits for an answer."""
RESTING_S = 0.5
"""How often these threads see whether they may go on."""


class Pictures:
    """The pictures of one video, and the threads that make them.

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
        self._videos = [video, *(video.another() for _ in range(RESTING_THREADS))]
        self._may_rest = may_rest
        self._file = PictureFile(folder, max_bytes)
        self._plan = PicturePlan(video)
        self._wanted: dict[int, list[Future[bytes]]] = {}
        self._ahead: range = range(0)
        self._changed = threading.Condition()
        self._is_closed = False
        runs = [self._serve, *[self._rest] * RESTING_THREADS]
        self._threads = [
            threading.Thread(target=run, args=(each,), name="vidseg-annotate-pictures", daemon=True)
            for run, each in zip(runs, self._videos, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def num_ready(self) -> int:
        """How many frames are ready."""
        return len(self._file)

    def get(self, number: int) -> Future[bytes]:
        """A frame as JPEG; the future has a VidsegError for one that cannot be decoded.

        A future that is cancelled before the frame's turn comes costs nothing.
        """
        future: Future[bytes] = Future()
        with self._changed:
            if number in self._file:
                future.set_result(self._file.read(number))
                return future
            asked = self._wanted.pop(number, [])
            self._wanted[number] = [*asked, future]  # the latest request is served first
            self._changed.notify_all()
            return future

    def nearest(self, number: int) -> int | None:
        """The frame nearest to this one that is ready; None if there is none."""
        with self._changed:
            return self._file.nearest(number)

    def look(self, number: int) -> None:
        """Say which frame is in sight, so that those after it are made ready."""
        with self._changed:
            self._ahead = range(number, min(number + AHEAD_FRAMES, self._videos[0].num_frames))
            self._plan.playhead = number
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(5)
        for number in list(self._wanted):
            self._fail(number, RunError("another video is open"))
        for video in self._videos:
            video.close()
        self._file.close()

    def _serve(self, video: RandomAccess) -> None:
        """Make what is asked for, and what lies ahead."""
        before = 0
        while True:
            with self._changed:
                number = self._next_wanted()
                while number is None and not self._is_closed:
                    self._changed.wait()
                    number = self._next_wanted()
                if self._is_closed or number is None:
                    return
            for each in self._way_to(number, before):
                self._make(each, video)
            before = number

    def _way_to(self, number: int, before: int) -> Sequence[int]:
        """The frames to be made for one that is asked for: that one, and those before it when somebody steps
        back, as they are decoded on the way to it again and again."""
        first = max(number - BACK_FRAMES, 0) if number < before <= number + BACK_FRAMES else number
        return [each for each in range(first, number + 1) if each == number or each not in self._file]

    def _rest(self, video: RandomAccess) -> None:
        """Make what nobody asked for."""
        _be_nice()
        frames: list[int] = []
        while True:
            with self._changed:
                while not self._is_closed and not self._can_rest():
                    self._changed.wait(RESTING_S)
                if self._is_closed:
                    return
                frames = self._plan.go_on(frames)
                while frames and frames[-1] in self._file:
                    frames.pop()
                if not frames:
                    self._changed.wait(0 if self._plan.has_more else None)
                    continue
                number = frames.pop()
            if not self._make(number, video):
                frames = []  # where a file is damaged, each frame costs as much as all before it

    def _can_rest(self) -> bool:
        return not self._wanted and not self._file.is_nearly_full and self._may_rest()

    def _next_wanted(self) -> int | None:
        while self._wanted:
            number, futures = next(reversed(self._wanted.items()))
            if not all(future.cancelled() for future in futures):
                return number
            del self._wanted[number]
        return next((number for number in self._ahead if number not in self._file), None)

    def _make(self, number: int, video: RandomAccess) -> bool:
        """Make a picture, and hand it to whoever waits for it; returns whether it could be made."""
        try:
            data = _encoded(number, video)
        except Exception as error:  # a damaged file makes decoders raise many kinds
            self._fail(number, error)
            return False
        self._keep(number, data)
        return True

    def _keep(self, number: int, data: bytes) -> None:
        with self._changed:
            if number not in self._file and self._file.write(number, data):
                self._plan.begin_anew()
                self._changed.notify_all()
            futures = self._wanted.pop(number, [])
        for future in futures:
            if future.set_running_or_notify_cancel():
                future.set_result(data)

    def _fail(self, number: int, error: Exception) -> None:
        told = (
            error
            if isinstance(error, VidsegError)
            else RunError(f"frame {number} cannot be decoded ({error})")
        )
        with self._changed:
            futures = self._wanted.pop(number, [])
            if number in self._ahead:
                self._ahead = range(number + 1, self._ahead.stop)
        for future in futures:
            if future.set_running_or_notify_cancel():
                future.set_exception(told)


def _encoded(number: int, video: RandomAccess) -> bytes:
    image = video.frame(number).image
    assert image is not None
    is_made, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    )
    if not is_made:
        raise RunError(f"frame {number} cannot be made a JPEG")
    return data.tobytes()


def _be_nice() -> None:
    """Lower the priority of this thread, and of the decoder's that it starts; possible on Linux alone."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), RESTING_NICENESS)
