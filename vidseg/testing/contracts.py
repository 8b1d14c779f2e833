"""What every part and every tracker must do, as test classes. A plug-in's tests derive from them:

    from vidseg.testing import BackboneContract

    class TestPatches(BackboneContract):
        config = {"name": "patches", "width": 8}

pytest collects the inherited tests. They ask for behaviour, not for good masks, and take seconds on the CPU.
The part is built by its name, so the module that registers it has to be installed, or imported by the tests.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from vidseg.errors import ConfigError
from vidseg.registry import Registry
from vidseg.trackers.check import check_tracker, scene_box, scene_frame
from vidseg.trackers.check_parts import CHECKS
from vidseg.trackers.contract import Tracker
from vidseg.trackers.parts import (
    BACKBONES,
    BANK_POLICIES,
    COMPRESSORS,
    MEMORY_ATTENTIONS,
    Part,
    build_part,
)
from vidseg.trackers.registry import load

IMAGE_SIZE = 64
NUM_FRAMES = 4


class PartContract:
    """What parts of every kind must do."""

    key: ClassVar[str]
    """The part's key in a tracker's YAML."""
    table: ClassVar[Registry[Part]]
    config: Mapping[str, Any]
    """What a YAML says of the part: its name and its settings."""

    def build(self) -> Any:
        return build_part(self.table, self.key, self.config, "contract.yaml")

    def fitting_parts(self) -> dict[str, Any]:
        """Other parts that go with this one, where the defaults do not."""
        return {}

    def load_tracker(self, folder: Path) -> Tracker:
        """A small engine tracker with the part in it."""
        hiera = {"name": "hiera", **BACKBONES["hiera"].example}
        parts = {"backbone": hiera, **self.fitting_parts(), self.key: dict(self.config)}
        path = folder / "contract.yaml"
        config = {"kind": "engine", "image_size": IMAGE_SIZE, **parts}
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return load(path, device="cpu", allow_random_weights=True)

    def test_keeps_its_promises(self) -> None:
        if (part := self.build()) is not None:  # the compressor 'none' is none
            CHECKS[self.key](part)

    def test_refuses_a_setting_that_it_does_not_have(self) -> None:
        with pytest.raises(ConfigError, match="no_such_setting"):
            build_part(self.table, self.key, {**self.config, "no_such_setting": 1}, "contract.yaml")

    def test_has_the_same_weights_when_nothing_is_allocated(self) -> None:
        """Checkpoints are compared with a model on the device 'meta', where tensors have shapes alone."""
        part = self.build()
        if not isinstance(part, nn.Module):
            return
        with torch.device("meta"):
            shapes = {name: value.shape for name, value in self.build().state_dict().items()}
        assert shapes == {name: value.shape for name, value in part.state_dict().items()}

    def test_tracks_and_goes_on_after_restoring(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            tracker = self.load_tracker(Path(folder))
            session = tracker.start()
            session.prompt(1, box=scene_box(1, 0))
            for index in range(NUM_FRAMES):
                result = session.step(scene_frame(index))
                assert result.obj_ids == [1]
                assert np.isfinite(result.low_res_logits).all()
            session.save(Path(folder) / "state")
            restored = tracker.restore(Path(folder) / "state")
            again = restored.step(scene_frame(NUM_FRAMES))
            expected = session.step(scene_frame(NUM_FRAMES))
            assert np.array_equal(again.low_res_logits, expected.low_res_logits)


class BackboneContract(PartContract):
    """What every backbone must do."""

    key = "backbone"
    table = BACKBONES


class CompressorContract(PartContract):
    """What every compressor must do."""

    key = "compressor"
    table = COMPRESSORS

    def fitting_parts(self) -> dict[str, Any]:
        part = self.build()
        if part is None:
            return {}
        attention = {"name": "latent", "layers": 1, "window_latents": part.window_latents}
        return {"memory_attention": attention}


class MemoryAttentionContract(PartContract):
    """What every memory attention must do."""

    key = "memory_attention"
    table = MEMORY_ATTENTIONS

    def fitting_parts(self) -> dict[str, Any]:
        latents = self.build().window_latents
        if latents is None:
            return {}
        return {"compressor": {"name": "pooling", "side": math.isqrt(latents)}}


class BankPolicyContract(PartContract):
    """What every bank policy must do."""

    key = "bank"
    table = BANK_POLICIES


class TrackerContract:
    """What every tracker must do."""

    def tracker(self) -> Tracker:
        """The tracker to be tested."""
        raise NotImplementedError

    def test_keeps_its_promises(self) -> None:
        check_tracker(self.tracker())
