"""What the author of a plug-in tests: the contracts, run on her own parts by name."""

from __future__ import annotations

import vidseg
from vidseg.testing import BackboneContract, BankPolicyContract, TrackerContract
from vidseg.trackers.contract import Tracker


class TestTinyViT(BackboneContract):
    config = {"name": "outside-tinyvit"}  # noqa: RUF012


class TestNewest(BankPolicyContract):
    config = {"name": "outside-newest"}  # noqa: RUF012


class TestCoarseFlow(TrackerContract):
    def tracker(self) -> Tracker:
        return vidseg.load("outside-coarse-flow")
