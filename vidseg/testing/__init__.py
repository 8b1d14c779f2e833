"""Tools for the tests of plug-ins, and of programs that use vidseg.

`check_tracker` and the checks of parts say which promise is broken; the contract classes run them, and more,
under pytest. `FakeTracker` is a tracker for tests of the code around trackers; with `--plugin
vidseg.testing.fake_plugin` it is known by the name `fake`.

The names are imported when they are first used: the checks of parts need torch, the fake tracker does not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vidseg.testing.contracts import BackboneContract as BackboneContract
    from vidseg.testing.contracts import BankPolicyContract as BankPolicyContract
    from vidseg.testing.contracts import CompressorContract as CompressorContract
    from vidseg.testing.contracts import MemoryAttentionContract as MemoryAttentionContract
    from vidseg.testing.contracts import TrackerContract as TrackerContract
    from vidseg.testing.fake_tracker import FakeSession as FakeSession
    from vidseg.testing.fake_tracker import FakeTracker as FakeTracker
    from vidseg.trackers.check import check_tracker as check_tracker
    from vidseg.trackers.check_model import check_image_model as check_image_model
    from vidseg.trackers.check_model import check_memory_model as check_memory_model
    from vidseg.trackers.check_parts import check_backbone as check_backbone
    from vidseg.trackers.check_parts import check_bank_policy as check_bank_policy
    from vidseg.trackers.check_parts import check_compressor as check_compressor
    from vidseg.trackers.check_parts import check_memory_attention as check_memory_attention

_HOME = {
    "BackboneContract": "vidseg.testing.contracts",
    "BankPolicyContract": "vidseg.testing.contracts",
    "CompressorContract": "vidseg.testing.contracts",
    "FakeSession": "vidseg.testing.fake_tracker",
    "FakeTracker": "vidseg.testing.fake_tracker",
    "MemoryAttentionContract": "vidseg.testing.contracts",
    "TrackerContract": "vidseg.testing.contracts",
    "check_backbone": "vidseg.trackers.check_parts",
    "check_bank_policy": "vidseg.trackers.check_parts",
    "check_image_model": "vidseg.trackers.check_model",
    "check_memory_model": "vidseg.trackers.check_model",
    "check_compressor": "vidseg.trackers.check_parts",
    "check_memory_attention": "vidseg.trackers.check_parts",
    "check_tracker": "vidseg.trackers.check",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'vidseg.testing' has no attribute '{name}'")
