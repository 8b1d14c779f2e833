"""How stored pictures are mirrored and turned to be shown."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO
from typing import TypeVar

import numpy as np
import numpy.typing as npt

EXIF_ORIENTATION = 0x0112
SampleT = TypeVar("SampleT", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Orientation:
    """A clockwise turn, after mirroring left and right if `mirrored`."""

    rotation_deg: int = 0
    mirrored: bool = False

    @classmethod
    def from_display_matrix(cls, matrix: bytes) -> Orientation:
        """Read nine native 32-bit integers from FFmpeg: (x, y) goes to (a x + c y, b x + d y).

        Like players, this ignores angles between the quarter turns.
        """
        if len(matrix) < 36:
            return cls()
        a, b, _, c, d, *_ = struct.unpack("=9i", matrix[:36])
        signs = tuple(int(np.sign(v)) if abs(v) > (1 << 15) else 0 for v in (a, b, c, d))
        return cls(*_BY_SIGNS.get(signs, (0, False)))

    @classmethod
    def from_exif(cls, picture_file: bytes) -> Orientation | None:
        """The orientation in the EXIF data of a file of one picture (JPEG, PNG, TIFF); None without any."""
        from PIL import Image

        try:
            with Image.open(BytesIO(picture_file)) as image:
                said = image.getexif().get(EXIF_ORIENTATION)
        except Exception:  # on damaged files Pillow may raise anything
            return None
        return cls.of_exif(said) if said in _BY_EXIF else None

    @classmethod
    def of_exif(cls, value: int | None) -> Orientation:
        """The orientation for a value of the EXIF tag; upright for values that EXIF does not define."""
        return cls(*_BY_EXIF.get(value or 1, (0, False)))

    def apply(self, image: npt.NDArray[SampleT]) -> npt.NDArray[SampleT]:
        """The image as shown, H x W x 3 and contiguous, of one as stored, H x W (x 3)."""
        if self.mirrored:
            image = image[:, ::-1]
        if self.rotation_deg:
            image = np.rot90(image, -self.rotation_deg // 90)
        return np.ascontiguousarray(image)


# Signs of (a, b, c, d); y points down, so a positive angle turns clockwise.
_BY_SIGNS: dict[tuple[int, ...], tuple[int, bool]] = {
    (1, 0, 0, 1): (0, False),
    (0, 1, -1, 0): (90, False),
    (-1, 0, 0, -1): (180, False),
    (0, -1, 1, 0): (270, False),
    (-1, 0, 0, 1): (0, True),
    (0, -1, -1, 0): (90, True),
    (1, 0, 0, -1): (180, True),
    (0, 1, 1, 0): (270, True),
}

# EXIF 2.32, tag Orientation: where row 0 and column 0 of the stored picture are shown.
_BY_EXIF: dict[int, tuple[int, bool]] = {
    1: (0, False),
    2: (0, True),
    3: (180, False),
    4: (180, True),
    5: (270, True),
    6: (90, False),
    7: (90, True),
    8: (270, False),
}
