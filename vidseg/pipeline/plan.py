"""The options of a run, and the passes over the video that it takes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from vidseg.errors import ConfigError, unknown
from vidseg.pipeline.addresses import is_address, name_of, shown
from vidseg.pipeline.discovery_options import DiscoveryOptions
from vidseg.pipeline.formats import DEFAULT_FORMATS, check_formats
from vidseg.pipeline.prompt_schedule import PromptSchedule

Direction = Literal["forward", "backward", "both"]
DIRECTIONS: tuple[Direction, ...] = ("forward", "backward", "both")


@dataclass(frozen=True, kw_only=True)
class TrackOptions:
    """Options of a run; see `vidseg.track`."""

    formats: Sequence[str] = DEFAULT_FORMATS
    direction: Direction = "forward"
    start: int | None = None
    end: int | None = None
    resume: bool = False
    overwrite: bool = False
    save_every: int = 100
    queue_frames: int = 8
    reader: Literal["pyav", "decord"] = "pyav"
    on_behind: Literal["wait", "drop"] | None = None
    discover: DiscoveryOptions | None = None
    """How objects are found besides those that are prompted; None: they are not."""

    def __post_init__(self) -> None:
        check_formats(self.formats)
        if self.direction not in DIRECTIONS:
            raise ConfigError(unknown("direction", self.direction, DIRECTIONS))
        for name in ("start", "end"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise ConfigError(f"{name} is {value!r}", hint=f"{name} is the number of a frame, from 0 on")
        if self.resume and self.overwrite:
            raise ConfigError("--resume and --overwrite exclude each other", hint="give one of them")
        if self.discover is not None:
            self.discover.check()
            if self.direction != "forward":
                raise ConfigError(
                    f"--discover goes forward alone, not --direction {self.direction}",
                    hint="leave --direction out",
                )
        if self.save_every < 0:
            raise ConfigError(f"--save-every is {self.save_every}", hint="a number of frames, or 0 for never")
        if self.queue_frames < 1:
            raise ConfigError(f"--queue is {self.queue_frames}", hint="give at least 1 frame")


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One pass over some of the frames."""

    schedule: PromptSchedule
    start: int | None
    end: int | None
    reports_below: int | None = None
    """Masks of frames below this are given to the writers; other frames are visited by another pass, too."""
    waits_below: int | None = None
    """Masks of frames from `reports_below` up to here wait for that pass, which needs none from here on."""

    @property
    def reverse(self) -> bool:
        return self.schedule.reverse

    def waits(self, frame_idx: int) -> bool:
        return not self.reports(frame_idx) and (self.waits_below is None or frame_idx < self.waits_below)

    def reports(self, frame_idx: int) -> bool:
        return self.reports_below is None or frame_idx < self.reports_below

    def is_behind(self, frame_idx: int, reached: int | None) -> bool:
        """Whether the pass is done with a frame once it has done the frame `reached` (None: no frame)."""
        if reached is None:
            return False
        return frame_idx >= reached if self.reverse else frame_idx <= reached


def plan_passes(schedule: PromptSchedule, options: TrackOptions) -> list[Pass]:
    """The passes of a run, in order.

    In both directions, frames below an object's first prompted one get the result of a backward run, and the
    others that of a forward run.

    Args:
        schedule: prompts of the run, as given in a forward pass.
    """
    whole = Pass(schedule=schedule, start=options.start, end=options.end)
    if options.direction == "forward":
        return [whole]
    if options.direction == "backward":
        return [replace(whole, schedule=replace(schedule, start_on="last", reverse=True))]
    late = [thing for thing in schedule.objects if thing.first_frame > (options.start or 0)]
    if not late:
        return [whole]
    backward = replace(schedule, objects=late, start_on="last", reverse=True)
    down = replace(
        whole,
        schedule=backward,
        end=backward.highest_start + 1,
        reports_below=schedule.lowest_start,
        waits_below=schedule.highest_start,
    )
    return [down, replace(whole, start=schedule.lowest_start)]


def default_out(source: str | PathLike[str] | int | Iterable[Any]) -> Path:
    """runs/<name of the source>; for an address, the last part of its path, or else its host."""
    if isinstance(source, int):
        name = f"camera-{source}"
    elif isinstance(source, str | PathLike):
        text = fspath(source)
        if is_address(text):
            name = Path(name_of(text)).stem or shown(text).partition("://")[2]
            name = re.sub(r"[^\w.-]+", "_", name).strip("._")
        else:
            name = Path(unquote(urlsplit(text).path) if "://" in text else text).resolve().stem
    else:
        name = "arrays"
    return Path("runs") / (name or "video")
