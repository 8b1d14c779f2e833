"""A tracker that is fast, exact and easily upset: it tells a test when a loop has fed it wrongly.

An object is a box whose steps depend on the pixels of every frame since it was prompted, on their order, and
on the frames it was conditioned on. A frame left out, given twice, or given after a wrong restore moves every
later box.

As a program it is the command line with the tracker kind `fake`: `python -m support.fake_tracker track ...`
"""

from __future__ import annotations

import json
import os
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from vidseg.errors import InputError
from vidseg.trackers.contract import ABSENT_LOGIT, Frame, FrameResult, Prompt, TrackerTraits
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.registry import register_tracker


class FakeTracker:
    """See the module.

    Args:
        seconds_a_frame: how long a step takes.
        fails_on: the frame whose step raises an error that nobody foresaw.
    """

    def __init__(
        self, name: str = "fake", *, seconds_a_frame: float = 0.0, fails_on: int | None = None
    ) -> None:
        self.name = name
        self.traits = TrackerTraits()
        self.seconds_a_frame = seconds_a_frame
        self.fails_on = fails_on
        self.calls: list[tuple[str, int]] = []
        """What sessions were asked for: ('step' or 'condition', frame index)."""
        self.num_frames: list[int | None] = []
        """The lengths that sessions were started with."""

    def start(self, num_frames: int | None = None, reverse: bool = False) -> FakeSession:
        self.num_frames.append(num_frames)
        return FakeSession(self, {"reverse": reverse, "chain": 0, "last": None, "objects": {}, "ahead": {}})

    def restore(self, path: str | PathLike[str]) -> FakeSession:
        state = json.loads(load_file(path)["state"].tobytes())
        state["objects"] = {int(k): v for k, v in state["objects"].items()}
        state["ahead"] = {int(f): {int(k): v for k, v in o.items()} for f, o in state["ahead"].items()}
        return FakeSession(self, state)

    def describe(self) -> Mapping[str, Any]:
        return {"name": self.name, "config": {}, "weights_sha256": None}


class FakeSession:
    def __init__(self, tracker: FakeTracker, state: dict[str, Any]) -> None:
        self.tracker = tracker
        self.state = state
        self.pending: dict[int, Prompt] = {}

    @property
    def obj_ids(self) -> list[int]:
        return list(self.state["objects"])

    def prompt(
        self,
        obj_id: int,
        *,
        box: Sequence[float] | None = None,
        points: Sequence[Sequence[float]] | None = None,
        labels: Sequence[int] | None = None,
        mask: Any = None,
    ) -> None:
        prompt = Prompt.of(box=box, points=points, labels=labels, mask=mask)
        self.pending[obj_id] = self.pending[obj_id].merge(prompt) if obj_id in self.pending else prompt

    def step(self, frame: Frame) -> FrameResult:
        self._note("step", frame)
        self.state["last"] = frame.index
        assert frame.image is not None
        self.state["chain"] = zlib.crc32(frame.image[::4, ::4].tobytes(), self.state["chain"])
        for thing in self.state["objects"].values():
            thing["chain"] = zlib.crc32(frame.image[::4, ::4].tobytes(), thing["chain"])
            thing["x"] += thing["chain"] % 5 - 2
            thing["y"] += thing["chain"] // 5 % 5 - 2
        for obj_id, prompt in self._take(frame).items():
            self.state["objects"][obj_id] = self._object(obj_id, prompt)
        for obj_id, thing in self.state["ahead"].pop(frame.index, {}).items():
            self.state["objects"][obj_id] = thing
        return self._result(frame)

    def condition(self, frame: Frame) -> FrameResult:
        self._note("condition", frame)
        prompts = self._take(frame)
        assert prompts, "condition() without a prompt"
        for obj_id, prompt in prompts.items():
            thing = self._object(obj_id, prompt)
            self.state["ahead"].setdefault(frame.index, {})[obj_id] = thing
        return self._result(frame)

    def refine(self, obj_id: int, **prompt: Any) -> FrameResult:
        raise NotImplementedError

    def remove(self, obj_id: int) -> None:
        del self.state["objects"][obj_id]

    def save(self, path: str | PathLike[str]) -> None:
        part = Path(f"{path}.part")
        save_file({"state": np.frombuffer(json.dumps(self.state).encode(), np.uint8)}, part)
        os.replace(part, path)

    def _note(self, call: str, frame: Frame) -> None:
        last, reverse = self.state["last"], self.state["reverse"]
        if last is not None and (frame.index >= last if reverse else frame.index <= last):
            raise InputError(f"frame {frame.index} after frame {last}")
        self.tracker.calls.append((call, frame.index))
        if frame.index == self.tracker.fails_on:
            raise ZeroDivisionError("the fake tracker was told to fail")
        time.sleep(self.tracker.seconds_a_frame)

    def _take(self, frame: Frame) -> dict[int, Prompt]:
        prompts = {obj_id: prompt.fit(frame.size_hw) for obj_id, prompt in self.pending.items()}
        self.pending.clear()
        return prompts

    def _object(self, obj_id: int, prompt: Prompt) -> dict[str, Any]:
        if prompt.mask is not None:
            ys, xs = np.nonzero(prompt.mask)
            box = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        elif prompt.box is not None:
            box = prompt.box.tolist()
        else:
            (x, y) = prompt.points_xy[0]
            box = [x - 5, y - 5, x + 5, y + 5]
        x0, y0, x1, y1 = (int(v) for v in box)
        ahead = sorted(f for f, things in self.state["ahead"].items() if obj_id in things)
        return {
            "x": x0,
            "y": y0,
            "w": x1 - x0,
            "h": y1 - y0,
            "chain": zlib.crc32(repr((obj_id, ahead)).encode()),
        }

    def _result(self, frame: Frame) -> FrameResult:
        height, width = frame.size_hw
        things = self.state["objects"]
        logits = np.full((len(things), height, width), ABSENT_LOGIT, np.float32)
        for row, thing in enumerate(things.values()):
            x, y = thing["x"] % (width - 2), thing["y"] % (height - 2)
            logits[row, y : y + thing["h"], x : x + thing["w"]] = 5
        return FrameResult(
            frame_idx=frame.index,
            pts_seconds=frame.pts_seconds,
            size_hw=frame.size_hw,
            obj_ids=list(things),
            low_res_logits=logits,
            object_score_logits=np.full(len(things), 4, np.float32),
            predicted_ious=np.full(len(things), 0.9, np.float32),
            states=["visible"] * len(things),
            to_video_res=lambda low_res, size_hw: low_res,
        )


def build(name: str, config: Mapping[str, Any], options: TrackerOptions) -> FakeTracker:
    return FakeTracker(name, **config)


def fake_yaml(folder: Path, name: str = "fake", **config: Any) -> Path:
    """A configuration of the tracker, for `--tracker` in a process that runs this module."""
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps({"kind": "fake", **config}))
    return path


if __name__ == "__main__":
    from vidseg.pipeline.cli import main

    register_tracker("fake", build)
    sys.exit(main())
