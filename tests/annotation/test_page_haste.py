"""A hand that is faster than the server or misses the picture, second thoughts, another screen."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.annotation_clip import Clip
    from support.annotation_page import Labeller

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import expect


def test_what_follows_at_once_is_of_the_new_object_too(person: Labeller, clip: Clip) -> None:
    with person.saving():
        person.page.mouse.click(*person.place(*clip.point))
        person.page.mouse.click(*person.place(clip.point[0] + 30, clip.point[1] + 10))
        person.page.mouse.click(*person.place(*clip.background), button="right")
    expect(person.fact("Your input")).to_have_text("3 clicks")
    expect(person.rows).to_have_count(1)


def test_an_object_that_is_begun_at_once_is_another_one(person: Labeller, clip: Clip) -> None:
    x0, y0, x1, y1 = clip.box
    with person.saving():
        person.page.mouse.click(*person.place(*clip.point))
        person.press("a")
        person.page.mouse.click(*person.place((x0 + x1) / 2, (y0 + y1) / 2))
        person.page.mouse.click(*person.place((x0 + x1) / 2 + 15, (y0 + y1) / 2))
    expect(person.rows).to_have_count(2)
    expect(person.rows.nth(1)).to_have_class("object is-chosen")
    expect(person.fact("Your input")).to_have_text("2 clicks")
    person.press("1")
    expect(person.fact("Your input")).to_have_text("1 click")


def test_a_correction_that_is_taken_back_is_not_offered_any_more(person: Labeller, clip: Clip) -> None:
    person.click(*clip.point)
    person.go_to(3)
    person.press("i", "Home", "o")
    with person.saving():
        person.press("u")
    person.wait_until_tracked()
    person.go_to(2)
    person.click(*clip.point)
    offered = person.page.get_by_text("You corrected")
    expect(offered).to_be_visible()
    with person.saving():
        person.press("Control+z")
    expect(offered).to_be_hidden()


def test_a_click_hits_its_place_on_another_screen(person: Labeller, clip: Clip) -> None:
    x, y = person.place(*clip.point)
    person.page.mouse.click(x, y)
    expect(person.fact("Your input")).to_have_text("1 click")
    screen = {"width": 1280, "height": 720, "deviceScaleFactor": 2, "mobile": False}
    person.context.new_cdp_session(person.page).send("Emulation.setDeviceMetricsOverride", screen)
    with person.saving():
        person.page.mouse.click(x, y)  # on the point, which takes it away
    expect(person.fact("Your input")).to_have_text("none")
    assert person.picture.evaluate("canvas => canvas.width / canvas.clientWidth") == 2


def test_a_box_may_begin_beside_the_picture(person: Labeller, clip: Clip) -> None:
    person.press("b")
    person.drag((-5, -5), (clip.size_wh[0] / 2, clip.size_wh[1] / 2))
    expect(person.fact("Your input")).to_have_text("box")
    with person.saving():
        person.page.get_by_role("button", name="Delete").click()
    person.press("c")
    person.click(-5, -5)
    expect(person.rows).to_have_count(0)


def test_a_page_that_is_loaded_again_stays_on_its_frame(person: Labeller) -> None:
    person.go_to(7)
    person.wait_until(lambda: person.page.evaluate("history.state?.frame") == 7)
    person.reload()
    person.sees(7)
    expect(person.page.locator("#stage-message")).to_be_hidden()


def test_what_a_click_would_give_is_asked_again_for_another_object(person: Labeller, clip: Clip) -> None:
    sent: list[str] = []
    person.page.on("websocket", lambda socket: socket.on("framesent", lambda text: sent.append(text)))
    person.reload()
    person.click(*clip.point)
    person.press("a")
    person.click(*clip.background)
    expect(person.rows).to_have_count(2)
    person.page.mouse.move(*person.place(clip.point[0] + 5, clip.point[1]))

    def is_asked(obj_id: int) -> bool:
        hovers = [act for act in map(json.loads, sent) if act["act"] == "hover"]
        return bool(hovers) and hovers[-1]["object"] == obj_id

    for place in (0, 1):
        obj_id = int(person.rows.nth(place).get_attribute("data-object") or 0)
        person.press(str(place + 1))
        person.wait_until(lambda obj_id=obj_id: is_asked(obj_id))
