"""Tracking the sequences of a data set, by the loop of `vidseg track`, in this process or in several.

OUT/runs/SEQUENCE/    what `vidseg track` leaves: it resumes an interrupted sequence, and knows a finished one
OUT/masks/SEQUENCE/   the same masks by the data set's names: what is scored and submitted
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vidseg.errors import InputError, OutputBusyError, OutputError, VidsegError, one_line
from vidseg.eval.datasets.contract import GivenMask, SequenceToTrack
from vidseg.eval.label_png import read_label_png
from vidseg.pipeline.writers.png import write_label_png
from vidseg.trackers.contract import Tracker
from vidseg.trackers.registry import DEFAULT_TRACKER, load

RUNS, MASKS, PROMPTS = "runs", "masks", "prompts"
PromptKind = Literal["mask", "box"]


@dataclass(frozen=True, kw_only=True)
class TrackerChoice:
    """What `vidseg.load` is asked for."""

    name: str = DEFAULT_TRACKER
    weights: str | None = None
    device: str = "auto"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    image_size: int | None = None
    allow_random_weights: bool = False

    def load(self) -> Tracker:
        return load(
            self.name,
            weights=self.weights,
            device=self.device,
            dtype=self.dtype,
            image_size=self.image_size,
            allow_random_weights=self.allow_random_weights,
        )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the tracking of one sequence ended."""

    name: str
    status: Literal["done", "failed"]
    frames: int = 0
    seconds: float = 0.0
    """Reading, tracking and writing."""
    frames_per_second: float = 0.0
    peak_memory_bytes: dict[str, int] = field(default_factory=dict)
    """Of the process, up to the end of this sequence."""
    error: str | None = None


class SequenceStage:
    """Tracks one sequence after the other, with one tracker. Knows nothing of who calls it, or where.

    Args:
        out: the evaluation's folder.
        prompt: name objects by their first mask, or by the tight box around it.
        has_mask_per_object: write a binary mask for each object, not label maps.
        threads: how many threads the tracker may compute with; None leaves it to torch.
    """

    def __init__(
        self,
        choice: TrackerChoice,
        out: Path,
        *,
        prompt: PromptKind = "mask",
        has_mask_per_object: bool = False,
        threads: int | None = None,
    ) -> None:
        self.choice = choice
        self.out = out
        self.prompt = prompt
        self.has_mask_per_object = has_mask_per_object
        self.threads = threads
        self._tracker: Tracker | None = None

    def setup(self) -> None:
        """Load the tracker.

        Raises:
            InputError: it cannot be loaded.
        """
        if self.threads is not None:
            import torch

            torch.set_num_threads(self.threads)
        self._tracker = self.choice.load()

    def describe(self) -> dict[str, Any]:
        """The tracker's own facts."""
        assert self._tracker is not None, "setup() comes first"
        return dict(self._tracker.describe())

    def process(self, sequence: SequenceToTrack) -> Outcome:
        """Track a sequence, go on with it, or find it done; whatever goes wrong is in the outcome."""
        try:
            record = self._track(sequence)
            _keep_masks(sequence, self.out, self.has_mask_per_object)
        except KeyboardInterrupt:
            raise
        except Exception as error:  # the other sequences go on
            text = error.message if isinstance(error, VidsegError) else f"{type(error).__name__}: {error}"
            return Outcome(name=sequence.name, status="failed", error=one_line(text))
        return Outcome(
            name=sequence.name,
            status="done",
            frames=record["frames_done"],
            seconds=round(sum(record["seconds"].values()), 3),
            frames_per_second=record["frames_per_second"],
            peak_memory_bytes=record["peak_memory_bytes"],
        )

    def _track(self, sequence: SequenceToTrack) -> dict[str, Any]:
        from vidseg.pipeline.track import track

        assert self._tracker is not None, "setup() comes first"
        run = self.out / RUNS / sequence.name
        ask = partial(
            track,
            sequence.images,
            prompts_of(sequence, self.prompt, self.out / PROMPTS),
            tracker=self._tracker,
            out=run,
            device=self.choice.device,
            dtype=self.choice.dtype,
            image_size=self.choice.image_size,
            formats=["rle" if self.has_mask_per_object else "png"],
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what was done to fit a prompt is in run.json
            try:
                ask(resume=True)
            except OutputBusyError:
                raise
            except OutputError:  # its frames were mended since
                if _record(run).get("status") == "done":
                    raise
                ask(overwrite=True)
        return _record(run)


def _record(run: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return record


def track_sequences(
    stage: SequenceStage, sequences: Sequence[SequenceToTrack], workers: int = 1
) -> Iterator[Outcome]:
    """Track sequences, the longest first; gives each outcome as it comes.

    Args:
        stage: set up, where `workers` is 1; each process sets up its own copy.
        workers: processes; 1 for this one.
    """
    if workers <= 1:
        for sequence in sequences:
            yield stage.process(sequence)
        return
    longest_first = sorted(sequences, key=lambda s: -len(s.frame_names))
    stage = SequenceStage(
        stage.choice,
        stage.out,
        prompt=stage.prompt,
        has_mask_per_object=stage.has_mask_per_object,
        threads=max(1, (os.cpu_count() or 1) // workers),
    )
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_set_up_worker, initargs=(stage,)
    ) as pool:
        running: dict[Future[Outcome], str] = {
            pool.submit(_process_in_worker, sequence): sequence.name for sequence in longest_first
        }
        try:
            for future in as_completed(running):
                try:
                    yield future.result()
                except BrokenProcessPool:
                    name = running[future]
                    yield Outcome(name=name, status="failed", error="a worker process was killed")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_worker_stage: SequenceStage | None = None


def _set_up_worker(stage: SequenceStage) -> None:
    global _worker_stage
    stage.setup()
    _worker_stage = stage


def _process_in_worker(sequence: SequenceToTrack) -> Outcome:
    assert _worker_stage is not None
    return _worker_stage.process(sequence)


def prompts_of(sequence: SequenceToTrack, kind: PromptKind, folder: Path) -> dict[str, Any]:
    """The given masks as a prompt file's content.

    Args:
        folder: gets the masks whose ids had to be merged first.
    """
    objects = []
    for given in sequence.given:
        label_map = read_label_png(given.path)
        mask = label_map > 0 if given.merges_ids else label_map == given.obj_id
        if not mask.any() and len(set(np.unique(label_map)) - {0}) == 1:
            mask = label_map > 0  # one object, marked by another value
        if not mask.any():
            raise InputError(f"the mask shows nothing of object {given.name}", where=str(given.path))
        region: dict[str, Any]
        if kind == "box":
            ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            region = {"box": [float(v) for v in (xs[0], ys[0], xs[-1] + 1, ys[-1] + 1)]}
        else:
            path = given.path
            if given.merges_ids and len(np.unique(label_map)) > 2:
                path = folder / sequence.name / f"{given.name}.png"
                write_label_png(path, mask.astype(np.uint8))
            region = {"mask": str(path.resolve())}
        objects.append(
            {"id": given.obj_id, "label": given.name, "prompts": [{"frame": given.frame_idx, **region}]}
        )
    return {"objects": objects}


def _keep_masks(sequence: SequenceToTrack, out: Path, has_mask_per_object: bool) -> None:
    """The wanted frames' masks under the data set's names; the folder appears when it is whole."""
    final = out / MASKS / sequence.name
    if final.is_dir():
        return
    part = out / MASKS / f".{sequence.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    run = out / RUNS / sequence.name
    if has_mask_per_object:
        _write_object_masks(sequence, run / "masklets.jsonl", part)
    else:
        wanted = set(sequence.wanted)
        for index, name in enumerate(sequence.frame_names):
            if name in wanted:
                _link(run / "masks" / f"{index:05d}.png", part / f"{name}.png")
    os.replace(part, final)


def _write_object_masks(sequence: SequenceToTrack, masklets: Path, folder: Path) -> None:
    from vidseg.pipeline.writers import read_masklets

    names: dict[int, GivenMask] = {given.obj_id: given for given in sequence.given}
    wanted = set(sequence.wanted)
    for masks in read_masklets(masklets):
        frame = sequence.frame_names[masks.frame_idx]
        if frame in wanted:
            for obj_id, mask in zip(masks.obj_ids, masks.masks, strict=True):
                write_label_png(folder / names[obj_id].name / f"{frame}.png", mask.astype(np.uint8))


def _link(source: Path, target: Path) -> None:
    with contextlib.suppress(OSError):  # a file system without links
        os.link(source, target)
        return
    shutil.copyfile(source, target)
