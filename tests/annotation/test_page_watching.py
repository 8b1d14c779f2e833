"""Going through the video, the timeline, a second page, and what is shown when something fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

import vidseg
from vidseg.annotation.annotate import Annotation

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from support.annotation_clip import Clip
    from support.annotation_page import Labeller

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import Route, expect

from support.annotation_clip import FRAMES, LATER_FRAMES

LOUPE_TIMES = 4
BESIDE_PX = 24
BESIDE_CENTRE = """(canvas, beside) => {
  const at = canvas.width / 2 + beside;
  return [...canvas.getContext("2d").getImageData(at, at, 1, 1).data].slice(0, 3);
}"""
"""The colour in the loupe, away from the cross in its middle."""


@pytest.fixture
def person(look: Callable[..., Labeller], project: str) -> Labeller:
    return look(project)


@pytest.fixture(scope="module")
def pictures(clip: Clip) -> list[np.ndarray]:
    """The frames as the reader gives them, float32."""
    with vidseg.read(clip.path) as frames:
        return [np.asarray(frame.image, np.float32) for frame in frames]


def test_frame_n_of_the_page_is_frame_n_of_the_reader(person: Labeller, pictures: list[np.ndarray]) -> None:
    """What is on the screen is nearest to the reader's frame, whatever way it was gone to."""
    for frame in (31, 7, FRAMES - 1, 0):
        person.go_to(frame)
        assert_is_frame(person.picture_in_sight(), frame, pictures)
    for key, frame in (("ArrowRight", 1), ("PageDown", 11), ("ArrowLeft", 10), ("End", FRAMES - 1)):
        person.press(key)
        person.sees(frame)
        assert_is_frame(person.picture_in_sight(), frame, pictures)


def assert_is_frame(seen: np.ndarray, frame: int, pictures: list[np.ndarray]) -> None:
    distances = [float(np.abs(seen - picture).mean()) for picture in pictures]
    assert distances[frame] < 6
    assert int(np.argmin(distances)) == frame


def test_playing_ends_on_the_last_frame(person: Labeller) -> None:
    person.go_to(FRAMES - 8)
    person.press("Space")
    person.sees(FRAMES - 1)
    expect(person.page.get_by_role("button", name="Play", exact=True)).to_be_visible()


def test_scrubbing_shows_the_frame_under_the_hand(person: Labeller) -> None:
    box = person.page.locator("#timeline-canvas").bounding_box()
    assert box is not None
    person.page.mouse.move(box["x"] + 3, box["y"] + 8)
    person.page.mouse.down()
    for frame in (4, 9, 22, 17):
        person.page.mouse.move(box["x"] + box["width"] * (frame + 0.5) / FRAMES, box["y"] + 8)
    person.page.mouse.up()
    person.sees(17)


def test_the_nearest_picture_stands_in_for_one_that_is_not_there_yet(person: Labeller) -> None:
    held: list[Route] = []

    def hold_all_but_first(route: Route) -> None:
        if route.request.url.split("?")[0].endswith("/0.jpg"):
            route.continue_()
        else:
            held.append(route)

    person.page.route("**/frame/0/*.jpg*", hold_all_but_first)
    nearest = {"location": "/frame/0/31.jpg"}
    person.page.route("**/near/0/33.jpg*", lambda route: route.fulfill(status=307, headers=nearest))
    person.reload()  # what it had fetched ahead is forgotten
    person.press("g")
    person.page.keyboard.type("33")
    person.press("Enter")
    expect(person.picture).to_have_attribute("data-shown", "31")
    for route in held:
        if "/33.jpg" in route.request.url:
            route.continue_()
    person.sees(33)


@pytest.fixture
def notebook(project: str) -> Iterator[str]:
    """The address of another site of this machine, which shows the page in a frame."""
    frame = Annotation._repr_html_(SimpleNamespace(address=project))  # type: ignore[arg-type]

    class Notebook(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f"<!doctype html><body>{frame}".encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Notebook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_address[1]}/"
        server.shutdown()


def test_the_page_works_in_a_frame_of_a_notebook(browser: Browser, notebook: str) -> None:
    """Such a frame has neither cookies nor a store that is kept, as it belongs to another site."""
    with browser.new_page(viewport={"width": 1280, "height": 800}) as page:
        page.goto(notebook)
        frame = page.frame_locator("iframe")
        picture = frame.locator("#picture")
        expect(picture).to_have_attribute("data-shown", "0")
        picture.focus()
        page.keyboard.press("End")
        expect(picture).to_have_attribute("data-shown", str(FRAMES - 1))
        page.keyboard.press("Shift+D")
        expect(frame.locator("#bar-video .badge")).to_have_text("Saved")


def test_zooming_keeps_the_place_under_the_pointer(person: Labeller, clip: Clip) -> None:
    person.press("h")  # with this tool no preview is painted
    person.page.mouse.move(*person.place(*clip.point))
    far = (clip.size_wh[0] - 5, 5)
    before, far_before = person.colour_at(*clip.point), person.colour_at(*far)
    person.page.mouse.wheel(0, -600)
    person.wait_until(lambda: person.colour_at(*far) != far_before)
    zoomed = person.colour_at(*clip.point)
    assert np.abs(np.subtract(before, zoomed)).max() < 24
    person.press("0")
    person.wait_until(lambda: person.colour_at(*far) == far_before)


def test_the_loupe_follows_the_pointer(person: Labeller, clip: Clip) -> None:
    person.press("h", "Shift+L")
    person.page.mouse.move(*person.place(*clip.point))
    glass = person.page.locator("#loupe")
    expect(glass).to_be_visible()
    x, y = clip.point
    beside = BESIDE_PX / (LOUPE_TIMES * person.scale)
    there = person.colour_at(x + beside, y + beside)
    person.wait_until(lambda: np.abs(np.subtract(glass.evaluate(BESIDE_CENTRE, BESIDE_PX), there)).max() < 40)
    person.press("Shift+L")
    expect(glass).to_be_hidden()


def test_dragging_on_the_timeline_sets_an_object_absent_and_takes_it_back(
    person: Labeller, clip: Clip
) -> None:
    person.click(*clip.point)
    expect(person.rows).to_have_count(1)
    person.label("ball")
    box = person.page.locator("#timeline-canvas").bounding_box()
    assert box is not None
    row = box["y"] + 24 * 1.5

    def drag(first: int, last: int, give_up: Callable[[], None] = lambda: None) -> None:
        with person.saving():
            person.page.mouse.move(box["x"] + box["width"] * (first + 0.5) / FRAMES, row)
            person.page.mouse.down()
            person.page.mouse.move(box["x"] + box["width"] * (last + 0.5) / FRAMES, row, steps=3)
            give_up()
            person.page.mouse.up()

    person.page.get_by_role("button", name="Out of sight").click()
    drag(10, 20)
    drag(2, 4, give_up=lambda: person.press("Escape"))
    drag(2, 4, give_up=lambda: person.page.locator("#timeline-canvas").dispatch_event("pointercancel"))
    person.go_to(3)
    expect(person.fact("ball")).to_have_text("not tracked")
    person.press("Escape")
    for frame, words in (
        (9, "not tracked"),
        (10, "set absent by you"),
        (20, "set absent by you"),
        (21, "not tracked"),
    ):
        person.go_to(frame)
        expect(person.fact("ball")).to_have_text(words)
    person.page.keyboard.down("Shift")
    drag(12, 20)
    person.page.keyboard.up("Shift")
    person.go_to(15)
    expect(person.fact("ball")).to_have_text("not tracked")
    with person.saving():
        person.press("Delete")


def test_a_second_page_sees_the_same_and_can_undo_it(
    person: Labeller, look: Callable[..., Labeller], project: str, clip: Clip
) -> None:
    other = look(project)
    person.click(*clip.point)
    expect(other.rows).to_have_count(1)
    other.press("1")
    assert other.area() == person.area()
    person.label("ball")
    expect(other.rows.first).to_contain_text("ball")
    with other.saving():
        other.press("Control+z", "Control+z")
    expect(person.rows).to_have_count(0)


def test_another_video_of_the_queue_is_opened_on_all_pages(
    person: Labeller, look: Callable[..., Labeller], project: str
) -> None:
    other = look(project)
    for page in (person, other):
        page.expects_faults = True  # pictures of the video that was open may have been on their way
    person.go_to(20)
    person.press("Shift+Q")
    person.page.get_by_role("button", name="Open later.mp4").click()
    for page in (person.page, other.page):
        expect(page.locator("#bar-video strong")).to_have_text("later.mp4")
        expect(page.locator("#picture")).to_have_attribute("data-shown", "0")
    person.press("End")
    person.sees(LATER_FRAMES - 1)
    other.press("Shift+Q")
    other.page.get_by_role("button", name="Open cups.mp4").click()
    expect(person.page.locator("#bar-video strong")).to_have_text("cups.mp4")
    person.go_to(FRAMES - 1)


def test_masks_from_before_tracking_are_taken_back(person: Labeller, clip: Clip) -> None:
    person.click(*clip.point)
    person.press("i")
    person.go_to(3)
    with person.saving():
        person.press("o", "u")
    person.wait_until_tracked()
    expect(person.page.locator("#frame-facts dd").first).not_to_have_text("not tracked")
    person.press("Shift+V")
    dialog = person.page.get_by_role("dialog", name="Earlier versions")
    with person.saving():
        dialog.locator("li", has_text="Track").get_by_role("button", name="Take back").first.click()
    expect(person.page.locator("#frame-facts dd").first).to_have_text("not tracked")
    with person.saving():
        person.press("Delete")
    expect(person.rows).to_have_count(0)


def test_tracking_shows_progress_and_stops_when_told(person: Labeller, clip: Clip) -> None:
    person.click(*clip.point)
    with person.saving():
        person.press("y")
    stop = person.page.get_by_role("button", name="Stop")
    stop.click()
    person.wait_until_tracked()
    with person.saving():
        person.press("Delete")
    expect(person.rows).to_have_count(0)


def test_a_frame_that_cannot_be_had_is_told_and_others_are_shown(
    look: Callable[..., Labeller], project: str
) -> None:
    def refuse(route: Route) -> None:
        route.fulfill(status=500, content_type="text/plain", body="frame 5 is damaged.")

    person = look(project)
    person.page.route("**/frame/0/5.jpg*", refuse)
    person.expects_faults = True
    person.reload()
    person.press("g")
    person.page.keyboard.type("5")
    person.press("Enter")
    message = person.page.locator("#stage-message")
    expect(message).to_contain_text("Frame 5 cannot be shown.")
    expect(message).to_contain_text("frame 5 is damaged.")
    person.press("ArrowRight")
    person.sees(6)
    expect(message).to_be_hidden()


def test_a_refusal_of_the_server_is_shown_in_its_words(person: Labeller, clip: Clip) -> None:
    person.press("Shift+E")
    dialog = person.page.get_by_role("dialog", name="Export")
    for box in dialog.locator("input[name=format]:checked").all():
        box.uncheck()
    dialog.get_by_role("button", name="Export").click()
    expect(dialog).to_contain_text("Choose at least one format.")
    person.press("Escape")
