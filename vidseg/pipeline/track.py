"""`vidseg.track`: takes a source, prompts and a tracker; writes masks, a picture and a record of the run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal

import numpy.typing as npt

from vidseg.errors import ConfigError
from vidseg.pipeline.discovery_options import discovery_of
from vidseg.pipeline.formats import DEFAULT_FORMATS
from vidseg.pipeline.plan import Direction, TrackOptions
from vidseg.pipeline.run import Run, TrackSummary
from vidseg.python_words import in_python
from vidseg.trackers.choices import DEFAULT_TRACKER
from vidseg.trackers.contract import Tracker
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.registry import build_tracker

__all__ = ["TrackSummary", "track"]


Prompts = (
    str
    | PathLike[str]
    | Mapping[str, Any]
    | npt.NDArray[Any]
    | Sequence[Mapping[str, Any] | npt.NDArray[Any]]
)


def track(
    source: str | PathLike[str] | int | Iterable[Any],
    prompts: Prompts | None = None,
    *,
    tracker: str | PathLike[str] | Tracker = DEFAULT_TRACKER,
    out: str | PathLike[str] | None = None,
    formats: Sequence[str] = DEFAULT_FORMATS,
    direction: Direction = "forward",
    start: int | None = None,
    end: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    save_every: int = 100,
    queue_frames: int = 8,
    reader: Literal["pyav", "decord"] = "pyav",
    on_behind: Literal["wait", "drop"] | None = None,
    discover: bool | Mapping[str, Any] = False,
    **tracker_options: Any,
) -> TrackSummary:
    """Follow objects through a video and write their masks; the `track` command as one call.

    Args:
        source: a video file, a folder of frames, a camera number, a stream address, or an iterable of
            uint8 H x W x 3 RGB arrays.
        prompts: a prompt file, or its content, in which a mask may be an array: bool H x W, or integers H x W
            that are object ids. A mask array alone, or a list of such for several objects, belongs to the
            first frame that is tracked. Pixels of the frame as shown. May be None with `discover`.
        tracker: a name that `vidseg models` lists, the path of a YAML file, or a tracker.
        out: the output folder; runs/<name of the source> where it is not given.
        formats: what to write; names of `vidseg.pipeline.formats.FORMATS`.
        direction: 'forward' from each object's first prompted frame; 'backward' from its last one down;
            'both' ways from its first one.
        start, end: track frames from `start` up to, but not including, `end`; in decode order, from 0.
        resume: go on with the interrupted run in `out`.
        overwrite: remove the outputs of the run in `out` first.
        save_every: frames between two saved states to resume from; 0 for none.
        queue_frames: how many frames may wait to be tracked; half as many may wait to be written.
        reader, on_behind: see `vidseg.read`.
        discover: find objects besides those that are prompted, and follow them, too: True, or options such
            as `{"every": 30}` or `{"detector": "boxes.json"}`
            (`vidseg.pipeline.discovery_options.DiscoveryOptions`).
        **tracker_options: of a tracker that is to be loaded: `weights`, `device`, `dtype`, ...; see
            `vidseg.load`.

    Returns:
        The summary of a run that is done.

    Raises:
        InputError: the call or its input is wrong; nothing was written.
        DecodeError: the source broke in the middle; what came before is tracked and kept (status 'partial').
        RunError: something failed while running; what was written stays valid.
    """
    options = TrackOptions(
        formats=formats,
        direction=direction,
        start=start,
        end=end,
        resume=resume,
        overwrite=overwrite,
        save_every=save_every,
        queue_frames=queue_frames,
        reader=reader,
        on_behind=on_behind,
        discover=discovery_of(discover),
    )
    get_tracker: Callable[[TrackerOptions], Tracker] = build_tracker
    if isinstance(tracker, str | PathLike):
        asked = TrackerOptions.of(tracker, **tracker_options)
    elif not isinstance(tracker, Tracker):
        raise ConfigError(
            f"a {type(tracker).__name__} is no tracker",
            hint="give a name that `vidseg models` lists, a YAML file, or what vidseg.load returns",
        )
    elif tracker_options:
        raise ConfigError(
            f"'{min(tracker_options)}' for a tracker that is loaded", hint="give it to vidseg.load"
        )
    else:
        asked, loaded = TrackerOptions(), tracker
        get_tracker = lambda asked: loaded  # noqa: E731
    with in_python():
        summary = Run(source, prompts, get_tracker, out, options, asked=asked, warn=warnings.warn).run()
        if summary.error is not None:
            raise summary.error
    if summary.status == "interrupted":
        raise KeyboardInterrupt
    return summary
