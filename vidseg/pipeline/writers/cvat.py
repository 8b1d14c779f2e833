"""CVAT for video 1.1 and CVAT for images 1.1 (CVAT's manual, "XML annotation format").

CVAT has no tracks of masks. It exports each mask as a track of a single frame, ended by an `outside` shape,
and of a mask track that it imports it keeps the first shape only (cvat/apps/dataset_manager/formats/cvat.py,
load_anno). So each mask is such a track here too, or all frames but the first would be lost on import. What
joins the tracks of one object is their `id`, which CVAT gives no meaning, their `group_id`, and the attribute
`track_id` of their shapes. Polygons are written in the same way, for each part of an object one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np

from vidseg.pipeline.writers.finished import Masklets, open_text
from vidseg.pipeline.writers.masklets import ObjectLine
from vidseg.pipeline.writers.outlines import edge_polygons
from vidseg.pipeline.writers.xml_text import escape, quoteattr

if TYPE_CHECKING:
    import numpy.typing as npt

Shape = tuple[str, Mapping[str, object]]
"""Name of an element, 'mask' or 'polygon', and the attributes that say where it is."""


def write_cvat(path: Path, masklets: Masklets, *, polygons: bool = False) -> None:
    """CVAT for video: masks, or polygons along the edges of their pixels (see `edge_polygons`)."""
    height, width = masklets.video.size_hw
    size = (
        f"      <original_size>\n        <width>{width}</width>\n        <height>{height}</height>\n"
        "      </original_size>\n"
    )
    with open_text(path) as file:
        _write_head(file, masklets, "interpolation", "polygon" if polygons else "mask", size)
        for line in masklets:
            for item in line.objects:
                for name, place in _shapes(masklets, line.frame, item, polygons=polygons):
                    file.write(
                        f'  <track id="{item.id}" label={quoteattr(masklets.video.label(item.id))}'
                        f' source="auto" group_id="{item.id}">\n'
                    )
                    _write_shape(file, name, {"frame": line.frame, **_seen(outside=False), **place}, item.id)
                    if line.frame + 1 < masklets.num_frames:
                        # Without this end the shape would stay to the end of the video. Its pixels do not
                        # matter.
                        end = place if polygons else {"rle": "0, 1", **_box(item.box[0], item.box[1], 1, 1)}
                        _write_shape(
                            file, name, {"frame": line.frame + 1, **_seen(outside=True), **end}, item.id
                        )
                    file.write("  </track>\n")
        file.write("</annotations>\n")


def write_cvat_images(path: Path, masklets: Masklets, *, polygons: bool = False) -> None:
    """CVAT for images: the shapes of every frame under its picture's name."""
    height, width = masklets.video.size_hw
    with open_text(path) as file:
        _write_head(file, masklets, "annotation", "polygon" if polygons else "mask")
        for line in masklets:
            name = quoteattr(masklets.video.frame_file(line.frame))
            file.write(f'  <image id="{line.frame}" name={name} width="{width}" height="{height}">\n')
            for item in line.objects:
                for shape, place in _shapes(masklets, line.frame, item, polygons=polygons):
                    about = {"label": masklets.video.label(item.id), "source": "auto", "occluded": 0}
                    _write_shape(file, shape, {**about, **place, "group_id": item.id}, item.id)
            file.write("  </image>\n")
        file.write("</annotations>\n")


def encode_cvat_rle(mask: npt.NDArray[np.bool_]) -> list[int]:
    """The runs of a bool (h, w) mask, cut to its box, as CVAT has them: along rows, background first."""
    pixels = mask.ravel()
    ends = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs = np.diff(np.concatenate([[0], ends, [pixels.size]])).tolist()
    return [0, *runs] if pixels[0] else runs


def _write_head(file: TextIO, masklets: Masklets, mode: str, kind: str, more: str = "") -> None:
    """Write what comes before the shapes: the task and its labels.

    Args:
        kind: type of the labels' shapes.
    """
    file.write(
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
        f"  <meta>\n    <task>\n      <name>{escape(masklets.video.name)}</name>\n"
        f"      <size>{masklets.num_frames}</size>\n"
        f"      <mode>{mode}</mode>\n      <overlap>0</overlap>\n      <labels>\n"
    )
    for label in masklets.categories():
        file.write(
            f"        <label>\n          <name>{escape(label)}</name>\n          <type>{kind}</type>\n"
            "          <attributes>\n            <attribute>\n              <name>track_id</name>\n"
            "              <mutable>False</mutable>\n              <input_type>number</input_type>\n"
            "              <default_value>0</default_value>\n"
            "              <values>0\n2147483647\n1</values>\n"
            "            </attribute>\n          </attributes>\n        </label>\n"
        )
    file.write(f"      </labels>\n{more}    </task>\n  </meta>\n")


def _shapes(masklets: Masklets, frame_idx: int, item: ObjectLine, *, polygons: bool) -> Iterator[Shape]:
    """The shapes of one object on one frame; none if it is absent."""
    if not item.area:
        return
    mask = masklets.mask(frame_idx, item)
    if polygons:
        for polygon in edge_polygons(mask):
            points = ";".join(f"{x},{y}" for x, y in polygon.tolist())
            yield "polygon", {"points": points, "z_order": 0}
        return
    x, y, w, h = item.box
    runs = encode_cvat_rle(mask[y : y + h, x : x + w])
    yield "mask", {"rle": ", ".join(map(str, runs)), **_box(x, y, w, h)}


def _box(x: int, y: int, w: int, h: int) -> dict[str, object]:
    return {"left": x, "top": y, "width": w, "height": h, "z_order": 0}


def _seen(*, outside: bool) -> dict[str, object]:
    return {"keyframe": 1, "outside": int(outside), "occluded": 0}


def _write_shape(file: TextIO, name: str, attributes: Mapping[str, object], obj_id: int) -> None:
    told = " ".join(f"{key}={quoteattr(str(value))}" for key, value in attributes.items())
    file.write(f'    <{name} {told}>\n      <attribute name="track_id">{obj_id}</attribute>\n    </{name}>\n')
