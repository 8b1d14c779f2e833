"""`run.json`: what was run, on what, how far it came and how fast.

It is written whole when a run starts, at every resume point, and when the run ends.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from vidseg.errors import InputError, OutputError, SourceError, VidsegError, told
from vidseg.pipeline.atomic import write_json
from vidseg.pipeline.machine import peak_memory_bytes, versions
from vidseg.pipeline.read import SourceInfo
from vidseg.pipeline.read.info import ASSUMED_FRAME_RATE
from vidseg.pipeline.review import Review
from vidseg.pipeline.writers import VideoDescription
from vidseg.trackers.palette import colour_from_hex

FILE_NAME = "run.json"
Status = Literal["running", "done", "partial", "interrupted", "failed"]
RunStage = Literal["read", "track", "write"]

_SAMPLE_BYTES = 1 << 20
_IDENTITY = ("prompts", "tracker", "configuration", "weights_sha256", "options")
_SOURCE_IDENTITY = ("kind", "size_hw", "bytes", "sha256_of_ends")
_OF_A_RECORD = {"status", "fingerprint", "frames_done", "outputs", "source", *_IDENTITY}


class RunRecord:
    """The facts of one run, which grow while it goes on."""

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        self.path = path
        self.seconds: dict[RunStage, float] = {"read": 0.0, "track": 0.0, "write": 0.0}
        """Seconds of the tracking thread: waiting for frames, tracking, waiting for writers."""
        self.frames_done = 0
        self.found_ids: dict[int, None] = {}
        """Every object that was reported, in order: prompted ones, and those that were found."""
        self.found_labels: dict[int, str] = {}
        """Object id -> label, of objects that were found by a detector; it grows while writers read it."""
        self.status: Status = "running"
        self.review = Review()
        """Sees every frame that the writers are given."""
        self._error: dict[str, Any] | None = None
        self.facts = dict(facts)
        self._outputs: list[str] = []
        self._writer_seconds: dict[str, float] = {}
        self._started_at = _now()

    @contextmanager
    def timing(self, stage: RunStage) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - began

    @property
    def fps(self) -> float:
        total = sum(self.seconds.values())
        return self.frames_done / total if total else 0.0

    def go_on_from(
        self, earlier: Mapping[str, Any], frames_done: int, is_done: Callable[[int], bool]
    ) -> None:
        """Continue the record of an interrupted run.

        Args:
            is_done: whether a frame is among the `frames_done` that are done.
        """
        self.frames_done = frames_done
        self.found_ids.update(dict.fromkeys(earlier.get("objects", [])))
        self.found_labels.update({int(i): label for i, label in earlier.get("labels", {}).items()})
        self.review.resume(earlier.get("review", []), is_done, earlier.get("review_left_out", 0))
        self._started_at = earlier.get("started_at", self._started_at)
        for stage in self.seconds:
            self.seconds[stage] += float(earlier.get("seconds", {}).get(stage, 0.0))
        self.facts["resumed"] = int(earlier.get("resumed", 0)) + 1
        self.add_warnings(earlier.get("warnings", []))
        reason = earlier.get("tracker_facts", {}).get("dtype_reason")
        if reason is not None:  # the type is that of the earlier run, so its reason holds
            self.facts["tracker_facts"] = {**self.facts["tracker_facts"], "dtype_reason": reason}

    def add_warnings(self, lines: Sequence[str]) -> None:
        """Add warnings, each of them once."""
        self.facts["warnings"] = list(dict.fromkeys([*self.facts.get("warnings", []), *lines]))

    def set_error(self, error: BaseException, frame_idx: int | None) -> None:
        self._error = {
            "kind": type(error).__name__,
            "message": error.message if isinstance(error, VidsegError) else str(error),
            "where": error.where if isinstance(error, VidsegError) else None,
            "hint": error.hint if isinstance(error, VidsegError) else None,
            "frame": frame_idx,
        }

    def set_outputs(self, outputs: list[Path], writer_seconds: Mapping[str, float]) -> None:
        self._outputs = [str(path.relative_to(self.path.parent)) for path in outputs]
        self._writer_seconds = dict(writer_seconds)

    def save(self, status: Status) -> None:
        self.status = status
        write_json(self.path, self.document())

    def document(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "error": self._error,
            "frames_done": self.frames_done,
            "frames_per_second": round(self.fps, 3),
            "seconds": {stage: round(seconds, 3) for stage, seconds in self.seconds.items()},
            "writer_seconds": {name: round(seconds, 3) for name, seconds in self._writer_seconds.items()},
            "peak_memory_bytes": peak_memory_bytes(),
            "outputs": self._outputs,
            "objects": list(self.found_ids),
            "labels": {str(obj_id): label for obj_id, label in self.found_labels.items()},
            "review": self.review.document(),
            "review_left_out": self.review.left_out,
            "started_at": self._started_at,
            "updated_at": _now(),
            "versions": versions(),
            "fingerprint": fingerprint(self.facts),
            **self.facts,
        }


def read_record(path: Path) -> dict[str, Any]:
    """The record of an earlier run.

    Raises:
        OutputError: the file is no such record.
    """
    if (record := _record_in(path)) is None:
        raise OutputError(
            "there is a run.json that vidseg did not write", where=str(path), hint="choose another --out"
        )
    return record


def read_finished(run: Path) -> dict[str, Any]:
    """The record of a run that is read, and not written to.

    Raises:
        InputError: the folder is no run.
    """
    path = run / FILE_NAME
    if (record := _record_in(path)) is None:
        why = f"its {FILE_NAME} is of something else" if path.exists() else f"it holds no {FILE_NAME}"
        raise InputError(
            f"'{run}' is no run of vidseg: {why}", hint="give the --out folder of a `vidseg track` run"
        )
    return record


def _record_in(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    is_record = isinstance(record, dict) and record.keys() >= _OF_A_RECORD and _has_names(record)
    return record if is_record else None


def _has_names(record: Mapping[str, Any]) -> bool:
    """Whether the names of frames, if there are any, are usable as names."""
    files = record.get("frame_files")
    return files is None or (isinstance(files, list) and all(isinstance(file, str) for file in files))


def identity(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a run that decide its masks: runs with the same identity give the same bytes."""
    source = {key: facts["source"].get(key) for key in _SOURCE_IDENTITY}
    return {"source": source, **{key: facts[key] for key in _IDENTITY}}


def fingerprint(facts: Mapping[str, Any]) -> str:
    """A checksum of a run's identity."""
    return hashlib.sha256(json.dumps(identity(facts), sort_keys=True).encode()).hexdigest()


def what_differs(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The differences of two runs' identities, for people: 'tracker (flow, now edgetam)'."""
    differing = []
    for key, after in identity(now).items():
        before = identity(earlier)[key]
        if before == after:
            continue
        if key == "options":
            names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
            differing += [
                f"--{name.replace('_', '-')} ({before.get(name)}, now {after.get(name)})" for name in names
            ]
        elif key == "tracker":
            differing.append(f"tracker ({before}, now {after})")
        else:
            differing.append(
                {"configuration": "configuration of the tracker", "weights_sha256": "weights"}.get(key, key)
            )
    return differing


def source_facts(info: SourceInfo, sha256_of_ends: str | None = None) -> dict[str, Any]:
    """Facts about a source as JSON values, which tell it from other sources wherever it lies.

    Args:
        sha256_of_ends: a checksum of its ends, where it is no file or folder.

    Raises:
        SourceError: its file or folder cannot be read.
    """
    try:
        contents = _contents(info)
    except OSError as failure:
        raise SourceError(f"'{info.name}' cannot be read ({told(failure)})") from failure
    facts = {**asdict(info), **contents}
    facts["sha256_of_ends"] = contents["sha256_of_ends"] or sha256_of_ends
    facts["path"] = None if info.path is None else str(info.path)
    facts["frame_rate"] = None if info.frame_rate is None else str(info.frame_rate)
    facts["size_hw"] = list(info.size_hw)
    facts.pop("frame_files")
    return facts


def describe_video(
    facts: Mapping[str, Any], run: Path, found_labels: Mapping[int, str] | None = None
) -> VideoDescription:
    """The description of its video in a run's record, for writers.

    Args:
        run: folder of the run. That of a job is named by the job's id, wherever it is being written.
        found_labels: labels of objects that are still being found; None: those in the record.

    Raises:
        InputError: the record has no such description.
    """
    try:
        source, objects = facts["source"], facts["prompts"]["objects"]
        if found_labels is None:
            found_labels = {int(i): str(label) for i, label in facts.get("labels", {}).items()}
        height, width = source["size_hw"]
        path = Path(source["path"]) if source["path"] else None
        rate = Fraction(source["frame_rate"]) if source["frame_rate"] else None
        frame_files = facts.get("frame_files")
        looks = (facts.get("annotation") or {}).get("looks", [])
        run_name = (facts.get("job") or {}).get("id") or run.resolve().name
        if source["kind"] in ("frames", "array"):  # they have no times, so this rate gives them
            rate = rate or ASSUMED_FRAME_RATE
        return VideoDescription(
            name=path.stem if path and source["kind"] == "video" else str(source["name"]),
            size_hw=(int(height), int(width)),
            labels={int(thing["id"]): str(thing.get("label") or "") for thing in objects},
            found_labels=found_labels,
            colours={int(thing["id"]): colour_from_hex(thing["colour"]) for thing in looks},
            unpainted=[int(thing["id"]) for thing in looks if not thing["visible"]],
            frame_rate=rate,
            num_frames=source["num_frames"],
            frame_files=frame_files,
            video_file=str(source["name"]) if source["kind"] == "video" else None,
            frames_folder=str(source["name"]) if frame_files else f"{run_name}/frames",
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        raise InputError("the run's run.json does not say what its video was") from None


def _contents(info: SourceInfo) -> dict[str, Any]:
    """The size of a source in bytes, and a checksum of its ends (of a folder: of its file names)."""
    if info.path is None:
        return {"bytes": None, "sha256_of_ends": None}
    digest = hashlib.sha256()
    if info.path.is_dir():
        stems = [Path(name).stem for name in info.frame_files or []]
        digest.update("\0".join(stems).encode(errors="surrogateescape"))
        # Other files there may come and go: a run's own outputs may lie among the frames.
        size = sum((info.path / name).stat().st_size for name in info.frame_files or [])
    else:
        size = info.path.stat().st_size
        with open(info.path, "rb") as file:
            digest.update(file.read(_SAMPLE_BYTES))
            file.seek(max(0, size - _SAMPLE_BYTES))
            digest.update(file.read(_SAMPLE_BYTES))
    return {"bytes": size, "sha256_of_ends": digest.hexdigest()}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
