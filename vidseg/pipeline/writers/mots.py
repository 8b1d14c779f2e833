"""MOTS: `instances/<frame>.png` with `labels.txt`, and `instances.txt` (vision.rwth-aachen.de/page/mots).

A pixel of a picture, 16 bits, is 1000 times its class plus the object's id, and no two objects share one: the
pictures are label maps. `instances.txt` has a line for each object on each frame, `frame object class height
width rle`, with the same numbers; it is what TrackEval reads, and counts frames from 1 as MOTSChallenge does.

Class 1 is a car, 2 a pedestrian, and 10 what a score ignores; other labels are the classes from 3 on. The
class's number is its line in labels.txt, which is where CVAT and Datumaro look for it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vidseg.errors import InputError, one_line
from vidseg.pipeline.writers.finished import Masklets, open_text
from vidseg.pipeline.writers.masklets import read_masklets
from vidseg.pipeline.writers.pictures import write_picture
from vidseg.pipeline.writers.rle import encode_rle

OFFICIAL = ("car", "pedestrian")
"""The classes of the benchmark, which are 1 and 2; other labels get classes behind them."""
IGNORED = 10
"""The class of regions that the benchmark does not judge: no label gets it."""
OBJECTS_A_CLASS = 1000
"""A pixel's value is its class times this, plus its object's id."""
MAX_CLASS = (2**16 - 1) // OBJECTS_A_CLASS - 1
"""The highest class of which 16 bits hold all objects."""


def write_mots(path: Path, masklets: Masklets) -> None:
    """Write the folder.

    Raises:
        InputError: an object's id, or the number of labels, is more than the format holds.
    """
    classes = _classes(masklets)
    if max(masklets.obj_ids, default=0) >= OBJECTS_A_CLASS:
        raise InputError(
            f"MOTS holds object ids up to {OBJECTS_A_CLASS - 1}, and there is {max(masklets.obj_ids)}",
            hint="number the objects lower, or choose another format",
        )
    numbers = {i: classes[masklets.video.label(i)] * OBJECTS_A_CLASS + i for i in masklets.obj_ids}
    pictures = path / "instances"
    pictures.mkdir(parents=True)
    with open_text(pictures / "labels.txt") as file:
        # A name with line ends would move those behind it to other classes.
        lines = {number: one_line(name) for name, number in classes.items()}
        file.writelines(f"{lines.get(number, 'ignore')}\n" for number in range(1, max(lines) + 1))
    height, width = masklets.video.size_hw
    with open_text(path / "instances.txt") as file:
        for masks in read_masklets(masklets.path, size_hw=(height, width)):
            label_map = masks.label_map()
            picture = np.zeros((height, width), np.uint16)
            for obj_id in masks.obj_ids:
                visible = label_map == obj_id
                if visible.any():
                    number, counts = numbers[obj_id], encode_rle(visible)["counts"]
                    picture[visible] = number
                    class_id = number // OBJECTS_A_CLASS
                    file.write(f"{masks.frame_idx + 1} {number} {class_id} {height} {width} {counts}\n")
            write_picture(pictures / f"{masklets.video.frame_name(masks.frame_idx)}.png", _encode(picture))


def _classes(masklets: Masklets) -> dict[str, int]:
    """Label -> class."""
    classes = {name: number for number, name in enumerate(OFFICIAL, start=1)}
    for label in masklets.categories():
        if label not in classes:
            number = max(classes.values()) + 1
            classes[label] = number + (number == IGNORED)
    if max(classes.values()) > MAX_CLASS:
        raise InputError(f"MOTS holds {MAX_CLASS - len(OFFICIAL)} labels, and there are more")
    return classes


def _encode(picture: np.ndarray) -> bytes:
    import cv2

    return cv2.imencode(".png", picture)[1].tobytes()
