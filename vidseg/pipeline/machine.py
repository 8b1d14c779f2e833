"""What figures are told with: the machine, the versions of what computes, and the memory that it took."""

from __future__ import annotations

import os
import platform
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vidseg.version import __version__

_STATUS = Path("/proc/self/status")
_TOLD_PACKAGES = ("numpy", "torch", "opencv-python-headless", "av", "pillow", "pycocotools")


def machine() -> dict[str, Any]:
    """The facts about this machine that matter for speed."""
    import torch

    facts: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpu": None,
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


@cache
def versions() -> dict[str, str]:
    """Versions of vidseg, Python and the libraries that affect masks."""
    found = {"vidseg": __version__, "python": platform.python_version()}
    for package in _TOLD_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def peak_memory_bytes() -> dict[str, int]:
    """The most memory that this process has held so far, on the host and on a GPU in use."""
    peak = {}
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        pass
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if _STATUS.exists():
            # On Linux that begins with the peak of the process that started this one; its own is here, KiB.
            lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
            most = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), most)
        peak["host"] = most * unit
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        peak["gpu"] = int(torch.cuda.max_memory_allocated())
    return peak
