"""A run in progress: its writers, its passes, and every way in which it may end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from vidseg.detectors.contract import remark_of
from vidseg.errors import DecodeError, OutputError, PromptError, RunError, SourceError, VidsegError
from vidseg.out_of_memory import explained
from vidseg.pipeline.build_writers import build_writers
from vidseg.pipeline.loop import Loop
from vidseg.pipeline.merge import WaitingMasks
from vidseg.pipeline.out_folder import OutFolder
from vidseg.pipeline.outlet import Outlet, writing
from vidseg.pipeline.plan import Pass, TrackOptions
from vidseg.pipeline.progress import Progress
from vidseg.pipeline.prompts import Prompts, past_the_end
from vidseg.pipeline.resume_point import Break, ResumePoint, ResumePointStore
from vidseg.pipeline.run_record import RunRecord, Status, describe_video
from vidseg.pipeline.stop import Stop
from vidseg.pipeline.video import Video
from vidseg.pipeline.writers.contract import FrameMasks, Writer
from vidseg.trackers.contract import Frame, Session, Tracker

if TYPE_CHECKING:
    from vidseg.detectors import Detector
    from vidseg.trackers.discovery.discovery import Discovery

RUN_STATE = "the run's state"
"""How errors call what is written besides the outputs."""


@dataclass(frozen=True)
class Ending:
    """How a run ended, and its files that are whole."""

    status: Status
    outputs: list[Path]
    error: VidsegError | None = None


@dataclass(kw_only=True)
class Execution:
    """Runs the passes that are left after a resume point, and completes the outputs."""

    video: Video
    prompts: Prompts
    passes: list[Pass]
    tracker: Tracker
    folder: OutFolder
    options: TrackOptions
    record: RunRecord
    resume_point: ResumePoint
    """Where to begin."""
    is_resumed: bool
    """Whether an earlier run left its files."""
    progress: Progress
    stop: Stop
    streams: Sequence[Writer] = ()
    """Writers besides those of the formats."""
    device: str = "auto"
    """The device of a model that finds objects and does not track."""

    def begin_discovery(self) -> None:
        """Open what finds objects, if the run asks for it, as it was at the resume point.

        Raises:
            ConfigError, InputError, MissingExtraError, CheckpointError: it cannot be opened.
        """
        self._discovery: Discovery | None = None
        self._detector: Detector | None = None
        if self.options.discover is None:
            return
        self._detector = self.options.discover.opened_detector()
        first_id = 1 + max((thing.obj_id for thing in self.prompts.objects), default=0)
        self._discovery = self.options.discover.discovery(
            self.tracker, self._detector, first_id=first_id, device=self.device
        )
        if self.resume_point.discovery is not None:
            self._discovery.take_state(self.resume_point.discovery)

    def first_frames(self) -> Iterator[Frame]:
        """The frames of the first pass; the first of them has been read, unless a run goes on.

        Raises:
            SourceError: there is none.
        """
        frames = self._frames(self.resume_point.pass_idx, self.resume_point.frame_idx)
        if self.resume_point.frame_idx is not None:
            return frames  # there were some; where the source breaks behind them, those are kept
        first = next(frames, None)
        if first is None:
            raise SourceError(f"'{self.video.info.name}' holds no frames")
        return chain([first], frames)

    def run(self, frames: Iterator[Frame]) -> Ending:
        """Track `frames` and the passes after them. Only unforeseen errors are raised."""
        self._store = ResumePointStore(self.folder.state)
        self._has_taken_over = False
        self._is_interrupted = False
        self._broke_at: int | None = None
        self._broken = self.resume_point.broken
        status: Status = "done"
        error: BaseException | None = None
        # Writers are mostly faster than the tracker, so half as many frames are queued for them.
        self._outlet = Outlet(self._writers(), (self.options.queue_frames + 1) // 2)
        self._waiting = self._waiting_masks()
        try:
            with writing(RUN_STATE):
                self.record.save("running")
            # From here on the folder belongs to this run, and earlier contents may be removed. A run that
            # goes on from nothing may have been killed while it removed those of the run before.
            if self.options.overwrite or (self.is_resumed and self.resume_point == ResumePoint()):
                self.folder.remove_outputs()
            elif self.is_resumed:
                with writing("what the earlier run left"):
                    self._resume()
            self._has_taken_over = True
            self._run_passes(frames)
        except KeyboardInterrupt:
            status, self._is_interrupted = "interrupted", True
        except DecodeError as broken:
            status, error = "partial", broken
        except PromptError as missed:  # the prompted frame never came
            status, error = "partial", missed
        except BaseException as failed:
            status, error = "failed", explained(failed) or failed
        finally:
            self.progress.close()
        return self._end(status, error)

    def _resume(self) -> None:
        self._outlet.resume(self.is_done, self.resume_point.frames_done)
        if self._waiting is not None and self.resume_point.pass_idx == 0:
            self._waiting.resume(lambda idx: self.passes[0].is_behind(idx, self.resume_point.frame_idx))

    def _run_passes(self, frames: Iterator[Frame]) -> None:
        begin = self.resume_point
        self.progress.start(*self._extent())
        last_idx = None
        for pass_idx in range(begin.pass_idx, len(self.passes)):
            behind = None
            if pass_idx == begin.pass_idx:
                session, behind = begin.restore(self.tracker, self.folder.state), begin.frame_idx
            else:
                session, frames = None, self._frames(pass_idx, None)
            schedule = self.passes[pass_idx].schedule
            loop = Loop(
                obj_ids=[thing.obj_id for thing in self.prompts.objects],
                schedule=schedule,
                discovery=self._discovery,
                deliver=self._deliver(self.passes[pass_idx]),
                save_session=self._saver(pass_idx),
                save_every=self.options.save_every if self.video.can_read_again else 0,
                record=self.record,
                progress=self.progress,
                stop=self.stop,
                absent=self._absent(self.passes[pass_idx]),
                may_lag=not self.video.info.is_live,
            )
            session = session or self.tracker.start(self.video.num_frames, reverse=schedule.reverse)
            try:
                last_idx = loop.run(frames, session, behind)
            except DecodeError as error:
                if pass_idx + 1 == len(self.passes):
                    raise
                # Frames below are lost, but not those of the forward pass.
                self._broken = Break.of(error)
            if pass_idx + 1 < len(self.passes):
                self._outlet.sync()
                if self._waiting is not None:
                    with writing(RUN_STATE):
                        self._waiting.finish()
                self._save(None, pass_idx + 1, None)
        if self._broken is not None:
            raise self._broken.error(self.record.frames_done)
        last_prompted = max(self.prompts.frames, default=0)
        if not self.passes[-1].reverse and last_idx is not None and last_idx < last_prompted:
            raise past_the_end(last_prompted, self.video.info.name, last_idx + 1, self.prompts.where)

    def _end(self, status: Status, error: BaseException | None) -> Ending:
        outputs: list[Path] = []
        is_resumable = self._store.exists
        if self.record.frames_done == 0 and status != "done" and not is_resumable:
            self._outlet.discard()
            # Files of an earlier run may still be there; without its record nobody could tell whose they are.
            self.folder.undo(keep_record=not self._has_taken_over)
        else:
            try:
                outputs = self._outlet.finish(keep_broken=is_resumable)
            except KeyboardInterrupt:
                status = "interrupted"
            if error is None and (failed := self._outlet.error) is not None:
                status, error = "failed", failed
            self.record.set_outputs(outputs, self._outlet.seconds())
            if status == "done" and not self.is_resumed:  # what a resumed run used before is not known
                self._remark_on_detector()
            self.record.add_warnings(self.video.remarks())
            if error is not None:
                self.record.set_error(error, self._broke_at)
            try:
                with writing(RUN_STATE):
                    self.record.save(status)
            except RunError as unsaved:  # on a full disk, keep the record of some frames ago
                if status == "done":  # what no record tells of would be done again
                    status, error = "failed", unsaved
            if status == "done" or not is_resumable:
                self.folder.remove_state()
        if error is not None and not isinstance(error, VidsegError):
            raise error
        return Ending(status, outputs, error)

    def _remark_on_detector(self) -> None:
        if self._detector is not None and (remark := remark_of(self._detector, "frame")) is not None:
            self.video.remark(remark)

    def _frames(self, pass_idx: int, behind: int | None) -> Iterator[Frame]:
        """The frames of a pass, from the one after `behind` on."""
        this = self.passes[pass_idx]
        if behind is None or self.resume_point.is_damaged:
            frames = self.video.frames(this.start, this.end, reverse=this.reverse)
            if behind is not None:
                next((frame for frame in frames if frame.index == behind), None)
            return frames
        # Read from the frame that is done, which surely exists; the next one may not.
        if this.reverse:
            frames = self.video.frames(this.start, behind + 1, reverse=True)
        else:
            frames = self.video.frames(behind, this.end)
        next(frames, None)
        return frames

    def _writers(self) -> list[Writer]:
        comes_in_one_go = self.options.direction == "forward" and self.resume_point.frame_idx is None
        writers = build_writers(
            self.options.formats,
            self.folder.path,
            describe_video(self.record.facts, self.folder.path, self.record.found_labels),
            state=self.folder.state,
            read_again=None if comes_in_one_go else self._read_again,
        )
        return [*writers, *self.streams]

    def _read_again(self) -> Iterable[Frame]:
        # After Ctrl-C nobody wants to wait for an overlay; the resumed run will paint it.
        return iter(()) if self._is_interrupted else self.video.frames(self.options.start, self.options.end)

    def _waiting_masks(self) -> WaitingMasks | None:
        if len(self.passes) == 1:
            return None
        return WaitingMasks(self.folder.state, self.passes[-1].schedule, self.video.info.size_hw)

    def is_done(self, frame_idx: int) -> bool:
        """Whether the writers had been given a frame before the resume point."""
        now = self.resume_point.pass_idx
        return any(this.reports(frame_idx) for this in self.passes[:now]) or (
            self.passes[now].reports(frame_idx)
            and self.passes[now].is_behind(frame_idx, self.resume_point.frame_idx)
        )

    def _deliver(self, this: Pass) -> Callable[[Frame, FrameMasks], None]:
        def deliver(frame: Frame, masks: FrameMasks) -> None:
            frame = replace(frame, decoded=None)  # writers do not need it
            if not this.reports(frame.index):
                if this.waits(frame.index) and self._waiting is not None:
                    with writing(RUN_STATE):
                        self._waiting.put(frame, masks)
                return
            if self._waiting is not None and not this.reverse:
                masks = self._waiting.merged(masks)
            if self._discovery is not None:  # before the frame, as its writers read the labels
                self.record.found_labels.update(self._discovery.labels)
            self._outlet.put(frame, masks)
            self.record.review.see(frame, masks)
            self.record.frames_done += 1
            self.record.found_ids.update(dict.fromkeys(masks.obj_ids))
            self._broke_at = frame.index + (-1 if this.reverse else 1)  # in case no more frames come

        return deliver

    def _saver(self, pass_idx: int) -> Callable[[Session | None, int], None]:
        def save(session: Session | None, frame_idx: int) -> None:
            self._outlet.sync()
            if self._waiting is not None and self.passes[pass_idx].reverse:
                with writing(RUN_STATE):
                    self._waiting.sync()
            self._save(session, pass_idx, frame_idx)

        return save

    def _save(self, session: Session | None, pass_idx: int, frame_idx: int | None) -> None:
        try:
            with writing(RUN_STATE):
                self._store.save(
                    session,
                    ResumePoint(
                        pass_idx=pass_idx,
                        frame_idx=frame_idx,
                        frames_done=self.record.frames_done,
                        discovery=None if self._discovery is None else self._discovery.state(),
                        is_damaged=self.video.is_damaged,
                        broken=self._broken,
                    ),
                )
                self.record.save("running")
        except OutputError as error:  # a tracker may report a full disk in its own words
            raise RunError(
                error.message,
                where=error.where,
                hint="free some space, then run the same command with --resume",
            ) from error

    def _absent(self, this: Pass) -> dict[int, list[tuple[int, int]]]:
        """Object id -> the spans of frames on which it has no mask in a pass.

        Where another pass follows an object, too, its mask is that one's, and this one's must not take pixels
        from other objects.
        """
        absent = {thing.obj_id: list(thing.absent) for thing in self.prompts.objects}
        if self._waiting is not None and this.reverse:
            for thing in this.schedule.objects:
                absent[thing.obj_id].append((thing.first_frame, this.schedule.highest_start))
        return absent

    def _extent(self) -> tuple[int | None, int]:
        """How many frames there are to visit (None: unknown), and how many of them are done."""
        extents = [self.video.about(this.start, this.end) for this in self.passes]
        if None in extents:
            return None, self.resume_point.frames_done
        return sum(extent or 0 for extent in extents), self.resume_point.frames_done
