"""Makes the video files that readers get wrong, on the fly, with PyAV.

Every picture says which one it is: eight blocks along its top are the bits of its number, black or white, and
`number_in` reads them back after lossy coding. Tests can then ask for exact frames rather than for counts.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

SIZE_HW = (64, 96)
BITS = 8
NUM_FRAMES = 60

X264 = "keyint=12:min-keyint=12:scenecut=0:bframes=3:b-adapt=0"
CLOSED_GOP = {"preset": "veryfast", "x264-params": X264}
OPEN_GOP = {"preset": "veryfast", "x264-params": f"{X264}:open-gop=1"}
HEVC = {"preset": "ultrafast", "x265-params": f"{X264}:open-gop=1:log-level=none"}
FASTSTART = {"movflags": "+faststart"}

KW = dict[str, Any]

RECIPES: dict[str, KW] = {
    "b_frames.mp4": {"options": CLOSED_GOP, "container": FASTSTART},
    "b_frames.mkv": {"options": CLOSED_GOP},
    "open_gop.mp4": {"options": OPEN_GOP, "container": FASTSTART},
    "open_gop.ts": {"options": OPEN_GOP},
    "raw.h264": {"options": CLOSED_GOP},
    "no_times.avi": {"options": CLOSED_GOP},
    "hevc.mp4": {"codec": "libx265", "options": HEVC, "container": FASTSTART},
    "hevc.ts": {"codec": "libx265", "options": HEVC},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"bf": "2", "g": "12"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"bf": "2", "g": "12"}},
    "vp8.webm": {"codec": "libvpx", "options": {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "16"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "12", "cpu-used": "8", "lag-in-frames": "16"}},
    "intra_only.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "intra_refresh.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}},
    "long_gop.mp4": {"options": {"g": "250", "bf": "2", "x264-params": "scenecut=0"}},
    "fragmented.mp4": {"options": CLOSED_GOP, "container": {"movflags": "frag_keyframe+empty_moov"}},
    "variable_rate.mp4": {"options": OPEN_GOP, "pts": [7 * k * k for k in range(NUM_FRAMES)], "base": 6000},
    "variable_rate.mkv": {"options": CLOSED_GOP, "pts": [k * k for k in range(NUM_FRAMES)], "base": 1000},
}
"""Whole files that are hard to seek in; each holds NUM_FRAMES numbered pictures."""


def picture(number: int, size_hw: tuple[int, int] = SIZE_HW) -> Image:
    """uint8 H x W x 3: the bits of `number` above a texture that moves."""
    height, width = size_hw
    y, x = np.mgrid[0:height, 0:width]
    texture = 96 + 40 * np.sin((x + 3 * number) / 5.0) + 40 * np.cos((y + number) / 4.0)
    image = np.repeat(texture.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    image[:, :, 2] = 255 - image[:, :, 2]
    for bit in range(BITS):
        block = slice(bit * width // BITS, (bit + 1) * width // BITS)
        image[: height // 2, block] = 235 if number >> bit & 1 else 16
    return image


def number_in(image: Image) -> int:
    """The number that `picture` drew, modulo 256."""
    height, width = image.shape[:2]
    number = 0
    for bit in range(BITS):
        left, right = bit * width // BITS, (bit + 1) * width // BITS
        block = image[height // 8 : height * 3 // 8, left + 1 : right - 1]
        number |= int(block.mean() > 128) << bit
    return number


def encode(
    path: Path,
    pictures: Iterable[Image | av.VideoFrame],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rate: int = 24,
    pts: Sequence[int] | None = None,
    base: int | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    prepare: Callable[[Any], None] = lambda stream: None,
) -> Path:
    """Encode pictures.

    Args:
        pts: times of the pictures, in 1/`base` seconds; otherwise one every 1/`rate` seconds.
        prepare: sets what else the stream needs, before it is opened.
    """
    time_base = Fraction(1, base or rate)
    with av.open(str(path), "w", options=container or {}) as output:
        stream: Any = None
        for count, image in enumerate(pictures):
            frame = image if isinstance(image, av.VideoFrame) else av.VideoFrame.from_ndarray(image)
            if stream is None:
                stream = output.add_stream(codec, rate=rate, options=options or {})
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, pix_fmt
                stream.codec_context.time_base = time_base
                if codec == "libx264":  # else the same pictures may give other bytes
                    stream.codec_context.thread_count = 1
                stream.time_base = time_base
                prepare(stream)
            if frame.format.name != pix_fmt:
                frame = frame.reformat(format=pix_fmt)
            frame.pts = count if pts is None else pts[count]
            frame.time_base = time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def numbered(
    path: Path, num_frames: int = NUM_FRAMES, size_hw: tuple[int, int] = SIZE_HW, **how: Any
) -> Path:
    """A video of numbered pictures; `how` as in `encode`."""
    return encode(path, (picture(k, size_hw) for k in range(num_frames)), **how)


class HardVideos:
    """The files of RECIPES in one folder, each made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, name: str) -> Path:
        path = self.folder / name
        if not path.exists():
            numbered(path, **RECIPES[name])
        return path


# --- Files that lie, or are broken


def truncated(whole: Path, path: Path, fraction: float = 0.6) -> Path:
    """The first part of a file.

    Transport packets have an even length, so that an odd place is inside one, whatever length an encoder made
    the file: a stream of whole packets is a whole file.
    """
    data = whole.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction) | 1])
    return path


def overwritten(whole: Path, path: Path, at: float = 0.5, num_bytes: int = 400) -> Path:
    """A file with random bytes in place of its own at a fraction of its length."""
    data = bytearray(whole.read_bytes())
    place = int(len(data) * at)
    data[place : place + num_bytes] = random.Random(0).randbytes(num_bytes)
    path.write_bytes(data)
    return path


def with_broken_packet(whole: Path, path: Path, number: int) -> Path:
    """A file in which one packet (by storage order; from the end if negative) is random bytes."""
    with av.open(str(whole)) as container:
        packets = [(p.pos, p.size) for p in container.demux(container.streams.video[0]) if p.size]
    place, size = packets[number]
    data = bytearray(whole.read_bytes())
    data[place : place + size] = random.Random(0).randbytes(size)
    path.write_bytes(data)
    return path


def with_claimed_frames(whole_avi: Path, path: Path, claim: int) -> Path:
    """An AVI whose two headers claim `claim` frames (dwTotalFrames of 'avih', dwLength of 'strh')."""
    data = bytearray(whole_avi.read_bytes())
    struct.pack_into("<I", data, data.index(b"avih") + 8 + 16, claim)
    struct.pack_into("<I", data, data.index(b"strh") + 8 + 32, claim)
    path.write_bytes(data)
    return path


def with_claimed_duration(whole_mp4: Path, path: Path, factor: float) -> Path:
    """An MP4 whose movie, track and media headers (version 0) claim another duration."""
    data = bytearray(whole_mp4.read_bytes())
    for name, offset in ((b"mvhd", 20), (b"tkhd", 24), (b"mdhd", 20)):
        place = data.index(name) + offset
        (duration,) = struct.unpack_from(">I", data, place)
        struct.pack_into(">I", data, place, int(duration * factor))
    path.write_bytes(data)
    return path


def without_frames(path: Path) -> Path:
    """An MP4 with a video track and not one picture in it."""
    with av.open(str(path), "w", options={"movflags": "frag_keyframe+empty_moov"}) as output:
        stream: Any = output.add_stream("mpeg4", rate=24)
        stream.height, stream.width = SIZE_HW
        stream.pix_fmt = "yuv420p"
        output.start_encoding()
    return path


def audio_only(path: Path) -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=16000)
        for start in range(0, 16000, 1024):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            sound.sample_rate, sound.pts = 16000, start
            output.mux(stream.encode(sound))
        output.mux(stream.encode(None))
    return path


# --- Colours


LUMA_WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}
"""Weights of red and blue in luma (ITU-R BT.601-7 and BT.709-6)."""
FFMPEG_MATRIX = {"bt601": 6, "bt709": 1}


def flat_yuv(
    rgb: tuple[int, int, int], pix_fmt: str, *, matrix: str, full_range: bool, size_hw: tuple[int, int]
) -> av.VideoFrame:
    """A picture of one colour, its samples worked out here from the standards and not by a library."""
    red, green, blue = (value / 255 for value in rgb)
    weight_r, weight_b = LUMA_WEIGHTS[matrix]
    luma = weight_r * red + (1 - weight_r - weight_b) * green + weight_b * blue
    chroma = ((blue - luma) / (2 - 2 * weight_b), (red - luma) / (2 - 2 * weight_r))
    depth = 10 if "10" in pix_fmt else 8
    step = 1 << (depth - 8)
    if full_range:
        top = (1 << depth) - 1
        samples = [luma * top, *(c * top + (1 << (depth - 1)) for c in chroma)]
    else:
        samples = [step * (16 + 219 * luma), *(step * (128 + 224 * c) for c in chroma)]
    frame = av.VideoFrame(size_hw[1], size_hw[0], pix_fmt)
    dtype = np.dtype("<u2" if depth > 8 else "u1")
    for plane, sample in zip(frame.planes, samples, strict=True):
        plane.update(np.full(plane.buffer_size // dtype.itemsize, round(sample), dtype).tobytes())
    frame.colorspace = FFMPEG_MATRIX[matrix]
    frame.color_range = 2 if full_range else 1
    return frame


def one_colour(
    path: Path, rgb: tuple[int, int, int], pix_fmt: str, *, matrix: str, full_range: bool, num_frames: int = 3
) -> Path:
    """A lossless H.264 video of one colour, tagged with its matrix and range."""

    def tag(stream: Any) -> None:
        stream.codec_context.colorspace = FFMPEG_MATRIX[matrix]
        stream.codec_context.color_range = 2 if full_range else 1

    frames = (
        flat_yuv(rgb, pix_fmt, matrix=matrix, full_range=full_range, size_hw=SIZE_HW)
        for _ in range(num_frames)
    )
    return encode(path, frames, pix_fmt=pix_fmt, options={"qp": "0"}, prepare=tag)
