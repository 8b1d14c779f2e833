"""Where tracking of an object can go on from: a saved session, or a mask that lies beside the frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vidseg.annotation.masks import Mask
from vidseg.annotation.project import Project, Said
from vidseg.annotation.saved_sessions import SavedSessions
from vidseg.pipeline.prompt_schedule import PromptSchedule
from vidseg.pipeline.prompts import ObjectPrompts
from vidseg.pipeline.writers.rle import decode_rle
from vidseg.trackers.contract import Prompt


@dataclass(frozen=True)
class Start:
    """A state of tracking before some frame."""

    frame_idx: int
    """The frame that was stepped to last; that of `mask`."""
    session_file: Path | None = None
    company: tuple[int, ...] = field(default=(), compare=False)
    """Other objects that, if they are in that session, go on from it as they went: they were not tracked anew
    since, and nothing was said of them later on the way."""
    mask: Mask | None = None
    """The mask from which an object is followed where there is no session file."""


class Starts:
    """Finds starts in one project."""

    def __init__(self, project: Project, saved: SavedSessions) -> None:
        self._project = project
        self._saved = saved

    def direction_at(self, obj_id: int, frame_idx: int) -> bool | None:
        """Whether an object was tracked to a frame in reverse; None if it was not tracked to it at all."""
        own = self._project.mask(obj_id, frame_idx)
        if own is not None:
            beside = self._project.mask(obj_id, frame_idx + (1 if own.reverse else -1))
            if beside is not None and (own.is_tracked or beside.reverse == own.reverse):
                return own.reverse
            return None
        before = self._project.mask(obj_id, frame_idx - 1)
        if before is not None and not before.reverse:
            return False
        after = self._project.mask(obj_id, frame_idx + 1)
        return True if after is not None and after.reverse else None

    def before(self, obj_id: int, frame_idx: int, *, reverse: bool) -> Start | None:
        """The state from which an object comes to a frame; None if nothing was tracked to it."""
        step = -1 if reverse else 1
        beside = self._project.mask(obj_id, frame_idx - step)
        if beside is None:
            return None
        found = self._saved.nearest(obj_id, frame_idx, reverse=reverse)
        if found is not None and self._has_masks(obj_id, range(found[0] + step, frame_idx, step)):
            company = self._company(obj_id, *found, reverse=reverse)
            return Start(found[0], session_file=found[1], company=company)
        return Start(frame_idx - step, mask=beside) if beside.area and beside.kind != "X" else None

    def _company(self, obj_id: int, done: int, session_file: Path, *, reverse: bool) -> tuple[int, ...]:
        """The other objects that go on from a saved session as they went."""

        def has_more(other: int) -> bool:
            frames = [said.frame_idx for said in self._project.said(other)]
            return any(frame < done if reverse else frame > done for frame in frames)

        others = self._saved.not_tracked_since(session_file, done, reverse=reverse)
        return tuple(other for other in others if other != obj_id and not has_more(other))

    def _has_masks(self, obj_id: int, frames: range) -> bool:
        if not frames:
            return True
        tracked = self._project.timeline(obj_id, min(frames), max(frames))
        return len(tracked) == len(frames)


def prompt_of(said: Said, size_hw: tuple[int, int]) -> Prompt:
    """What was said, as a prompt that fits the video.

    Raises:
        PromptError: it does not fit.
    """
    if said.counts is not None:
        return Prompt.of(mask=decode_rle({"size": size_hw, "counts": said.counts}))
    return Prompt.of(box=said.box, points=said.points, labels=said.labels).fit(size_hw)


def object_prompts(
    obj_id: int, said: Iterable[Said], size_hw: tuple[int, int], *, seed: Mask | None = None
) -> ObjectPrompts:
    """All that was said of one object, as a schedule takes it.

    Args:
        seed: a mask to follow the object from.
    """
    said = list(said)
    return ObjectPrompts(
        obj_id=obj_id,
        label=None,
        on_frames=_OnFrames(said, size_hw, seed),
        in_turn=frozenset(s.frame_idx for s in said if s.in_turn),
    )


class _OnFrames(Mapping[int, Prompt]):
    """Prompts by frame, in rising order. Each is made when it is asked for, as drawn masks are large."""

    def __init__(self, said: Iterable[Said], size_hw: tuple[int, int], seed: Mask | None) -> None:
        sources: dict[int, Said | Mask] = {each.frame_idx: each for each in said}
        if seed is not None:
            sources[seed.frame_idx] = seed
        self._sources = dict(sorted(sources.items()))
        self._size_hw = size_hw

    def __getitem__(self, frame_idx: int) -> Prompt:
        source = self._sources[frame_idx]
        if isinstance(source, Mask):
            return Prompt.of(mask=source.pixels(self._size_hw))
        return prompt_of(source, self._size_hw)

    def __iter__(self) -> Iterator[int]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)


def in_turn(prompts: list[ObjectPrompts], *, reverse: bool) -> PromptSchedule:
    """A schedule that gives every prompt when its frame comes, to a session that has begun already."""
    said = [thing for thing in prompts if thing.on_frames]
    return PromptSchedule(objects=said, start_on="last" if reverse else "first", reverse=reverse)
