"""Label Studio: tasks with pre-annotations, and the labelling configurations that fit them.

images.json, images.xml   a task per frame: masks as brush strokes
video.json, video.xml     one task, where the source is a video file: boxes over time, each object one region

Pictures and videos are named for Label Studio's local storage (`/data/local-files/?d=...`), seen from the
folder that holds the folder of frames, the run, or the video.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from vidseg.pipeline.writers.finished import Masklets, open_text
from vidseg.pipeline.writers.json_stream import write_array
from vidseg.pipeline.writers.masklets import ObjectLine
from vidseg.pipeline.writers.xml_text import quoteattr
from vidseg.trackers.palette import object_colour

if TYPE_CHECKING:
    import numpy.typing as npt

_RUN_BITS = 16
_MAX_RUN = 1 << _RUN_BITS
_WIDTHS = 0x37BF
"""The four widths that lengths may have, minus 1: 4, 8, 12 and 16 bits. Only the last one is used."""


def write_label_studio(path: Path, masklets: Masklets) -> None:
    """Write the folder."""
    path.mkdir(parents=True)
    video = masklets.video
    labels = _label_tags(masklets)
    with open_text(path / "images.json") as file:
        write_array(file, _image_tasks(masklets))
    with open_text(path / "images.xml") as file:
        file.write(
            '<View>\n  <Image name="image" value="$image"/>\n'
            f'  <BrushLabels name="mask" toName="image">\n{labels}  </BrushLabels>\n</View>\n'
        )
    if video.video_file is None:
        return
    with open_text(path / "video.json") as file:
        write_array(file, [_video_task(masklets, video.video_file)])
    rate = f' frameRate="{float(video.frame_rate):g}"' if video.frame_rate else ""
    with open_text(path / "video.xml") as file:
        file.write(
            f'<View>\n  <Video name="video" value="$video"{rate}/>\n'
            '  <VideoRectangle name="box" toName="video"/>\n'
            f'  <Labels name="label" toName="video">\n{labels}  </Labels>\n</View>\n'
        )


def encode_brush_rle(mask: npt.NDArray[np.bool_]) -> list[int]:
    """The bytes of a bool (H, W) mask as Label Studio's brush has them.

    They are an RGBA picture's, 0 or 255 in every channel, packed by thi.ng's rle-pack: a head of 32 bits for
    the number of values, 5 for their width in bits less 1, 4 times 4 for the widths that lengths may have,
    less 1; then runs, each of a bit 1, 2 bits that choose a width, the length less 1, and the value.
    """
    pixels = mask.ravel()
    ends = np.append(np.flatnonzero(pixels[1:] != pixels[:-1]) + 1, pixels.size)
    lengths = 4 * np.diff(ends, prepend=0)
    pieces = -(-lengths // _MAX_RUN)
    values = np.repeat(255 * pixels[ends - 1].astype(np.int64), pieces)
    piece_lengths = np.full(len(values), _MAX_RUN)
    piece_lengths[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * _MAX_RUN
    runs = 0b111 << (_RUN_BITS + 8) | (piece_lengths - 1) << 8 | values
    head = 4 * pixels.size << 21 | 7 << 16 | _WIDTHS
    bits = np.concatenate([_bits(np.array([head]), 53), _bits(runs, 3 + _RUN_BITS + 8)])
    return np.packbits(bits).tolist()


def _bits(numbers: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.uint8]:
    """The lowest `width` bits of numbers, the highest first, one after the other."""
    return (numbers[:, None] >> np.arange(width - 1, -1, -1) & 1).astype(np.uint8).ravel()


def _image_tasks(masklets: Masklets) -> Iterator[dict[str, Any]]:
    video = masklets.video
    for line in masklets:
        seen = [item for item in line.objects if item.area]
        result = [_brush(masklets, line.frame, item) for item in seen]
        picture = f"{video.frames_folder}/{video.frame_file(line.frame)}"
        yield _task("image", picture, result, [item.score for item in seen])


def _brush(masklets: Masklets, frame_idx: int, item: ObjectLine) -> dict[str, Any]:
    height, width = masklets.video.size_hw
    rle = encode_brush_rle(masklets.mask(frame_idx, item))
    return {
        "id": _region_id(item.id),
        "type": "brushlabels",
        "from_name": "mask",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": item.score,
        "value": {"format": "rle", "rle": rle, "brushlabels": [masklets.video.label(item.id)]},
    }


def _video_task(masklets: Masklets, video_file: str) -> dict[str, Any]:
    boxes: dict[int, array[float]] = {}
    scores = []
    for line in masklets:
        for item in line.objects:
            if item.area:
                boxes.setdefault(item.id, array("d")).extend((line.frame, line.time, *item.box))
                scores.append(item.score)
    result = [_rectangles(masklets, obj_id, boxes[obj_id]) for obj_id in sorted(boxes)]
    return _task("video", video_file, result, scores)


def _rectangles(masklets: Masklets, obj_id: int, boxes: array[float]) -> dict[str, Any]:
    """One object's boxes.

    Args:
        boxes: frame, time, x, y, w, h of each frame on which it is in sight.
    """
    video = masklets.video
    height, width = video.size_hw
    rows = np.frombuffer(boxes).reshape(-1, 6)
    goes_on = np.append(np.diff(rows[:, 0]) == 1, False)
    shares = 100 * rows[:, 2:] / (width, height, width, height)
    sequence = [
        {
            "frame": int(frame) + 1,
            "time": time,
            "enabled": bool(enabled),  # the region continues until the next keyframe
            "rotation": 0,
            **dict(zip(("x", "y", "width", "height"), box, strict=True)),
        }
        for (frame, time), enabled, box in zip(
            rows[:, :2].tolist(), goes_on, shares.round(4).tolist(), strict=True
        )
    ]
    duration = {"duration": float(masklets.num_frames / video.frame_rate)} if video.frame_rate else {}
    return {
        "id": _region_id(obj_id),
        "type": "videorectangle",
        "from_name": "box",
        "to_name": "video",
        "value": {
            "framesCount": masklets.num_frames,
            **duration,
            "sequence": sequence,
            "labels": [video.label(obj_id)],
        },
    }


def _task(key: str, file: str, result: list[dict[str, Any]], scores: list[float]) -> dict[str, Any]:
    score = round(sum(scores) / len(scores), 4) if scores else 0.0
    return {
        "data": {key: f"/data/local-files/?d={quote(file, errors='surrogateescape')}"},
        "predictions": [{"model_version": "vidseg", "score": score, "result": result}],
    }


def _region_id(obj_id: int) -> str:
    return f"object-{obj_id}"


def _label_tags(masklets: Masklets) -> str:
    lines = []
    for name, number in masklets.categories().items():
        red, green, blue = object_colour(number)
        lines.append(f'    <Label value={quoteattr(name)} background="#{red:02x}{green:02x}{blue:02x}"/>\n')
    return "".join(lines)
