"""Looks of the page: WCAG AA in both themes, room for all at 1280 x 720, pictures for the documentation."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from support.annotation_clip import FRAMES, Clip
    from support.annotation_page import Labeller

pytest.importorskip("playwright.sync_api")
pytest.importorskip("axe_playwright_python")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

import vidseg
from support.annotation_clip import FRAMES, Clip
from support.annotation_page import Labeller as Person
from support.annotation_page import serving
from support.hard_videos import encode

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOUR_RULES = ["color-contrast", "link-in-text-block"]
"""All that depends on the theme; every rule is checked in one of them, as axe takes seconds for that."""
DIALOGS = {
    "?": "Keys",
    "Shift+E": "Export",
    "Shift+V": "Earlier versions",
    "f": "Flag frame",
    "g": "Go to frame",
}
IMAGES = Path(__file__).parents[2] / "docs" / "images"
MOST_BYTES = 300_000
PICTURE = {"width": 1280, "height": 720}


@pytest.fixture(scope="module")
def labelled(browser: Browser, project: str, clip: Clip) -> Iterator[str]:
    """The address of a project with two tracked objects, a flag and a checked frame, which go afterwards."""
    person = Person(browser, project, clip.size_wh)
    label(person, clip)
    yield project
    person.press("Home")
    person.sees(0)
    person.press("i", "End", "o")
    for checked in (FRAMES, 0):
        person.press("z")
        expect(person.page.locator("#bar-review")).to_contain_text(f"{checked}/{FRAMES} checked")
    person.delete_objects()
    person.close()


def label(person: Labeller, clip: Clip) -> None:
    person.press("b")
    person.drag(clip.box[:2], clip.box[2:])
    person.label("cup")
    person.press("a")
    (x, y), reach = clip.point, clip.size_wh[0] // 28
    person.drag((x - reach, y - reach), (x + reach, y + reach))
    person.label("ball")
    person.track_all()
    person.press("c")
    person.go_to(12)
    person.press("f")
    person.page.keyboard.type("a hand covers the cup")
    with person.saving():
        person.press("Enter")
    with person.saving():
        person.press("z")


def faults(person: Labeller, rules: list[str], within: str | None = None) -> list[str]:
    found = Axe().run(person.page, context=within, options={"runOnly": rules}).response["violations"]
    return [
        f"{fault['id']}: {node['target']}: {node['failureSummary']}"
        for fault in found
        for node in fault["nodes"]
    ]


@pytest.mark.parametrize(("theme", "rules"), [("dark", RULES), ("light", COLOUR_RULES)])
def test_axe_finds_no_fault(
    look: Callable[..., Labeller], labelled: str, theme: str, rules: list[str]
) -> None:
    person = look(labelled, color_scheme=theme)
    person.go_to(12)
    assert faults(person, rules) == []
    person.press("d", "k")
    assert faults(person, rules) == []
    person.press("Escape")
    for key, title in DIALOGS.items():
        person.press(key)
        expect(person.page.get_by_role("dialog", name=title)).to_be_visible()
        assert faults(person, rules, "dialog") == []
        person.press("Escape")


def test_the_switch_changes_the_theme_and_is_remembered(look: Callable[..., Labeller], labelled: str) -> None:
    person = look(labelled, color_scheme="dark")
    ground = "body => getComputedStyle(body).backgroundColor"
    dark = person.page.locator("body").evaluate(ground)
    person.press("Shift+D")
    light = person.page.locator("body").evaluate(ground)
    assert light != dark
    person.reload()
    assert person.page.locator("body").evaluate(ground) == light


CUT_OFF = """() => [...document.querySelectorAll("button, select, input, output, h2, .badge")]
    .filter((node) => node.offsetParent && !node.closest(".objects, .timeline-names"))
    .filter((node) => {
      const box = node.getBoundingClientRect();
      const isOutside = box.left < 0 || box.top < 0 || box.right > innerWidth || box.bottom > innerHeight;
      return isOutside || (node.matches("button") && node.scrollWidth > node.clientWidth + 1);
    })
    .map((node) => node.outerHTML.slice(0, 120))"""
"""Controls of which a part is not seen."""


@pytest.mark.parametrize("size", [(1280, 720), (1920, 1080), (3840, 2160)])
def test_nothing_is_cut_off(look: Callable[..., Labeller], labelled: str, size: tuple[int, int]) -> None:
    width, height = size
    person = look(labelled, viewport={"width": width, "height": height})
    person.go_to(12)
    assert person.page.evaluate(CUT_OFF) == []
    stage = person.picture.bounding_box()
    assert stage is not None
    assert stage["width"] * stage["height"] > 0.5 * width * height


def test_a_small_window_hides_nothing(look: Callable[..., Labeller], labelled: str) -> None:
    person = look(labelled, viewport={"width": 800, "height": 600})
    person.press("i", "o")
    transport = person.page.locator("#transport")
    expect(transport).to_contain_text("Marks 0 – 0")
    assert person.page.evaluate(CUT_OFF) == []
    assert transport.evaluate("bar => bar.scrollWidth - bar.clientWidth") == 0
    person.page.set_viewport_size({"width": 320, "height": 600})
    person.page.get_by_role("button", name="Export").click()  # scrolled to
    expect(person.page.get_by_role("dialog", name="Export")).to_be_visible()


@pytest.fixture(scope="module")
def showcase(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Clip]]:
    """A longer and larger clip, and the address of its project: what the documentation shows."""
    folder = tmp_path_factory.mktemp("showcase")
    with vidseg.read(shared / "data/clips/cups.mp4", end=120) as frames:
        path = encode(folder / "cups.mp4", [frame.image for frame in frames], options={"crf": "16"})
    clip = Clip(path, (1280, 720), box=(568, 290, 738, 546), point=(401, 462), background=(200, 640))
    with serving(path, "--out", folder / "cups") as server:
        yield server.address, clip


@pytest.mark.skipif(not os.environ.get("VIDSEG_PICTURES"), reason="makes pictures if VIDSEG_PICTURES is set")
def test_pictures_for_the_documentation(look: Callable[..., Labeller], showcase: tuple[str, Clip]) -> None:
    address, clip = showcase
    person = look(address, size_wh=clip.size_wh, viewport=PICTURE)
    label(person, clip)
    person.press("Home", "i")
    person.go_to(9)
    with person.saving():
        person.press("o", "z")
    person.page.get_by_role("button", name="Clear").click()
    person.press("1")
    person.go_to(26)
    write(person, "annotate_dark.webp")
    person.press("Shift+E")
    write(person, "annotate_export.webp")
    person.press("Escape", "Shift+D")
    write(person, "annotate_light.webp")


def write(person: Labeller, name: str) -> None:
    person.page.mouse.move(2, 2)
    person.page.wait_for_timeout(300)
    shot = person.page.screenshot()
    Image.open(io.BytesIO(shot)).convert("RGB").save(IMAGES / name, quality=88, method=6)
    assert (IMAGES / name).stat().st_size < MOST_BYTES
