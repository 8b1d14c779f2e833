"""What pages are told: the newest last, and every failure."""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("starlette")

from support.annotated import write_video
from support.annotation_client import served
from vidseg.annotation.events import Event, Listeners
from vidseg.annotation.masks import Mask
from vidseg.annotation.telling import Telling


@pytest.fixture
def video(tmp_path: Path) -> Path:
    write_video(tmp_path / "made.mp4", 3)
    return tmp_path / "made.mp4"


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def telling_to(
    told: list[Event], *, project: Any = None, state: Callable[[], dict[str, Any]] = dict
) -> Telling:
    listeners = Listeners()
    listeners.add(told.append)
    return Telling(listeners, project, size_hw=(1, 1), num_frames=1, state=state, progress=dict)


def mask_of(pixels: npt.NDArray[np.bool_]) -> Mask:
    return Mask.of(pixels, 0, 1, "D", time_s=0.0)


def test_what_happens_while_a_page_is_greeted_is_not_put_back(
    tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(video, tmp_path / "run") as site:
        state = site.bench.state

        def state_of_before() -> dict[str, Any]:
            before = state()
            site.bench.session.flag(2, "look")
            return before

        monkeypatch.setattr(site.bench, "state", state_of_before)
        with site.page() as page:
            page.act("look", frame=0)
            assert page.state["flags"] == [{"frame": 2, "note": "look"}]


class Slow:
    """Gives something old, but only after another thread has had the time to tell of something new."""

    def __init__(self, old: Any, new: Any) -> None:
        self._left = [new, old]
        self.other = threading.Thread(target=lambda: None)

    def __call__(self, *_: object) -> Any:
        value = self._left.pop()
        if self._left:
            self.other.start()
            self.other.join(0.3)
        return value


def test_a_thread_that_is_slow_tells_no_old_state() -> None:
    told: list[Event] = []
    slow = Slow({"job": "old"}, {"job": "new"})
    telling = telling_to(told, state=slow)
    slow.other = threading.Thread(target=telling.state)
    telling.state()
    slow.other.join()
    assert told == [{"type": "patch", "state": {"job": value}} for value in ("old", "new")]


def test_a_thread_that_is_slow_tells_no_old_masks() -> None:
    told: list[Event] = []
    slow = Slow([], [mask_of(np.ones((1, 1), np.bool_))])
    telling = telling_to(told, project=SimpleNamespace(masks_on=slow))
    slow.other = threading.Thread(target=lambda: telling.masks(0, told.append))
    telling.frame(0, [])
    slow.other.join()
    masks = [event for event in told if isinstance(event, bytes)]
    assert [b'"id":1' in event for event in masks] == [False, True]


@pytest.mark.parametrize("error", [sqlite3.OperationalError("database or disk is full"), KeyError("lost")])
def test_an_act_that_fails_is_answered(
    tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    with served(video, tmp_path / "run") as site, site.page() as page:
        monkeypatch.setattr(site.bench.session, "click", raising(error))
        answer = page.act("click", frame=0, object=None, x=40, y=40, on=True)
        assert answer["type"] == "error"
        assert str(error) in answer["message"]
        assert page.act("look", frame=0)["type"] == "done"


def test_files_that_cannot_be_written_are_told(
    tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(video, tmp_path / "run") as site, site.page() as page, monkeypatch.context() as patched:
        full = OSError(errno.ENOSPC, "No space left on device")
        patched.setattr(site.bench.session.files, "write_run", raising(full))
        page.act("flag", frame=1, note="look")
        page.until(lambda: page.others)
        message = page.others[0]["message"]
        assert message == f"the files in '{tmp_path / 'run'}' cannot be written (No space left on device)"
