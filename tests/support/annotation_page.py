"""A person at the annotation page: `vidseg annotate` as a process, and a real Chromium for hands and eyes."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/\S*token=\S+")
START_S = 120
TRACKING_MS = 120_000
PATIENCE_S = 60  # a busy machine is no failure
expect.set_options(timeout=1000 * PATIENCE_S)
MARGIN_PX = 16
"""Room that the page leaves around a picture that is fitted to the stage (viewport.js)."""


def browser_path() -> str | None:
    """A Chromium of the system; $VIDSEG_CHROMIUM names another one."""
    named = os.environ.get("VIDSEG_CHROMIUM")
    return named or next((path for name in BROWSERS if (path := shutil.which(name))), None)


class Server:
    """`vidseg annotate` as a process; `address` is what it printed."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "vidseg", "annotate", *map(str, arguments), "--no-browser"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.printed: list[str] = []
        self._has_address = threading.Event()
        self.address = ""
        threading.Thread(target=self._read, daemon=True).start()
        if not self._has_address.wait(START_S) or not self.address:
            self.kill()
            raise AssertionError("the server gave no address:\n" + "".join(self.printed))

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.printed.append(line)
            if found := ADDRESS.search(line):
                self.address = found.group()
                self._has_address.set()
        self._has_address.set()

    def kill(self) -> None:
        """The server ends as by `kill -9`: nothing can be tidied up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def serving(*arguments: object) -> Iterator[Server]:
    server = Server(*arguments)
    try:
        yield server
    finally:
        server.kill()


class Labeller:
    """Looks at one page, and uses mouse and keyboard on it. Places are in pixels of the video."""

    def __init__(self, browser: Browser, address: str, size_wh: tuple[int, int], **context: Any) -> None:
        context = {"viewport": {"width": 1280, "height": 720}, "color_scheme": "dark"} | context
        self.context = browser.new_context(accept_downloads=True, **context)
        self.page: Page = self.context.new_page()
        self.faults: list[str] = []
        """What the browser's console says of scripts that failed and of files that were refused."""
        self.expects_faults = False
        """Whether the test itself brings some about."""
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on(
            "console", lambda message: self.faults.append(message.text) if message.type == "error" else None
        )
        self.size_wh = size_wh
        self.page.goto(address)
        self._wait_for_picture()

    def reload(self) -> None:
        self.page.reload()
        self._wait_for_picture()

    def _wait_for_picture(self) -> None:
        expect(self.picture).to_have_attribute("data-shown", re.compile(r"\d+"))

    def close(self) -> None:
        self.context.close()

    @property
    def picture(self) -> Locator:
        return self.page.locator("#picture")

    @property
    def rows(self) -> Locator:
        """Rows of objects."""
        return self.page.locator("#objects [data-object]")

    @property
    def scale(self) -> float:
        """CSS pixels to a pixel of the video, while the picture is fitted to the stage."""
        stage = self.picture.bounding_box()
        assert stage is not None
        width, height = self.size_wh
        return min((stage["width"] - 2 * MARGIN_PX) / width, (stage["height"] - 2 * MARGIN_PX) / height)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the video is on the page, while the picture is fitted to the stage."""
        stage = self.picture.bounding_box()
        assert stage is not None
        (width, height), scale = self.size_wh, self.scale
        left = stage["x"] + (stage["width"] - width * scale) / 2
        top = stage["y"] + (stage["height"] - height * scale) / 2
        return left + x * scale, top + y * scale

    def click(self, x: float, y: float, button: Any = "left") -> None:
        with self.saving():
            self.page.mouse.click(*self.place(x, y), button=button)

    def drag(self, *points: tuple[float, float], button: Any = "left") -> None:
        with self.saving():
            self.page.mouse.move(*self.place(*points[0]))
            self.page.mouse.down(button=button)
            for point in points[1:]:
                self.page.mouse.move(*self.place(*point), steps=4)
            self.page.mouse.up(button=button)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Wait until the server has answered what is done within."""
        yield
        expect(self.page.locator("#bar-video .badge")).to_have_text("Saved")

    def go_to(self, frame: int) -> None:
        self.press("g")
        self.page.keyboard.type(str(frame))
        self.press("Enter")
        self.sees(frame)

    def sees(self, frame: int) -> None:
        """Wait until the picture of this very frame is on the screen."""
        expect(self.picture).to_have_attribute("data-shown", str(frame))
        expect(self.page.locator("#frame-number")).to_have_value(str(frame))

    def label(self, text: str) -> None:
        """Name the chosen object."""
        self.press("F2")
        self.page.keyboard.type(text)
        with self.saving():
            self.press("Enter")
        expect(self.rows.filter(has_text=text)).to_have_count(1)

    def fact(self, name: str) -> Locator:
        """What the panel says of the chosen object on this frame."""
        return self.page.locator("#frame-facts .fact", has=self.page.get_by_text(name, exact=True)).locator(
            "dd"
        )

    def area(self) -> int:
        """The area of the chosen object's mask on this frame, in pixels, as the page says it."""
        return int(self.fact("Area").inner_text().removesuffix(" px").replace(",", ""))

    def wait_until_tracked(self) -> None:
        running = self.page.locator("#tracking [role=progressbar]")
        running.wait_for(state="detached", timeout=TRACKING_MS)

    def track_all(self) -> None:
        self.page.get_by_label("Which objects to track").select_option("all")
        with self.saving():
            self.page.get_by_role("button", name="Whole video").click()
        self.wait_until_tracked()

    def delete_objects(self) -> None:
        while left := self.rows.count():
            self.rows.first.get_by_role("button", name="Delete").click()
            expect(self.rows).to_have_count(left - 1)

    def export(self, *formats: str) -> None:
        """Export all frames, and wait until the page says where the files are."""
        self.press("Shift+E")
        dialog = self.page.get_by_role("dialog", name="Export")
        for box in dialog.locator("input[name=format]:checked").all():
            box.uncheck()
        for name in formats:
            dialog.locator(f"input[value='{name}']").check()
        dialog.get_by_role("button", name="Export").click()
        expect(self.page.get_by_role("dialog", name="Export is ready")).to_be_visible(timeout=TRACKING_MS)

    def picture_in_sight(self) -> np.ndarray:
        """The picture on the stage, masks and all, at the video's size: float32, height x width x 3, RGB."""
        url = self.picture.evaluate("canvas => canvas.toDataURL('image/png')")
        canvas = Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB")
        width, height = self.size_wh
        left, top = (
            (side - length * self.scale) / 2 for side, length in zip(canvas.size, self.size_wh, strict=True)
        )
        box = (left, top, left + width * self.scale, top + height * self.scale)
        return np.asarray(canvas.resize(self.size_wh, Image.Resampling.BOX, box), np.float32)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait, as long as `expect` does, for what it cannot see: the canvas is painted some time later."""
        until = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < until, "it never came to hold"
            self.page.wait_for_timeout(50)

    def colour_at(self, x: float, y: float) -> tuple[int, int, int]:
        """The colour of the canvas, masks and all."""
        left, top = self.place(x, y)
        box = self.picture.bounding_box()
        assert box is not None
        read = "(canvas, [x, y]) => [...canvas.getContext('2d').getImageData(x, y, 1, 1).data].slice(0, 3)"
        r, g, b = self.picture.evaluate(read, [left - box["x"], top - box["y"]])
        return r, g, b
