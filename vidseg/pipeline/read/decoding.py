"""Decodes one pass over a video stream, through damage and to the end."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from vidseg.pipeline.read.containers import draining_packet

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

    Begin: TypeAlias = Callable[[bool], tuple[InputContainer, VideoStream, Iterator[Packet[VideoStream]]]]
    """Opens a container and gives its packets from where decoding starts; the flag asks for threads."""

SILENT_LOSS_CODECS = ("h264", "hevc", "av1", "vp9")
"""In these codecs every packet shows one picture (unless it is interlaced), and a decoder may drop a damaged
one without an error."""

MAX_PENDING = 4096
"""With more unanswered packets than this, timestamps cannot be trusted, and lost pictures are not looked for.
"""


@dataclass(frozen=True, slots=True)
class Damage:
    """The first place at which a stream is broken, as near as the decoder can tell."""

    what: str
    frame_number: int
    time_s: float | None

    def place(self) -> str:
        time = "" if self.time_s is None else f", {self.time_s:.3f} s"
        return f"frame {self.frame_number}{time}"


class Decoder:
    """Returns every picture that can be decoded, in presentation order, and remembers the first damage.

    Args:
        begin: opens the container at the packet to start with; may be called twice.
        first_number: number of the first picture, for messages.
        from_pts: pictures before this time are left out and do not count as missing: they belong to the group
            before.
        find_joint: see `vidseg.pipeline.read.transport`; for the file that `begin` opens.
    """

    def __init__(
        self,
        begin: Begin,
        *,
        first_number: int = 0,
        from_pts: int | None = None,
        find_joint: Callable[[int], int | None] = lambda at: None,
    ) -> None:
        self._begin = begin
        self._first_number = first_number
        self._from_pts = from_pts
        self._find_joint = find_joint
        self._joint: int | None = None
        """Place in the file at which a new piece is to begin, with a keyframe."""
        self._last_dts: int | None = None
        self.joined_at: int | None = None
        """In a stream joined from several, the number of the first frame behind the first joint."""
        self._tail_is_unsure = False
        self.first_packet: Packet[VideoStream] | None = None
        """The first packet that the decoder was given."""
        self.frames_decoded = 0
        self.damage: Damage | None = None

    def frames(self) -> Generator[VideoFrame, None, None]:
        yield from self._one_pass(threaded=True)
        if self._tail_is_unsure:
            # With frame threads, the first error while the decoder is drained loses all pictures behind it.
            # One thread holds no undecoded packets, so a second pass brings the rest.
            yield from self._one_pass(threaded=False)

    def _one_pass(self, *, threaded: bool) -> Generator[VideoFrame, None, None]:
        import av

        skip = self.frames_decoded
        count = 0
        was_interlaced = False
        pending = _Pending()
        self._last_dts = None
        container, stream, packets = self._begin(threaded)
        finds_losses = stream.codec_context.codec.canonical_name in SILENT_LOSS_CODECS
        with container:
            while True:
                try:
                    packet = next(packets, None)
                except (av.FFmpegError, OSError, IndexError) as failure:
                    # IndexError: a damaged file brought streams in its middle that PyAV has no place for.
                    reason = getattr(failure, "strerror", None) or "the container makes no sense"
                    self._note(reason, None, pending)
                    packet = draining_packet(stream)
                if packet is None:
                    break
                is_draining = packet.size == 0
                if is_draining and (packet.pts is not None or packet.dts is not None):
                    continue  # a dropped frame of AVI, which a decoder would take for the end
                self.first_packet = self.first_packet or packet
                self._see_time(packet, pending)
                if packet.pts is not None and not packet.is_discard and not self._is_early(packet):
                    pending.add(packet.pts, packet.dts)
                if packet.is_corrupt and not self._is_early(packet):
                    self._joint = self._find_joint(packet.pos) if packet.pos is not None else None
                    if self._joint is None:
                        self._note("data is missing", packet, pending)
                try:
                    pictures = packet.decode()
                except av.error.EOFError:
                    break
                except av.FFmpegError as failure:
                    if not self._is_early(packet):
                        self._note(f"{failure.strerror}", packet, pending)
                    if is_draining:
                        pending.add_unknown()
                    continue
                for picture in pictures:
                    if self._is_early(picture):
                        continue
                    # The second field of an interlaced picture may come in a packet of its own.
                    is_whole = not (picture.interlaced_frame or was_interlaced)
                    was_interlaced = picture.interlaced_frame
                    is_lost = pending.is_passed_over(picture.pts) and is_whole and count > 0
                    if is_lost and finds_losses and (pending.tells_order or not stream.has_b_frames):
                        self._note("a picture cannot be decoded", picture, pending)
                    if picture.is_corrupt:
                        self._note("a picture is damaged", picture, pending)
                    count += 1
                    if count > skip:
                        self.frames_decoded += 1
                        yield picture
        self._tail_is_unsure = threaded and bool(pending)

    def _see_time(self, packet: Packet[VideoStream], pending: _Pending) -> None:
        """Notice where a joined stream goes on with a new piece, whose times may start again."""
        if packet.dts is not None:
            # Between keyframes the storage times of a piece may run back, too: Matroska has none of its own.
            if packet.is_keyframe and self._last_dts is not None and packet.dts < self._last_dts:
                pending.begin_anew()
            self._last_dts = packet.dts
        if self._joint is not None and packet.pos is not None and packet.pos >= self._joint:
            if packet.is_keyframe:
                number = self._first_number + self.frames_decoded + len(pending)
                self.joined_at = number if self.joined_at is None else self.joined_at
            else:  # the next pictures need pictures that are missing
                self._note("data is missing", packet, pending)
            self._joint = None

    def _is_early(self, what: Packet[VideoStream] | VideoFrame) -> bool:
        return self._from_pts is not None and what.pts is not None and what.pts < self._from_pts

    def _note(self, what: str, at: Packet[VideoStream] | VideoFrame | None, pending: _Pending) -> None:
        if self.damage is None:
            has_time = at is not None and at.pts is not None and at.time_base is not None
            time_s = float(at.pts * at.time_base) if has_time else None  # type: ignore[union-attr, operator]
            number = self._first_number + self.frames_decoded + pending.count_before(at.pts if at else None)
            self.damage = Damage(f"{what[:1].lower()}{what[1:]}", number, time_s)


class _Pending:
    """Times of packets whose pictures have not come yet; as many as the decoder reorders."""

    def __init__(self) -> None:
        self._runs: deque[list[int]] = deque([[]])
        """A heap of times for each stretch of the stream in which time goes on; usually there is one."""
        self._has_unknown = False
        self._delays: set[int] = set()

    @property
    def tells_order(self) -> bool:
        """Whether times show that pictures are shown in another order than they are stored in.

        AVI has storage times alone, so each picture seems to be shown equally long after it is stored.
        """
        return len(self._delays) > 1

    def add(self, pts: int, dts: int | None) -> None:
        if dts is not None and len(self._delays) < 2:
            self._delays.add(pts - dts)
        if len(self._runs[-1]) > MAX_PENDING:
            self._runs[-1].clear()
        heapq.heappush(self._runs[-1], pts)

    def begin_anew(self) -> None:
        """Time runs back: times added from now on come after all those present."""
        if self._runs[-1]:
            self._runs.append([])

    def add_unknown(self) -> None:
        self._has_unknown = True

    def is_passed_over(self, pts: int | None) -> bool:
        """Strike off the picture at `pts`; True if an earlier one has not come, and so never will."""
        passed_over = False
        if pts is not None and pts not in self._runs[0] and any(pts in run for run in self._runs):
            while pts not in self._runs[0]:
                passed_over |= bool(self._runs.popleft())
        run = self._runs[0]
        while pts is not None and run and run[0] <= pts:
            if heapq.heappop(run) == pts:
                break
            passed_over = True
        return passed_over

    def count_before(self, pts: int | None) -> int:
        if pts is None:
            return 0
        *earlier, last = self._runs
        return sum(map(len, earlier)) + sum(waiting < pts for waiting in last)

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def __bool__(self) -> bool:
        return len(self) > 0 or self._has_unknown
