"""Makes the video files that readers get wrong, on the fly, with PyAV.

Every picture says which one it is: eight blocks along its top are the bits of its number, black or white, so that
`number_in` reads it back after lossy coding. Tests can then ask for exact frames rather than for counts.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

SIZE_HW = (64, 96)
BITS = 8


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
        block = image[height // 8 : height * 3 // 8, left + 2 : right - 2]
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
    time_base: Fraction | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    container_format: str | None = None,
    rotation_deg: float | None = None,
    color_range: int | None = None,
    colorspace: int | None = None,
) -> Path:
    """Encode pictures; `pts` counts in `time_base` (default: one per frame, in 1/rate)."""
    base = time_base or Fraction(1, rate)
    with av.open(str(path), "w", format=container_format, options=container or {}) as output:
        stream: Any = None
        for count, image in enumerate(pictures):
            frame = image if isinstance(image, av.VideoFrame) else av.VideoFrame.from_ndarray(image)
            if stream is None:
                stream = output.add_stream(codec, rate=rate, options=options or {})
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, pix_fmt
                stream.codec_context.time_base = base
                stream.time_base = base
                if color_range is not None:
                    stream.codec_context.color_range = color_range
                if colorspace is not None:
                    stream.codec_context.colorspace = colorspace
                if rotation_deg is not None:
                    stream.set_display_rotation(rotation_deg)
            if frame.format.name != pix_fmt:
                frame = frame.reformat(format=pix_fmt)
            frame.pts = count if pts is None else pts[count]
            frame.time_base = base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def numbered(path: Path, num_frames: int = 40, size_hw: tuple[int, int] = SIZE_HW, **how: Any) -> Path:
    """A video of numbered pictures; `how` as in `encode`."""
    return encode(path, (picture(k, size_hw) for k in range(num_frames)), **how)
