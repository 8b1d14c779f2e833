"""Tracks the sequences of a data set; each is a job of `vidseg batch`, in this process or on Ray workers.

OUT/runs/             output of `vidseg batch`: a folder for each sequence, report.jsonl, summary.json
OUT/masks/SEQUENCE/   the same masks under the data set's names, for scoring and submission
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vidseg import disk_errors
from vidseg.errors import InputError, VidsegError, one_line
from vidseg.eval.datasets.contract import DataSet, GivenMask, SequenceToTrack
from vidseg.eval.proposals import write_proposals
from vidseg.masks import tight_box
from vidseg.pipeline.batch import stage as batch
from vidseg.pipeline.batch.driver import Driver, stop_on_signals
from vidseg.pipeline.batch.jobs import Job, JobOptions
from vidseg.pipeline.batch.pool import InProcessPool, Pool
from vidseg.pipeline.label_png import read_label_png
from vidseg.pipeline.run_record import FILE_NAME as RUN_RECORD
from vidseg.pipeline.run_record import describe_video, read_record
from vidseg.pipeline.writers.png import write_label_png
from vidseg.trackers.options import TrackerOptions

RUNS, MASKS, PROMPTS = "runs", "masks", "prompts"
PromptKind = Literal["mask", "box"]


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Where sequences are tracked, and with which resources."""

    count: int = 0
    """Number of Ray workers; 0: this process tracks, without Ray."""
    address: str | None = None
    """Address of a Ray cluster; None: Ray is started on this machine."""
    cpus: float = 1.0
    """CPUs that one worker takes."""
    gpus: float | None = None
    """GPUs that one worker takes; None: a whole one if there are any."""


@dataclass(frozen=True, kw_only=True)
class SequenceOutcome:
    """How the tracking of one sequence ended."""

    name: str
    status: Literal["done", "failed"]
    frames: int = 0
    seconds: float = 0.0
    """Seconds spent reading, tracking and writing."""
    frames_per_second: float = 0.0
    peak_memory_bytes: dict[str, int] = field(default_factory=dict)
    """Peak memory of the process up to the end of this sequence, by kind."""
    error: str | None = None


class SequenceStage(batch.TrackingStage):
    """The stage of `vidseg batch`, followed by writing the masks under the data set's names.

    Args:
        out: folder of the evaluation.
        sequences: id of a job -> its sequence.
        has_mask_per_object: whether to write a binary mask for each object, not label maps.
        max_proposals: how many of the objects that were found to keep; None where objects are given.
    """

    def __init__(
        self,
        out: Path,
        sequences: Mapping[str, SequenceToTrack],
        *,
        has_mask_per_object: bool = False,
        max_proposals: int | None = None,
        threads: int | None = None,
    ) -> None:
        super().__init__(str(out / RUNS), threads=threads)
        self.evaluation = out
        self.sequences = sequences
        self.has_mask_per_object = has_mask_per_object
        self.max_proposals = max_proposals

    def process(self, job: Job) -> batch.JobOutcome:
        outcome = super().process(job)
        if outcome.status != "done":
            return outcome
        run = self.evaluation / RUNS / job.id
        try:
            _keep_masks(
                self.sequences[job.id],
                run,
                self.evaluation / MASKS,
                has_mask_per_object=self.has_mask_per_object,
                max_proposals=self.max_proposals,
            )
        except (VidsegError, OSError) as raised:  # most likely the disk is full
            error = disk_errors.explained(raised) or raised
            reason = one_line(error.message if isinstance(error, VidsegError) else str(error))
            return replace(outcome, status="failed", kind=type(error).__name__, reason=reason)
        return outcome


def track_sequences(
    data: DataSet,
    asked: TrackerOptions,
    out: Path,
    *,
    prompt: PromptKind = "mask",
    discover: Mapping[str, Any] | None = None,
    workers: Workers | None = None,
    on_outcome: Callable[[SequenceOutcome], object] = lambda outcome: None,
) -> dict[str, SequenceOutcome]:
    """Track a data set's sequences; the longest first, so that workers end at about the same time.

    A sequence that fails leaves the others alone. Sequences that an earlier call finished are recognised by
    what decided their masks (frames, prompts, tracker, weights); others go on from their last saved state.

    Args:
        out: folder of the evaluation; with a cluster, one that all nodes share.
        prompt: whether objects are named by their first mask, or by the tight box around it.
        discover: how objects are found, on data sets that do not give them.
        on_outcome: called for every sequence that has ended.

    Returns:
        the outcome of each sequence, by its name.

    Raises:
        InputError: the tracker cannot be loaded.
        KeyboardInterrupt: SIGINT or SIGTERM came; sequences in hand are saved, and the same call goes on.
    """
    workers, out = workers or Workers(), out.absolute()
    jobs, outcomes = _Jobs(), {}

    def keep(outcome: SequenceOutcome) -> None:
        outcomes[outcome.name] = outcome
        on_outcome(outcome)

    for sequence in sorted(data.sequences, key=lambda s: -len(s.frame_names)):
        try:
            jobs.add(sequence, _job(sequence, asked, out, prompt, discover, data))
        except VidsegError as error:
            keep(SequenceOutcome(name=sequence.name, status="failed", error=one_line(error.message)))
    if not len(jobs):
        return outcomes
    stage = SequenceStage(
        out,
        {job.id: sequence for job, sequence in jobs.items},
        has_mask_per_object=data.has_mask_per_object,
        max_proposals=data.max_proposals,
        threads=max(1, int(workers.cpus)) if workers.count else None,
    )
    (out / RUNS).mkdir(parents=True, exist_ok=True)
    pool = _pool(stage, jobs.items[0][0], workers, device=asked.device)
    try:
        driver = Driver(
            jobs,
            len(jobs),
            str(out / RUNS),
            pool,
            on_outcome=lambda ended: keep(_outcome(stage.sequences[ended.id].name, ended, out)),
        )
        with stop_on_signals(driver, None if workers.count else pool):
            status = driver.run()
    finally:
        pool.close()
    if status == "interrupted":
        raise KeyboardInterrupt
    return outcomes


class _Jobs:
    """The jobs of the sequences, in the form that the driver takes."""

    def __init__(self) -> None:
        self.items: list[tuple[Job, SequenceToTrack]] = []

    def add(self, sequence: SequenceToTrack, job: Job) -> None:
        self.items.append((job, sequence))

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[tuple[int, Job]]:
        return enumerate(job for job, _ in self.items)

    def at(self, offset: int, /) -> Job:
        return self.items[offset][0]


def _job(
    sequence: SequenceToTrack,
    asked: TrackerOptions,
    out: Path,
    prompt: PromptKind,
    discover: Mapping[str, Any] | None,
    data: DataSet,
) -> Job:
    """The job of a sequence; its paths are absolute, as workers run in another directory."""
    is_given = data.max_proposals is None
    wants_objects = data.has_mask_per_object or not is_given
    return Job(
        id=sequence.name,
        video=str(sequence.images.absolute()),
        prompt=prompts_of(sequence, prompt, out / PROMPTS) if is_given else None,
        options=JobOptions(
            **dict(asked.with_absolute_paths()),
            formats=["rle" if wants_objects else "png"],
            discover=False if is_given else dict(discover or {}),
        ),
    )


def _pool(stage: SequenceStage, first_job: Job, workers: Workers, *, device: str) -> Pool[Any]:
    if not workers.count:
        return InProcessPool(stage, first_job)
    from vidseg.pipeline.batch.ray_pool import Needs, RayPool

    gpus = 0.0 if device == "cpu" and workers.gpus is None else workers.gpus
    pool: Pool[Any] = RayPool(
        stage,
        first_job,
        workers=workers.count,
        needs=Needs(cpus=workers.cpus, gpus=gpus),
        address=workers.address,
    )
    return pool


def _outcome(name: str, ended: batch.JobOutcome, out: Path) -> SequenceOutcome:
    if ended.status != "done":
        return SequenceOutcome(name=name, status="failed", frames=ended.frames, error=ended.reason)
    record = read_record(out / RUNS / ended.id / RUN_RECORD)
    return SequenceOutcome(
        name=name,
        status="done",
        frames=record["frames_done"],
        seconds=round(sum(record["seconds"].values()), 3),
        frames_per_second=record["frames_per_second"],
        peak_memory_bytes=record["peak_memory_bytes"],
    )


def prompts_of(sequence: SequenceToTrack, kind: PromptKind, folder: Path) -> dict[str, Any]:
    """The given masks as contents of a prompt file.

    Args:
        folder: receives masks whose ids had to be merged first.
    """
    objects = []
    # Like SAM 2's exporter, by id: among objects with equal logits the first one gets the pixel.
    for given in sorted(sequence.given, key=lambda given: given.obj_id):
        label_map = read_label_png(given.path)
        mask = label_map > 0 if given.merges_ids else label_map == given.obj_id
        if not mask.any() and len(set(np.unique(label_map)) - {0}) == 1:
            mask = label_map > 0  # one object, marked by any value
        if not mask.any():
            raise InputError(f"the mask shows nothing of object {given.name}", where=str(given.path))
        region: dict[str, Any]
        if kind == "box":
            region = {"box": [float(edge) for edge in tight_box(mask)]}
        else:
            path = given.path
            if given.merges_ids and len(np.unique(label_map)) > 2:
                path = folder / sequence.name / f"{given.name}.png"
                write_label_png(path, mask.astype(np.uint8))
            region = {"mask": str(path.absolute())}
        objects.append(
            {"id": given.obj_id, "label": given.name, "prompts": [{"frame": given.frame_idx, **region}]}
        )
    return {"objects": objects}


def _keep_masks(
    sequence: SequenceToTrack,
    run: Path,
    masks: Path,
    *,
    has_mask_per_object: bool,
    max_proposals: int | None,
) -> None:
    """Write the masks of wanted frames under the data set's names; the folder appears once it is whole."""
    final, part = masks / sequence.name, masks / f".{sequence.name}.part"
    # The folder has the time of the run that it was made of. A process that was killed may have left masks of
    # an earlier run, or removed some of them, which changes the time.
    tracked_ns = (run / RUN_RECORD).stat().st_mtime_ns
    if final.is_dir() and final.stat().st_mtime_ns == tracked_ns:
        return
    for folder in (final, part):
        shutil.rmtree(folder, ignore_errors=True)
    part.mkdir(parents=True)
    if has_mask_per_object:
        _write_object_masks(sequence, run / "masklets.jsonl", part)
    elif max_proposals is not None:
        write_proposals(sequence, run, part, max_proposals)
    else:
        video = describe_video(read_record(run / RUN_RECORD), run)
        wanted = set(sequence.wanted)
        for index, name in enumerate(sequence.frame_names):
            if name in wanted:
                _link(run / "masks" / f"{video.frame_name(index)}.png", part / f"{name}.png")
    os.utime(part, ns=(tracked_ns, tracked_ns))
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
    with contextlib.suppress(OSError):  # some file systems have no links
        os.link(source, target)
        return
    shutil.copyfile(source, target)
