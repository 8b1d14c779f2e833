"""`masklets.jsonl`: one line per frame, every object in it; the result that all other formats are made from.

{"frame": 0, "time": 0.0, "objects": [{"id": 1, "rle": {"size": [h, w], "counts": "..."},
                                       "score": 0.98, "box": [x, y, w, h], "area": 123}]}

Where masks overlap, an object that is behind another one has `"hidden": {"size": ..., "counts": ...}` too:
the pixels of its mask that the other one has in a label map. The logits, which the file has not, decide it.
"""

from __future__ import annotations

import json
import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from vidseg.errors import InputError
from vidseg.pipeline.atomic import PART
from vidseg.pipeline.writers.contract import FrameMasks, PartlyFinishedError
from vidseg.pipeline.writers.rle import decode_rle, encode_rle
from vidseg.validation import Strict, parse

if TYPE_CHECKING:
    import numpy.typing as npt

    from vidseg.trackers.contract import Frame

FILE_NAME = "masklets.jsonl"
ASIDE_NAME = "unwanted.jsonl"

MaskletsProduct = Callable[[Path], Sequence[Path]]
"""Makes further files from a finished masklets.jsonl; returns them, or raises as `Writer.finish` does."""

_LINE_START = re.compile(rb'\{"frame": (\d+), ')


class Rle(Strict):
    """COCO's compressed run-length encoding of a mask."""

    size: list[int]
    """[height, width]."""
    counts: str


class ObjectLine(Strict):
    """One object in the line of a frame."""

    id: int
    rle: Rle
    score: float
    box: list[int]
    """[x, y, w, h] in pixels; all 0 for an absent object."""
    area: int
    """Number of pixels in the mask."""
    hidden: Rle | None = None
    """The pixels of the mask that another object has in a label map; none where it is not given."""


class MaskletsLine(Strict):
    """The line of one frame."""

    frame: int
    time: float
    """Presentation time in seconds."""
    objects: list[ObjectLine]


class MaskletsWriter:
    """Appends a line per frame to a hidden file, which gets its final name when it is whole.

    Frames may come in any order (a backward run's fall); the final file is in rising order. Each line is one
    write, so that a killed run leaves whole lines and at most one torn one, which `resume` drops.

    Args:
        out: the run's folder.
        aside: where to put the file if not it is wanted, but what is made from it; an interrupted run is
            resumed from there.
        products: what to make from the finished file, in turn.
    """

    name = "masklets"

    def __init__(
        self, out: Path, *, aside: Path | None = None, products: Sequence[MaskletsProduct] = ()
    ) -> None:
        self.path = out / FILE_NAME if aside is None else aside / ASIDE_NAME
        self.part = self.path.with_name(f".{self.path.name}{PART}")
        self._is_wanted = aside is None
        self._products = products
        self._file: BinaryIO | None = None

    def resume(self, is_done: Callable[[int], bool]) -> int:
        left = next((path for path in (self.part, self.path) if path.exists()), None)
        if left is None:
            return 0
        frames, offsets = _index(left)
        order = [i for i, frame in enumerate(frames) if is_done(frame)]
        _copy_lines(left, offsets, order, self.part)
        self.path.unlink(missing_ok=True)
        self._file = open(self.part, "ab", buffering=0)  # noqa: SIM115 (open from frame to frame)
        return len(order)

    def write(self, frame: Frame, masks: FrameMasks) -> None:
        self._open().write(encode_line(masks))

    def sync(self) -> None:
        if self._file is not None:
            os.fsync(self._file.fileno())

    def finish(self) -> list[Path]:
        self._open()
        self.sync()
        self._close()
        frames, offsets = _index(self.part)
        order = _rising_order(frames)
        if len(order) < len(frames) or (np.diff(order) < 0).any():
            _copy_lines(self.part, offsets, order, self.part)
        else:
            os.truncate(self.part, offsets[-1])  # a write that failed may have left a torn line
        os.replace(self.part, self.path)
        done = [self.path] if self._is_wanted else []
        errors: list[Exception] = []
        for make in self._products:
            try:
                done.extend(make(self.path))
            except PartlyFinishedError as partly:
                done.extend(partly.done)
                errors.append(partly.cause)
            except Exception as error:  # the other products can still be made
                errors.append(error)
        if errors:
            raise PartlyFinishedError(done, errors[0])
        return done

    def discard(self) -> None:
        self._close()
        self.part.unlink(missing_ok=True)

    def _open(self) -> BinaryIO:
        if self._file is None:
            self.part.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.part, "wb", buffering=0)  # noqa: SIM115
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def encode_line(masks: FrameMasks) -> bytes:
    """The line of one frame, with its line end."""
    objects = [
        {
            "id": obj_id,
            "rle": encode_rle(mask),
            "score": round(score, 4),
            "box": list(box),
            "area": int(np.count_nonzero(mask)),
        }
        for obj_id, mask, score, box in zip(
            masks.obj_ids, masks.masks, masks.scores, masks.boxes, strict=True
        )
    ]
    for item, hidden in zip(objects, () if masks.hidden is None else masks.hidden, strict=False):
        if hidden.any():
            item["hidden"] = encode_rle(hidden)
    line = {"frame": masks.frame_idx, "time": masks.pts_seconds, "objects": objects}
    return json.dumps(line, allow_nan=False).encode() + b"\n"


def read_lines(path: Path) -> Iterator[MaskletsLine]:
    """The lines of a masklets.jsonl, checked, one at a time.

    Raises:
        InputError: no such file, or a line that is not as `encode_line` makes them.
    """
    try:
        file = open(path, encoding="utf-8")  # noqa: SIM115 (what it yields may raise OSError too)
    except OSError as error:
        raise InputError(f"the masklets cannot be read ({error.strerror})", where=str(path)) from None
    with file:
        for number, text in enumerate(file, start=1):
            where = f"{path}, line {number}"
            try:
                data = json.loads(text)
            except (ValueError, RecursionError):
                raise InputError("a line that is not JSON", where=where) from None
            yield parse(MaskletsLine, data, where=where)


def read_masklets(path: Path, *, size_hw: tuple[int, int] | None = None) -> Iterator[FrameMasks]:
    """The masks of a masklets.jsonl, frame after frame.

    Args:
        size_hw: the video's size, for frames without objects; taken from the file's first mask if not given.

    Raises:
        InputError: see `read_lines`; an RLE that does not fill its size; masks of several sizes.
    """
    size_hw = size_hw or masklets_size(path)
    for line in read_lines(path):
        masks = np.zeros((len(line.objects), *size_hw), np.bool_)
        hidden = np.zeros_like(masks) if any(item.hidden for item in line.objects) else None
        for row, item in enumerate(line.objects):
            where = f"{path}, frame {line.frame}, object {item.id}"
            masks[row] = _decode(item.rle, size_hw, where)
            if hidden is not None and item.hidden is not None:
                hidden[row] = _decode(item.hidden, size_hw, where)
        yield FrameMasks(
            line.frame,
            line.time,
            size_hw,
            [item.id for item in line.objects],
            masks,
            [item.score for item in line.objects],
            hidden=hidden,
        )


def _decode(rle: Rle, size_hw: tuple[int, int], where: str) -> npt.NDArray[np.bool_]:
    try:
        mask = decode_rle(rle.model_dump())
    except InputError as error:
        raise error.at(where) from None
    if mask.shape != size_hw:
        raise InputError(
            f"a mask of {mask.shape[1]}x{mask.shape[0]} in a video of {size_hw[1]}x{size_hw[0]}", where=where
        )
    return mask


def masklets_size(path: Path) -> tuple[int, int]:
    """(height, width) of the first mask in a masklets.jsonl; (0, 0) if there is none."""
    for line in read_lines(path):
        for item in line.objects:
            if len(item.rle.size) != 2 or min(item.rle.size) < 1:
                raise InputError(f"a mask of size {item.rle.size}", where=f"{path}, frame {line.frame}")
            return item.rle.size[0], item.rle.size[1]
    return 0, 0


def _index(path: Path) -> tuple[array[int], array[int]]:
    """The frame of every whole line, and where each line starts (and the last one ends)."""
    frames, offsets = array("q"), array("q", [0])
    with open(path, "rb") as file:
        for line in file:
            start = _LINE_START.match(line)
            if start is None or not line.endswith(b"\n"):
                break
            frames.append(int(start[1]))
            offsets.append(offsets[-1] + len(line))
    return frames, offsets


def _rising_order(frames: array[int]) -> npt.NDArray[np.int64]:
    """The lines' numbers in rising order of frame; of two lines of one frame the later."""
    numbers = np.asarray(frames)
    order = np.argsort(numbers, kind="stable")
    is_last = np.append(np.diff(numbers[order]) > 0, True)[: len(order)]
    return order[is_last]


def _copy_lines(path: Path, offsets: array[int], order: Iterable[int], target: Path) -> None:
    """Write lines of `path`, in this order, as `target` (which may be `path`), whole or not at all."""
    sorted_part = target.with_name(target.name + ".sorted")
    with open(path, "rb") as source, open(sorted_part, "wb") as copy:
        for i in order:
            source.seek(offsets[i])
            copy.write(source.read(offsets[i + 1] - offsets[i]))
        copy.flush()
        os.fsync(copy.fileno())
    os.replace(sorted_part, target)
