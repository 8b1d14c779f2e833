"""The backbone timm: its maps are timm's, at the strides that a mode promises, and wrong names are told."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

import vidseg
from support.official_image import declare_torchvision_operators
from vidseg.errors import ConfigError
from vidseg.trackers.backbones.timm_features import TimmFeatures, TimmSettings
from vidseg.trackers.check_parts import check_backbone
from vidseg.trackers.parts import build_backbone

declare_torchvision_operators()
timm = pytest.importorskip("timm")


def backbone(model: str, **settings: object) -> TimmFeatures:
    torch.manual_seed(0)
    return TimmFeatures.of(TimmSettings(model=model, **settings)).eval()


def images(size: int) -> Tensor:
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
@pytest.mark.parametrize(
    ("model", "channels"),
    [
        ("repvit_m0_9", (48, 96, 192, 384)),
        ("resnet10t", (64, 128, 256, 512)),
        ("mambaout_femto", (48, 96, 192, 288)),
    ],
)
def test_pyramids_keep_what_they_publish(model: str, channels: tuple[int, ...]) -> None:
    """A network that folds, one whose first map has stride 2, and one with channels last."""
    network = backbone(model)
    assert (network.channels, network.strides) == (channels, (4, 8, 16, 32))
    check_backbone(network)
    theirs = timm.create_model(model, features_only=True, pretrained=False).eval()
    theirs.load_state_dict(network.body.state_dict())
    want = [x if x.shape[1] in channels else x.permute(0, 3, 1, 2) for x in theirs(images(128))][-4:]
    for got, expected in zip(network(images(128)), want, strict=True):
        torch.testing.assert_close(got, expected)


def test_one_map_is_taken_at_stride_16() -> None:
    check_backbone(backbone("resnet10t", mode="single-scale"))


@torch.inference_mode()
def test_models_for_one_size_are_built_for_that_of_the_tracker() -> None:
    network = build_backbone({"name": "timm", "model": "efficientformerv2_s0"}, 192, "test").eval()
    assert [x.shape[-1] for x in network(images(192))] == [48, 24, 12, 6]


@torch.inference_mode()
def test_branches_are_folded() -> None:
    network = backbone("repvit_m0_9")
    fused = network.fuse()
    assert sum(isinstance(m, nn.BatchNorm2d) for m in fused.modules()) == 0
    assert sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "repvit_m09"}, r"no model 'repvit_m09'; did you mean 'repvit_m0_9'\?"),
        ({"model": "vit_tiny_patch16_224"}, r"(?s)makes maps at strides \[16, 16, 16\].*single-scale"),
        ({"model": "resnet10t", "pretrained": True}, "no weights for resnet10t .no network"),
    ],
)
def test_what_does_not_work_is_told(
    settings: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(*args: object, pretrained: bool, **more: object) -> nn.Module:
        if pretrained:
            raise OSError("no network")
        return whole(*args, pretrained=pretrained, **more)

    whole = timm.create_model
    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(ConfigError, match=message):
        backbone(**settings)


def test_a_yaml_makes_a_tracker_of_it(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    config = {
        "kind": "engine",
        "image_size": 128,
        "backbone": {"name": "timm", "model": "efficientformerv2_s0"},
    }
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    tracker = vidseg.load(path, allow_random_weights=True, device="cpu")
    assert tracker.engine.model.encode(images(128)[0]).top_1chw.shape == (1, 256, 8, 8)
