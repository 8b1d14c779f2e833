"""Which files of training data belong together: checked by their headers before training begins, and what
of a folder is left out is counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from vidseg.errors import ConfigError, told
from vidseg.pipeline.mask_files import ROUNDING
from vidseg.pipeline.read.folder import IMAGE_SUFFIXES, natural_key
from vidseg.pipeline.read.orientation import EXIF_ORIENTATION
from vidseg.training.data.settings import StillFolder, folder_of

# Their licences allow research, but not weights that others use.
RESEARCH_ONLY_PREFIXES = ("camvid_",)

MASKS = ("1", "L", "P")
"""Pillow's modes of pictures with at most 8 bits a pixel, one value each."""
_LAID_DOWN = (5, 6, 7, 8)
"""EXIF orientations in which rows are stored as columns."""


@dataclass(frozen=True)
class Sequence:
    """The frames of a real sequence, in the order of time."""

    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    size_hw: tuple[int, int]
    """Height and width of the first frame, in pixels."""


ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class Listing(Generic[ItemT]):
    """What of a folder is used."""

    items: list[ItemT]
    said: str
    """How much that is and what is left out, in a line for people."""


def still_pairs(source: StillFolder) -> Listing[tuple[Path, Path]]:
    """Pictures and their masks.

    Raises:
        ConfigError: there is none; or a picture or mask is damaged, a mask is no label map, or they differ in
            size.
    """
    folder = folder_of(source.folder, "stills")
    masks = {mask.stem: mask for mask in _files(folder / "masks", (".png",))}
    pairs = []
    left_out: Counter[str] = Counter()
    for image in sorted(_files(folder / "images", IMAGE_SUFFIXES)):
        if not image.name.startswith(source.prefix):
            continue
        if image.name.startswith(RESEARCH_ONLY_PREFIXES) and not source.research_only:
            left_out["for research only"] += 1
        elif image.stem in masks:
            pairs.append((image, masks[image.stem]))
        else:
            left_out["without a mask"] += 1
    if not pairs:
        raise ConfigError(
            f"no still in '{folder}'" + _besides(left_out),
            where="stills",
            hint="it needs images/<name>.jpg and masks/<name>.png",
        )
    for image, mask in pairs:
        check_sizes(image, size_of(image), mask, _mask_size(mask))
    return Listing(pairs, f"{folder}: {_count(len(pairs), 'still')}" + _besides(left_out))


def sequences_in(text: str) -> Listing[Sequence]:
    """The sequences of a folder in the style of DAVIS or YouTube-VOS.

    Raises:
        ConfigError: there is none; or the first frame or mask of one is damaged, the mask is no label map, or
            it has another shape than the frame.
    """
    folder = folder_of(text, "vos")
    images, masks = folder / "JPEGImages", folder / "Annotations"
    for resolution in ("480p", "Full-Resolution"):
        if (images / resolution).is_dir() and (masks / resolution).is_dir():
            images, masks = images / resolution, masks / resolution
            break
    found: list[Sequence] = []
    left_out: Counter[str] = Counter()
    for name in sorted({p.name for each in (images, masks) for p in each.glob("*") if p.is_dir()}):
        pictures = {p.stem: p for p in _files(images / name, IMAGE_SUFFIXES)}
        ours = sorted(_files(masks / name, (".png",)), key=lambda mask: natural_key(mask.stem))
        both = [(pictures[mask.stem], mask) for mask in ours if mask.stem in pictures]
        if both:
            size_hw = size_of(both[0][0])
            check_shapes(both[0][0], size_hw, both[0][1], _mask_size(both[0][1]))
            found.append(Sequence(tuple(i for i, _ in both), tuple(m for _, m in both), size_hw))
        else:
            left_out["without frames that have masks"] += 1
    if not found:
        raise ConfigError(
            f"no sequence in '{folder}'",
            where="vos",
            hint="it needs JPEGImages/<sequence>/<frame>.jpg and Annotations/<sequence>/<frame>.png",
        )
    frames = sum(len(sequence.images) for sequence in found)
    said = f"{folder}: {_count(len(found), 'sequence')} of {_count(frames, 'frame')}"
    return Listing(found, said + _besides(left_out))


def size_of(image: Path) -> tuple[int, int]:
    """Height and width of a picture, upright by its EXIF orientation, from its header."""
    from PIL import Image

    try:
        with Image.open(image) as opened:
            width, height = opened.size
            lies = opened.getexif().get(EXIF_ORIENTATION) in _LAID_DOWN
    except Exception as error:  # on damaged files Pillow may raise anything
        raise unreadable(image, told(error)) from None
    return (width, height) if lies else (height, width)


def unreadable(image: Path, why: str = "it is damaged") -> ConfigError:
    """What to say of a picture that cannot be read."""
    return ConfigError(
        f"cannot be read as a picture ({why})", where=str(image), hint="remove it or replace it"
    )


def check_sizes(image: Path, image_hw: tuple[int, int], mask: Path, mask_hw: tuple[int, int]) -> None:
    """Check that a mask is as large as its picture."""
    if image_hw != mask_hw:
        raise ConfigError(
            f"the mask is {mask_hw[1]}x{mask_hw[0]}, its picture {image_hw[1]}x{image_hw[0]} pixels large",
            where=f"{mask} and {image}",
            hint="give masks of the size of the upright picture; a camera may have turned it by its EXIF "
            "orientation",
        )


def check_shapes(image: Path, image_hw: tuple[int, int], mask: Path, mask_hw: tuple[int, int]) -> None:
    """Check that a mask can be scaled to its frame: it has the same shape, up to rounding to pixels."""
    scale = [a / b for a, b in zip(image_hw, mask_hw, strict=True)]
    if max(scale) > (1 + ROUNDING) * min(scale):
        check_sizes(image, image_hw, mask, mask_hw)


def _mask_size(mask: Path) -> tuple[int, int]:
    from PIL import Image

    size = size_of(mask)
    with Image.open(mask) as opened:
        if opened.mode not in MASKS:
            raise ConfigError(
                f"the mask is a picture of mode {opened.mode}, not a label map",
                where=str(mask),
                hint="save it as an indexed PNG, pixel value = object id",
            )
    return size


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files by their suffix; hidden ones, which macOS leaves beside pictures, are none."""
    return [p for p in folder.glob("*") if p.suffix.lower() in suffixes and not p.name.startswith(".")]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _besides(left_out: Counter[str]) -> str:
    return "".join(f"; left out: {number} {why}" for why, number in sorted(left_out.items()))
