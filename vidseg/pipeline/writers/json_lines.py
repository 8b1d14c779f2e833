"""Writes the lines of masklets.jsonl to a stream as frames come, for pipes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from vidseg.pipeline.writers.contract import FrameMasks
from vidseg.pipeline.writers.masklets import encode_line

if TYPE_CHECKING:
    from vidseg.trackers.contract import Frame


class JsonLinesWriter:
    """Writes a line per frame and flushes it; of a resumed run, those of the frames that were left."""

    name = "json-lines"

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def resume(self, is_done: Callable[[int], bool]) -> None:
        return None

    def write(self, frame: Frame, masks: FrameMasks) -> None:
        self._stream.write(encode_line(masks).decode())
        self._stream.flush()

    def sync(self) -> None:
        pass  # every line was flushed

    def finish(self) -> list[Path]:
        return []

    def discard(self) -> None:
        pass
