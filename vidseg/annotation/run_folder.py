"""A project as the folder of a run, as `vidseg track` writes it, with its prompts as a prompt file.

OUT/run.json, masklets.jsonl    as of `vidseg track`; of the frames that have masks
    prompts.json, prompts/      what was said, for `vidseg track --prompt OUT/prompts.json`
    .annotate/                  the database, which all of these are made from, and saved sessions
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vidseg.annotation.events import Listeners, error_document
from vidseg.annotation.masks import Mask
from vidseg.annotation.memory import give_back
from vidseg.annotation.project import Project, Said
from vidseg.annotation.run_outputs import RunOutputs
from vidseg.annotation.spans import count, is_in
from vidseg.annotation.starts import object_prompts
from vidseg.errors import InputError, RunError, told
from vidseg.pipeline import run_record
from vidseg.pipeline.atomic import replacing, write_bytes, write_json
from vidseg.pipeline.out_folder import PROJECT
from vidseg.pipeline.prompts import Prompts
from vidseg.pipeline.read.random_access import RandomAccess
from vidseg.pipeline.run_record import RunRecord
from vidseg.pipeline.writers.contract import FrameMasks
from vidseg.pipeline.writers.masklets import FILE_NAME as MASKLETS
from vidseg.pipeline.writers.masklets import read_masklets
from vidseg.pipeline.writers.png import encode_label_png
from vidseg.pipeline.writers.rle import decode_rle, encode_rle
from vidseg.trackers.contract import Tracker
from vidseg.trackers.label_map import still_hidden
from vidseg.trackers.options import TrackerOptions

STATE = PROJECT
PROMPTS = "prompts.json"
DRAWN = "prompts"
"""Folder of the masks that were drawn by hand, which the prompt file names."""
LOW_SCORE = 0.5
"""Masks of a run with a score below this are taken for uncertain ones, as a run does not keep their state."""


class RunFolder:
    """Writes the files of one project.

    Args:
        listeners: those who are told if outputs of a run of `track` are removed.
    """

    def __init__(
        self,
        path: Path,
        video: RandomAccess,
        tracker: Tracker,
        asked: TrackerOptions,
        listeners: Listeners | None = None,
    ) -> None:
        self.path = path
        self._listeners = listeners
        self._outputs = RunOutputs(path)
        self._info = info = video.info
        self._num_frames = video.num_frames
        self._size_hw = info.size_hw
        self._about = tracker.describe()
        self._asked = asked
        self._source = run_record.source_facts(info)
        self._drawn: dict[str, str] = {}
        """File of a drawn mask -> the run lengths that were written to it."""

    def write_prompts(self, project: Project) -> Path:
        """Write the prompt file, and the masks that it names."""
        folder = self.path / DRAWN
        objects, wanted, absent = [], set(), project.absent()
        for thing in project.objects():
            prompts: list[dict[str, Any]] = []
            for said in project.said(thing.obj_id):
                if said.counts is None:
                    prompts.append(_region(said))
                    continue
                name = f"{said.obj_id}-{said.frame_idx:05d}.png"
                wanted.add(name)
                if self._drawn.get(name) != said.counts or not (folder / name).is_file():
                    folder.mkdir(exist_ok=True)
                    pixels = _pixels(said.counts, self._size_hw)
                    write_bytes(folder / name, encode_label_png(pixels.astype(np.uint8)))
                    self._drawn[name] = said.counts
                prompts.append({"mask": f"{DRAWN}/{name}", **_region(said)})
            if prompts:
                label = {"label": thing.label} if thing.label else {}
                spans = {"absent": absent[thing.obj_id]} if thing.obj_id in absent else {}
                objects.append({"id": thing.obj_id, **label, **spans, "prompts": prompts})
        path = self.path / PROMPTS
        if objects:
            write_json(path, {"objects": objects})
        else:  # a prompt file without objects would be refused
            path.unlink(missing_ok=True)
        self._drawn = {name: counts for name, counts in self._drawn.items() if name in wanted}
        for left in folder.glob("*-*.png"):
            if left.name not in wanted:
                left.unlink()
        return path

    def write_run(self, project: Project) -> None:
        """Write masklets.jsonl and run.json.

        Outputs of `track` and `convert` that show other masks, labels or colours are removed: nobody could
        tell that they are of an earlier state.
        """
        with replacing(self.path / MASKLETS) as part:
            self._write_lines(project, part)
            removed = self._outputs.remove_outdated(part, project.objects())
        self.write_record(project, self.path / run_record.FILE_NAME)
        if removed:
            self._tell(
                f"{', '.join(removed)} in the project's folder showed an earlier state: removed",
                hint="export these formats again",
            )
        give_back()

    def tell_unwritten(self, error: OSError) -> None:
        """Tell the listeners that the files could not be written."""
        self._tell(
            f"the files in '{self.path}' cannot be written ({told(error)})",
            hint="the project itself is saved, and they are written again after the next step",
        )

    def _tell(self, message: str, *, hint: str) -> None:
        if self._listeners is not None:
            self._listeners.tell(error_document(RunError(message, hint=hint)))

    def write_masklets(self, project: Project, path: Path, *, reviewed_only: bool = False) -> None:
        """Write masklets.jsonl as `path`.

        Args:
            reviewed_only: whether to write the frames alone that a person has marked as reviewed.
        """
        with replacing(path) as part:
            self._write_lines(project, part, reviewed_only=reviewed_only)

    def _write_lines(self, project: Project, path: Path, *, reviewed_only: bool = False) -> None:
        obj_ids = [thing.obj_id for thing in project.objects()]
        reviewed = project.reviewed()
        nothing = encode_rle(np.zeros(self._size_hw, np.bool_))["counts"]
        with open(path, "w", encoding="ascii", newline="\n") as file:
            for frame_idx in project.frames_with_masks():
                if reviewed_only and not is_in(reviewed, frame_idx):
                    continue
                line = _line(frame_idx, project.masks_on(frame_idx), obj_ids, self._size_hw, nothing)
                file.write(json.dumps(line, allow_nan=False) + "\n")

    def write_record(self, project: Project, path: Path) -> None:
        """Write run.json as `path`."""
        things = project.objects()
        said = {thing.obj_id: project.said(thing.obj_id) for thing in things}
        prompts = Prompts(
            objects=[object_prompts(i, said[i], self._size_hw) for i in said], where=PROMPTS
        ).document()
        for document, thing in zip(prompts["objects"], things, strict=True):
            if thing.label:
                document["label"] = thing.label
        (is_both,) = project.database.row("SELECT count(*) FROM masks WHERE reverse") or (0,)
        record = RunRecord(
            path,
            {
                "tracker": self._about["name"],
                "configuration": self._about["config"],
                "weights_sha256": self._about["weights_sha256"],
                "tracker_facts": {},
                "source": self._source,
                "prompts": prompts,
                "warnings": [],
                "options": {
                    "format": ",".join(self._outputs.formats),
                    "direction": "both" if is_both else "forward",
                    "start": None,
                    "end": None,
                    "reader": "pyav",
                    **self._asked.document(),
                    "dtype": self._about.get("dtype", self._asked.dtype),
                },
                "annotation": self._marks(project),
                "mask_names": "frame files" if self._info.frame_files else "frame numbers",
                "frame_files": self._info.frame_files,
            },
        )
        record.review.resume(project.doubts(), lambda frame_idx: True)
        record.frames_done = project.num_frames_with_masks()
        record.set_outputs([path.with_name(name) for name in self._outputs.names], {})
        record.save("done")

    def _marks(self, project: Project) -> dict[str, Any]:
        """What people said of frames, as JSON values."""
        reviewed = project.reviewed()
        kinds = project.database.rows("SELECT kind, count(*) FROM masks GROUP BY kind")
        return {
            "reviewed": [list(span) for span in reviewed],
            "looks": [
                {"id": thing.obj_id, "colour": thing.colour, "visible": thing.visible}
                for thing in project.objects()
            ],
            "flags": [{"frame": frame, "note": note} for frame, note in project.flags().items()],
            "absent": [
                {"object": obj_id, "first": first, "last": last}
                for obj_id, spans in project.absent().items()
                for first, last in spans
            ],
            "statistics": {
                "frames": self._num_frames,
                "frames_with_masks": project.num_frames_with_masks(),
                "frames_reviewed": count(reviewed),
                "masks_answered": sum(n for kind, n in kinds if kind == "P"),
                "masks_drawn": sum(n for kind, n in kinds if kind == "D"),
                "masks_tracked": sum(n for kind, n in kinds if kind in "vua"),
            },
        }


def import_run(project: Project, folder: Path, record: Mapping[str, Any], size_hw: tuple[int, int]) -> None:
    """Take a run that `vidseg track` or `vidseg batch` made into an empty project.

    Raises:
        InputError: it has no masklets.jsonl, or masks of another size.
    """
    masklets = folder / MASKLETS
    if not masklets.is_file():
        raise InputError(
            f"there is no {MASKLETS} in '{folder}'",
            hint="track with the format rle (a default), or choose another --out",
        )
    for thing in record["prompts"]["objects"]:
        project.add_object(obj_id=int(thing["id"]), label=str(thing.get("label") or ""))
    known = {thing.obj_id for thing in project.objects()}
    found_labels = record.get("labels") or {}
    is_untracked = _untracked(record)
    for frame in read_masklets(masklets, size_hw=size_hw):
        for obj_id in frame.obj_ids:
            if obj_id not in known:
                project.add_object(obj_id=obj_id, label=str(found_labels.get(str(obj_id)) or ""))
                known.add(obj_id)
        for mask in _masks_of(frame):
            if mask.area or not is_untracked(mask.obj_id, frame.frame_idx):
                project.put_mask(mask)
    for thing in record["prompts"]["objects"]:
        for prompt in thing["prompts"]:
            _import_prompt(project, int(thing["id"]), prompt)
        for first, last in thing.get("absent", []):
            project.set_absent(int(thing["id"]), first, last, on=True)
    project.add_doubts(record.get("review", []))


def _untracked(record: Mapping[str, Any]) -> Callable[[int, int], bool]:
    """Tells whether an object was not followed yet on a frame; its masks there are empty, as a run has one of
    every object."""
    prompted = {
        int(thing["id"]): [int(prompt["frame"]) for prompt in thing["prompts"]]
        for thing in record["prompts"]["objects"]
    }
    direction = (record.get("options") or {}).get("direction")

    def is_untracked(obj_id: int, frame_idx: int) -> bool:
        frames = prompted.get(obj_id)
        if not frames or direction == "both":
            return False
        return frame_idx > max(frames) if direction == "backward" else frame_idx < min(frames)

    return is_untracked


def _import_prompt(project: Project, obj_id: int, prompt: Mapping[str, Any]) -> None:
    mask = project.mask(obj_id, prompt["frame"])
    said = Said(
        obj_id=obj_id,
        frame_idx=prompt["frame"],
        box=prompt.get("box"),
        points=prompt.get("points"),
        labels=prompt.get("labels"),
        # Of a mask, a run keeps a checksum; what was made of it stands for it.
        counts=mask.counts if "mask_sha256" in prompt and mask is not None else None,
        in_turn=bool(prompt.get("in_turn")),
    )
    if said.box or said.points or said.counts:
        project.say(said)
        kind = "D" if said.is_drawn else "P"
        project.database.write(
            "UPDATE masks SET kind = ? WHERE obj = ? AND frame = ?", kind, obj_id, said.frame_idx
        )


def _masks_of(frame: FrameMasks) -> Iterable[Mask]:
    for row, obj_id in enumerate(frame.obj_ids):
        pixels, score = frame.masks[row], frame.scores[row]
        kind = "a" if not pixels.any() else "u" if score < LOW_SCORE else "v"
        yield Mask.of(
            pixels,
            frame.frame_idx,
            obj_id,
            kind,  # type: ignore[arg-type]
            time_s=frame.pts_seconds,
            score=score,
            hidden=None if frame.hidden is None else frame.hidden[row],
        )


def _region(said: Said) -> dict[str, Any]:
    region = {"frame": said.frame_idx, "box": said.box, "points": said.points, "labels": said.labels}
    region["in_turn"] = True if said.in_turn else None
    return {key: value for key, value in region.items() if value is not None}


def _pixels(counts: str, size_hw: tuple[int, int]) -> np.ndarray:
    return decode_rle({"size": size_hw, "counts": counts})


def _line(
    frame_idx: int, masks: Sequence[Mask], obj_ids: Sequence[int], size_hw: tuple[int, int], nothing: str
) -> dict[str, Any]:
    """The line of a frame in masklets.jsonl, see `vidseg.pipeline.writers.masklets`."""
    by_id = {mask.obj_id: mask for mask in masks if mask.kind != "X"}
    hidden = _hidden(list(by_id.values()), size_hw)
    objects = []
    for obj_id in obj_ids:
        mask = by_id.get(obj_id)
        item = {
            "id": obj_id,
            "rle": {"size": list(size_hw), "counts": nothing if mask is None else mask.counts},
            "score": 0.0 if mask is None else mask.score,
            "box": [0, 0, 0, 0] if mask is None else list(mask.box),
            "area": 0 if mask is None else mask.area,
        }
        if obj_id in hidden:
            item["hidden"] = {"size": list(size_hw), "counts": hidden[obj_id]}
        objects.append(item)
    return {"frame": frame_idx, "time": masks[0].time_s, "objects": objects}


def _hidden(masks: Sequence[Mask], size_hw: tuple[int, int]) -> dict[int, str]:
    """The hidden pixels of masks: those that another mask still has, as it may have been corrected since."""
    if all(mask.hidden is None for mask in masks):
        return {}
    pixels = np.stack([mask.pixels(size_hw) for mask in masks])
    before = np.zeros_like(pixels)
    for row, mask in enumerate(masks):
        if mask.hidden is not None:
            before[row] = _pixels(mask.hidden, size_hw)
    hidden = still_hidden(pixels, before)
    return {
        mask.obj_id: encode_rle(of_mask)["counts"]
        for mask, of_mask in zip(masks, hidden, strict=True)
        if of_mask.any()
    }
