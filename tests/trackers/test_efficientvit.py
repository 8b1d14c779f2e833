"""EfficientViT: linear attention, the fused form, the published sizes, and the official package."""

from __future__ import annotations

import pytest
import torch

from support.image_encoders import randomised, relative_error
from vidseg.errors import ConfigError
from vidseg.trackers.backbones.efficientvit import (
    HEAD,
    VARIANTS,
    EfficientViT,
    EfficientViTConfig,
    EfficientViTSettings,
    linear_attention,
)


def small(num_stages: int = 5) -> EfficientViTConfig:
    return EfficientViTConfig(
        channels=(8, 16, 16, 32, 32, 64)[:num_stages],
        depths=(1,) * num_stages,
        kinds=("residual", "fused", "inverted", "attention", "attention", "attention")[:num_stages],
        expansions=(1, 2, 2, 2, 2, 2)[:num_stages],
        neighbourhood=3,
        fusion_depth=1,
        fusion_expansion=2,
    )


def test_linear_attention_is_attention_with_a_relu_for_the_softmax() -> None:
    qkv_bchw = torch.randn(2, 2 * 3 * HEAD, 4, 5, dtype=torch.float64)
    q, k, v = qkv_bchw.flatten(2).unflatten(1, (2, 3, HEAD)).unbind(2)  # B x heads x D x N
    weights = q.relu().transpose(2, 3) @ k.relu()
    want = (weights / weights.sum(-1, keepdim=True)) @ v.transpose(2, 3)
    got = linear_attention(qkv_bchw)
    torch.testing.assert_close(got, want.transpose(1, 2).flatten(2))


def test_linear_attention_follows_a_permutation_of_the_cells() -> None:
    qkv_bchw = torch.randn(1, 3 * HEAD, 1, 40, dtype=torch.float64)
    order = torch.randperm(40)
    got = linear_attention(qkv_bchw[..., order])
    torch.testing.assert_close(got, linear_attention(qkv_bchw)[:, order])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_linear_attention_does_not_overflow_in_half_precision(dtype: torch.dtype) -> None:
    # The normaliser sums to 5 * 5 * 32 * 4096, which is above float16's largest number.
    qkv_bchw = torch.full((1, 3 * HEAD, 64, 64), 5.0, dtype=dtype)
    torch.testing.assert_close(linear_attention(qkv_bchw).float(), torch.full((1, 4096, HEAD), 5.0))


@torch.no_grad()
@pytest.mark.parametrize("num_stages", [5, 6])
@pytest.mark.parametrize("mode", ["pyramid", "single-scale"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_fused_network_equals_the_trained_form(
    num_stages: int, mode: str, dtype: torch.dtype, tolerance: float
) -> None:
    trained = randomised(EfficientViT(small(num_stages), mode)).to(dtype)  # type: ignore[arg-type]
    images = torch.randn(2, 3, 128, 192, dtype=dtype)
    want = trained(images)
    fused = trained.fuse()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    for got, map_, channels, stride in zip(
        fused(images), want, trained.channels, trained.strides, strict=True
    ):
        assert map_.shape == (2, channels, 128 // stride, 192 // stride)
        assert relative_error(got, map_) <= tolerance


def test_pyramid_drops_the_stage_that_serves_the_fusion_alone() -> None:
    pyramid, single = EfficientViT(small(6)), EfficientViT(small(6), "single-scale")
    assert (pyramid.strides, single.strides) == ((4, 8, 16, 32), (16,))
    assert (len(pyramid.stages), len(single.stages)) == (5, 6)


@pytest.mark.parametrize(
    ("variant", "num_params", "num_entries"),
    # The published models less prompt encoder and mask decoder (4,064,560 parameters, 137 entries).
    [
        ("l0", 34_792_784, 409),
        ("l1", 47_650_128, 515),
        ("l2", 61_328_592, 645),
        ("xl0", 116_957_904, 455),
        ("xl1", 203_346_128, 701),
    ],
)
def test_published_sizes_are_met(variant: str, num_params: int, num_entries: int) -> None:
    with torch.device("meta"):
        encoder = EfficientViT(variant, "single-scale")
    assert sum(p.numel() for p in encoder.parameters()) == num_params - 4_064_560
    assert len(encoder.state_dict()) == num_entries - 137


def test_an_unknown_variant_is_refused_with_the_nearest_name() -> None:
    assert set(VARIANTS) == {"l0", "l1", "l2", "xl0", "xl1"}
    with pytest.raises(ConfigError, match="xl0"):
        EfficientViT.of(EfficientViTSettings(variant="xl"))
