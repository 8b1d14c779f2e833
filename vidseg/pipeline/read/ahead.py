"""Decodes ahead of the consumer, in a thread, with a bounded number of frames in between."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")


class DecodeAhead(Generic[ItemT]):
    """Runs a generator in a thread of its own and hands over what it yields, then what it raised.

    Args:
        items: the generator; it runs, and is closed, in the thread.
        size: how many items may wait, at most.
        drop: what happens when `size` items wait: True throws the oldest away, False holds the generator up.
    """

    def __init__(self, items: Generator[ItemT, None, None], size: int, *, drop: bool = False) -> None:
        self._items = items
        self._size = size
        self._drop = drop
        self._waiting: deque[ItemT] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._ended = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self.dropped = 0

    def __iter__(self) -> Iterator[ItemT]:
        return self

    def __next__(self) -> ItemT:
        if self._thread is None and not self._stopped:
            # The thread is a daemon: while it waits for a silent network, it must not keep the program from
            # ending.
            self._thread = threading.Thread(target=self._run, name="vidseg-decode", daemon=True)
            self._thread.start()
        with self._changed:
            while not (self._waiting or self._ended or self._stopped):
                self._changed.wait()
            if self._waiting:
                self._changed.notify_all()
                return self._waiting.popleft()
            error, self._error = self._error, None
        if error is not None:
            raise error
        raise StopIteration

    def _run(self) -> None:
        try:
            try:
                for item in self._items:
                    if not self._hand_over(item):
                        break
            finally:
                self._items.close()
        except BaseException as error:
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _hand_over(self, item: ItemT) -> bool:
        """Put an item into the queue; False if nobody wants it any more."""
        with self._changed:
            while len(self._waiting) >= self._size and not self._stopped:
                if self._drop:
                    self._waiting.popleft()
                    self.dropped += 1
                else:
                    self._changed.wait()
            if self._stopped:
                return False
            self._waiting.append(item)
            self._changed.notify_all()
            return True

    def close(self, timeout_s: float = 5.0) -> None:
        """End the thread and close the generator; what waits is thrown away.

        Args:
            timeout_s: how long to wait for the thread, which may be held up by a silent network; it then ends
                by itself when the network's own time limit is over.
        """
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._changed.notify_all()
        if self._thread is None:
            self._items.close()
        elif self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
