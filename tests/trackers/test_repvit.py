"""RepViT: the official layout, the fused form, and the encoder of EdgeTAM."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from support.goldens import golden_names, load_golden, load_manifest
from support.image_encoders import assert_encoder_matches, randomised, relative_error
from vidseg.errors import ConfigError
from vidseg.trackers.backbones.fused_repvit import FusedRepViT, FusedRepViTSettings
from vidseg.trackers.backbones.repvit import (
    VARIANTS,
    NormLayout,
    RepViT,
    RepViTBlock,
    RepViTConfig,
    TokenMixer,
    Transition,
)
from vidseg.trackers.image_encoder import ImageEncoder, PyramidNeck

NORM_LAYOUTS: list[NormLayout] = ["branches", "sum"]


def small(norm_layout: NormLayout = "branches", **settings: object) -> RepViTConfig:
    return RepViTConfig((8, 16, 24, 32), (1, 2, 3, 1), norm_layout, **settings)  # type: ignore[arg-type]


@torch.no_grad()
@pytest.mark.parametrize("norm_layout", NORM_LAYOUTS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_fused_network_equals_the_trained_form(
    norm_layout: NormLayout, dtype: torch.dtype, tolerance: float
) -> None:
    trained = randomised(RepViT(small(norm_layout))).to(dtype)
    images = torch.randn(2, 3, 64, 64, dtype=dtype)
    for got, want in zip(trained.fuse()(images), trained(images), strict=True):
        assert relative_error(got, want) <= tolerance


@torch.no_grad()
@pytest.mark.parametrize("norm_layout", NORM_LAYOUTS)
def test_token_mixer_is_one_depthwise_convolution_also_at_the_border(norm_layout: NormLayout) -> None:
    mixer = randomised(TokenMixer(6, norm_layout)).double()
    x = torch.randn(1, 6, 5, 7, dtype=torch.float64)
    fused = mixer.fused()
    assert (fused.groups, fused.kernel_size) == (6, (3, 3))
    torch.testing.assert_close(fused(x), mixer(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("norm_layout", NORM_LAYOUTS)
def test_fused_network_has_no_norms_and_no_branches(norm_layout: NormLayout) -> None:
    trained = RepViT(small(norm_layout))
    fused = trained.fuse()
    assert not any(isinstance(module, nn.BatchNorm2d | TokenMixer) for module in fused.modules())
    assert len(list(fused.modules())) < len(list(trained.modules()))


def test_fusing_leaves_the_trained_form_as_it_was() -> None:
    trained = RepViT(small()).train()
    before = {key: value.clone() for key, value in trained.state_dict().items()}
    trained.fuse()
    assert trained.training
    assert trained.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in trained.state_dict().items())


@torch.no_grad()
def test_fused_network_keeps_its_dtype() -> None:
    features = RepViT(small()).to(torch.bfloat16).fuse()(torch.randn(1, 3, 64, 64, dtype=torch.bfloat16))
    assert {map_.dtype for map_ in features} == {torch.bfloat16}


@torch.no_grad()
@pytest.mark.parametrize("size_hw", [(64, 64), (64, 96)])
def test_pyramid_has_the_channels_and_strides_it_publishes(size_hw: tuple[int, int]) -> None:
    backbone = RepViT(small()).eval()
    assert backbone.mode == "pyramid"
    assert backbone.strides == (4, 8, 16, 32)
    features = backbone(torch.randn(2, 3, *size_hw))
    for map_, channels, stride in zip(features, backbone.channels, backbone.strides, strict=True):
        assert map_.shape == (2, channels, size_hw[0] // stride, size_hw[1] // stride)


@torch.no_grad()
def test_single_scale_is_the_coarsest_map_of_the_pyramid() -> None:
    # RepViT-SAM's last transition keeps stride 16, which is what single-scale heads want.
    config = small("sum", transition_strides=(2, 2, 1))
    pyramid, single = RepViT(config), RepViT(config, mode="single-scale")
    single.load_state_dict(pyramid.state_dict())
    assert (single.mode, single.channels, single.strides) == ("single-scale", (32,), (16,))
    images = torch.randn(1, 3, 64, 64)
    (map_,) = single.eval()(images)
    assert map_.shape == (1, 32, 4, 4)
    torch.testing.assert_close(map_, pyramid.eval()(images)[-1])


def test_squeeze_excite_alternates_and_is_absent_from_transitions() -> None:
    backbone = RepViT(small())
    (stage,) = (stage for name, stage in backbone.body.items() if name == "stages_2")
    gated = [not isinstance(block.se, nn.Identity) for block in stage.blocks]
    assert gated == [True, False, True]
    assert isinstance(stage.downsample, Transition)
    assert isinstance(stage.downsample.pre_block, RepViTBlock)
    assert isinstance(stage.downsample.pre_block.se, nn.Identity)


@pytest.mark.parametrize(
    ("variant", "num_params", "num_entries"),
    # EdgeTAM's trunk (its manifest); RepViT-SAM's encoder less its neck: 23,158,920 - 754,688 and 1461 - 6.
    [("m1", 4_713_712, 676), ("sam", 22_404_232, 1455)],
)
def test_published_sizes_are_met(variant: str, num_params: int, num_entries: int) -> None:
    with torch.device("meta"):
        backbone = RepViT(VARIANTS[variant])
    assert sum(p.numel() for p in backbone.parameters()) == num_params
    assert len(backbone.state_dict()) == num_entries


@pytest.mark.parametrize(
    ("variant", "num_params", "num_entries"),
    # EdgeSAM's encoders less SAM's neck of 656,384 parameters and 6 entries (seg_any.md and the stored keys).
    [("m1", 5_517_552 - 656_384, 678), ("m2", 8_622_928 - 656_384, 626), ("m3", 10_507_776 - 656_384, 886)],
)
def test_fused_maps_have_edgesams_sizes(variant: str, num_params: int, num_entries: int) -> None:
    with torch.device("meta"):
        encoder = FusedRepViT(variant)
    assert sum(p.numel() for p in encoder.parameters()) == num_params
    assert len(encoder.state_dict()) == num_entries


@torch.no_grad()
def test_maps_of_two_strides_are_summed_at_the_finer_one() -> None:
    encoder = randomised(FusedRepViT("m1"))
    images = torch.randn(2, 3, 64, 96)
    (map_,) = encoder(images)
    assert map_.shape == (2, *encoder.channels, 4, 6)
    assert relative_error(encoder.fuse()(images)[0], map_) <= 1e-4
    *_, at_16, at_32 = encoder.repvit(images)
    at_16 = encoder.repvit.body["stages_3"].downsample.pre_block(at_16)
    raised = F.interpolate(encoder.fuse_stage3(at_32), scale_factor=2.0, mode="bicubic")
    torch.testing.assert_close(map_, encoder.fuse_stage2(at_16) + raised)


def test_a_variant_without_stride_32_has_nothing_to_sum() -> None:
    with pytest.raises(ConfigError, match="strides 16 and 32"):
        FusedRepViT.of(FusedRepViTSettings(variant="sam"))


@pytest.mark.shared
@pytest.mark.usefixtures("shared")
def test_names_and_shapes_are_those_of_edgetam() -> None:
    prefix = "image_encoder.trunk."
    official = {
        key.removeprefix(prefix): torch.Size(shape)
        for key, (shape, _) in load_manifest("edgetam")["state_dict"].items()
        if key.startswith(prefix)
    }
    assert {key: value.shape for key, value in RepViT("m1").state_dict().items()} == official


@pytest.mark.shared
@pytest.mark.parametrize("fused", [False, True], ids=["trained", "fused"])
@pytest.mark.parametrize("name", golden_names("edgetam_[AG]"))
def test_encoder_against_edgetam(name: str, fused: bool) -> None:
    backbone = RepViT("m1")
    encoder = ImageEncoder(backbone, PyramidNeck(backbone.channels))
    assert_encoder_matches(load_golden(name), encoder, prepare=backbone.fuse if fused else None)
