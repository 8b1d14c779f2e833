"""Builds what an interactive session is made of, for one open project."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vidseg.annotation.answers import Answers
from vidseg.annotation.jobs import AnswersFirst
from vidseg.annotation.opening import OpenProject
from vidseg.annotation.passes import Planner
from vidseg.annotation.prompting import Prompting
from vidseg.annotation.run_folder import STATE
from vidseg.annotation.saved_sessions import SavedSessions
from vidseg.annotation.starts import Starts
from vidseg.annotation.tracking import Tracking, TrackingJob
from vidseg.pipeline.read.random_access import RandomAccess
from vidseg.trackers.contract import Tracker


@dataclass(frozen=True)
class Parts:
    """What answers, plans and tracks; and the readers and the folder that these use."""

    answers: Answers
    prompting: Prompting
    planner: Planner
    tracking: Tracking
    readers: tuple[RandomAccess, ...]
    scratch: Path

    def close(self) -> None:
        for reader in self.readers:
            reader.close()
        shutil.rmtree(self.scratch, ignore_errors=True)


def build_parts(
    tracker: Tracker,
    opened: OpenProject,
    *,
    answers_first: AnswersFirst,
    on_frame: Callable[[TrackingJob, int], None],
) -> Parts:
    """The parts of a session; for `on_frame` see `Tracking`."""
    video, project, state = opened.video, opened.project, opened.folder / STATE
    size_hw, num_frames = video.info.size_hw, video.num_frames
    saved = SavedSessions(state / "sessions", project.database)
    starts = Starts(project, saved)
    # Each thread reads with a decoder of its own.
    for_answers, for_tracking = (video.another(keep_decoded=tracker.traits.takes_decoded) for _ in range(2))
    scratch = state / "scratch"
    scratch.mkdir(exist_ok=True)
    answers = Answers(
        tracker,
        for_answers,
        project,
        starts,
        scratch,
        is_awaited=lambda: answers_first.is_awaited,
    )
    return Parts(
        answers=answers,
        prompting=Prompting(
            project, answers, num_frames=num_frames, size_hw=size_hw, time_of=answers.time_of
        ),
        planner=Planner(
            project,
            starts,
            num_frames=num_frames,
            size_hw=size_hw,
            read_frame=for_tracking.frame,
            clicks_correct=tracker.traits.clicks_correct,
        ),
        tracking=Tracking(
            tracker, for_tracking, project, saved, before_step=answers_first.let_pass, on_frame=on_frame
        ),
        readers=(video, for_answers, for_tracking),
        scratch=scratch,
    )
