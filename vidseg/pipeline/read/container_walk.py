"""Checks that a file holds all that its container announces, by walking over sizes and names of its parts.

Demuxers hide such breaks: a file that was cut short simply ends, and broken parts of a Matroska file are
skipped silently.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from vidseg.pipeline.read.transport import find_loss

MP4_BOXES = (b"moov", b"mdat", b"moof", b"mfra", b"meta", b"uuid", b"styp", b"sidx")
MP4_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp")

# Matroska element ids, with their length markers (RFC 9559, section 5).
EBML_HEADER, SEGMENT, CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
SEGMENT_CHILDREN = {
    0x114D9B74, 0x1549A966, 0x1654AE6B, CLUSTER, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367, 0xEC, 0xBF,
}  # fmt: skip
CLUSTER_CHILDREN = {0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF, 0xEC, 0xBF}


def find_break(path: Path) -> str | None:
    """The first break of an MP4, Matroska, AVI or MPEG-TS file; None for whole files and other containers."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(400)
        if head[4:8] in MP4_FIRST_BOXES:
            return _walk_mp4(file, size)
        if head[:4] == b"\x1aE\xdf\xa3":
            return _walk_matroska(file, size)
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            end = 8 + struct.unpack("<I", head[4:8])[0]
            return _ends_early(size, end) if end > size else None
        if size > 376 and head[0] == head[188] == head[376] == 0x47 and size % 188:
            return "the file ends in the middle of a transport packet"
    return find_loss(path)


def _ends_early(size: int, announced: int) -> str:
    return f"the file ends early: {size:,} of at least {announced:,} bytes are there"


def _walk_mp4(file: BinaryIO, size: int) -> str | None:
    at = 0
    has_index = False
    while at + 8 <= size:
        file.seek(at)
        length, name = struct.unpack(">I4s", file.read(8))
        if length == 1:
            large = file.read(8)
            length = struct.unpack(">Q", large)[0] if len(large) == 8 else 16
        elif length == 0:
            return None  # this box always reaches to the end of the file
        if at + length > size:
            return _ends_early(size, at + length) if name in MP4_BOXES else None
        if name == b"moov" and has_index:  # `cat a.mp4 b.mp4`
            return f"another video begins before byte {at:,}, of which nothing can be read"
        has_index |= name == b"moov"
        if length < 8:
            return None  # no box; players ignore anything after the last box
        at += length
    return None


def _walk_matroska(file: BinaryIO, size: int) -> str | None:
    at = 0
    cluster_end: int | None = None
    """None outside of clusters. A cluster of unknown size lasts until the next element of the segment."""
    inside = False
    while at < size:
        element = _ebml_element(file, at)
        if element is None:
            return _ends_early(size, size + 1) if size - at < 12 else _nonsense(at)
        identity, start, length = element
        if identity == EBML_HEADER and inside and length is not None:  # `cat a.mkv b.mkv`
            inside, cluster_end, at = False, None, start + length
            continue
        if identity == SEGMENT:
            if length is not None and start + length > size:
                return _ends_early(size, start + length)
            inside = True
            at = start
            continue
        if not inside:
            if identity != EBML_HEADER and at == 0:
                return None
            at = start + (length or 0)
            continue
        if cluster_end is not None and at >= cluster_end:
            cluster_end = None
        if identity == CLUSTER:
            cluster_end = size if length is None else start + length
            if cluster_end > size:
                return _ends_early(size, cluster_end)
            at = start
            continue
        if identity in SEGMENT_CHILDREN - CLUSTER_CHILDREN:
            cluster_end = None
        elif identity not in (SEGMENT_CHILDREN if cluster_end is None else CLUSTER_CHILDREN):
            return _nonsense(at)
        if length is None:
            return None  # only segments and clusters may be of unknown size; a live muxer's own ways
        if start + length > size:
            return _ends_early(size, start + length)
        at = start + length
    return None


def _nonsense(at: int) -> str:
    return f"the container makes no sense at byte {at:,}"


def _ebml_element(file: BinaryIO, at: int) -> tuple[int, int, int | None] | None:
    """Id, first byte of the contents and length (None: unknown) of the element at a byte, if there is one."""
    file.seek(at)
    head = file.read(12)
    id_length = 9 - head[0].bit_length() if head and head[0] else 9
    if id_length > 4 or len(head) <= id_length:
        return None
    first = head[id_length]
    size_length = 9 - first.bit_length() if first else 9
    if size_length > 8 or len(head) < id_length + size_length:
        return None
    value = int.from_bytes(head[id_length : id_length + size_length], "big") & ((1 << 7 * size_length) - 1)
    unknown = value == (1 << 7 * size_length) - 1
    return int.from_bytes(head[:id_length], "big"), at + id_length + size_length, None if unknown else value
