"""vidseg: video segmentation and tracking in one streaming pass, in bounded memory.

The public names are imported when they are first used, so that `import vidseg` stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from vidseg.version import __version__ as __version__

if TYPE_CHECKING:
    from vidseg import compat as compat
    from vidseg import samplers as samplers
    from vidseg.annotation.annotate import annotate as annotate
    from vidseg.errors import VidsegError as VidsegError
    from vidseg.eval.scoring import score as score
    from vidseg.pipeline.convert import convert as convert
    from vidseg.pipeline.formats import register_writer as register_writer
    from vidseg.pipeline.read import read as read
    from vidseg.pipeline.read_run import read_run as read_run
    from vidseg.pipeline.track import track as track
    from vidseg.trackers.check import check_tracker as check_tracker
    from vidseg.trackers.contract import Frame as Frame
    from vidseg.trackers.contract import FrameResult as FrameResult
    from vidseg.trackers.discovery.discovery import Discovery as Discovery
    from vidseg.trackers.image.load import load_image as load_image
    from vidseg.trackers.registry import load as load
    from vidseg.trackers.registry import register_tracker as register_tracker
    from vidseg.trackers.registry import register_tracker_config as register_tracker_config

_HOME = {
    "Discovery": "vidseg.trackers.discovery.discovery",
    "Frame": "vidseg.trackers.contract",
    "FrameResult": "vidseg.trackers.contract",
    "VidsegError": "vidseg.errors",
    "annotate": "vidseg.annotation.annotate",
    "check_tracker": "vidseg.trackers.check",
    "convert": "vidseg.pipeline.convert",
    "load": "vidseg.trackers.registry",
    "load_image": "vidseg.trackers.image.load",
    "read": "vidseg.pipeline.read",
    "read_run": "vidseg.pipeline.read_run",
    "register_tracker": "vidseg.trackers.registry",
    "register_tracker_config": "vidseg.trackers.registry",
    "register_writer": "vidseg.pipeline.formats",
    "score": "vidseg.eval.scoring",
    "track": "vidseg.pipeline.track",
}

__all__ = [  # noqa: RUF022 (the order of a first session)
    "load",
    "load_image",
    "read",
    "track",
    "annotate",
    "read_run",
    "convert",
    "score",
    "compat",
    "samplers",
    "Frame",
    "FrameResult",
    "VidsegError",
    "Discovery",
    "check_tracker",
    "register_tracker",
    "register_tracker_config",
    "register_writer",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    if name in ("compat", "samplers"):
        return import_module(f"vidseg.{name}")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'vidseg' has no attribute '{name}'")
