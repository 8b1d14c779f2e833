"""Fixtures for the whole suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from support.hard_videos import HardVideos
from support.shared import shared_folder
from vidseg import plugins

# Ray reads this once a process: whether tests in one process had a token would hang on which came first.
os.environ["RAY_AUTH_MODE"] = "disabled"

# Tests of what is around a tracker use the fake one by name, their child processes and Ray workers too.
os.environ[plugins.VARIABLE] = "vidseg.testing.fake_plugin"

# Its tests know the package's parts by name once it is installed; see test_plugin_package.py.
collect_ignore = ["plugin_package"]

# A busy machine is no failure.
settings.register_profile("vidseg", deadline=None)
settings.load_profile("vidseg")


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


@pytest.fixture(autouse=True)
def _encode_with_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """With several, x264 does not always give the same bytes, which tests of resumed runs compare."""
    monkeypatch.setattr("vidseg.pipeline.writers.timed_video.THREADS", 1)
