"""Fixtures for the whole suite."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from support.hard_videos import HardVideos
from support.shared import shared_folder
from vidseg import plugins

# Ray reads this once a process: whether tests in one process had a token would hang on which came first.
os.environ["RAY_AUTH_MODE"] = "disabled"
# Ray gives its workers a low priority: beside other tests' busy processes they would hardly run.
os.environ.update(RAY_worker_niceness="0")

# Tests of what is around a tracker use the fake one by name, their child processes and Ray workers too.
os.environ[plugins.VARIABLE] = "vidseg.testing.fake_plugin"

# Its tests know the package's parts by name once it is installed; see test_plugin_package.py.
collect_ignore = ["plugin_package"]

# A busy machine is no failure. Each run has the same examples, so that one which fails does so for everyone;
# `--hypothesis-profile explore` draws others.
settings.register_profile(
    "explore",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("vidseg", settings.get_profile("explore"), derandomize=True)
settings.load_profile("vidseg")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that may take longest, by their timeouts, begin first: none is left over at the end."""
    items.sort(key=lambda item: -max((mark.args[0] for mark in item.iter_markers("timeout")), default=0))


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> None:
    if fixturedef.scope != "function":
        _seed(fixturedef.argname)


@pytest.fixture(autouse=True)
def _draw_as_ever(request: pytest.FixtureRequest) -> None:
    _seed(request.node.nodeid)


def _seed(name: str) -> None:
    """What a fixture or a test draws hangs on its name alone: not on which ones were run before it."""
    torch.manual_seed(zlib.crc32(name.encode()))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The development data; tests that need it are skipped where it is absent."""
    folder = shared_folder()
    if not folder.is_dir():
        pytest.skip(f"needs the development data, which is not at {folder} (set VIDSEG_SHARED)")
    return folder


@pytest.fixture(scope="session")
def hard_videos(tmp_path_factory: pytest.TempPathFactory) -> HardVideos:
    """Video files that readers get wrong: `hard_videos["open_gop.ts"]` is the path of one."""
    return HardVideos(tmp_path_factory.mktemp("hard_videos"))


@pytest.fixture(autouse=True)
def _forget_named_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plug-in that a test names in this process would be imported by the child processes of later tests."""
    monkeypatch.setenv(plugins.VARIABLE, os.environ[plugins.VARIABLE])
