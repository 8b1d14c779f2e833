"""Does one job, from its video to its folder. It knows nothing of Ray, and runs wherever it is called.

OUT/<id>/          what `vidseg track` writes
OUT/<id>/run.json  the done-mark; its `job.fingerprint` covers video, prompt, tracker, weights and options
"""

from __future__ import annotations

import gc
import json
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from vidseg.errors import (
    ContractError,
    DecodeError,
    InputError,
    OutOfMemoryError,
    OutputBusyError,
    OutputError,
    RunError,
    VidsegError,
    one_line,
)
from vidseg.out_of_memory import explained, explaining
from vidseg.pipeline.addresses import shown, without_secrets
from vidseg.pipeline.batch import detector_files, stores
from vidseg.pipeline.batch.begun import Begun, begun
from vidseg.pipeline.batch.jobs import Job, map_regions, with_resolved_masks
from vidseg.pipeline.batch.remote_folder import RemoteFolder
from vidseg.pipeline.batch.scratch import Scratch
from vidseg.pipeline.out_folder import STATE, OutFolder
from vidseg.pipeline.plan import TrackOptions
from vidseg.pipeline.progress import Progress, Silent, Watched
from vidseg.pipeline.prompts import read_prompts
from vidseg.pipeline.run import Run, TrackSummary
from vidseg.pipeline.run_record import RunStage
from vidseg.pipeline.stop import Stop
from vidseg.trackers.contract import Tracker
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.registry import build_tracker


@dataclass(frozen=True, kw_only=True)
class JobOutcome:
    """The result of one try at a job."""

    id: str
    status: Literal["done", "failed", "interrupted"]
    was_done_before: bool = False
    """Whether an earlier run did it, with the same video, prompt, tracker, weights and options."""
    frames: int = 0
    """Number of frames in its outputs, including those of earlier tries."""
    seconds: float = 0.0
    """Seconds that this try took."""
    stage_seconds: Mapping[RunStage, float] = field(default_factory=dict)
    """Seconds that these frames took, by kind of work; see `TrackSummary.seconds`."""
    kind: str | None = None
    """Name of the class of the error."""
    reason: str | None = None
    where: str | None = None
    hint: str | None = None
    may_pass: bool = False
    """Whether another try may succeed."""
    ran_out_of_memory: bool = False
    """Whether memory ran out, which may suffice where no other job is beside it."""


class TrackingStage:
    """Does jobs, one after the other, with a tracker that stays loaded between them.

    Args:
        out: address of the folder that gets a folder for each job.
        shared: options of the tracker of jobs that do not say otherwise; None: those of `setup`'s job.
        threads: how many threads may compute; None: as the libraries choose.
        scratch: a folder on this machine for files from and to stores.
        send_every_s: least seconds between two states of a job sent to a store.
    """

    def __init__(
        self,
        out: str,
        *,
        shared: TrackerOptions | None = None,
        threads: int | None = None,
        scratch: Path | None = None,
        send_every_s: float = 60.0,
    ) -> None:
        self.out = out
        self.shared = shared
        self.threads = threads
        self.scratch = Scratch(scratch)
        self.send_every_s = send_every_s
        self._tracker: tuple[TrackerOptions, Tracker] | None = None
        self._stop = Stop()
        self._is_stopping = False
        self._num_frames = 0
        """How many frames were done, of all jobs."""

    def setup(self, job: Job) -> None:
        """Load the tracker that a job asks for. If it asks for one of its own that cannot be loaded, that is
        told when its turn comes.

        Raises:
            VidsegError: the shared one cannot be built, so no job that wants it can be done; or memory ran
                out.
        """
        if self.threads is not None:
            import cv2
            import torch

            torch.set_num_threads(self.threads)
            cv2.setNumThreads(self.threads)
        asked = job.options.for_tracker()
        try:
            with explaining():
                self._tracker_for(asked)
        except Exception:
            if self.shared is None or asked == self.shared:
                raise

    def process(self, job: Job) -> JobOutcome:
        """Do a job, resume it, or find it done. Every error of the job itself is in the outcome."""
        began = time.perf_counter()
        if self._is_stopping:
            return JobOutcome(id=job.id, status="interrupted")
        try:
            summary: TrackSummary | None = self._do(job)
            error: Exception | None = None if summary is None else summary.error
        except Exception as raised:  # whatever went wrong with this job, the next one must run
            summary, error = None, explained(raised) or raised
        seconds = round(time.perf_counter() - began, 3)
        frames, stage_seconds = (0, {}) if summary is None else (summary.frames_done, summary.seconds)
        if error is not None:
            failure = replace(
                _failure(job.id, error), frames=frames, seconds=seconds, stage_seconds=stage_seconds
            )
            if failure.ran_out_of_memory:
                del error, summary  # they hold on to the tensors of the job
                self._free_memory()
            return failure
        assert summary is not None
        return JobOutcome(
            id=job.id,
            status="interrupted" if summary.status == "interrupted" else "done",
            was_done_before=summary.was_done_before,
            frames=frames,
            seconds=seconds,
            stage_seconds=stage_seconds,
        )

    def _free_memory(self) -> None:
        """Let go of all that was loaded or kept for reuse."""
        self._tracker = None
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()

    def progress(self) -> int:
        """A number that changes with every frame, and as files come from a store; for any thread."""
        return self._num_frames + self.scratch.num_bytes()

    def request_stop(self) -> None:
        """Have the job in hand saved and ended after its present frame; callable from any thread."""
        self._is_stopping = True
        self._stop.is_requested = True

    def close(self) -> None:
        self.scratch.close()

    def _do(self, job: Job) -> TrackSummary:
        room: Path | None = None
        if stores.is_remote(self.out) or stores.is_remote(job.video) or _asks_a_store(job):
            room = self.scratch.folder(job.id)
        try:
            return self._do_with(job, room)
        finally:
            if room is not None:
                shutil.rmtree(room, ignore_errors=True)

    def _do_with(self, job: Job, room: Path | None) -> TrackSummary:
        discover = detector_files.bring_detector(job.options.discover, room)
        job = replace(job, options=job.options.model_copy(update={"discover": discover}))
        prompt = _bring_prompt(job.prompt, room)
        prompts = read_prompts(prompt, job.options.start or 0)
        address = stores.join(self.out, job.id)
        now = begun(job, address, prompts, self._tracker_for(job.options.for_tracker()))
        if now.is_same and now.record is not None and now.record["status"] == "done":
            if not stores.is_remote(address):  # on a store, run.json is sent after all else is in order
                _finish_ending(stores.local_path(address))
            return _done_before(now.record, address)
        remote: RemoteFolder | None = None
        folder = stores.local_path(address)
        if stores.is_remote(address):
            assert room is not None
            folder = room / "run"
            folder.mkdir()
            replaces = now.record is not None and not now.is_same
            remote = RemoteFolder(address, folder, send_every_s=self.send_every_s, replaces=replaces)
            if now.is_same:
                remote.fetch()
            now = replace(now, record=now.record if now.is_same else None)
        else:
            _wait_for_no_one(folder)
        video = job.video
        if room is not None and stores.is_remote(video):
            (room / "video").mkdir()
            local = room / "video" / (stores.name_of(video) or "video")
            stores.download(video, local)
            video = str(local)
        elif not stores.is_remote(video):
            video = str(stores.local_path(video))
        try:
            summary = self._run(job, video, prompt, folder, now, progress=remote)
            if summary.error is not None and not may_pass(summary.error):
                shutil.rmtree(folder / STATE, ignore_errors=True)  # the run is done, so nobody will resume it
            return summary
        finally:
            if remote is not None:
                remote.send()

    def _run(
        self,
        job: Job,
        video: str,
        prompt: str | dict[str, Any] | None,
        folder: Path,
        now: Begun,
        *,
        progress: Progress | None,
    ) -> TrackSummary:
        self._stop = Stop()
        self._stop.is_requested = self._is_stopping
        tracker = self._tracker_for(now.asked)
        mark = {"id": job.id, "video": shown(job.video), "fingerprint": now.fingerprint}

        def run(resume: bool) -> TrackSummary:
            options = job.options.for_track()
            return Run(
                video,
                prompt,
                lambda asked: tracker,
                folder,
                _with_ending(options, resume),
                asked=now.asked,
                warn=lambda line: None,  # warnings are in run.json
                job=mark,
                progress=Watched(progress or Silent(), self._count_frame),
                stop=self._stop,
            ).run()

        if now.record is not None and not now.is_same:
            return run(resume=False)
        try:
            return run(resume=True)
        except OutputBusyError:
            raise
        except OutputError:  # the earlier try left nothing that can be resumed
            return run(resume=False)

    def _count_frame(self) -> None:
        self._num_frames += 1

    def _tracker_for(self, asked: TrackerOptions) -> Tracker:
        """The loaded tracker, if it is what is asked for; else that one is loaded instead."""
        if self._tracker is None or asked not in _names_of(*self._tracker):
            self._tracker = None  # memory may not hold two trackers
            self._tracker = (asked, build_tracker(asked))
        return self._tracker[1]


def _names_of(asked: TrackerOptions, tracker: Tracker) -> list[TrackerOptions]:
    """The options that give this very tracker: as asked for, and with the type that it chose."""
    return [asked, asked.with_dtype_of(tracker.describe().get("dtype"))]


def _with_ending(options: TrackOptions, resume: bool) -> TrackOptions:
    return replace(options, resume=resume, overwrite=not resume)


def _done_before(earlier: Mapping[str, Any], address: str) -> TrackSummary:
    return TrackSummary(
        status="done",
        out=Path(address),
        outputs=[],
        frames_done=int(earlier.get("frames_done", 0)),
        frames_per_second=0.0,
        obj_ids=[],
        was_done_before=True,
    )


def _finish_ending(folder: Path) -> None:
    """Remove the state of a run that is done: its worker may have been killed before it did so.

    Raises:
        OutputBusyError: the worker is still at it.
    """
    if (folder / STATE).is_dir():
        _wait_for_no_one(folder)
        OutFolder(folder).remove_state()


def _wait_for_no_one(folder: Path) -> None:
    """Check that no worker of a driver that was killed is still writing to the folder.

    This comes before the run looks at the contents, which such a worker may be changing.

    Raises:
        OutputBusyError: one is.
    """
    if (folder / STATE).is_dir():
        out = OutFolder(folder)
        try:
            out.claim()
        finally:
            out.release()


def _asks_a_store(job: Job) -> bool:
    """Whether a job needs files from a store besides its video."""
    if detector_files.asks_a_store(job.options.discover):
        return True
    if isinstance(job.prompt, str):
        return stores.is_remote(job.prompt)
    return "://" in json.dumps(job.prompt)


def _bring_prompt(prompt: str | dict[str, Any] | None, room: Path | None) -> str | dict[str, Any] | None:
    """The prompt, with its files on this machine."""
    if prompt is None:
        return None
    if isinstance(prompt, str):
        if not stores.is_remote(prompt):
            return str(stores.local_path(prompt))
        text = stores.read_bytes(prompt)
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            assert room is not None
            (room / "prompt.json").write_bytes(text)  # so that messages can name the file
            return str(room / "prompt.json")
        prompt = with_resolved_masks(content, stores.parent(prompt))
    brought: dict[str, str] = {}

    def bring(region: Any) -> Any:
        mask = region.get("mask") if isinstance(region, dict) else None
        if not isinstance(mask, str) or "://" not in mask:
            return region
        if mask not in brought and stores.is_remote(mask):
            assert room is not None
            local = room / "prompt" / str(len(brought)) / stores.name_of(mask)
            stores.download(mask, local)
            brought[mask] = str(local)
        return {**region, "mask": brought.get(mask, str(stores.local_path(mask)))}

    return map_regions(prompt, bring)


def _failure(job_id: str, error: Exception) -> JobOutcome:
    return JobOutcome(
        id=job_id,
        status="failed",
        kind=type(error).__name__,
        reason=one_line(
            error.message if isinstance(error, VidsegError) else without_secrets(" ".join(str(error).split()))
        ),
        where=error.where if isinstance(error, VidsegError) else None,
        hint=error.hint if isinstance(error, VidsegError) else None,
        may_pass=may_pass(error),
        ran_out_of_memory=isinstance(error, OutOfMemoryError),
    )


def may_pass(error: Exception) -> bool:
    """Whether the same job may succeed when it is tried again.

    A store or a disk may recover, and memory may be freed; a video, a prompt or a tracker does not change.
    """
    if isinstance(error, OutputBusyError):
        return True
    if isinstance(error, InputError | DecodeError | ContractError):
        return False
    if isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError | IsADirectoryError):
        return False
    return isinstance(error, RunError | OSError)
