"""Every part that has a name keeps the contract that plug-ins are tested by, and so does the fake tracker."""

from __future__ import annotations

from typing import Any

import pytest

from vidseg.testing import (
    BackboneContract,
    BankPolicyContract,
    CompressorContract,
    FakeTracker,
    MemoryAttentionContract,
    TrackerContract,
)
from vidseg.testing.contracts import PartContract


def of_every(contract: type[PartContract]) -> Any:
    """A fixture that gives the contract's `config` the name and example of every row of its table."""

    def config(self: PartContract, request: pytest.FixtureRequest) -> None:
        self.config = request.param

    rows = [{"name": name, **contract.table[name].example} for name in contract.table.known]
    return pytest.fixture(autouse=True, params=rows, ids=contract.table.known)(config)


class TestBackbones(BackboneContract):
    _config = of_every(BackboneContract)


class TestCompressors(CompressorContract):
    _config = of_every(CompressorContract)


class TestMemoryAttentions(MemoryAttentionContract):
    _config = of_every(MemoryAttentionContract)


class TestBankPolicies(BankPolicyContract):
    _config = of_every(BankPolicyContract)


class TestFakeTracker(TrackerContract):
    def tracker(self) -> FakeTracker:
        return FakeTracker()
