"""CVAT for video 1.1 (CVAT's manual, "XML annotation format").

CVAT has no tracks of masks. It exports each mask as a track of a single frame, ended by an `outside` shape,
and of a mask track that it imports it keeps the first shape only (cvat/apps/dataset_manager/formats/cvat.py,
load_anno). So each mask is such a track here too, or all frames but the first would be lost on import. What
joins the tracks of one object is their `id`, which CVAT gives no meaning, their `group_id`, and the attribute
`track_id` of their shapes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TextIO
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from vidseg.errors import InputError
from vidseg.pipeline.writers.finished import Masklets, open_text
from vidseg.pipeline.writers.masklets import ObjectLine
from vidseg.pipeline.writers.rle import decode_rle

if TYPE_CHECKING:
    import numpy.typing as npt


def write_cvat(path: Path, masklets: Masklets) -> None:
    with open_text(path) as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n')
        _write_meta(file, masklets)
        for line in masklets:
            for item in line.objects:
                if not item.area:
                    continue
                file.write(
                    f'  <track id="{item.id}" label={quoteattr(masklets.video.label(item.id))} source="auto"'
                    f' group_id="{item.id}">\n'
                )
                try:
                    _write_shape(file, line.frame, item)
                except InputError as error:
                    raise error.at(f"{masklets.path}, frame {line.frame}, object {item.id}") from None
                if line.frame + 1 < masklets.num_frames:
                    _write_end(file, line.frame + 1, item)
                file.write("  </track>\n")
        file.write("</annotations>\n")


def encode_cvat_rle(mask: npt.NDArray[np.bool_]) -> list[int]:
    """CVAT's runs of a bool (h, w) mask that is cut to its box: along the rows, background first."""
    pixels = mask.ravel()
    ends = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs = np.diff(np.concatenate([[0], ends, [pixels.size]])).tolist()
    return [0, *runs] if pixels[0] else runs


def _write_meta(file: TextIO, masklets: Masklets) -> None:
    height, width = masklets.video.size_hw
    file.write(
        "  <meta>\n    <task>\n"
        f"      <name>{escape(masklets.video.name)}</name>\n"
        f"      <size>{masklets.num_frames}</size>\n"
        "      <mode>interpolation</mode>\n      <overlap>0</overlap>\n      <labels>\n"
    )
    for label in masklets.categories():
        file.write(
            f"        <label>\n          <name>{escape(label)}</name>\n          <type>mask</type>\n"
            "          <attributes>\n            <attribute>\n              <name>track_id</name>\n"
            "              <mutable>False</mutable>\n              <input_type>number</input_type>\n"
            "              <default_value>0</default_value>\n"
            "              <values>0\n2147483647\n1</values>\n"
            "            </attribute>\n          </attributes>\n        </label>\n"
        )
    file.write(
        "      </labels>\n      <original_size>\n"
        f"        <width>{width}</width>\n        <height>{height}</height>\n"
        "      </original_size>\n    </task>\n  </meta>\n"
    )


def _write_shape(file: TextIO, frame_idx: int, item: ObjectLine) -> None:
    x, y, w, h = item.box
    runs = encode_cvat_rle(decode_rle(item.rle.model_dump())[y : y + h, x : x + w])
    file.write(
        f'    <mask frame="{frame_idx}" keyframe="1" outside="0" occluded="0"'
        f' rle="{", ".join(map(str, runs))}" left="{x}" top="{y}" width="{w}" height="{h}" z_order="0">\n'
        f'      <attribute name="track_id">{item.id}</attribute>\n    </mask>\n'
    )


def _write_end(file: TextIO, frame_idx: int, item: ObjectLine) -> None:
    """An `outside` shape: without it the mask would stay to the end of the video. Its pixels do not count."""
    x, y, _, _ = item.box
    file.write(
        f'    <mask frame="{frame_idx}" keyframe="1" outside="1" occluded="0"'
        f' rle="0, 1" left="{x}" top="{y}" width="1" height="1" z_order="0">\n'
        f'      <attribute name="track_id">{item.id}</attribute>\n    </mask>\n'
    )
