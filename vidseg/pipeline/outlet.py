"""Runs writers beside the tracker, each in a thread of its own behind a bounded queue."""

from __future__ import annotations

import errno
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from vidseg.errors import OutputError, RunError, VidsegError
from vidseg.pipeline.writers.contract import FrameMasks, PartlyFinishedError, Writer
from vidseg.trackers.contract import Frame


class _WriterThread:
    """Hands frames to one writer. After an error it only empties its queue, so that nobody waits for it."""

    def __init__(self, writer: Writer, queue_frames: int) -> None:
        self.writer = writer
        self.error: Exception | None = None
        self.seconds = 0.0
        self.queue: queue.Queue[tuple[Frame, FrameMasks] | None] = queue.Queue(queue_frames)
        self._thread = threading.Thread(target=self._run, name=f"vidseg-{writer.name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (item := self.queue.get()) is not None:
            if self.error is None:
                began = time.perf_counter()
                try:
                    self.writer.write(*item)
                except Exception as error:
                    self.error = error
                self.seconds += time.perf_counter() - began
            del item  # do not hold the frame while waiting for the next one
            self.queue.task_done()
        self.queue.task_done()

    def end(self) -> None:
        if self._thread.is_alive():
            self.queue.put(None)
            self._thread.join()


class Outlet:
    """Passes the masks of each frame to every writer, in the order of the calls.

    `put` and `sync` raise the first error of a writer, as a `VidsegError` that names it.
    """

    def __init__(self, writers: Sequence[Writer], queue_frames: int) -> None:
        self._threads = [_WriterThread(writer, queue_frames) for writer in writers]

    def resume(self, is_done: Callable[[int], bool], frames_done: int) -> None:
        """Have each writer take up what an interrupted run left; see `Writer.resume`.

        Raises:
            OutputError: a writer has not as many frames as were done.
        """
        for thread in self._threads:
            kept = thread.writer.resume(is_done)
            if kept is not None and kept != frames_done:
                raise OutputError(
                    f"of {frames_done} frames that were done, {thread.writer.name} has {kept}",
                    hint="files were removed or changed: start again with --overwrite",
                )

    def put(self, frame: Frame, masks: FrameMasks) -> None:
        for thread in self._threads:
            thread.queue.put((frame, masks))
        self._check()

    def sync(self) -> None:
        """Return when everything put so far is on the disk."""
        for thread in self._threads:
            thread.queue.join()
        self._check()
        for thread in self._threads:
            try:
                thread.writer.sync()
            except Exception as error:
                thread.error = error
        self._check()

    def finish(self, *, keep_broken: bool) -> list[Path]:
        """Give the files of writers without errors their final names; for the others see `error`.

        Args:
            keep_broken: whether to keep what a broken writer has written, for a run to resume from.
        """
        done: list[Path] = []
        self._end()
        for thread in self._threads:
            if thread.error is None:
                try:
                    done.extend(thread.writer.finish())
                except PartlyFinishedError as partly:
                    done.extend(partly.done)
                    thread.error = partly.cause
                except Exception as error:
                    thread.error = error
            if thread.error is not None and not keep_broken:
                with suppress(Exception):  # the disk may fail here, too
                    thread.writer.discard()
        return done

    def discard(self) -> None:
        """Remove files without a final name."""
        self._end()
        for thread in self._threads:
            with suppress(Exception):
                thread.writer.discard()

    @property
    def error(self) -> VidsegError | None:
        """The first error of a writer."""
        for thread in self._threads:
            if thread.error is not None:
                return writing_error(thread.error, thread.writer.name)
        return None

    def seconds(self) -> dict[str, float]:
        """Name of a writer -> seconds that it has worked."""
        return {thread.writer.name: thread.seconds for thread in self._threads}

    def _end(self) -> None:
        for thread in self._threads:
            thread.end()

    def _check(self) -> None:
        if (error := self.error) is not None:
            raise error


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Turn every OSError inside into an error of writing `what`. The code inside must read no source."""
    try:
        yield
    except OSError as error:
        raise writing_error(error, what) from error


def writing_error(error: Exception, what: str) -> VidsegError:
    """The error of writing, in words that help a person to act."""
    if isinstance(error, VidsegError):
        return error
    if not isinstance(error, OSError):
        return RunError(f"writing {what} failed ({type(error).__name__}: {error})")
    where = str(error.filename) if error.filename else None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunError(
            f"the disk is full: {what} could not be written",
            where=where,
            hint="free some space, then run the same command with --resume",
        )
    return RunError(f"{what} could not be written ({error.strerror or error})", where=where)
