"""Part the data that vidseg-nano is trained on from the data that is kept aside for choosing.

    python recipes/nano_data.py VIDSEG_DATA OUT

VIDSEG_DATA holds davis_train/ (the 30 training sequences of DAVIS 2016), stills/ with `coco_*` and
`people_*`, and the videos of train_clips/ and clips/. Folders of links are made in OUT:

- clips_train/: frames of the videos with the masks of nano_clips.json, which are followed from boxes and from
  polygons drawn on some of them, and were looked through;
- davis_train/: 24 of the sequences, to be trained on;
- davis_dev/: the other six. Weights, thresholds and rules are chosen on them;
- stills_train/: all `coco_*`, and every second one of `people_*`, by name;
- stills_dev/: the other half of `people_*`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from vidseg.pipeline.read import read
from vidseg.pipeline.writers.png import write_label_png
from vidseg.pipeline.writers.rle import decode_rle

CLIPS = Path(__file__).with_name("nano_clips.json")

DEV = ("bmx-bumps", "breakdance-flare", "car-turn", "dog-agility", "flamingo", "soccerball")
"""A rider who leaves the picture and returns, a dancer among people, a car that grows, a fast animal, one
bird among its likes, a small thing behind trunks."""


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    data, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    part_davis(data / "davis_train", out)
    part_stills(data / "stills", out)
    write_clips(data, out / "clips_train")


def part_davis(davis: Path, out: Path) -> None:
    names = sorted(path.name for path in (davis / "Annotations/480p").iterdir())
    for folder, part in (("davis_train", [n for n in names if n not in DEV]), ("davis_dev", DEV)):
        for kind in ("JPEGImages/480p", "Annotations/480p"):
            _link(davis / kind, out / folder / kind, part)
        listed = out / folder / "ImageSets/2016/all.txt"
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text("\n".join(part) + "\n")


def part_stills(stills: Path, out: Path) -> None:
    names = sorted(path.stem for path in (stills / "masks").glob("*.png"))
    people = [name for name in names if name.startswith("people_")]
    coco = [name for name in names if name.startswith("coco_")]
    for folder, part in (("stills_train", coco + people[::2]), ("stills_dev", people[1::2])):
        _link(stills / "images", out / folder / "images", [f"{name}.jpg" for name in part])
        _link(stills / "masks", out / folder / "masks", [f"{name}.png" for name in part])


def write_clips(data: Path, out: Path) -> None:
    """Sequences in the style of DAVIS: frames and label maps at the size of the masks."""
    clips = json.loads(CLIPS.read_text())
    height, width = clips["size"]
    for number, sequence in enumerate(clips["sequences"]):
        video = next(data.glob(f"*clips/{sequence['video']}"), None)
        if video is None:
            print(f"left out, as it is not there: {sequence['video']}")
            continue
        name = f"{number:02d}_{video.stem}"
        images, masks = (out / kind / "480p" / name for kind in ("JPEGImages", "Annotations"))
        for folder in (images, masks):
            folder.mkdir(parents=True, exist_ok=True)
        for frame in read(video):
            counts = sequence["frames"].get(str(frame.index))
            if counts is not None:
                small = cv2.resize(np.asarray(frame.image), (width, height), interpolation=cv2.INTER_AREA)
                Image.fromarray(small).save(images / f"{frame.index:05d}.jpg", quality=95)
                write_label_png(masks / f"{frame.index:05d}.png", _label_map(counts, (height, width)))


def _label_map(counts: list[str], size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """One map of masks that do not overlap: the first one is 1."""
    labels = np.zeros(size_hw, np.uint8)
    for value, text in enumerate(counts, 1):
        labels[decode_rle({"size": list(size_hw), "counts": text})] = value
    return labels


def _link(source: Path, target: Path, names: Iterable[str]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        link = target / name
        link.unlink(missing_ok=True)
        link.symlink_to(source / name)


if __name__ == "__main__":
    main()
