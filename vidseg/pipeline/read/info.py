"""The facts about a source that are known before its frames are read."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

SourceKind = Literal["video", "frames", "camera", "stream", "array"]

ASSUMED_FRAME_RATE = Fraction(24)
"""Frames per second of sources without times (folders and arrays); DAVIS and SA-V have 24."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceInfo:
    """Facts about one source. Claims of its header are kept apart from what was counted."""

    kind: SourceKind
    name: str
    """Name of the source in messages and outputs: that of the file or folder, or the address."""
    size_hw: tuple[int, int]
    """Height and width of the frames as shown (rotation applied), in pixels as stored: anamorphic video is
    not stretched."""
    path: Path | None = None
    """The file or folder; None for cameras, streams and arrays."""
    frame_rate: Fraction | None = None
    """Average frames per second according to the header; None if it does not say."""
    num_frames_from_header: int | None = None
    """Number of frames according to the header, which is sometimes wrong."""
    num_frames: int | None = None
    """Number of frames of the whole source, if it is known exactly without decoding."""
    duration_s: float | None = None
    """Length in seconds according to the header."""
    codec: str | None = None
    rotation_deg: int = 0
    """How far the stored pictures are turned clockwise to be shown: 0, 90, 180 or 270."""
    is_live: bool = False
    can_seek: bool = True
    """Whether frames can be read again, from any frame and in reverse."""
    frame_files: list[str] | None = None
    """Names of the files of a folder, in the order in which they are read; None for other sources."""
