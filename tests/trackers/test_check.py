"""The contract check: the weight-free tracker passes, and broken ones are caught for what they break."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidseg.errors import ContractError, InputError, PromptError
from vidseg.trackers.check import check_tracker
from vidseg.trackers.contract import Frame, FrameResult
from vidseg.trackers.flow import FlowTracker
from vidseg.trackers.flow.session import FlowSession


def test_check_passes_the_flow_tracker_and_leaves_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    check_tracker(FlowTracker())
    assert not list(tmp_path.iterdir())


class WithSessionOf(FlowTracker):
    """The flow tracker with one method of its sessions replaced."""

    def __init__(self, session_class: type[FlowSession]) -> None:
        super().__init__()
        self._session_class = session_class

    def start(self, num_frames: int | None = None, reverse: bool = False) -> FlowSession:
        return self._broken(super().start(num_frames, reverse))

    def restore(self, path: Any) -> FlowSession:
        return self._broken(super().restore(path))

    def _broken(self, session: FlowSession) -> FlowSession:
        session.__class__ = self._session_class
        return session


def changed(result: FrameResult, **changes: Any) -> FrameResult:
    facts = {
        name: getattr(result, name)
        for name in (
            "frame_idx",
            "pts_seconds",
            "size_hw",
            "obj_ids",
            "low_res_logits",
            "object_score_logits",
            "predicted_ious",
            "states",
        )
    }
    return FrameResult(**{**facts, "to_video_res": result._to_video_res, **changes})


def broken_step(change: Callable[[FrameResult], Mapping[str, Any]]) -> type[FlowSession]:
    class Broken(FlowSession):
        def step(self, frame: Frame) -> FrameResult:
            result = super().step(frame)
            return changed(result, **change(result))

    return Broken


class KeepsRemovedObjects(FlowSession):
    def remove(self, obj_id: int) -> None:
        if obj_id not in self.obj_ids:
            raise PromptError("no such object")


class RemovesAnything(FlowSession):
    def remove(self, obj_id: int) -> None:
        if obj_id in self.obj_ids:
            super().remove(obj_id)


class ListsObjectsWhenTheirFrameComes(FlowSession):
    @property
    def obj_ids(self) -> list[int]:
        return list(self._state.objects)


class ForgetsLabels(FlowSession):
    def step(self, frame: Frame) -> FrameResult:
        result = super().step(frame)
        self._state.pending.names.clear()
        return result


class TakesFramesTwice(FlowSession):
    def step(self, frame: Frame) -> FrameResult:
        last = self._state.frame_idx
        if last == frame.index:
            self._state.frame_idx = None
        return super().step(frame)


class WantsEveryFrame(FlowSession):
    def step(self, frame: Frame) -> FrameResult:
        last = self._state.frame_idx
        if last is not None and abs(frame.index - last) > 1:
            raise InputError(f"frame {frame.index} after frame {last}")
        return super().step(frame)


class RemembersRemovedObjects(FlowSession):
    def remove(self, obj_id: int) -> None:
        kept = self._state.objects.get(obj_id)
        super().remove(obj_id)
        self.kept = kept

    def step(self, frame: Frame) -> FrameResult:
        kept, waiting = getattr(self, "kept", None), self._state.pending
        if kept is not None and 1 in waiting and 1 not in self._state.objects:
            self._state.objects[1] = kept
        return super().step(frame)


class IgnoresCorrections(FlowSession):
    def refine(self, obj_id: int, **prompt: Any) -> FrameResult:
        state = self._state
        assert state.frame_idx is not None
        return self._result(state.frame_idx, state.pts_seconds, state.objects)


class TakesAnyPrompt(FlowSession):
    def prompt(self, obj_id: int, **prompt: Any) -> None:
        try:
            super().prompt(obj_id, **prompt)
        except PromptError:
            super().prompt(obj_id, points=[[1, 1]])


class ForgetsPromptsWhenSaved(FlowSession):
    def save(self, path: Any) -> None:
        waiting = dict(self._state.pending)
        self._state.pending.clear()
        super().save(path)
        self._state.pending.update(waiting)


class GrowsWhenSaved(FlowSession):
    def save(self, path: Any) -> None:
        super().save(path)
        with open(path, "ab") as file:
            file.write(bytes(1000 * (self._state.frame_idx or 0)))


class MakesMasksAtOnce(FlowSession):
    def step(self, frame: Frame) -> FrameResult:
        result = super().step(frame)
        assert result.masks is not None
        return result


class WritesOnFrames(FlowSession):
    def step(self, frame: Frame) -> FrameResult:
        result = super().step(frame)
        if frame.image is not None:
            frame.image[0, 0] += 1
        return result


class WritesOnResults(FlowSession):
    last: FrameResult | None = None

    def step(self, frame: Frame) -> FrameResult:
        if self.last is not None:
            self.last.low_res_logits[:] = 0
        self.last = super().step(frame)
        return self.last


class OnlyForward(FlowSession):
    def step(self, frame: Frame) -> FrameResult:
        if self._state.reverse:
            raise InputError("frames come in rising order")
        return super().step(frame)


class NeedsObjects(FlowSession):
    def step(self, frame: Frame) -> FrameResult:
        if not self.obj_ids:
            raise ValueError("need at least one array to stack")
        return super().step(frame)


class PrefersTheFirstObject(FlowSession):
    def step(self, frame: Frame) -> FrameResult:
        result = super().step(frame)
        if len(result.obj_ids) > 1:
            logits = result.low_res_logits.copy()
            logits[1, : logits.shape[1] // 2] = -5
            return changed(result, low_res_logits=logits)
        return result


class RemembersOthersFrames(FlowSession):
    frames_seen = 0

    def step(self, frame: Frame) -> FrameResult:
        type(self).frames_seen += 1
        result = super().step(frame)
        return changed(result, object_score_logits=result.object_score_logits + type(self).frames_seen)


BROKEN_SESSIONS: dict[str, tuple[type[FlowSession], str]] = {
    "float64 scores": (
        broken_step(lambda r: {"object_score_logits": r.object_score_logits.astype(np.float64)}),
        "float64",
    ),
    "another index": (broken_step(lambda r: {"frame_idx": r.frame_idx + 1}), "frame_idx"),
    "another time": (broken_step(lambda r: {"pts_seconds": 0.5}), "pts_seconds"),
    "a batch axis too many": (
        broken_step(lambda r: {"low_res_logits": r.low_res_logits[:, None]}),
        "shape|N x h x w|raised",
    ),
    "not a number": (
        broken_step(lambda r: {"predicted_ious": r.predicted_ious * np.float32("nan")}),
        "not finite",
    ),
    "an IoU of 90": (broken_step(lambda r: {"predicted_ious": r.predicted_ious * 100}), "0 to 1"),
    "an odd state": (broken_step(lambda r: {"states": ["lost"] * len(r.states)}), "'lost'"),
    "a mask of an absent object": (
        broken_step(lambda r: {"states": ["absent"] * len(r.states)}),
        "absent",
    ),
    "ids in order of number": (
        broken_step(lambda r: {"obj_ids": sorted(r.obj_ids)}),
        r"\[3, 9\]",
    ),
    "needs objects": (NeedsObjects, "need at least one array"),
    "masks at once": (MakesMasksAtOnce, "before anyone asks"),
    "writes on frames": (WritesOnFrames, "written to"),
    "writes on results": (WritesOnResults, "first result changed"),
    "keeps removed objects": (KeepsRemovedObjects, "obj_ids"),
    "removes anything": (RemovesAnything, "no PromptError"),
    "forgets labels": (ForgetsLabels, "on frame 1 the labels are"),
    "lists objects late": (ListsObjectsWhenTheirFrameComes, r"after prompt\(5\)"),
    "takes frames twice": (TakesFramesTwice, "step.. to frame 1 after frame 1 is no InputError"),
    "wants every frame": (WantsEveryFrame, "InputError: frame 2 after frame 0"),
    "remembers removed objects": (RemembersRemovedObjects, "differ"),
    "ignores corrections": (IgnoresCorrections, "corrected with a mask"),
    "takes any prompt": (TakesAnyPrompt, "no error"),
    "forgets waiting prompts": (ForgetsPromptsWhenSaved, "after restoring"),
    "grows": (GrowsWhenSaved, "grew|restore|saved"),
    "only forward": (OnlyForward, "rising"),
    "prefers the first object": (PrefersTheFirstObject, "object"),
    "shares between sessions": (RemembersOthersFrames, "differ"),
}


@pytest.mark.parametrize("name", BROKEN_SESSIONS)
def test_check_catches(name: str) -> None:
    session_class, what = BROKEN_SESSIONS[name]
    with pytest.raises(ContractError, match=what) as caught:
        check_tracker(WithSessionOf(session_class))
    assert "breaks a promise" in caught.value.message
    assert len(str(caught.value).splitlines()) == 3


def test_check_catches_a_tracker_that_does_not_describe_itself() -> None:
    class Silent(FlowTracker):
        def describe(self) -> dict[str, Any]:
            return {"name": self.name, "config": {}}

    with pytest.raises(ContractError, match="weights_sha256"):
        check_tracker(Silent())


def test_check_catches_facts_that_are_no_json() -> None:
    class Odd(FlowTracker):
        def describe(self) -> dict[str, Any]:
            return {**super().describe(), "config": {1: (2, 3)}}

    assert json.dumps(Odd().describe())
    with pytest.raises(ContractError, match="round trip"):
        check_tracker(Odd())


def test_check_catches_a_tracker_that_restores_anything() -> None:
    class Trusting(FlowTracker):
        def restore(self, path: Any) -> FlowSession:
            try:
                return super().restore(path)
            except InputError:
                return self.start()

    with pytest.raises(ContractError, match="missing file"):
        check_tracker(Trusting())


def test_check_catches_a_tracker_without_traits() -> None:
    class Plain(FlowTracker):
        traits = property()  # type: ignore[assignment]

    with pytest.raises(ContractError, match="traits"):
        check_tracker(Plain())


def test_check_catches_what_is_no_tracker() -> None:
    class Half:
        name = "half"

        def start(self, num_frames: int | None = None, reverse: bool = False) -> object:
            return object()

    with pytest.raises(ContractError, match="'half'"):
        check_tracker(Half())  # type: ignore[arg-type]
