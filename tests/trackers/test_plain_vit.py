"""The plain transformer of EfficientTAM: its windows, its positions, and the whole encoder."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from support.goldens import golden_names, load_golden, load_manifest
from support.image_encoders import assert_encoder_matches
from vidseg.trackers.backbones.plain_vit import Attention, PlainViT
from vidseg.trackers.backbones.single_scale_neck import SingleScaleNeck
from vidseg.trackers.image_encoder import ImageEncoder

PREFIX = "image_encoder."


def attend_window_by_window(layer: Attention, x_byxc: Tensor, window: int) -> Tensor:
    """The definition: fill the grid up with zeros, cut it, and let each head of each window attend."""
    _, height, width, channels = x_byxc.shape
    padded = F.pad(x_byxc, (0, 0, 0, -width % window, 0, -height % window))
    out = torch.zeros_like(padded)
    size = channels // layer.heads
    for top in range(0, padded.shape[1], window):
        for left in range(0, padded.shape[2], window):
            place = (slice(None), slice(top, top + window), slice(left, left + window))
            tokens = padded[place].flatten(1, 2)
            q, k, v = layer.qkv(tokens).chunk(3, dim=-1)
            heads = []
            for head in range(layer.heads):
                part = slice(head * size, (head + 1) * size)
                weights = (q[..., part] @ k[..., part].mT / size**0.5).softmax(-1)
                heads.append(weights @ v[..., part])
            out[place] = layer.proj(torch.cat(heads, -1)).unflatten(1, (window, window))
    return out[:, :height, :width]


@torch.no_grad()
@settings(max_examples=25)
@given(height=st.integers(1, 9), width=st.integers(1, 9), window=st.integers(1, 5))
def test_windows_equal_their_definition_on_any_grid(height: int, width: int, window: int) -> None:
    torch.manual_seed(0)
    layer = Attention(12, heads=3, window=window).double()
    x_byxc = torch.randn(2, height, width, 12, dtype=torch.float64)
    torch.testing.assert_close(layer(x_byxc), attend_window_by_window(layer, x_byxc, window))


@torch.no_grad()
def test_a_window_as_large_as_the_grid_is_global_attention() -> None:
    windowed, whole = Attention(8, heads=2, window=6).double(), Attention(8, heads=2, window=None).double()
    whole.load_state_dict(windowed.state_dict())
    x_byxc = torch.randn(1, 6, 6, 8, dtype=torch.float64)
    torch.testing.assert_close(whole(x_byxc), windowed(x_byxc))


@torch.no_grad()
def test_windows_do_not_see_each_other() -> None:
    layer = Attention(8, heads=2, window=3)
    x_byxc = torch.randn(1, 6, 6, 8)
    changed = x_byxc.clone()
    changed[:, 3:, :3] += 1.0
    has_moved = (layer(changed) != layer(x_byxc)).any(-1)[0]
    assert has_moved[3:, :3].all()
    assert not has_moved[:3].any()
    assert not has_moved[:, 3:].any()


@torch.no_grad()
def test_positions_are_used_as_learned_on_their_own_grid() -> None:
    backbone = PlainViT("tiny", depth=1, global_blocks=(0,))
    learned = backbone.pos_embed[0, 1:].unflatten(0, (14, 14))
    assert torch.equal(backbone._make_positions(14, 14)[0], learned)
    assert backbone._make_positions(4, 6).shape == (1, 4, 6, 192)


@torch.no_grad()
@pytest.mark.parametrize(("variant", "channels"), [("tiny", 192), ("small", 384)])
def test_backbone_and_neck_keep_what_they_publish(variant: str, channels: int) -> None:
    backbone = PlainViT(variant, depth=2, global_blocks=(1,)).eval()
    assert (backbone.mode, backbone.channels, backbone.strides) == ("single-scale", (channels,), (16,))
    (map_,) = backbone(torch.randn(2, 3, 64, 96))
    assert map_.shape == (2, channels, 4, 6)
    (narrow,) = SingleScaleNeck(channels)([map_])
    assert narrow.shape == (2, 256, 4, 6)


@pytest.mark.shared
@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize(
    ("model", "variant"),
    [(f"efficienttam_{short}{suffix}", variant)
     for short, variant in (("ti", "tiny"), ("s", "small"))
     for suffix in ("", "_1", "_2", "_512x512")],
)  # fmt: skip
def test_names_and_shapes_are_those_of_efficienttam(model: str, variant: str) -> None:
    official = {
        key.removeprefix(PREFIX): torch.Size(shape)
        for key, (shape, _) in load_manifest(model)["state_dict"].items()
        if key.startswith(PREFIX)
    }
    with torch.device("meta"):
        backbone = PlainViT(variant)
        encoder = ImageEncoder(backbone, SingleScaleNeck(*backbone.channels))
    assert {key: value.shape for key, value in encoder.state_dict().items()} == official


@pytest.mark.shared
@pytest.mark.parametrize("name", golden_names("efficienttam_*[ABG]"))
def test_encoder_against_efficienttam(name: str) -> None:
    golden = load_golden(name)
    backbone = PlainViT("tiny" if "_ti" in golden.model else "small")
    assert_encoder_matches(golden, ImageEncoder(backbone, SingleScaleNeck(*backbone.channels)))
