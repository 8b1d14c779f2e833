"""EfficientNet-Lite0: timm's features with timm's weights, the fused form, and training in bfloat16."""

from __future__ import annotations

import pytest
import torch

from support.image_encoders import randomised, relative_error
from support.official_image import declare_torchvision_operators
from vidseg.trackers.backbones.efficientnet_lite import STAGES, EfficientNetLite, InvertedResidual


@torch.no_grad()
def test_pyramid_is_timms_with_timms_weights() -> None:
    """timm's `efficientnet_lite0` pads as ours does; its first stage has no widening convolution."""
    declare_torchvision_operators()
    timm = pytest.importorskip("timm", reason="needs the package timm")
    official = randomised(
        timm.create_model("efficientnet_lite0", features_only=True, out_indices=(1, 2, 3, 4))
    ).eval()
    for module in official.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 1e-3  # TensorFlow's, with which the published weights were trained
    ours = EfficientNetLite().eval()
    ours.load_state_dict(_renamed(official.state_dict()))
    images = torch.randn(1, 3, 64, 96)
    for got, want, channels in zip(ours(images), official(images), ours.channels, strict=True):
        assert got.shape[1] == channels
        # timm's last map has gone through the stage that only a classifier needs.
        if channels != ours.channels[-1]:
            assert relative_error(got, want) <= 1e-5
    inner = official.bn1(official.conv_stem(images))  # timm's norm holds the activation
    for stage in official.blocks[: len(STAGES)]:
        inner = stage(inner)
    assert relative_error(ours(images)[-1], inner) <= 1e-5


def _renamed(theirs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = {}

    def take(ours: str, conv: str, norm: str) -> None:
        state[f"{ours}.conv.weight"] = theirs[f"{conv}.weight"]
        for kind in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            state[f"{ours}.norm.{kind}"] = theirs[f"{norm}.{kind}"]

    take("stem", "conv_stem", "bn1")
    for index, stage in enumerate(STAGES):
        for block in range(stage.blocks):
            ours, body = f"stages.{index}.{block}", f"blocks.{index}.{block}"
            if stage.expansion == 1:
                take(f"{ours}.depthwise", f"{body}.conv_dw", f"{body}.bn1")
                take(f"{ours}.project", f"{body}.conv_pw", f"{body}.bn2")
            else:
                take(f"{ours}.expand", f"{body}.conv_pw", f"{body}.bn1")
                take(f"{ours}.depthwise", f"{body}.conv_dw", f"{body}.bn2")
                take(f"{ours}.project", f"{body}.conv_pwl", f"{body}.bn3")
    return state


@torch.no_grad()
def test_fused_network_equals_the_trained_form() -> None:
    trained = randomised(EfficientNetLite()).eval()
    images = torch.randn(2, 3, 64, 96)
    want = trained(images)
    fused = trained.fuse()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    for got, expected, stride in zip(fused(images), want, fused.strides, strict=True):
        assert got.shape[2:] == (64 // stride, 96 // stride)
        assert relative_error(got, expected) <= 1e-5


def test_depthwise_gradients_are_made_in_float32_in_mixed_precision() -> None:
    """A CPU's kernels of depthwise gradients are several times slower in bfloat16."""
    block = InvertedResidual(8, 8, expansion=2, kernel=3, stride=1)
    seen: list[torch.dtype] = []
    block.depthwise.conv.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    block.project.conv.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        block(torch.randn(2, 8, 8, 8)).sum().backward()
    assert seen == [torch.float32, torch.bfloat16]
