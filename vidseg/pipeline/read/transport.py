"""Finds missing packets in MPEG transport streams, and places where files were joined, as by `cat a.ts b.ts`.

A transport packet carries a counter of its stream, by which receivers notice lost packets. Where files were
joined, counters break off and start again, so demuxers report damage although nothing is missing. The bytes
around the break tell the two cases apart. On the other hand, demuxers do not report some losses.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

SYNC = 0x47
PACKET_BYTES = 188
TIMED_PACKET_BYTES = 192
"""In files of camcorders and Blu-ray discs four bytes of arrival time precede each packet."""

PROGRAM_TABLE = 0
"""Number of the stream with the table that every transport stream begins with (ISO 13818-1, 2.4.4.3)."""

FIRST_PACKETS = 1000
"""Every stream of a file has begun within this many packets."""

LOOK_AHEAD_PICTURES = 4
"""Demuxers may report a break up to this many pictures early, as their parser holds pictures back."""

GAP_FRAMES = 1.5
"""No picture is missing between two whose times are at most this many frames apart."""

CHUNK_PACKETS = 1 << 16


class Break(NamedTuple):
    """A place where the counters of a stream do not follow each other."""

    at: int
    """Place in the file of the first packet behind it."""
    is_joint: bool
    """Whether nothing is missing, as another stream was joined there."""


@dataclass(slots=True)
class _Packet:
    """The header of one transport packet (ISO 13818-1, 2.4.3)."""

    at: int
    """Place in the file, as demuxers give it."""
    stream: int
    counter: int
    begins: bool
    """Whether a picture (strictly: a PES packet) or a table begins in it."""
    is_stuffed: bool
    """Whether its adaptation field is longer than its contents, as in the last packet of a picture, which is
    padded."""
    is_entry: bool
    """Whether its adaptation field says that decoding can begin here."""
    time: int | None
    """Decode time of the picture that begins in it, in 1/90,000 s."""


@dataclass(slots=True)
class _Stream:
    """The state of a scan for one stream."""

    is_video: bool
    counter: int
    begins_at: int
    ends_at: int
    pictures_at: deque[int] = field(default_factory=lambda: deque(maxlen=3))
    """Places of the last pictures since the last break."""


def find_joint(path: Path, at: int) -> int | None:
    """The place in a file of the first picture behind a joint.

    Args:
        at: place of the picture at which a demuxer misses data.

    Returns:
        None if data is missing, or the file is no transport stream.
    """
    with path.open("rb") as file:
        found = _next_break(file, at)
    return found.at if found is not None and found.is_joint else None


def find_loss(path: Path) -> str | None:
    """What a demuxer silently skips of the video, in words; None if it skips nothing.

    Only headers of packets are read. A file that gets out of step is left to the demuxer.
    """
    streams: dict[int, _Stream] = {}
    with path.open("rb") as file:
        layout = _layout(file, 0)
        if layout is None:
            return None
        step, skip = layout
        for place in range(0, path.stat().st_size, CHUNK_PACKETS * step):
            file.seek(place)
            data = np.frombuffer(file.read(CHUNK_PACKETS * step), np.uint8)
            rows = data[: len(data) // step * step].reshape(-1, step)[:, skip:]
            if (rows[:, 0] != SYNC).any():
                return None
            found = _loss_in(rows, place, step, streams, file)
            if found is not None:
                return f"packets are missing before byte {found:,}"
    videos = sorted((s for s in streams.values() if s.is_video), key=lambda stream: stream.begins_at)
    # A second program runs beside the first one; a video that begins after the first one was joined to it.
    joined = next((video for video in videos[1:] if video.begins_at > videos[0].ends_at), None)
    if joined is not None:
        return f"another video begins at byte {joined.begins_at:,}, and is not read"
    return None


def _loss_in(
    rows: npt.NDArray[np.uint8], place: int, step: int, streams: dict[int, _Stream], file: BinaryIO
) -> int | None:
    """The place of the first loss in a chunk of packets.

    Args:
        rows: one packet a row.
        place: place of the first one in the file.
        step: bytes from one packet to the next.
        streams: state of the scan by stream; updated.
    """
    numbers = (rows[:, 1].astype(np.int32) & 0x1F) << 8 | rows[:, 2]
    begins, has_contents = rows[:, 1] & 0x40 > 0, rows[:, 3] & 0x10 > 0
    is_said = (rows[:, 3] & 0x20 > 0) & (rows[:, 4] > 0) & (rows[:, 5] & 0x80 > 0)
    counters = rows[:, 3] & 0x0F
    losses = []
    for number in np.unique(numbers[begins & has_contents]).tolist():
        of_stream = np.flatnonzero((numbers == number) & has_contents)
        if number not in streams:
            # A recording may begin in the middle of a picture.
            is_video = _is_video(rows[of_stream[int(begins[of_stream].argmax())]])
            begins_at = place + int(of_stream[0]) * step
            counter = (int(counters[of_stream[0]]) - 1) % 16
            streams[number] = _Stream(is_video, counter, begins_at, begins_at)
    for number, stream in streams.items():
        of_stream = np.flatnonzero((numbers == number) & has_contents)
        if not stream.is_video or not len(of_stream):
            continue
        now = counters[of_stream]
        before = np.concatenate([[stream.counter], now[:-1]]).astype(np.uint8)
        is_break = (now != (before + 1) % 16) & ~is_said[of_stream]
        stream.counter = int(now[-1])
        stream.ends_at = place + int(of_stream[-1]) * step
        for row in of_stream[is_break | begins[of_stream]].tolist():
            at = place + row * step
            if is_break[np.searchsorted(of_stream, row)]:
                begun = stream.pictures_at[0] if stream.pictures_at else None
                found = None if begun is None else _next_break(file, begun)
                if found is None or found.at != at or not found.is_joint:
                    losses.append(at)
                    break
                stream.pictures_at.clear()
            if begins[row]:
                stream.pictures_at.append(at)
    return min(losses, default=None)


def _is_video(row: npt.NDArray[np.uint8]) -> bool:
    """Whether the PES packet that begins in a transport packet is video (ISO 13818-1, table 2-22)."""
    contents = _contents(row.tobytes())
    return contents[:3] == b"\0\0\1" and len(contents) > 3 and contents[3] & 0xF0 == 0xE0


def _next_break(file: BinaryIO, at: int) -> Break | None:
    """The first break in the next few pictures of the stream whose picture begins at a place."""
    first: _Packet | None = None
    last: _Packet | None = None
    times: list[int] = []
    table: _Packet | None = None
    begun = 0
    for packet in _packets(file, at):
        first = first or packet
        if packet.stream == PROGRAM_TABLE:
            table = packet
        if packet.stream != first.stream:
            continue
        if last is not None and packet.counter != (last.counter + 1) % 16:
            return Break(packet.at, _is_joint(last, packet, table, _first_packets(file), times))
        begun += packet.begins
        if begun > LOOK_AHEAD_PICTURES:
            return None
        if packet.time is not None:
            times.append(packet.time)
        last, table = packet, None
    return None


def _is_joint(
    last: _Packet, packet: _Packet, table: _Packet | None, first: dict[int, _Packet], times: list[int]
) -> bool:
    """Whether nothing is missing between two packets of one stream whose counters do not follow.

    Args:
        table: the program table between them.
        first: the packets that the file begins with, by stream.
        times: decode times of the pictures before.
    """
    begin = first.get(packet.stream)
    # The last packet of a whole picture is padded, except for one picture in 184. Not every program marks the
    # pictures that decoding can begin with.
    if not (packet.begins and last.is_stuffed) or (begin and begin.is_entry and not packet.is_entry):
        return False
    first_table = first.get(PROGRAM_TABLE)
    starts_again = False
    if begin is not None and first_table is not None and table is not None:
        starts_again = (table.counter, packet.counter) == (first_table.counter, begin.counter)
    if starts_again or packet.time is None or not times:
        return starts_again
    goes_on_after = packet.time - times[-1]
    if goes_on_after <= 0 or len(times) < 2:
        return goes_on_after <= 0
    return goes_on_after <= GAP_FRAMES * abs(times[-1] - times[-2])


def _first_packets(file: BinaryIO) -> dict[int, _Packet]:
    """The first packet of each stream in the file, by stream."""
    return {packet.stream: packet for packet in reversed(list(islice(_packets(file, 0), FIRST_PACKETS)))}


def _layout(file: BinaryIO, at: int) -> tuple[int, int] | None:
    """Bytes from one packet to the next, and bytes before each; None if there are no packets."""
    file.seek(at)
    head = file.read(2 * TIMED_PACKET_BYTES)
    for step, skip in ((PACKET_BYTES, 0), (TIMED_PACKET_BYTES, 4)):
        next_sync = head[skip + step : skip + step + 1]
        if head[skip : skip + 1] == b"\x47" and next_sync in (b"\x47", b""):
            return step, skip
    return None


def _packets(file: BinaryIO, at: int) -> Iterator[_Packet]:
    """The packets with contents from a place on, up to where the file makes no sense."""
    layout = _layout(file, at)
    if layout is None:
        return
    step, skip = layout
    file.seek(at)
    while len(data := file.read(step)) == step and data[skip] == SYNC:
        data = data[skip:]
        if data[3] & 0x10:
            begins = data[1] & 0x40 > 0
            yield _Packet(
                at,
                stream=(data[1] & 0x1F) << 8 | data[2],
                counter=data[3] & 0x0F,
                begins=begins,
                is_stuffed=data[3] & 0x20 > 0 and data[4] != _said_bytes(data),
                is_entry=data[3] & 0x20 > 0 and data[4] > 0 and data[5] & 0x40 > 0,
                time=_decode_time(_contents(data)) if begins else None,
            )
        at += step


def _contents(packet: bytes) -> bytes:
    return packet[5 + packet[4] :] if packet[3] & 0x20 else packet[4:]


def _said_bytes(packet: bytes) -> int:
    """The length that an adaptation field would have without stuffing (ISO 13818-1, 2.4.3.4)."""
    flags = packet[5]
    length = 1 + 6 * bool(flags & 0x10) + 6 * bool(flags & 0x08) + bool(flags & 0x04)
    for has in (flags & 0x02, flags & 0x01):  # private data and the extension start with their lengths
        length += 1 + packet[min(5 + length, len(packet) - 1)] if has else 0
    return length


def _decode_time(contents: bytes) -> int | None:
    """The decode time in the header of a PES packet, else its presentation time (ISO 13818-1, 2.4.3.7)."""
    if contents[:3] != b"\0\0\1" or len(contents) < 19 or not contents[7] & 0x80:
        return None
    stamp = contents[14:19] if contents[7] & 0x40 else contents[9:14]
    return (stamp[0] >> 1 & 7) << 30 | stamp[1] << 22 | (stamp[2] >> 1) << 15 | stamp[3] << 7 | stamp[4] >> 1
