"""Sources of pixels: stills with masks, video frames, sequences with masks; cached in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vidseg.errors import ConfigError, VidsegError
from vidseg.pipeline.label_png import read_label_png
from vidseg.pipeline.read import read
from vidseg.training.data.settings import StillFolder, folder_of

Image = NDArray[np.uint8]

# Their licences allow research, but not weights that others use.
RESEARCH_ONLY_PREFIXES = ("camvid_",)

_STILL_LONG_SIDE = 640
_VIDEO_SHORT_SIDE = 360
_JPEG_QUALITY = 90
_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
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
        ConfigError: a folder is missing or holds no still.
    """

    def __init__(self, folders: list[StillFolder], cache_mb: int) -> None:
        self._pairs = [pair for folder in folders for pair in _still_pairs(folder)]
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


def _still_pairs(source: StillFolder) -> list[tuple[Path, Path]]:
    folder = folder_of(source.folder, "stills")
    pairs = []
    for image in sorted((folder / "images").glob("*")):
        if image.suffix.lower() not in _PICTURES or not image.name.startswith(source.prefix):
            continue
        if image.name.startswith(RESEARCH_ONLY_PREFIXES) and not source.research_only:
            continue
        mask = folder / "masks" / f"{image.stem}.png"
        if mask.is_file():
            pairs.append((image, mask))
    if not pairs:
        raise ConfigError(
            f"no still in '{folder}'", where="stills", hint="it needs images/<name>.jpg and masks/<name>.png"
        )
    return pairs


def _load_still(image_path: Path, mask_path: Path) -> Still:
    image = _read_rgb(image_path)
    labels = _read_labels(mask_path)
    if labels.shape != image.shape[:2]:
        raise ConfigError(
            f"image and mask differ in size: {image.shape[:2]} and {labels.shape}", where=str(mask_path)
        )
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
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ConfigError("cannot be read as a picture", where=str(path), hint="remove it or replace it")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def _read_labels(path: Path) -> NDArray[np.uint8]:
    labels = np.asarray(read_label_png(path))
    # Object ids in training are only told apart, so 255 ("do not count") is background.
    return np.where(labels == 255, 0, labels).astype(np.uint8)


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
    if any(p.suffix.lower() in _PICTURES for p in inside):
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


@dataclass(frozen=True, slots=True)
class _Sequence:
    images: tuple[Path, ...]
    masks: tuple[Path, ...]


class VosSource:
    """Sequences of folders in the style of DAVIS or YouTube-VOS, read from disk when asked for.

    Raises:
        ConfigError: a folder holds no sequence in this layout.
    """

    def __init__(self, folders: list[str]) -> None:
        self._sequences = [s for folder in folders for s in _sequences_in(folder_of(folder, "vos"))]

    def __len__(self) -> int:
        return len(self._sequences)

    def frames_of(self, index: int) -> int:
        """How many frames a sequence has."""
        return len(self._sequences[index].images)

    def get(self, index: int, frame_idx: int) -> tuple[Image, NDArray[np.uint8]]:
        """A frame: image H x W x 3 (RGB) and labels H x W, at most 480 lines high."""
        sequence = self._sequences[index]
        image = _read_rgb(sequence.images[frame_idx])
        labels = _read_labels(sequence.masks[frame_idx])
        if labels.shape != image.shape[:2]:
            labels = cv2.resize(labels, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_NEAREST)
        return _shrink(image, labels, 480 / min(image.shape[:2]))


def _sequences_in(folder: Path) -> list[_Sequence]:
    images, masks = folder / "JPEGImages", folder / "Annotations"
    for resolution in ("480p", "Full-Resolution"):
        if (images / resolution).is_dir() and (masks / resolution).is_dir():
            images, masks = images / resolution, masks / resolution
            break
    found = []
    for sequence in sorted(p for p in masks.glob("*") if p.is_dir()):
        pictures = {p.stem: p for p in (images / sequence.name).glob("*") if p.suffix.lower() in _PICTURES}
        both = [(pictures[m.stem], m) for m in sorted(sequence.glob("*.png")) if m.stem in pictures]
        if both:
            found.append(_Sequence(tuple(i for i, _ in both), tuple(m for _, m in both)))
    if not found:
        raise ConfigError(
            f"no sequence in '{folder}'",
            where="vos",
            hint="it needs JPEGImages/<sequence>/<frame>.jpg and Annotations/<sequence>/<frame>.png",
        )
    return found
