"""A source of frames that is being read."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from types import TracebackType

from vidseg.errors import DecodeError, SourceError, VidsegError, told
from vidseg.pipeline.read.ahead import DecodeAhead
from vidseg.pipeline.read.info import SourceInfo
from vidseg.trackers.contract import Frame


@dataclass
class Noted:
    """What a reader notes about its source while frames are read."""

    remarks: list[str] = field(default_factory=list)
    """See `Source.remarks`."""
    is_damaged: bool = False
    """See `Source.is_damaged`."""


class Source:
    """Frames of a video, a folder, a camera, a stream or an iterable; made by `read`.

    Iterate once. A loop that ends early, `close()` and the end of a `with` block all stop the decoding and
    close the file.
    """

    info: SourceInfo

    def __init__(
        self,
        info: SourceInfo,
        frames: Generator[Frame, None, None],
        noted: Noted,
        *,
        queue_frames: int | None,
        drop: bool = False,
    ) -> None:
        self.info = info
        self._noted = noted
        self._frames = frames
        self._ahead = None if queue_frames is None else DecodeAhead(frames, queue_frames, drop=drop)
        self._is_read = False

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def remarks(self) -> list[str]:
        """What was odd about the frames read so far without costing any, one line each, such as joints of a
        stream."""
        return self._noted.remarks

    @property
    def is_damaged(self) -> bool:
        """Whether damage was met so far: the end of the frames will say so with a `DecodeError`."""
        return self._noted.is_damaged

    @property
    def frames_dropped(self) -> int:
        """How many frames of a live source were thrown away because the consumer fell behind."""
        return 0 if self._ahead is None else self._ahead.dropped

    def __iter__(self) -> Iterator[Frame]:
        if self._is_read:
            raise SourceError(f"'{self.name}' is read already", hint="call read() again for another pass")
        self._is_read = True
        return self._iterate()

    def _iterate(self) -> Iterator[Frame]:
        frames_read = 0
        try:
            for frame in self._frames if self._ahead is None else self._ahead:
                yield frame
                frames_read += 1
        except VidsegError:
            raise
        except Exception as failure:
            # Decoders raise what a file, a disk or a network makes them trip over. It must be told as an
            # error of reading: whoever takes the frames writes files, too.
            if self.info.kind == "array":
                raise  # an error of the caller's own iterable
            raise DecodeError(
                f"'{self.name}' cannot be read on ({told(failure)})",
                where=f"after {frames_read} frames",
                frames_read=frames_read,
            ) from failure
        finally:
            self.close()

    def close(self) -> None:
        """Stop decoding and close the file. It is safe to call this twice."""
        self._is_read = True
        if self._ahead is not None:
            self._ahead.close()
        else:
            self._frames.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        height, width = self.info.size_hw
        return f"Source({self.name!r}, {self.info.kind}, {width}x{height})"
