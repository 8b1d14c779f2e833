"""Each tool by mouse, and all of it without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.annotation_clip import Clip
    from support.annotation_page import Labeller

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import expect

from support.annotation_clip import FRAMES


def mark_cup(person: Labeller, clip: Clip) -> int:
    x0, y0, x1, y1 = clip.box
    person.press("b")
    person.drag((x0, y0), (x1, y1))
    expect(person.rows).to_have_count(1)
    return person.area()


def test_a_right_click_takes_away_and_a_click_on_a_point_removes_it(person: Labeller, clip: Clip) -> None:
    person.click(*clip.point)
    expect(person.fact("Your input")).to_have_text("1 click")
    person.click(*clip.background, button="right")
    expect(person.fact("Your input")).to_have_text("2 clicks")
    person.click(*clip.background)
    expect(person.fact("Your input")).to_have_text("1 click")


def test_a_right_click_on_nothing_says_what_to_do(person: Labeller, clip: Clip) -> None:
    person.click(*clip.point, button="right")
    expect(person.page.locator(".toast")).to_contain_text("Click the object itself first")
    expect(person.rows).to_have_count(0)


def test_the_brush_adds_and_the_eraser_wipes_what_they_pass(person: Labeller, clip: Clip) -> None:
    start = mark_cup(person, clip)
    x, y = clip.background
    person.press("d")
    person.drag((x - 40, y), (x + 40, y))
    expect(person.fact("Your input")).to_have_text("drawing")
    drawn = person.area()
    assert drawn == pytest.approx(start + 80 * 24, abs=600)  # a stroke of 24 px with round ends
    person.press("e")
    person.drag((x - 40, y), (x + 40, y))
    expect(person.fact("Area")).not_to_have_text(f"{drawn:,} px")
    assert person.area() == pytest.approx(start, abs=5)


def test_the_lasso_adds_an_area_and_its_right_button_cuts_it_out(person: Labeller, clip: Clip) -> None:
    start = mark_cup(person, clip)
    x, y = clip.background
    square = [(x - 20, y - 20), (x + 20, y - 20), (x + 20, y + 20), (x - 20, y + 20)]
    person.press("l")
    person.drag(*square)
    drawn = person.area()
    assert drawn == pytest.approx(start + 1600, abs=120)
    person.drag(*square, button="right")
    expect(person.fact("Area")).not_to_have_text(f"{drawn:,} px")
    assert person.area() == pytest.approx(start, abs=90)


def test_undo_and_redo_go_through_all_steps(person: Labeller, clip: Clip) -> None:
    area = mark_cup(person, clip)
    person.label("cup")
    person.press("c")
    person.click(*clip.background, button="right")
    expect(person.fact("Your input")).to_have_text("box, 1 click")
    for expected in ("box", "box", None):
        with person.saving():
            person.press("Control+z")
        if expected:
            expect(person.fact("Your input")).to_have_text(expected)
    expect(person.rows).to_have_count(0)
    for _ in range(2):
        with person.saving():
            person.press("Control+y")
    expect(person.rows.first).to_contain_text("cup")
    assert person.area() == area


def test_hovering_shows_what_a_click_would_give_and_changes_nothing(person: Labeller, clip: Clip) -> None:
    before = person.colour_at(*clip.point)
    person.page.mouse.move(*person.place(clip.point[0] + 1, clip.point[1]))
    person.page.mouse.move(*person.place(*clip.point))
    person.wait_until(lambda: person.colour_at(*clip.point) != before)
    person.page.mouse.move(5, 5)
    expect(person.rows).to_have_count(0)
    person.wait_until(lambda: person.colour_at(*clip.point) == before)


def test_locked_objects_take_no_prompts(person: Labeller, clip: Clip) -> None:
    area = mark_cup(person, clip)
    with person.saving():
        person.press("q")
    person.press("c")
    person.click(*clip.background)
    expect(person.page.locator(".toast")).to_contain_text("is locked")
    assert person.area() == area
    with person.saving():
        person.press("q")


def test_hidden_objects_are_not_painted(person: Labeller, clip: Clip) -> None:
    middle = ((clip.box[0] + clip.box[2]) // 2, (clip.box[1] + clip.box[3]) // 2)
    bare = person.colour_at(*middle)
    mark_cup(person, clip)
    person.page.mouse.move(5, 5)
    person.wait_until(lambda: person.colour_at(*middle) != bare)
    with person.saving():
        person.press("v")
    expect(person.rows.first).to_have_class("object is-chosen is-hidden")
    person.wait_until(lambda: person.colour_at(*middle) == bare)


def test_merged_objects_are_one(person: Labeller, clip: Clip) -> None:
    first = mark_cup(person, clip)
    person.press("c", "a")
    person.click(*clip.point)
    expect(person.rows).to_have_count(2)
    second = person.area()
    person.press("m")
    with person.saving():
        person.press("Enter")
    expect(person.rows).to_have_count(1)
    assert max(first, second) <= person.area() <= first + second


def test_all_is_done_without_a_mouse(person: Labeller, clip: Clip) -> None:
    """Crosshair, box, label, tracking, absent span, checking and flag by keys alone."""
    press = person.press
    middle = (clip.size_wh[0] / 2, clip.size_wh[1] / 2)
    press("b", "k")
    go_with_crosshair(person, middle, clip.box[:2])
    press("Enter")
    go_with_crosshair(person, clip.box[:2], clip.box[2:])
    with person.saving():
        press("Enter")
    expect(person.rows).to_have_count(1)
    assert person.area() > 500
    press("Escape")
    person.label("cup")
    with person.saving():
        press("y")
    person.wait_until_tracked()
    person.go_to(30)
    press("i", "PageDown")
    person.sees(FRAMES - 1)
    with person.saving():
        press("o", "j")
    expect(person.fact("cup")).to_have_text("set absent by you")
    with person.saving():
        press("z")
    expect(person.page.locator("#stage-note")).to_contain_text("Checked")
    press("f")
    person.page.keyboard.type("leaves here")
    with person.saving():
        press("Enter")
    expect(person.page.locator("#stage-note")).to_contain_text("leaves here")
    press("?")
    expect(person.page.get_by_role("dialog", name="Keys")).to_contain_text("Track whole video")
    press("Escape")


def go_with_crosshair(person: Labeller, start: tuple[float, float], target: tuple[float, float]) -> None:
    """The arrow keys move the crosshair in steps of twelve CSS pixels, and with Shift of one."""
    keys = (("ArrowLeft", "ArrowRight"), ("ArrowUp", "ArrowDown"))
    for (back, on), from_px, to_px in zip(keys, person.place(*start), person.place(*target), strict=True):
        away = round(to_px - from_px)
        key = on if away > 0 else back
        person.press(*[key] * (abs(away) // 12), *[f"Shift+{key}"] * (abs(away) % 12))
