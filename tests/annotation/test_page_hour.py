"""A person's whole hour in small: box, click, track, correct, check, export, and go on after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from pycocotools import mask as coco_mask

if TYPE_CHECKING:
    from support.annotation_clip import Clip
    from support.annotation_page import Labeller

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import expect

from support.annotation_clip import FRAMES
from support.annotation_page import Server, serving

CORRECTED = 20


def masks_of(labeller: Labeller) -> dict[tuple[int, int], str]:
    """Exported masks as RLE, by frame and object, read from the file that the page names."""
    dialog = labeller.page.get_by_role("dialog", name="Export is ready")
    folder = Path(dialog.locator(".path").inner_text())
    text = (folder / "masklets.coco.json").read_text()
    with labeller.page.expect_download() as download:
        dialog.get_by_role("link", name="Save").click()
    assert Path(download.value.path()).read_text() == text, "a saved copy differs from the file"
    document = json.loads(text)
    dialog.get_by_role("button", name="Done").click()
    frames = {image["id"]: image.get("frame", number) for number, image in enumerate(document["images"])}
    return {
        (frames[found["image_id"]], found["attributes"]["track_id"]): found["segmentation"]["counts"]
        for found in document["annotations"]
    }


def area_of(counts: str, clip: Clip) -> int:
    width, height = clip.size_wh
    return int(coco_mask.area({"size": [height, width], "counts": counts.encode()}))


def test_an_hour_of_work_is_exported_again_after_a_kill(
    clip: Clip, look: Callable[..., Labeller], tmp_path: Path
) -> None:
    server = Server(clip.path, "--out", tmp_path / "run")
    try:
        person = look(server.address)
        mark_two_objects(person, clip)
        person.track_all()
        first_area = correct(person, clip)
        check(person)
        person.export("coco")
        before = masks_of(person)
        person.expects_faults = True  # the browser will report that nobody answers
    finally:
        server.kill()
    cover = person.page.locator("#cover")
    expect(cover).to_contain_text("not reached")

    assert {frame for frame, obj_id in before if obj_id == 1} == set(range(FRAMES))
    assert area_of(before[CORRECTED, 1], clip) == first_area

    with serving(clip.path, "--out", tmp_path / "run", "--port", urlsplit(server.address).port) as again:
        expect(cover).to_contain_text("out of date")
        person.close()
        person = look(again.address)
        expect(person.rows).to_have_count(2)
        expect(person.rows.first).to_contain_text("cup")
        expect(person.page.locator("#bar-review")).to_contain_text(f"{FRAMES}/{FRAMES} checked")
        person.export("coco")
        assert masks_of(person) == before
        person.close()


def mark_two_objects(person: Labeller, clip: Clip) -> None:
    x0, y0, x1, y1 = clip.box
    expect(person.page.get_by_text("Nothing is marked yet.")).to_be_visible()
    person.press("b")
    person.drag((x0, y0), (x1, y1))
    person.label("cup")
    expect(person.fact("Your input")).to_have_text("box")
    assert 0.3 * (x1 - x0) * (y1 - y0) < person.area() < 1.2 * (x1 - x0) * (y1 - y0)

    before = person.colour_at(*clip.point)
    person.press("c", "a")
    person.click(*clip.point)
    expect(person.rows).to_have_count(2)
    expect(person.fact("Your input")).to_have_text("1 click")
    person.page.mouse.move(2, 2)
    person.wait_until(lambda: person.colour_at(*clip.point) != before)  # its mask is on the picture


def correct(person: Labeller, clip: Clip) -> int:
    """Wipe away a part of the first object on one frame, and have that carried on. Returns its area there."""
    person.press("1")
    person.go_to(CORRECTED)
    area = person.area()
    x0, y0, x1, y1 = clip.box
    person.press("e")
    person.drag((x0, (y0 + y1) / 2), (x1, (y0 + y1) / 2))
    expect(person.fact("Area")).not_to_have_text(f"{area:,} px")
    smaller = person.area()
    assert 0 < smaller < area
    with person.saving():
        person.page.get_by_role("button", name="Carry correction on").click()
    person.wait_until_tracked()
    assert person.area() == smaller, "a frame that was drawn by hand was changed"
    return smaller


def check(person: Labeller) -> None:
    """Mark all frames as checked."""
    person.press("Home")
    person.sees(0)
    person.press("i", "End")
    person.sees(FRAMES - 1)
    with person.saving():
        person.press("o", "z")
    expect(person.page.locator("#bar-review")).to_contain_text(f"{FRAMES}/{FRAMES} checked")
