"""Masks by MobileSAM of the pictures that vidseg-nano is trained on: of more things than are labelled there.

    vidseg weights get mobile-sam
    python recipes/mobile_sam_masks.py VIDSEG_DATA PARTED [--weights mobile_sam.pt] [--jobs 2]

VIDSEG_DATA and PARTED are those of nano_data.py. PARTED/stills_sam is made, with images/ and masks/ (label
maps): all of stills_train, frames of the videos of train_clips/ and clips/ but of cups.mp4, on which is
reported, and frames of davis_train. What is there is not made again.

MobileSAM is asked on a grid of points. Of its masks those stay that may be things: not too small, not too
large, and not cut off by several edges of the picture. Where masks overlap, the larger one comes first, so
that a person is not a jacket and trousers; what others cover by more than a third is left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

import vidseg
from vidseg.glibc import keep_freed_memory
from vidseg.pipeline.read import read
from vidseg.pipeline.writers.png import write_label_png
from vidseg.samplers.found import Found

NOT_SHOWN = "cups.mp4"
FRAMES_OF_CLIP, FRAMES_OF_SEQUENCE = 10, 4
POINTS_PER_SIDE = 12
SMALLEST, LARGEST = 0.003, 0.4
"""Shares of the picture that a thing has."""
MOST_EDGES, CORNER_SHARE = 2, 0.12
"""A thing is cut off by at most so many edges of the picture, and by two only if it is smaller than this
share: what is larger is a floor or a wall."""
COVERED = 1 / 3
"""A mask of which other ones cover a larger share is left out."""

Image = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint8]


def main() -> None:
    args = arguments(__doc__)
    out = args.parted / "stills_sam"
    for kind in ("images", "masks"):
        (out / kind).mkdir(parents=True, exist_ok=True)
    with get_context("spawn").Pool(args.jobs, _load, (args.weights, out)) as pool:
        made = list(pool.imap_unordered(_make, pictures_of(args.data, args.parted, out)))
    print(f"{out}: {len(made)} pictures, {sum(made)} masks made")


def arguments(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("parted", type=Path)
    parser.add_argument("--weights", type=Path, help="of MobileSAM; without it, those that were got")
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    return parser.parse_args()


def pictures_of(data: Path, parted: Path, out: Path) -> Iterator[tuple[str, Image]]:
    """Names and pictures of what has no masks yet."""
    for path in sorted((parted / "stills_train/images").iterdir()):
        if not _is_there(out, path.stem):
            yield path.stem, read_rgb(path)
    for folder in sorted((parted / "davis_train/JPEGImages/480p").iterdir()):
        paths = sorted(folder.iterdir())
        for place in _spread(len(paths), FRAMES_OF_SEQUENCE):
            name = f"davis_{folder.name}_{paths[place].stem}"
            if not _is_there(out, name):
                yield name, read_rgb(paths[place])
    for video in sorted((*data.glob("train_clips/*.mp4"), *data.glob("clips/*.mp4"))):
        if video.name == NOT_SHOWN:
            continue
        count = sum(1 for _ in read(video))
        wanted = {place: f"clip_{video.stem}_{place:05d}" for place in _spread(count, FRAMES_OF_CLIP)}
        if all(_is_there(out, name) for name in wanted.values()):
            continue
        for place, frame in enumerate(read(video)):
            if place in wanted and not _is_there(out, wanted[place]):
                yield wanted[place], np.asarray(frame.image)


def things(found: Sequence[Found]) -> Labels:
    """A label map of the masks that may be things."""
    labels = np.zeros(found[0].mask.shape, np.uint8)
    for one in sorted(found, key=lambda one: -int(one.mask.sum())):
        share = one.mask.mean()
        edges = edges_of(one.mask)
        if not SMALLEST <= share <= LARGEST or edges > MOST_EDGES:
            continue
        if edges == MOST_EDGES and share > CORNER_SHARE:
            continue
        if np.count_nonzero(labels[one.mask]) > COVERED * np.count_nonzero(one.mask):
            continue
        if labels.max() < np.iinfo(np.uint8).max - 1:
            labels[one.mask & (labels == 0)] = labels.max() + 1
    return labels


def edges_of(mask: npt.NDArray[np.bool_]) -> int:
    """By how many edges of the picture a thing is cut off."""
    return sum(bool(edge.any()) for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))


def be_one_of_several() -> None:
    """Let this process work beside others that do the same."""
    import torch

    torch.set_num_threads(1)
    keep_freed_memory()


def read_rgb(path: Path) -> Image:
    return np.asarray(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))


def write_jpg(path: Path, image: Image) -> None:
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])


def _load(weights: Path | None, out: Path) -> None:
    global _model, _out
    be_one_of_several()
    _model, _out = vidseg.load_image("mobile-sam", weights=weights), out


def _make(picture: tuple[str, Image]) -> int:
    name, image = picture
    found = _model.embed(image).everything("grid", points_per_side=POINTS_PER_SIDE)
    labels = things(found) if found else np.zeros(image.shape[:2], np.uint8)
    write_jpg(_out / f"images/{name}.jpg", image)
    write_label_png(_out / f"masks/{name}.png", labels)
    return int(labels.max())


def _is_there(out: Path, name: str) -> bool:
    return (out / f"masks/{name}.png").exists()


def _spread(count: int, most: int) -> list[int]:
    """Places in the middles of so many equal parts."""
    return sorted({int((part + 0.5) * count / most) for part in range(most)})


if __name__ == "__main__":
    main()
