"""A JSON of boxes that a detector found elsewhere.

Two forms are read. Ours, with boxes as in prompt files:

    {"detections": [{"frame": 0, "box": [x0, y0, x1, y1], "label": "cup", "score": 0.9}, ...]}

and the list of COCO results, in which image_id is the number of the frame and bbox is [x, y, width, height]:

    [{"image_id": 0, "category_id": 1, "bbox": [x, y, w, h], "score": 0.9}, ...]
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidseg.detectors.contract import Detection, best_first, inside
from vidseg.errors import InputError
from vidseg.validation import is_number

if TYPE_CHECKING:
    from vidseg.trackers.contract import Frame


class BoxesFile:
    """The detector that reads boxes from a file; of frames without an entry it knows nothing."""

    name = "boxes"
    is_sure = True

    def __init__(
        self, by_frame: dict[int, list[tuple[list[float], str, float]]], told_as: str = "of 'boxes'"
    ) -> None:
        self._by_frame = by_frame
        self._told_as = told_as
        self._was_used = False

    @classmethod
    def read(cls, path: Path, texts: tuple[str, ...] = (), threshold: float | None = None) -> BoxesFile:
        """Read a file.

        Args:
            texts: the only labels to keep; none: all.
            threshold: the lowest score to keep.

        Raises:
            InputError: it is missing, or of another form; the message says which entry.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError("there is no such file of boxes", where=str(path)) from None
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"the boxes cannot be read as JSON ({error})", where=str(path)) from None
        entries = content.get("detections") if isinstance(content, dict) else content
        if not isinstance(entries, list):
            raise InputError(
                "this is no list of boxes",
                where=str(path),
                hint='{"detections": [{"frame": 0, "box": [x0, y0, x1, y1], "label": "cup"}]}',
            )
        by_frame: dict[int, list[tuple[list[float], str, float]]] = defaultdict(list)
        for place, entry in enumerate(entries):
            frame, box, label, score = _parsed(entry, f"{path}, entry {place}")
            of_frame = by_frame[frame]  # a frame whose boxes are all left out is known to have none
            if (not texts or label in texts) and score >= (threshold or 0.0):
                of_frame.append((box, label, score))
        told_as = f"of '{path.name}'"
        if texts:
            told_as += f" labelled {' or '.join(map(repr, texts))}"
        if threshold:
            told_as += f" with a score of {threshold:g} or more"
        return cls(dict(by_frame), told_as)

    def detect(self, frame: Frame) -> list[Detection] | None:
        found = self._by_frame.get(frame.index)
        if found is None:
            return None
        detections = best_first([inside(box, label, score, frame.size_hw) for box, label, score in found])
        self._was_used |= bool(detections)
        return detections

    def remark(self, unit: str) -> str | None:
        """A warning if no box was used so far: most likely, the frames are numbered otherwise.

        Args:
            unit: what was looked at.
        """
        if self._was_used:
            return None
        return f"no box {self._told_as} lies in a {unit} that was looked at"


def _parsed(entry: Any, where: str) -> tuple[int, list[float], str, float]:
    if not isinstance(entry, dict):
        raise InputError("an entry is no mapping", where=where)
    is_coco = "bbox" in entry
    frame_key, box_key = ("image_id", "bbox") if is_coco else ("frame", "box")
    for key in (frame_key, box_key):
        if key not in entry:
            raise InputError(f"an entry has no '{key}'", where=where)
    frame, box, score = entry[frame_key], entry[box_key], entry.get("score", 1.0)
    if not isinstance(frame, int) or isinstance(frame, bool) or frame < 0:
        raise InputError(f"'{frame_key}' is {frame!r}, where the number of a frame belongs", where=where)
    numbers = [*box, score] if isinstance(box, list) and len(box) == 4 else [None]
    if not all(map(is_number, numbers)):
        raise InputError(f"'{box_key}' or 'score' is not of finite numbers, four of the box", where=where)
    if is_coco:
        x, y, width, height = box
        box = [x, y, x + width, y + height]
    # A box without area may come from a detector's rounding; one the wrong way round is of another form.
    if box[2] < box[0] or box[3] < box[1]:
        form = "[x, y, width, height]" if is_coco else "[x0, y0, x1, y1]"
        raise InputError(f"'{box_key}' is {entry[box_key]}, where {form} belongs", where=where)
    label = next((entry[key] for key in ("label", "category_id") if entry.get(key) is not None), "")
    return frame, box, str(label), float(score)
