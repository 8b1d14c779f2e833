"""One browser for all tests of the page, and a short clip to label."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from vidseg.annotation.memory import set_aside

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

    from support.annotation_clip import Clip
    from support.annotation_page import Labeller


@pytest.fixture(scope="module", autouse=True)
def _set_aside() -> None:
    """What was imported is set aside, as by `vidseg annotate`: each job has Python look through the rest."""
    set_aside()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real Chromium; tests that need it are skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    from support.annotation_page import browser_path

    path = browser_path()
    if path is None:
        pytest.skip("needs a Chromium (apt-get install chromium), or its path in VIDSEG_CHROMIUM")
    with playwright.sync_playwright() as driver:
        # Chromium's sandbox does not start for root, as in containers; it opens our own page alone.
        chromium = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    from support.annotation_clip import write_clip

    return write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def look(browser: Browser, clip: Clip) -> Iterator[Callable[..., Labeller]]:
    """Opens a page for somebody; at the end no page may have had an error that its test does not expect."""
    from support.annotation_page import Labeller

    opened: list[Labeller] = []

    def open_page(address: str, size_wh: tuple[int, int] = clip.size_wh, **context: Any) -> Labeller:
        opened.append(Labeller(browser, address, size_wh, **context))
        return opened[-1]

    yield open_page
    for labeller in opened:
        labeller.close()
    assert [fault for labeller in opened if not labeller.expects_faults for fault in labeller.faults] == []


@pytest.fixture(scope="session")
def project(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with a queue of two videos. Tests share it, and leave it without objects."""
    from support.annotation_page import serving

    out: Path = tmp_path_factory.mktemp("project") / "run"
    with serving(clip.path.parent, "--out", out) as server:
        yield server.address


@pytest.fixture
def person(look: Callable[..., Labeller], project: str) -> Iterator[Labeller]:
    """Somebody at the project, which is left as it was found: without objects."""
    labeller = look(project)
    yield labeller
    labeller.delete_objects()
