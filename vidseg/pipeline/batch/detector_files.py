"""The file of a detector that a job names: it lies beside the file of jobs, or in a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vidseg.detectors.table import is_file, parts_of
from vidseg.pipeline.batch import stores

Discover = bool | dict[str, Any]
"""The option `discover` of a job."""


def with_resolved_detector(discover: Discover, folder: str) -> Discover:
    """The option with the address of its detector's file made absolute."""
    name, argument = _detector_of(discover)
    return _with_file(discover, name, stores.resolve(argument, folder)) if is_file(name) else discover


def asks_a_store(discover: Discover) -> bool:
    """Whether the detector's file lies in a store."""
    name, argument = _detector_of(discover)
    return is_file(name) and stores.is_remote(argument)


def bring_detector(discover: Discover, room: Path | None) -> Discover:
    """The option, with its detector's file on this machine."""
    name, argument = _detector_of(discover)
    if not is_file(name):
        return discover
    if not stores.is_remote(argument):
        return _with_file(discover, name, str(stores.local_path(argument)))
    assert room is not None
    local = room / "detector" / stores.name_of(argument)
    stores.download(argument, local)
    return _with_file(discover, name, str(local))


def _detector_of(discover: Discover) -> tuple[str, str]:
    """Its name and its argument, both empty without a detector."""
    spec = discover.get("detector") if isinstance(discover, dict) else None
    return parts_of(spec) if isinstance(spec, str) else ("", "")


def _with_file(discover: Discover, name: str, path: str) -> Discover:
    assert isinstance(discover, dict)
    return {**discover, "detector": f"{name}:{path}"}
