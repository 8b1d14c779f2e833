"""The option `fast`: what a bank then reads, and who refuses it."""

from __future__ import annotations

from pathlib import Path

import pytest

import vidseg
from support.parity import SMALL_MODEL, as_frames, moving_picture, small_tracker
from vidseg.errors import ConfigError
from vidseg.memory.bank import Moment


def test_four_memories_are_read(tmp_path: Path) -> None:
    tracker = small_tracker(tmp_path, fast=True)
    session = tracker.start()
    session.prompt(1, box=[10, 10, 40, 40])
    for frame in as_frames(moving_picture(14, 64)):
        session.step(frame)
    read = tracker.engine.policy.recall(session.banks[1], Moment(13))
    assert [frame.frame_idx for _, frame in read.spatial] == [0, 8, 10, 12]


def test_a_yaml_says_what_fast_is(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(SMALL_MODEL + "fast: {bank: {recent_frames: 4}}\n")
    config = vidseg.load(path, fast=True, allow_random_weights=True).describe()["config"]
    assert config["bank"]["recent_frames"] == 4
    assert "pools_frame" not in config["memory_attention"]


def test_the_frame_is_read_pooled(tmp_path: Path) -> None:
    attentions = [small_tracker(tmp_path, fast=fast).engine.model.memory_attention for fast in (False, True)]
    assert [[layer.self_attn.is_pooled for layer in each.layers] for each in attentions] == [
        [False, False],
        [True, True],
    ]


def test_a_tracker_that_reads_little_refuses_it() -> None:
    with pytest.raises(ConfigError, match="no faster way"):
        vidseg.load("vidseg-nano", fast=True)
