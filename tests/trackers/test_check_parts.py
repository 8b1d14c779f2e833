"""The checks of parts find those that break a promise; names are given once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from vidseg.errors import ConfigError, ContractError
from vidseg.memory.bank import RecentFrames
from vidseg.memory.compressor import MapPooling
from vidseg.trackers.check_parts import (
    check_backbone,
    check_bank_policy,
    check_compressor,
    check_memory_attention,
)
from vidseg.trackers.parts import (
    BACKBONES,
    BANK_POLICIES,
    COMPRESSORS,
    MEMORY_ATTENTIONS,
    Part,
    build_part,
    register_backbone,
    register_bank_policy,
    register_compressor,
    register_memory_attention,
)
from vidseg.validation import Strict

TABLES = {
    "backbone": BACKBONES,
    "bank": BANK_POLICIES,
    "compressor": COMPRESSORS,
    "memory_attention": MEMORY_ATTENTIONS,
}


@pytest.mark.parametrize("name", BANK_POLICIES)
def test_policy_keeps_its_promises_with_two_conditioning_frames_at_most(name):
    check_bank_policy(build_part(BANK_POLICIES, "bank", {"name": name, "max_conditioning": 2}, "test"))


class Maps(nn.Module):
    mode = "single-scale"
    channels: Any = (8,)
    strides: Any = (16,)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [nn.functional.avg_pool2d(images, 16)[:, :1].expand(-1, 8, -1, -1)]


def variant(**changes: Any) -> Maps:
    return type("Variant", (Maps,), changes)()


def test_a_sound_backbone_passes():
    check_backbone(Maps())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "flat"}, "mode 'flat'"),
        ({"strides": (32,)}, "strides"),
        ({"channels": (8, 16)}, "channels"),
        ({"channels": (16,)}, "makes"),
        ({"forward": lambda self, x: [Maps.forward(self, x)[0] - x.mean()]}, "other images of the batch"),
        ({"fuse": lambda self: lambda x: [Maps.forward(self, x)[0] * 2]}, "fused form"),
    ],
)
def test_a_broken_backbone_is_found(changes, message):
    with pytest.raises(ContractError, match=message):
        check_backbone(variant(**changes))


class Mixed(MapPooling):
    def forward(self, memory_bchw, position_chw):
        tokens, positions = super().forward(memory_bchw, position_chw)
        return tokens - tokens.mean(), positions


class Blind(MapPooling):
    def forward(self, memory_bchw, position_chw):
        tokens, positions = super().forward(memory_bchw, position_chw)
        return torch.zeros_like(tokens), positions


@pytest.mark.parametrize(("kind", "message"), [(Mixed, "change each other"), (Blind, "same tokens")])
def test_a_broken_compressor_is_found(kind, message):
    with pytest.raises(ContractError, match=message):
        check_compressor(kind(2))


def test_a_memory_attention_that_reads_nothing_is_found():
    attention = build_part(
        MEMORY_ATTENTIONS, "memory_attention", {"name": "rotary", "layers": 1, "feedforward": 16}, "test"
    )
    nn.init.zeros_(attention.layers[0].cross_attn_image.v_proj.weight)
    with pytest.raises(ContractError, match="same features"):
        check_memory_attention(attention)


@dataclass(frozen=True)
class Forgetful(RecentFrames):
    def evict(self, bank, moment):
        for frame_idx in [t for t in bank.tracked if moment.frames_back(t) > 3]:
            bank.forget(frame_idx)


@dataclass(frozen=True)
class Hoarding(RecentFrames):
    def evict(self, bank, moment):
        pass


@pytest.mark.parametrize(("kind", "message"), [(Forgetful, "forgets what"), (Hoarding, "grows")])
def test_a_broken_policy_is_found(kind, message):
    with pytest.raises(ContractError, match=message):
        check_bank_policy(kind())


@pytest.mark.parametrize(
    ("register", "key"),
    [
        (register_backbone, "backbone"),
        (register_bank_policy, "bank"),
        (register_compressor, "compressor"),
        (register_memory_attention, "memory_attention"),
    ],
)
def test_a_part_is_registered_once(register, key):
    part = Part(Strict, lambda _: "built")
    try:
        register("made-for-a-test", part)
        assert build_part(TABLES[key], key, {"name": "made-for-a-test"}, "test") == "built"
        with pytest.raises(ConfigError, match="'made-for-a-test' is there already"):
            register("made-for-a-test", part)
    finally:
        TABLES[key].unregister("made-for-a-test")
