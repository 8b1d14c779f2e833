"""Prompt files say which objects to follow, by boxes, points and masks on frames.

They are read in two steps, because the second one needs the video:

    read_prompts(file)            the content, typed and checked, with its mask files read
    .fit(video)                   the same checked against the video's size and length, ready for a session

Coordinates are pixels of the frame as shown: origin at the top-left corner, x to the right, y down.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from vidseg.errors import PromptError, one_line, unknown
from vidseg.pipeline.mask_files import resize_mask
from vidseg.pipeline.mask_source import MaskSource
from vidseg.pipeline.prompt_forms import LongForm, Region, ShortForm
from vidseg.pipeline.python_prompts import as_document
from vidseg.trackers.contract import Prompt
from vidseg.validation import parse


@dataclass(frozen=True, kw_only=True)
class VideoFacts:
    """The facts about a video that prompts are checked against."""

    name: str
    size_hw: tuple[int, int]
    start: int = 0
    """The first frame to be tracked."""
    end: int | None = None
    """One past the last frame to be tracked; None: the end of the video."""
    num_frames: int | None = None
    """Number of frames of the video, if it is known for certain."""


@dataclass(frozen=True, kw_only=True)
class ObjectPrompts:
    """The prompts of one object, one for each prompted frame."""

    obj_id: int
    label: str | None
    on_frames: Mapping[int, Prompt]
    """Frame number -> prompt, in rising order."""
    in_turn: frozenset[int] = frozenset()
    """Frames whose prompts correct what is tracked into them, and are given when tracking comes there."""
    absent: tuple[tuple[int, int], ...] = ()
    """Spans of frames, both ends inclusive, on which the object has no mask, whatever is tracked."""

    @property
    def first_frame(self) -> int:
        return min(self._starts)

    @property
    def last_frame(self) -> int:
        return max(self._starts)

    @property
    def _starts(self) -> Collection[int]:
        """The frames on which the object can start."""
        return self.on_frames.keys() - self.in_turn or self.on_frames.keys()


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """The content of a prompt file, with objects in its order."""

    objects: list[ObjectPrompts]
    where: str
    """Name of the file, for messages."""
    mask_files: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """What was changed to fit the video, one line each."""

    @property
    def labels(self) -> dict[int, str]:
        """Object id -> label, for the objects that have one."""
        return {o.obj_id: o.label for o in self.objects if o.label is not None}

    @property
    def frames(self) -> list[int]:
        """Every prompted frame, in rising order."""
        return sorted({frame for o in self.objects for frame in o.on_frames})

    def fit(self, video: VideoFacts) -> Prompts:
        """The prompts made to fit the video: boxes clipped to the frame, masks at its size.

        Raises:
            PromptError: a frame that is not tracked, a box or point outside the picture, a mask of
                another shape than the picture.
        """
        warnings: list[str] = []
        objects = []
        for thing in self.objects:
            fitted = {}
            for frame, prompt in thing.on_frames.items():
                where = f"{self.where}, object {thing.obj_id}, frame {frame}"
                _check_frame(frame, video, where)
                try:
                    fitted[frame] = _fit(prompt, video.size_hw, warnings, where)
                except PromptError as error:
                    raise error.at(where) from None
            objects.append(replace(thing, on_frames=fitted))
        return replace(self, objects=objects, warnings=self.warnings + warnings)

    def document(self) -> dict[str, Any]:
        """The prompts as JSON values; masks are represented by checksums of their pixels."""
        return {
            "objects": [
                {
                    "id": thing.obj_id,
                    **({"label": thing.label} if thing.label is not None else {}),
                    **({"absent": [list(span) for span in thing.absent]} if thing.absent else {}),
                    "prompts": [
                        {
                            "frame": frame,
                            **_document(p),
                            **({"in_turn": True} if frame in thing.in_turn else {}),
                        }
                        for frame, p in thing.on_frames.items()
                    ],
                }
                for thing in self.objects
            ]
        }


def read_prompts(source: Any, first_frame: int = 0) -> Prompts:
    """Read and check a prompt file, or the same as a mapping.

    Args:
        source: a path, '-' for standard input, or what a file would say as a mapping; mask files are relative
            to the prompt file, else to the working directory. In Python a mask may be an array, a prompt a
            mask array alone, and several objects a list of short forms. None: there is none, as all objects
            are to be discovered.
        first_frame: the first frame that is tracked, to which a short form belongs.

    Raises:
        PromptError: the file cannot be read, is not JSON, or contradicts itself.
    """
    if source is None:
        return Prompts(objects=[], where="no prompts")
    if not isinstance(source, str | PathLike):
        masks = MaskSource(Path())
        return _build(as_document(source, masks, first_frame), "prompts", masks, first_frame)
    if fspath(source) == "-":
        if sys.stdin is None:  # a program may be begun without one
            raise PromptError("there is no standard input", hint="give a file, or pipe the prompts in")
        said = decode_prompts(sys.stdin.buffer.read(), "standard input")
        return _build(said, "standard input", MaskSource(Path()), first_frame)
    if not fspath(source):
        raise PromptError("the name of the prompt file is empty", hint='give a file, or {"box": [...]}')
    path = Path(source)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise PromptError(f"there is no prompt file '{path}'") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise PromptError(f"the prompt file '{path}' cannot be read ({reason})") from None
    _require_no_picture(path)
    return _build(decode_prompts(data, path.name), path.name, MaskSource(path.parent), first_frame)


def _require_no_picture(path: Path) -> None:
    from vidseg.pipeline.read.folder import IMAGE_SUFFIXES

    if path.suffix.lower() in IMAGE_SUFFIXES:
        said = json.dumps({"mask": str(path)}, ensure_ascii=False)
        raise PromptError(f"'{path}' is a picture, not a prompt file", hint=f"--prompt '{said}'")


def decode_prompts(data: bytes, where: str) -> Any:
    """Decode JSON; names must be unique in their object, and numbers finite.

    Raises:
        PromptError: it is not such JSON.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                raise PromptError(f"the key '{key}' stands twice in one object", where=where)
            seen[key] = value
        return seen

    def not_a_number(name: str) -> NoReturn:
        raise PromptError(f"{name} is not a number of JSON", where=where, hint="give finite numbers")

    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PromptError("the prompt file is not UTF-8 text", where=where, hint="save it as UTF-8") from None
    if not text.strip():
        raise PromptError("the prompt file is empty", where=where, hint='write {"box": [x0, y0, x1, y1]}')
    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=not_a_number)
    except json.JSONDecodeError as error:
        raise PromptError(
            f"the prompt file is not JSON: {error.msg[0].lower()}{error.msg[1:]}",
            where=f"{where}, line {error.lineno}, column {error.colno}",
        ) from None
    except RecursionError:
        raise PromptError("the prompt file is nested too deeply", where=where) from None
    except ValueError:  # an integer with thousands of digits
        raise PromptError("the prompt file has a number that is too long", where=where) from None


def _build(data: Any, where: str, masks: MaskSource, first_frame: int) -> Prompts:
    if not isinstance(data, dict):
        raise PromptError(
            f"a prompt is a JSON object, not {one_line(json.dumps(data, default=repr), 60)}",
            where=where,
            hint='{"box": [x0, y0, x1, y1]}, or {"objects": [...]}',
        )
    if "objects" in data:
        return _from_long(parse(LongForm, data, where=where, error=PromptError), where, masks)
    region_keys = list(ShortForm.model_fields)
    if not any(key in data for key in region_keys):
        key = next(iter(data), None)
        raise PromptError(
            "the prompt file says nothing" if key is None else unknown("key", key, ["objects", *region_keys]),
            where=where,
            hint='{"box": [x0, y0, x1, y1]}, or {"objects": [...]}',
        )
    if key := next((key for key in ("frame", "id", "label", "prompts") if key in data), None):
        raise PromptError(
            f"unknown key '{key}': the short form means object 1 on the first frame",
            where=where,
            hint='for more, write {"objects": [{"id": 1, "prompts": [{"frame": 0, ...}]}]}',
        )
    region = parse(ShortForm, data, where=where, error=PromptError)
    return _from_short(region, where, masks, first_frame)


def _from_short(region: ShortForm, where: str, masks: MaskSource, first_frame: int) -> Prompts:
    if region.mask is None or _says_more_than_mask(region):
        on_frames = {first_frame: _prompt(region, 1, masks, where)}
        return Prompts(objects=[ObjectPrompts(obj_id=1, label=None, on_frames=on_frames)], where=where)
    mask = masks.get(region.mask, f"{where}, field 'mask'")
    objects = [
        ObjectPrompts(obj_id=obj_id, label=None, on_frames={first_frame: Prompt.of(mask=pixels)})
        for obj_id, pixels in mask.objects().items()
    ]
    return Prompts(objects=objects, where=where, mask_files=masks.files)


def _from_long(file: LongForm, where: str, masks: MaskSource) -> Prompts:
    objects: dict[int, ObjectPrompts] = {}
    for i, thing in enumerate(file.objects):
        if thing.id in objects:
            raise PromptError(
                f"the object id {thing.id} is used twice",
                where=f"{where}, field 'objects[{i}].id'",
                hint="give each object an id of its own, and all its prompts in one place",
            )
        on_frames: dict[int, Prompt] = {}
        for j, region in enumerate(thing.prompts):
            place = f"{where}, field 'objects[{i}].prompts[{j}]'"
            prompt = _prompt(region, thing.id, masks, place)
            if region.frame in on_frames:
                prompt = _merge(on_frames[region.frame], prompt, thing.id, region.frame, place)
            on_frames[region.frame] = prompt
        objects[thing.id] = ObjectPrompts(
            obj_id=thing.id,
            label=thing.label,
            on_frames=dict(sorted(on_frames.items())),
            in_turn=frozenset(region.frame for region in thing.prompts if region.in_turn),
            absent=tuple(_span(span, f"{where}, field 'objects[{i}].absent'") for span in thing.absent),
        )
    return Prompts(objects=list(objects.values()), where=where, mask_files=masks.files)


def _span(said: list[int], where: str) -> tuple[int, int]:
    first, last = said
    if first > last:
        raise PromptError(
            f"absent from frame {first} to {last}", where=where, hint="give the first one first"
        )
    return first, last


def _says_more_than_mask(region: Region) -> bool:
    return not (region.box is None and region.points is None and region.labels is None)


def _prompt(region: Region, obj_id: int, masks: MaskSource, where: str) -> Prompt:
    try:
        if region.mask is None or _says_more_than_mask(region):
            return Prompt.of(box=region.box, points=region.points, labels=region.labels, mask=region.mask)
    except PromptError as error:
        raise error.at(where) from None
    return Prompt.of(mask=masks.get(region.mask, f"{where}, field 'mask'").of_object(obj_id))


def _merge(earlier: Prompt, later: Prompt, obj_id: int, frame: int, where: str) -> Prompt:
    if earlier.box is not None and later.box is not None:
        raise PromptError(f"object {obj_id} has two boxes on frame {frame}", where=where)
    if earlier.mask is not None and later.mask is not None:
        raise PromptError(f"object {obj_id} has two masks on frame {frame}", where=where)
    try:
        return earlier.merge(later)
    except PromptError as error:
        raise error.at(where) from None


def _check_frame(frame: int, video: VideoFacts, where: str) -> None:
    if video.num_frames is not None and frame >= video.num_frames:
        raise past_the_end(frame, video.name, video.num_frames, where)
    if frame < video.start:
        raise PromptError(
            f"frame {frame} is not tracked: --start is {video.start}",
            where=where,
            hint=f"prompt on frame {video.start} or later, or start earlier",
        )
    if video.end is not None and frame >= video.end:
        raise PromptError(
            f"frame {frame} is not tracked: --end is {video.end}, and is not tracked itself",
            where=where,
            hint=f"prompt on frame {video.end - 1} or earlier, or end later",
        )


def past_the_end(frame: int, name: str, num_frames: int, where: str) -> PromptError:
    """The error for a prompt on a frame that the video does not have."""
    return PromptError(
        f"frame {frame} is past the end of '{name}' ({num_frames} frames)",
        where=where,
        hint=f"frame numbers start at 0; the last one is {num_frames - 1}",
    )


def _fit(prompt: Prompt, size_hw: tuple[int, int], warnings: list[str], where: str) -> Prompt:
    if prompt.mask is not None and prompt.mask.shape != size_hw:
        mask_h, mask_w = prompt.mask.shape
        prompt = Prompt.of(mask=resize_mask(prompt.mask, size_hw))
        warnings.append(f"{where}: the mask was resized from {mask_w}x{mask_h} to {size_hw[1]}x{size_hw[0]}")
    fitted = prompt.fit(size_hw)
    if prompt.box is not None and fitted.box is not None and not np.array_equal(prompt.box, fitted.box):
        warnings.append(f"{where}: the box was clipped to the frame: {[float(v) for v in fitted.box]}")
    return fitted


def _document(prompt: Prompt) -> dict[str, Any]:
    if prompt.mask is not None:
        digest = hashlib.sha256(repr(prompt.mask.shape).encode() + np.packbits(prompt.mask).tobytes())
        return {"mask_sha256": digest.hexdigest()}
    return prompt.arguments()
