"""One run of `track`: everything is checked before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from vidseg.errors import ConfigError, DecodeError, OutputError, PromptError, VidsegError
from vidseg.out_of_memory import explaining
from vidseg.pipeline.execution import Execution
from vidseg.pipeline.formats import check_ids
from vidseg.pipeline.out_folder import OutFolder
from vidseg.pipeline.plan import Pass, TrackOptions, default_out, plan_passes
from vidseg.pipeline.progress import Progress, Silent
from vidseg.pipeline.prompt_schedule import PromptSchedule
from vidseg.pipeline.prompts import read_prompts
from vidseg.pipeline.resume_point import ResumePoint, ResumePointStore
from vidseg.pipeline.run_record import RunRecord, RunStage, Status, source_facts, what_differs
from vidseg.pipeline.stop import Stop
from vidseg.pipeline.video import Video
from vidseg.pipeline.writers import Writer
from vidseg.trackers.contract import Frame, Tracker
from vidseg.trackers.options import TrackerOptions
from vidseg.version import __version__


@dataclass(frozen=True, kw_only=True)
class TrackSummary:
    """How a run ended."""

    status: Status
    out: Path
    """Folder of the run."""
    outputs: list[Path]
    """Files and folders of pictures in it, besides run.json."""
    frames_done: int
    frames_per_second: float
    obj_ids: list[int]
    warnings: list[str] = field(default_factory=list)
    """What was changed in the prompts to make them fit the video, and what was odd about the video."""
    error: VidsegError | None = None
    """The error that ended a run which is 'partial' or 'failed'."""
    was_done_before: bool = False
    """Whether there was nothing left to resume."""
    seconds: Mapping[RunStage, float] = field(default_factory=dict)
    """Seconds by kind of work, including resumed tries: `read` (waiting for frames), `track`, `write`
    (waiting for writers)."""


class Run:
    """One run of `track`, from its checks to its summary.

    Nothing is written before the prompts, the source's first frame and the tracker have proved usable.

    Args:
        get_tracker: builds the tracker of options; called after the cheaper checks.
        asked: options of the tracker; kept in run.json. A run that is resumed keeps its type where this
            leaves the type open.
        warn: called with a line for each change in the prompts that made them fit and, in the end, for each
            thing that was odd about the source.
        job: facts by which a batch knows the run; kept in run.json.
        streams: writers that are given every frame besides those of the formats, and leave no file.
    """

    def __init__(
        self,
        source: str | PathLike[str] | int | Iterable[Any],
        prompts: Any,
        get_tracker: Callable[[TrackerOptions], Tracker],
        out: str | PathLike[str] | None,
        options: TrackOptions,
        *,
        asked: TrackerOptions,
        warn: Callable[[str], object],
        job: Mapping[str, Any] | None = None,
        streams: Sequence[Writer] = (),
        progress: Progress | None = None,
        stop: Stop | None = None,
    ) -> None:
        if out is not None and not fspath(out):
            raise OutputError("the name of the output folder is empty", hint="give one as --out")
        self.source = source
        if prompts is None and options.discover is None:
            raise PromptError("nothing says what to follow", hint="give prompts, or discover=True")
        self.prompts = read_prompts(prompts, options.start or 0)
        check_ids(options.formats, self._obj_ids, self.prompts.where)
        self.get_tracker = get_tracker
        self.folder = OutFolder(default_out(source) if out is None else Path(out), options.formats)
        self.options = options
        self.asked = asked
        self.warn = warn
        self.job = job
        self.streams = streams
        self.progress = progress or Silent()
        self.stop = stop or Stop()

    def run(self) -> TrackSummary:
        """Track. Errors before the first frame is written are raised; later ones are in the summary."""
        earlier = self.folder.earlier_run()
        if earlier is not None and not (self.options.resume or self.options.overwrite):
            raise OutputError(
                f"'{self.folder.path}' holds the outputs of another run ({earlier['status']})",
                hint="--resume goes on with it, --overwrite replaces it; or choose another --out",
            )
        self.video = Video(
            self.source,
            start=self.options.start,
            end=self.options.end,
            reader=self.options.reader,
            queue_frames=self.options.queue_frames,
            on_behind=self.options.on_behind,
        )
        try:
            self._check_source_and_prompts()
            if earlier is not None and not self.options.overwrite:
                self.asked = self.asked.with_dtype_of(earlier["options"].get("dtype"))
            with explaining():
                self.tracker = self.get_tracker(self.asked)
            self.passes = self._planned()
            self.video.keep_decoded = self.tracker.traits.takes_decoded
            self.facts = self._facts()
            if earlier is None or self.options.overwrite:
                return self._execute(ResumePoint(), None)
            self._check_same(earlier)
            if earlier["status"] == "done":
                self.folder.remove_state()
                return self._summary_of(earlier)
            return self._execute(ResumePointStore(self.folder.state).load() or ResumePoint(), earlier)
        finally:
            self.video.close()
            self.folder.release()

    def _check_source_and_prompts(self) -> None:
        video, options = self.video, self.options
        if not video.can_read_again and (options.direction != "forward" or options.resume):
            asked = "--resume" if options.resume else f"--direction {options.direction}"
            raise ConfigError(f"{asked} needs a source that can be read again; '{video.info.name}' cannot")
        path = video.info.path
        self.folder.check_inputs([*([path] if path else []), *self.prompts.mask_files])
        self.prompts = self.prompts.fit(video.facts())
        first = options.start or 0
        if options.direction == "backward":
            self.prompts.warnings.extend(
                f"object {thing.obj_id} is prompted on frame {first} alone, and no frame before it is tracked"
                for thing in self.prompts.objects
                if thing.last_frame == first
            )
        last = max(self.prompts.frames, default=0)
        if video.can_read_again and video.num_frames is None and last > (options.start or 0):
            with suppress(DecodeError):  # the run itself will report where the source is broken
                video.frame(last, self.prompts.where)

    def _planned(self) -> list[Pass]:
        schedule = PromptSchedule(
            objects=self.prompts.objects,
            read_frame=self._read_frame(),
            clicks_correct=self.tracker.traits.clicks_correct,
            discovers=self.options.discover is not None,
        )
        return plan_passes(schedule, self.options)

    def _read_frame(self) -> Callable[[int], Frame] | None:
        return partial(self.video.frame, where=self.prompts.where) if self.video.can_read_again else None

    def _facts(self) -> dict[str, Any]:
        """The facts in `run.json` that do not change while the run goes on."""
        about = self.tracker.describe()
        options = self.options
        return {
            **({"job": dict(self.job)} if self.job is not None else {}),
            "tracker": about["name"],
            "configuration": about["config"],
            "weights_sha256": about["weights_sha256"],
            "tracker_facts": {
                k: v for k, v in about.items() if k not in ("name", "config", "weights_sha256")
            },
            "source": source_facts(self.video.info, self.video.sha256_of_ends()),
            "prompts": self.prompts.document(),
            "warnings": self.prompts.warnings,
            "options": {
                "format": ",".join(options.formats),
                "direction": options.direction,
                "start": options.start,
                "end": options.end,
                "reader": options.reader,
                **({} if options.discover is None else {"discover": options.discover.document()}),
                **self.asked.document(),
                "dtype": about.get("dtype", self.asked.dtype),
            },
            # Last, for people who read the file: there may be a hundred thousand.
            "mask_names": "frame files" if self.video.info.frame_files else "frame numbers",
            "frame_files": self.video.info.frame_files,
        }

    def _check_same(self, earlier: Mapping[str, Any]) -> None:
        if differing := what_differs(earlier, self.facts):
            raise OutputError(
                f"the run in '{self.folder.path}' differs from this call in {', '.join(differing)}",
                hint="give what it was made with; or replace it with --overwrite, or choose another --out",
            )

    def _execute(self, resume_point: ResumePoint, earlier: Mapping[str, Any] | None) -> TrackSummary:
        execution = Execution(
            video=self.video,
            prompts=self.prompts,
            passes=self.passes,
            tracker=self.tracker,
            folder=self.folder,
            options=self.options,
            record=RunRecord(self.folder.record_path, self.facts),
            resume_point=resume_point,
            is_resumed=earlier is not None,
            streams=self.streams,
            device=self.asked.device,
            progress=self.progress,
            stop=self.stop,
        )
        execution.begin_discovery()
        frames = execution.first_frames()  # checks the source before anything is written
        warnings = [*self.prompts.warnings, *_remark_on_version(earlier)]
        for warning in warnings:
            self.warn(warning)
        self.folder.claim()
        if self.options.overwrite:
            self.folder.clear_state()
        if earlier is not None:
            execution.record.go_on_from(earlier, resume_point.frames_done, execution.is_done)
            execution.record.add_warnings(warnings)
        ending = execution.run(frames)
        remarks = self.video.remarks()
        for remark in remarks:
            self.warn(remark)
        return TrackSummary(
            status=ending.status,
            out=self.folder.path,
            outputs=ending.outputs,
            frames_done=execution.record.frames_done,
            frames_per_second=execution.record.fps,
            obj_ids=list(dict.fromkeys([*self._obj_ids, *execution.record.found_ids])),
            warnings=[*warnings, *remarks],
            error=ending.error,
            seconds=dict(execution.record.seconds),
        )

    def _summary_of(self, earlier: Mapping[str, Any]) -> TrackSummary:
        return TrackSummary(
            status="done",
            out=self.folder.path,
            outputs=[self.folder.path / name for name in earlier["outputs"]],
            frames_done=earlier["frames_done"],
            frames_per_second=earlier["frames_per_second"],
            obj_ids=list(dict.fromkeys([*self._obj_ids, *earlier.get("objects", [])])),
            was_done_before=True,
        )

    @property
    def _obj_ids(self) -> list[int]:
        return [thing.obj_id for thing in self.prompts.objects]


def _remark_on_version(earlier: Mapping[str, Any] | None) -> list[str]:
    """A warning if another version of vidseg began the run: its masks may differ."""
    before = __version__ if earlier is None else earlier.get("versions", {}).get("vidseg")
    return [] if before == __version__ else [f"the run was begun by vidseg {before}; this is {__version__}"]
