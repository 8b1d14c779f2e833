"""Detects that several OpenCV packages overwrite each other, and tells the user.

OpenCV comes in four packages that write the same files; the one installed last wins. vidseg needs `cv2` of
any of them, but a package cannot depend on one of several. So vidseg depends on the one without windows,
which works everywhere; on a machine with another one, pip overwrites that one's files silently.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from vidseg.errors import InputError

OURS = "opencv-python-headless"
OTHERS = ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")

_is_checked = False


def check(warn: Callable[[str], object]) -> None:
    """Warn, once a process, if pip wrote our OpenCV over another one.

    Raises:
        InputError: there is no `cv2` at all, as after `pip install --no-deps`.
    """
    global _is_checked
    if find_spec("cv2") is None:
        raise InputError(
            "OpenCV (cv2) is not installed",
            hint=f"pip install {OURS}, or {OTHERS[0]} where you open windows; vidseg takes either",
        )
    if not _is_checked:
        _is_checked = True
        for line in overwritten():
            warn(line)


def overwritten() -> list[str]:
    """One line for each package whose files are now those of ours."""
    if _version(OURS) is None or all(_version(name) is None for name in OTHERS):
        return []
    try:
        from cv2 import version as in_place
    except ImportError:  # other builds, such as conda's, keep their packages apart
        return []
    if (in_place.opencv_version, in_place.headless, in_place.contrib) != (_version(OURS), True, False):
        return []
    return [
        f"{OURS} {in_place.opencv_version}, which vidseg brought, lies over the files of {name} {installed}; "
        f"to have that back: pip uninstall -y {OURS} && pip install --force-reinstall --no-deps "
        f"{name}=={installed} (vidseg takes either; docs/install.md)"
        for name in OTHERS
        if (installed := _version(name)) is not None
    ]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
