"""The DAVIS palette: colour number i is object i, 0 is background."""

from __future__ import annotations

from functools import cache


@cache
def davis_palette() -> bytes:
    """768 bytes, R G B of 256 colours.

    The bits of the index are dealt out to red, green and blue in turn, each channel filled from its highest
    bit down (PASCAL VOC's colour map, which DAVIS took over).
    """
    palette = bytearray()
    for index in range(256):
        rgb = [0, 0, 0]
        for bit in range(8):
            rgb[bit % 3] |= (index >> bit & 1) << (7 - bit // 3)
        palette.extend(rgb)
    return bytes(palette)


def object_colour(obj_id: int) -> tuple[int, int, int]:
    """R G B of an object; from 255 on the colours come round again, never black."""
    start = 3 * ((obj_id - 1) % 254 + 1)
    red, green, blue = davis_palette()[start : start + 3]
    return red, green, blue


def colour_from_hex(text: str) -> tuple[int, int, int]:
    """R G B of '#rrggbb'.

    Raises:
        ValueError: it is no such text.
    """
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue
