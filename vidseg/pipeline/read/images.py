"""Reads images of any mode as uint8 RGB.

The white of 8-bit images is known. Images of 16 or 32 bits and of floating point hold whatever a camera or a
program left in them: 12 bits of 16, or values from 0 to 1. Their white is the end of the simplest range that
holds all values, the same for all frames of a source. If there is no simple one, they are refused, as a wrong
white would make them black.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vidseg.pipeline.read.orientation import EXIF_ORIENTATION, Orientation

if TYPE_CHECKING:
    from PIL import Image

    Samples = npt.NDArray[Any]
    """uint8 H x W x 3 RGB; or H x W or H x W x 3 (RGB) of another type, whose white is to be found."""

INTEGER_DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras and programs fill; above them every number of bits is taken for what it is."""

LEAST_INTEGER_WHITE = 16
"""Integers that all lie below this are taken for labels, not for a picture."""

OVERSHOOT = 0.05
"""How far, as a share of white, resampling may have moved floating-point values out of their range."""

SAMPLED_IMAGES = 8
"""How many images of a source are read to find its white."""

LARGEST_SIDE_PX = 65535
"""Largest side of a JPEG. Damaged headers claim more, and would keep a reader busy for minutes."""

SAMPLE_FORMAT, UNSIGNED = 339, (1,)
"""The TIFF tag that tells signed integers from unsigned ones, and its value for unsigned ones."""


class NoRangeError(ValueError):
    """No simple range holds all values, so white is unknown."""

    hint = "save the images with 8 bits, or their values scaled to 0 to 1 (floating point) or to 0 to 65535"


class ManyFramesError(ValueError):
    """A file that should hold one frame holds several."""

    hint = "give the file itself as the source, or save each of its frames as a file"


@dataclass(frozen=True)
class Levels:
    """The range of values that becomes 0 to 255."""

    white: float
    is_float: bool

    @classmethod
    def of(cls, lowest: float, highest: float, *, is_float: bool) -> Levels:
        """The simplest range that holds all values.

        Raises:
            NoRangeError: there is none.
        """
        if is_float:
            for white in (1.0, 255.0, 65535.0):
                # The least of the larger ranges would be values slightly out of a smaller one.
                is_filled = white == 1.0 or highest > white / 4 or (lowest == highest == 0)
                if -OVERSHOOT * white <= lowest and highest <= (1 + OVERSHOOT) * white and is_filled:
                    return cls(white, is_float=True)
        elif lowest >= 0 and (highest >= LEAST_INTEGER_WHITE or highest == 0):
            bits = int(highest).bit_length()
            depth = next((depth for depth in INTEGER_DEPTHS if depth >= bits), bits)
            return cls(float((1 << depth) - 1), is_float=False)
        raise NoRangeError(f"its values go from {lowest:g} to {highest:g}, which is no plain range")

    def apply(self, samples: Samples) -> npt.NDArray[np.uint8]:
        """The samples in that range as uint8 H x W x 3.

        Raises:
            NoRangeError: values lie outside the range.
        """
        if self.is_float:
            lowest, highest = _extent(samples)
            if not (-OVERSHOOT * self.white <= lowest and highest <= (1 + OVERSHOOT) * self.white):
                raise NoRangeError(
                    f"its values go from {lowest:g} to {highest:g}, other frames' from 0 to {self.white:g}"
                )
            scaled = np.rint(samples * (255 / self.white))
        else:
            scaled = np.floor(samples * (256 / (self.white + 1)))
        image = scaled.clip(0, 255).astype(np.uint8)
        return np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else np.ascontiguousarray(image)


class Images:
    """The images of a source by number, as uint8 H x W x 3 RGB.

    Args:
        count: number of images.
        read: reads one of them.
    """

    def __init__(self, count: int, read: Callable[[int], Samples]) -> None:
        self._count = count
        self._read = read
        self._levels: dict[bool, Levels] = {}
        """Levels by whether values are of floating point."""

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> npt.NDArray[np.uint8]:
        """One image.

        Raises:
            NoRangeError: see the module.
            Exception: whatever Pillow raises on a damaged file.
        """
        samples = self._read(number)
        if samples.dtype == np.uint8:
            return samples
        is_float = samples.dtype.kind == "f"
        if is_float not in self._levels:
            self._levels[is_float] = self._levels_of_all(samples, is_float=is_float)
        return self._levels[is_float].apply(samples)

    def _levels_of_all(self, first: Samples, *, is_float: bool) -> Levels:
        extents = [_extent(first)]
        for number in sorted(set(np.linspace(0, self._count - 1, SAMPLED_IMAGES).astype(int).tolist())):
            try:
                samples = self._read(number)
            except Exception:  # it is reported when its turn comes
                continue
            if samples.dtype != np.uint8 and (samples.dtype.kind == "f") == is_float:
                extents.append(_extent(samples))
        lowest, highest = zip(*extents, strict=True)
        return Levels.of(min(lowest), max(highest), is_float=is_float)


def read_image(file: Path) -> npt.NDArray[np.uint8]:
    """One image as uint8 H x W x 3, RGB, upright by its EXIF orientation; an alpha channel is dropped.

    Raises:
        NoRangeError: see the module.
        Exception: whatever Pillow raises on a damaged file.
    """
    return Images(1, lambda number: read_samples(file))[0]


def read_frame(file: Path) -> Samples:
    """The image of a file that is to hold one frame.

    Raises:
        ManyFramesError: it holds several of one size, as stacks and animations do.
    """
    from PIL import Image, UnidentifiedImageError

    # In JPEG files, cameras store smaller pictures and depth maps behind the picture itself.
    if file.suffix.lower() not in (".jpg", ".jpeg"):
        with suppress(UnidentifiedImageError), Image.open(file) as image:
            count = getattr(image, "n_frames", 1)
            if count > 1:
                size = image.size
                image.seek(1)
                if image.size == size:
                    raise ManyFramesError(f"it holds {count} frames")
    return read_samples(file)


def read_samples(file: Path) -> Samples:
    """One image file, upright by its EXIF orientation; an alpha channel is dropped."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            deep = None
            if is_deep_colour(image):
                deep = _by_opencv(file, image.getexif().get(EXIF_ORIENTATION))
            return samples_of(image) if deep is None else deep
    except UnidentifiedImageError:
        # Pillow has no mode for floating-point colour.
        samples = _by_opencv(file, None) if file.suffix.lower() in (".tif", ".tiff") else None
        if samples is None:
            raise
        return samples


def is_deep_colour(image: Image.Image) -> bool:
    """Whether the colours of a file have more than 8 bits, of which Pillow would keep the upper 8."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    mode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return ";16" in str(mode) and not image.mode.startswith("I")


def samples_of(image: Image.Image) -> Samples:
    """The samples of an image that Pillow has opened, upright; an alpha channel is dropped."""
    from PIL import ImageOps

    if max(image.size) > LARGEST_SIDE_PX:
        raise ValueError(f"it says that it is {image.width}x{image.height} pixels large")
    unsigned = getattr(image, "tag_v2", {}).get(SAMPLE_FORMAT, UNSIGNED) == UNSIGNED
    image = ImageOps.exif_transpose(image)
    if image.mode == "F" or image.mode.startswith("I"):
        samples = np.asarray(image)
        return samples.view(np.uint32) if samples.dtype == np.int32 and unsigned else samples
    if image.mode == "LAB":
        return np.array(_from_lab(image))
    if image.mode == "La":
        image = image.convert("LA")
    return np.array(image.convert("RGB"))


def _from_lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None  # it is asked for a new image
    return converted


def _by_opencv(file: Path, exif_orientation: int | None) -> Samples | None:
    """A file's samples in full depth; None if OpenCV cannot read it."""
    import cv2

    # OpenCV logs what is wrong with a file to standard error; our own error says enough.
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        decoded = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_UNCHANGED)
    finally:
        cv2.utils.logging.setLogLevel(level)
    if decoded is None:
        return None
    rgb = decoded if decoded.ndim == 2 else decoded[:, :, 2::-1]
    return Orientation.of_exif(exif_orientation).apply(rgb)


def _extent(samples: Samples) -> tuple[float, float]:
    lowest, highest = float(samples.min()), float(samples.max())
    if not np.isfinite([lowest, highest]).all():
        raise NoRangeError("it holds values that are no numbers")
    return lowest, highest
