"""Reads label maps: indexed or greyscale PNG files, pixel value = object id.

Most label maps are indexed with 8 bits a pixel and no row filters. These are inflated straight into an array,
in a tenth of the time of a general decoder; Pillow reads all others.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vidseg.errors import InputError

try:
    from zlib_ng import zlib_ng as fast_zlib  # on label maps twenty times as fast as zlib
except ImportError:  # there are no wheels for every platform
    import zlib as fast_zlib  # type: ignore[no-redef]

LabelMap = npt.NDArray[np.uint8]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_PIXELS = 1 << 28


def read_label_png(path: Path) -> LabelMap:
    """A label map, uint8 H x W.

    Raises:
        InputError: the file is missing or damaged, no PNG, of 16 bits a pixel, or a colour picture.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read()
    except FileNotFoundError:
        raise InputError(f"there is no mask '{path.name}'", where=str(path.parent)) from None
    except OSError as error:
        raise InputError(f"the mask cannot be read ({error.strerror})", where=str(path)) from None
    label_map = _read_plain(data)
    return label_map if label_map is not None else _read_any(data, path)


def _read_plain(data: bytes) -> LabelMap | None:
    """A PNG with one byte a pixel and unfiltered rows; None for others and for damaged ones."""
    if data[:8] != _SIGNATURE or data[12:16] != b"IHDR" or len(data) < 57:
        return None
    width, height, depth, colours, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    if depth != 8 or colours not in (0, 3) or interlaced or not 0 < width * height <= _MAX_PIXELS:
        return None
    parts = []
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if kind == b"IDAT":
            content = data[at + 4 : at + 8 + length]
            if zlib.crc32(content) != int.from_bytes(data[at + 8 + length : at + 12 + length], "big"):
                return None
            parts.append(content[4:])
        elif kind == b"IEND":
            break
        at += 12 + length
    else:
        return None
    try:
        rows = fast_zlib.decompress(b"".join(parts), bufsize=height * (width + 1) + 64)
    except fast_zlib.error:  # type: ignore[misc]
        return None
    if len(rows) != height * (width + 1):
        return None
    table = np.frombuffer(rows, np.uint8).reshape(height, width + 1)
    if table[:, 0].any():  # a row is filtered
        return None
    return table[:, 1:]


def _read_any(data: bytes, path: Path) -> LabelMap:
    import io

    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            mode = image.mode
            if mode in ("P", "L", "1"):
                return np.array(image).astype(np.uint8)
    except UnidentifiedImageError:
        raise InputError("the mask is not a PNG image", where=str(path)) from None
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the mask cannot be read ({reason})", where=str(path)) from None
    raise InputError(
        f"the mask is a picture of mode {mode}, not a label map",
        where=str(path),
        hint="save it as an indexed PNG, pixel value = object id",
    )
