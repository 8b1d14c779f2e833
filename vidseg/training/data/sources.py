"""Sources of pixels: stills with masks, video frames, sequences with masks; cached in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vidseg.errors import ConfigError, VidsegError, told
from vidseg.pipeline.label_png import read_label_png
from vidseg.pipeline.read import read
from vidseg.pipeline.read.folder import IMAGE_SUFFIXES
from vidseg.pipeline.read.images import read_image
from vidseg.training.data.listing import (
    check_shapes,
    check_sizes,
    sequences_in,
    still_pairs,
    unreadable,
)
from vidseg.training.data.settings import StillFolder, folder_of

Image = NDArray[np.uint8]

_STILL_LONG_SIDE = 640
_VIDEO_SHORT_SIDE = 360
_JPEG_QUALITY = 90
_VOID = 255
_MOVIES = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".ts")


@dataclass(frozen=True, slots=True)
class Still:
    """A picture with labelled objects."""

    image: Image
    """H x W x 3, RGB."""
    labels: NDArray[np.uint8]
    """H x W; 0 is background, 1 to N are objects."""
    areas: tuple[int, ...]
    """Number of pixels of object 1, 2, ... N."""


class StillSource:
    """Stills of folders, decoded when they are asked for, and kept up to a budget of memory.

    Raises:
        ConfigError: a folder is missing or holds no still, or one that cannot be used.
    """

    def __init__(self, folders: list[StillFolder], cache_mb: int) -> None:
        listings = [still_pairs(folder) for folder in folders]
        self.said = [listing.said for listing in listings]
        """What of each folder is used, in a line for people."""
        self._pairs = [pair for listing in listings for pair in listing.items]
        self._kept: dict[int, Still] = {}
        self._room = cache_mb << 20

    def __len__(self) -> int:
        return len(self._pairs)

    @property
    def names(self) -> list[str]:
        return [image.stem for image, _ in self._pairs]

    def get(self, index: int) -> Still:
        """A still by its number."""
        still = self._kept.get(index)
        if still is None:
            still = _load_still(*self._pairs[index])
            size = still.image.nbytes + still.labels.nbytes
            if size <= self._room:
                self._room -= size
                self._kept[index] = still
        return still

    def preload(self) -> None:
        """Decode stills until the budget is spent."""
        for index in range(len(self)):
            if self._room < 1 << 20:
                break
            self.get(index)


def _load_still(image_path: Path, mask_path: Path) -> Still:
    image = _read_rgb(image_path)
    labels = _read_labels(mask_path)
    check_sizes(image_path, image.shape[:2], mask_path, labels.shape)
    labels = _without_void(labels, is_white_object=_is_white_alone(labels))
    image, labels = _shrink(image, labels, _STILL_LONG_SIDE / max(image.shape[:2]))
    return Still(image, labels, tuple(int(n) for n in np.bincount(labels.ravel())[1:]))


def _shrink(image: Image, labels: NDArray[np.uint8], scale: float) -> tuple[Image, NDArray[np.uint8]]:
    if scale >= 1:
        return image, labels
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return (
        cv2.resize(image, size, interpolation=cv2.INTER_AREA),
        cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST),
    )


def _read_rgb(path: Path) -> Image:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if image is None:
        raise unreadable(path)
    if image.dtype == np.uint8:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    try:
        return read_image(path)
    except Exception as error:  # on damaged files Pillow may raise anything
        raise unreadable(path, told(error)) from None


def _read_labels(path: Path) -> NDArray[np.uint8]:
    """The values of a mask, H x W.

    Raises:
        ConfigError: it is grey, and its values are no objects but how far pixels belong to one.
    """
    labels = np.asarray(read_label_png(path))
    if labels.max(initial=0) == _VOID and not _is_white_alone(labels) and not _is_indexed(path):
        raise ConfigError(
            "a grey mask with several levels up to 255: a soft mask?",
            where=str(path),
            hint="threshold it; or save it as an indexed PNG if the values are objects, with 255 for none",
        )
    return labels


def _is_white_alone(labels: NDArray[np.uint8]) -> bool:
    """Whether a mask holds 255 and no other object: white on black, then, and not void beside objects."""
    return bool(labels.max(initial=0) == _VOID and not ((labels > 0) & (labels < _VOID)).any())


def _without_void(labels: NDArray[np.uint8], *, is_white_object: bool) -> NDArray[np.uint8]:
    """The labels in which 255 is object 1, or else background: objects in training are only told apart, so
    what is not to be counted is background."""
    return np.where(labels == _VOID, int(is_white_object), labels).astype(np.uint8)


def _is_indexed(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(26)[25:] == b"\x03"  # the colour type in a PNG's header


class VideoSource:
    """Consecutive frames of videos, kept as JPEG of 360 lines; a video is decoded when first asked for.

    Raises:
        ConfigError: a path is missing or leads to no video.
    """

    def __init__(self, paths: list[str], cache_mb: int) -> None:
        self._videos = [video for path in paths for video in _videos_at(path)]
        self._budget = (cache_mb << 20) // max(1, len(self._videos))
        self._kept: dict[int, list[bytes]] = {}

    def __len__(self) -> int:
        return len(self._videos)

    def frames_of(self, index: int) -> int:
        """How many frames of a video there are."""
        return len(self._load(index))

    def get(self, index: int, frame_idx: int) -> Image:
        """A frame of a video: H x W x 3, RGB."""
        data = np.frombuffer(self._load(index)[frame_idx], np.uint8)
        return np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))

    def preload(self) -> None:
        """Decode all videos now."""
        for index in range(len(self)):
            self._load(index)

    def _load(self, index: int) -> list[bytes]:
        if index not in self._kept:
            self._kept[index] = _compressed_frames(self._videos[index], self._budget)
        return self._kept[index]


def _videos_at(text: str) -> list[Path]:
    path = folder_of(text, "videos")
    if path.is_file():
        return [path]
    inside = sorted(path.iterdir())
    movies = [p for p in inside if p.suffix.lower() in _MOVIES]
    if movies:
        return movies
    if any(p.suffix.lower() in IMAGE_SUFFIXES for p in inside):
        return [path]
    raise ConfigError(f"no video in '{text}'", where="videos", hint="give a video or a folder of videos")


def _compressed_frames(path: Path, budget: int) -> list[bytes]:
    """The first frames of a video as JPEG, as many as fit into `budget` bytes."""
    kept: list[bytes] = []
    used = 0
    try:
        for frame in read(path):
            image = np.asarray(frame.image)
            scale = _VIDEO_SHORT_SIDE / min(image.shape[:2])
            if scale < 1:
                size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
                image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
            data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
            used += len(data)
            if kept and used > budget:
                break
            kept.append(data)
    except VidsegError as error:
        if not kept:  # frames before the damage can be used
            raise ConfigError(f"no frame can be read: {error.message}", where=str(path)) from None
    return kept


class VosSource:
    """Sequences of folders in the style of DAVIS or YouTube-VOS, read from disk when asked for.

    Raises:
        ConfigError: a folder holds no sequence in this layout, or one that cannot be used.
    """

    def __init__(self, folders: list[str]) -> None:
        listings = [sequences_in(folder) for folder in folders]
        self.said = [listing.said for listing in listings]
        """What of each folder is used, in a line for people."""
        self._sequences = [sequence for listing in listings for sequence in listing.items]
        self._white: dict[int, bool] = {}

    def __len__(self) -> int:
        return len(self._sequences)

    def frames_of(self, index: int) -> int:
        """How many frames a sequence has."""
        return len(self._sequences[index].images)

    def get(self, index: int, frame_idx: int) -> tuple[Image, NDArray[np.uint8]]:
        """A frame: image H x W x 3 (RGB) and labels H x W, at most 480 lines high.

        Raises:
            ConfigError: the frame or its mask cannot be read, they differ in shape, or the first frame is of
                another size.
        """
        sequence = self._sequences[index]
        image_path, mask_path = sequence.images[frame_idx], sequence.masks[frame_idx]
        image = _read_rgb(image_path)
        if image.shape[:2] != sequence.size_hw:
            (height, width), (first_height, first_width) = image.shape[:2], sequence.size_hw
            raise ConfigError(
                f"the frame is {width}x{height}, the first one {first_width}x{first_height} pixels large",
                where=str(image_path),
                hint="give frames of one size; cameras turn pictures by their EXIF orientation",
            )
        labels = _read_labels(mask_path)
        is_white_object = _is_white_alone(labels) and self._has_white_objects(index)
        labels = _without_void(labels, is_white_object=is_white_object)
        if labels.shape != image.shape[:2]:
            check_shapes(image_path, image.shape[:2], mask_path, labels.shape)
            labels = cv2.resize(labels, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_NEAREST)
        return _shrink(image, labels, 480 / min(image.shape[:2]))

    def _has_white_objects(self, index: int) -> bool:
        """Whether the masks of a sequence are white on black, as those of DAVIS 2016: on a frame without
        objects 255 may else be void alone."""
        if index not in self._white:
            masks = map(_read_labels, self._sequences[index].masks)
            self._white[index] = all(_is_white_alone(labels) or not labels.any() for labels in masks)
        return self._white[index]
