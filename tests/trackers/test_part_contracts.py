"""Every part that has a name keeps the contract that plug-ins are tested by, and so does the fake tracker."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from support.official_image import declare_torchvision_operators
from vidseg.errors import ContractError
from vidseg.testing import (
    BackboneContract,
    BankPolicyContract,
    CompressorContract,
    FakeTracker,
    MemoryAttentionContract,
    TrackerContract,
)
from vidseg.testing.contracts import PartContract
from vidseg.trackers.parts import BACKBONES, Part, register_backbone

declare_torchvision_operators()  # for the backbone timm


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


class Careless(BaseModel):
    """Settings that take whatever they are given."""

    model_config = ConfigDict(extra="allow")


class Shifty(nn.Module):
    """A backbone of another width each time it is built, which looks at the whole batch."""

    mode, strides = "single-scale", (16,)
    built = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).built += 1
        self.channels = (8 * self.built,)
        self.embed = nn.Conv2d(3, *self.channels, 16, stride=16)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [self.embed(images - images.mean())]


def test_a_contract_finds_what_is_broken() -> None:
    register_backbone("shifty", Part(Careless, lambda _: Shifty()))
    contract = BackboneContract()
    contract.config = {"name": "shifty"}
    try:
        with pytest.raises(ContractError, match="other images of the batch"):
            contract.test_keeps_its_promises()
        with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
            contract.test_refuses_a_setting_that_it_does_not_have()
        with pytest.raises(AssertionError):
            contract.test_has_the_same_weights_when_nothing_is_allocated()
    finally:
        BACKBONES.unregister("shifty")
