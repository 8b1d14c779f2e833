"""Checking a run that `vidseg track` made: from doubt to doubt, and tracking on in either direction."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import vidseg

if TYPE_CHECKING:
    from support.annotation_clip import Clip
    from support.annotation_page import Labeller

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import expect

from support.annotation_clip import FRAMES
from support.annotation_page import serving

BEGIN = 8
"""The frame of the prompt; nothing is tracked before it."""
DOUBTS = [(12, 14), (20, 20), (30, 33)]


@pytest.fixture
def run(clip: Clip, tmp_path: Path) -> Iterator[str]:
    """The address of a run in which an object is tracked from `BEGIN` on, with three doubtful spans."""
    cup = {"id": 3, "label": "cup", "prompts": [{"frame": BEGIN, "box": list(clip.box)}]}
    run = tmp_path / "run"
    vidseg.track(clip.path, {"objects": [cup]}, tracker="flow", out=run, formats=["rle"])
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    record["review"] = [{"frames": list(span), "objects": [3], "reason": "low_score"} for span in DOUBTS]
    (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
    with serving(run, "--tracker", "flow") as server:
        yield server.address


def test_a_run_is_checked_from_doubt_to_doubt_and_tracked_on(run: str, look: Callable[..., Labeller]) -> None:
    person = look(run)
    expect(person.rows).to_contain_text("cup")
    for key, frame in (("n", 12), ("n", 20), ("p", 12), ("n", 20), ("n", 30), ("p", 20)):
        person.press(key)
        person.sees(frame)
    with person.saving():
        person.press("Shift+N")  # the span of frame 20 is checked, the next doubt comes
    person.sees(30)
    with person.saving():
        person.press("Shift+N")
    expect(person.page.locator("#bar-review")).to_contain_text(f"5/{FRAMES} checked")
    person.press("p")
    person.sees(12)

    shown = person.fact("cup")
    person.go_to(BEGIN - 3)
    expect(shown).to_have_text("not tracked")
    person.go_to(BEGIN)
    for way, frame in (("Backward", 0), ("Forward", FRAMES - 1)):
        with person.saving():
            person.page.get_by_role("button", name=way, exact=True).click()
        person.wait_until_tracked()
        person.go_to(frame)
        expect(shown).not_to_have_text("not tracked")
        person.go_to(BEGIN)
