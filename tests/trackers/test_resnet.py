"""ResNet: timm's features with timm's weights, the fused form, and NanoSAM's encoder."""

from __future__ import annotations

import pytest
import torch

from support.image_encoders import randomised, relative_error
from support.official_image import declare_torchvision_operators
from vidseg.trackers.backbones.resnet import LEARNED_GRID, ResNet


@torch.no_grad()
@pytest.mark.parametrize("variant", ["18", "50"])
def test_pyramid_is_timms_with_timms_weights(variant: str) -> None:
    declare_torchvision_operators()
    timm = pytest.importorskip("timm", reason="needs the package timm")
    official = randomised(timm.create_model(f"resnet{variant}", features_only=True, out_indices=(1, 2, 3, 4)))
    ours = ResNet(variant)
    ours.load_state_dict(official.state_dict())
    images = torch.randn(1, 3, 64, 96)
    maps = ours.eval()(images)
    assert [map_.shape[1] for map_ in maps] == list(ours.channels)
    for got, want in zip(maps, official(images), strict=True):
        assert relative_error(got, want) <= 1e-4


@torch.no_grad()
@pytest.mark.parametrize("mode", ["pyramid", "single-scale"])
@pytest.mark.parametrize("variant", ["18", "50"])
def test_fused_network_equals_the_trained_form(variant: str, mode: str) -> None:
    trained = randomised(ResNet(variant, mode)).double()  # type: ignore[arg-type]
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    fused = trained.fuse()
    assert not any(isinstance(module, torch.nn.BatchNorm2d | torch.nn.ReLU) for module in fused.modules())
    for got, want, channels, stride in zip(
        fused(images), trained(images), trained.channels, trained.strides, strict=True
    ):
        assert want.shape == (2, channels, 64 // stride, 96 // stride)
        assert relative_error(got, want) <= 1e-10


@torch.no_grad()
def test_learned_positions_are_added_as_they_are_on_their_own_grid_and_resized_on_others() -> None:
    encoder = ResNet("18", "single-scale").eval()
    assert encoder.raised is not None
    encoder.raised.pos_embedding.copy_(torch.arange(LEARNED_GRID).expand_as(encoder.raised.pos_embedding))
    with_positions = encoder(torch.zeros(1, 3, 512, 512))[0]
    encoder.raised.pos_embedding.zero_()
    added = (with_positions - encoder(torch.zeros(1, 3, 512, 512))[0])[0, 0, 5]
    # Half the cells: each lies between two of the learned grid.
    torch.testing.assert_close(added[4:-4], 2 * torch.arange(4.0, 28.0) + 0.5, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("variant", "num_params", "num_entries"),
    [("18", 15_831_104, 133), ("34", 25_939_264, 229), ("50", 31_701_568, 331)],
)
def test_nanosams_published_sizes_are_met(variant: str, num_params: int, num_entries: int) -> None:
    with torch.device("meta"):
        encoder = ResNet(variant, "single-scale")
    assert sum(p.numel() for p in encoder.parameters()) == num_params
    assert len(encoder.state_dict()) == num_entries
