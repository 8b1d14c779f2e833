"""Follows what mobile_sam_masks.py found through the videos that vidseg-nano is trained on.

    python recipes/mobile_sam_tracks.py VIDSEG_DATA PARTED [--weights mobile_sam.pt] [--jobs 2]

From each picture of PARTED/stills_sam that is a frame of a video, vidseg-nano follows the things for up to 20
frames, and from where they are by then back again. Those stay of which the way back ends where it began,
whose last mask MobileSAM draws as well in its box, and which moved. PARTED/tracks_sam is made, in the style
of DAVIS; in sequences of davis_train what is labelled there is left out. What is there is not made again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from mobile_sam_masks import arguments, be_one_of_several, edges_of, read_rgb, write_jpg

import vidseg
from vidseg.masks import iou, tight_box
from vidseg.pipeline.label_png import read_label_png
from vidseg.pipeline.read import read
from vidseg.pipeline.writers.png import write_label_png

FRAMES, LEAST_FRAMES = 20, 10
MOST_THINGS = 6
SMALLEST, LARGEST = 0.006, 0.25
"""Shares of the picture of what is followed."""
MOST_EDGES = 1
"""By so many edges of the picture it may be cut off: what is cut off by more is mostly a floor or a wall."""
AGREES, STAYS, LABELLED = 0.75, 0.85, 0.5
"""IoU of the way back's end, and of MobileSAM's mask, at least; of first and last mask, at most; and with
what is labelled, at most."""
LONG_SIDE = 448

Image = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint8]
Masks = dict[int, npt.NDArray[np.bool_]]


def main() -> None:
    args = arguments(__doc__)
    asked = [args.data, args.parted, args.weights]
    starts = sorted(path.stem for path in (args.parted / "stills_sam/masks").glob("*_*_*.png"))
    starts = [name for name in starts if name.startswith(("davis_", "clip_"))]
    with get_context("spawn").Pool(args.jobs, _load, asked) as pool:
        made = list(pool.imap_unordered(_make, starts))
    print(f"{sum(n > 0 for n in made)} of {len(made)} stretches, {sum(made)} objects made")


def _load(data: Path, parted: Path, weights: Path | None) -> None:
    global _tracker, _segmenter, _data, _parted
    be_one_of_several()
    _tracker, _segmenter = vidseg.load("vidseg-nano"), vidseg.load_image("mobile-sam", weights=weights)
    _data, _parted = data, parted


def _make(name: str) -> int:
    """Writes a stretch; returns how many objects are followed in it."""
    out = _parted / "tracks_sam"
    done = out / f"done/{name}"
    if done.exists():
        return 0
    images = list(_frames_from(name))
    labels = np.asarray(read_label_png(_parted / f"stills_sam/masks/{name}.png"))
    count = 0
    if len(images) >= LEAST_FRAMES:
        size = images[0].shape[1::-1]
        starts = _things(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), _labelled(name, size))
        kept = _followed(images, starts) if starts else []
        count = len(kept[0]) if kept else 0
        if count:
            _write(out, name, images, kept)
    done.parent.mkdir(parents=True, exist_ok=True)
    done.touch()
    return count


def _followed(images: Sequence[Image], starts: Masks) -> list[Masks]:
    """The masks of things that pass all checks, on each frame; empty if none does."""
    forward = follow(images, starts)
    ends = {obj: mask for obj, mask in forward[-1].items() if mask.mean() >= SMALLEST / 2}
    if not ends:
        return []
    back = follow(images[::-1], ends)[-1]
    embedding = _segmenter.embed(images[-1])

    def is_sure(obj: int) -> bool:
        if iou(back[obj], starts[obj]) < AGREES or iou(ends[obj], starts[obj]) > STAYS:
            return False
        drawn = embedding.segment(box=tight_box(ends[obj]), multimask=False)[0].mask
        return iou(drawn, ends[obj]) >= AGREES

    sure = [obj for obj in ends if is_sure(obj)]
    return [{obj: masks[obj] for obj in sure} for masks in forward] if sure else []


def follow(images: Sequence[Image], starts: Mapping[int, npt.NDArray[np.bool_]]) -> list[Masks]:
    """The masks of objects on each frame, from those on the first one, which are the first ones told."""
    session = _tracker.start()
    for obj, mask in starts.items():
        session.prompt(obj, mask=mask)
    told = []
    for image in images:
        result = session.step(image)
        told.append(dict(zip(result.obj_ids, np.asarray(result.masks), strict=True)))
    return [dict(starts), *told[1:]]


def _things(labels: Labels, labelled: npt.NDArray[np.bool_]) -> Masks:
    """The largest things that are to be followed."""
    masks = {int(value): labels == value for value in np.unique(labels) if value}
    chosen = {
        value: mask
        for value, mask in sorted(masks.items(), key=lambda item: -item[1].sum())
        if SMALLEST <= mask.mean() <= LARGEST
        and edges_of(mask) <= MOST_EDGES
        and iou(mask, labelled) < LABELLED
    }
    return dict(islice(chosen.items(), MOST_THINGS))


def _labelled(name: str, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    kind, rest = name.split("_", 1)
    if kind == "clip":
        return np.zeros(size[::-1], bool)
    sequence, frame = rest.rsplit("_", 1)
    mask = np.asarray(read_label_png(_parted / f"davis_train/Annotations/480p/{sequence}/{frame}.png")) > 0
    return cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0


def _frames_from(name: str) -> Iterator[Image]:
    """The stretch's frames, with sides of at most `LONG_SIDE`."""
    kind, rest = name.split("_", 1)
    source, frame = rest.rsplit("_", 1)
    if kind == "davis":
        folder = _parted / f"davis_train/JPEGImages/480p/{source}"
        paths = sorted(folder.iterdir())
        first = [path.stem for path in paths].index(frame)
        images = (read_rgb(path) for path in paths[first:])
    else:
        video = next(_data.glob(f"*clips/{source}.mp4"))
        images = (np.asarray(each.image) for each in islice(read(video), int(frame), None))
    for image in islice(images, FRAMES):
        scale = min(1.0, LONG_SIDE / max(image.shape[:2]))
        size = round(image.shape[1] * scale), round(image.shape[0] * scale)
        yield np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def _write(out: Path, name: str, images: Sequence[Image], masks: Sequence[Masks]) -> None:
    shown, drawn = (out / kind / "480p" / name for kind in ("JPEGImages", "Annotations"))
    for folder in (shown, drawn):
        folder.mkdir(parents=True, exist_ok=True)
    for number, (image, now) in enumerate(zip(images, masks, strict=True)):
        labels = np.zeros(image.shape[:2], np.uint8)
        for value, mask in enumerate(now.values(), 1):
            labels[mask] = value
        write_jpg(shown / f"{number:05d}.jpg", image)
        write_label_png(drawn / f"{number:05d}.png", labels)


if __name__ == "__main__":
    main()
