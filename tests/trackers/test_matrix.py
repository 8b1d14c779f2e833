"""Every two of a backbone, a compressor, a memory attention and a bank policy that go together."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import vidseg
from support.official_image import declare_torchvision_operators
from support.parity import VIDEO_HW, as_frames, moving_picture, weights_for
from vidseg.errors import ConfigError
from vidseg.trackers.engine import Engine
from vidseg.trackers.engine_tracker import EngineTracker
from vidseg.trackers.parts import BACKBONES, BANK_POLICIES, COMPRESSORS, MEMORY_ATTENTIONS, Part, build_part

declare_torchvision_operators()  # for the backbone timm

SIZE = 64
NUM_FRAMES = 10
BOX = {"box": [20.0, 10.0, 60.0, 50.0]}


def example(table: dict[str, Part], name: str, **settings: Any) -> dict[str, Any]:
    return {"name": name, **table[name].example, **settings}


@cache
def memories() -> list[Any]:
    """(compressor, memory attention): what each leaves, and who reads that."""
    pairs = []
    for compressor in COMPRESSORS:
        built = build_part(COMPRESSORS, "compressor", example(COMPRESSORS, compressor), "")
        for attention in MEMORY_ATTENTIONS:
            read = example(MEMORY_ATTENTIONS, attention)
            if "window_latents" in read and built is not None:
                read["window_latents"] = built.window_latents
            if ("window_latents" in read) == (built is not None):
                pairs.append(pytest.param(compressor, read, id=f"{compressor}-{attention}"))
    return pairs


def backbones() -> list[Any]:
    return [pytest.param(b, marks=[pytest.mark.slow] if b != "hiera" else []) for b in BACKBONES]


@cache
def frames() -> list[Any]:
    return as_frames(moving_picture(NUM_FRAMES, SIZE))


def build(folder: Path, **parts: Any) -> Any:
    config = {"kind": "engine", "image_size": SIZE, "backbone": example(BACKBONES, "hiera"), **parts}
    path = folder / "mixed.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return vidseg.load(path, weights=weights_for(path), device="cpu")


@pytest.fixture(scope="module")
def mixed(request, tmp_path_factory):
    """The tracker of one mix, with SAM 2's own policy, and the features of all frames."""
    backbone, compressor, attention = request.param
    tracker = build(
        tmp_path_factory.mktemp("mix"),
        backbone=example(BACKBONES, backbone),
        compressor=example(COMPRESSORS, compressor),
        memory_attention=attention,
    )
    features = [tracker.engine.encode(frame) for frame in frames()]
    assert features[0].top_1chw.shape == (1, 256, 4, 4), "else `mixes` would leave out too much"
    return tracker, features


def _meet(row: int, column: int, offset: int) -> bool:
    """Along a diagonal each memory meets a policy and each policy a memory; each backbone has its own one."""
    num_memories, num_policies = len(memories()), len(BANK_POLICIES)
    return any(
        (turn % num_memories, (turn + offset) % num_policies) == (row, column)
        for turn in range(max(num_memories, num_policies))
    )


def mixes() -> list[Any]:
    """((backbone, compressor, memory attention), policy): every two that go together meet in one of them.

    All memories meet all policies behind `hiera`. Another backbone meets each of both, but not each pair of
    them: memories and policies are given a map of one shape whatever the backbone, so that three parts which
    fail together contain two that do.
    """
    chosen = []
    for offset, backbone in enumerate(backbones()):
        pairs = [
            (memory, policy)
            for row, memory in enumerate(memories())
            for column, policy in enumerate(BANK_POLICIES)
            if backbone.values[0] == "hiera" or _meet(row, column, offset)
        ]
        for memory, policy in pairs:
            mix = (backbone.values[0], *memory.values)
            name = f"{backbone.values[0]}-{memory.id}-{policy}"
            chosen.append(pytest.param(mix, policy, id=name, marks=list(backbone.marks)))
    return chosen


@pytest.mark.parametrize(("mixed", "policy"), mixes(), indirect=["mixed"])
def test_a_mix_tracks_saves_restores_adds_and_removes(mixed: Any, policy: str, tmp_path: Path) -> None:
    base, features = mixed
    bank = build_part(BANK_POLICIES, "bank", example(BANK_POLICIES, policy), "")
    engine = Engine(base.engine.model, bank)
    tracker = EngineTracker("mixed", base.settings, engine, base.options, base.weights_sha256)
    mask = np.zeros(VIDEO_HW, bool)
    mask[15:45, 25:70] = True
    session = tracker.start()
    session.prompt(1, **BOX)
    session.prompt(2, mask=mask)
    restored: Any = None
    seen = []
    for frame in frames():
        # No policy has a say in a frame's features, so all of them are given the same.
        frame = replace(frame, kept={engine: features[frame.index]})
        for each in (session, restored):
            if each is not None and frame.index == 4:
                each.prompt(7, **BOX)
            if each is not None and frame.index == 6:
                each.remove(1)
        result = session.step(frame)
        assert result.obj_ids == ([1, 2] if frame.index < 4 else [1, 2, 7] if frame.index < 6 else [2, 7])
        assert np.isfinite(result.low_res_logits).all()
        assert (result.low_res_logits > -1000).all(), "an absent object proves little"
        if restored is not None:
            assert np.array_equal(restored.step(frame).low_res_logits, result.low_res_logits)
        if frame.index == 3:
            session.save(tmp_path / "state")
            restored = tracker.restore(tmp_path / "state")
        seen.append(result.low_res_logits[result.obj_ids.index(2)])
    assert not np.array_equal(seen[-1], seen[-2]), "the same mask whatever is seen"


@pytest.mark.parametrize("compressor", COMPRESSORS)
@pytest.mark.parametrize("attention", MEMORY_ATTENTIONS)
def test_parts_that_do_not_go_together_are_refused(tmp_path, compressor, attention):
    left = build_part(COMPRESSORS, "compressor", example(COMPRESSORS, compressor), "")
    read = build_part(MEMORY_ATTENTIONS, "memory_attention", example(MEMORY_ATTENTIONS, attention), "")
    if (None if left is None else left.window_latents) == read.window_latents:
        return
    parts = {
        "compressor": example(COMPRESSORS, compressor),
        "memory_attention": example(MEMORY_ATTENTIONS, attention),
    }
    with pytest.raises(ConfigError, match=r"compress|window latents"):
        build(tmp_path, **parts)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"backbone": {"name": "hierra"}}, "unknown backbone 'hierra'; did you mean 'hiera'"),
        ({"backbone": {"name": "repvit", "variant": "sam"}}, r"strides \(4, 8, 16, 16\), and in its mode"),
        ({"bank": {"name": "recent-frames", "strid": 2}}, "unknown key 'strid'"),
        ({"bank": {"name": "motion-aware", "stride": 2}}, "unknown key 'stride'"),
        ({"bank": {"name": "similarity-pruning", "pruned_frames": 6}}, "the newest frame stays"),
        (
            {
                "compressor": {"name": "pooling", "side": 3},
                "memory_attention": {"name": "latent", "window_latents": 9},
            },
            "a grid of 4, which the 3 windows a side of 'pooling' do not divide",
        ),
        ({"compressor": {"name": "perceiver", "window_latents": 5}}, "5 is not a square number"),
    ],
)
def test_a_wrong_choice_is_refused_with_the_reason(tmp_path, parts, message):
    with pytest.raises(ConfigError, match=message):
        build(tmp_path, **parts)
