"""TinyViT: its windows, its fused form, its strips, timm's network, and the names of MobileSAM's encoder."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from support.goldens import goldens_folder
from support.official_image import declare_torchvision_operators
from support.seeded import seeded_weights
from vidseg.trackers.backbones import pieces
from vidseg.trackers.backbones.tiny_vit import TinyViT, WindowAttention
from vidseg.trackers.check_parts import check_backbone


def backbone(seed: int = 0, **options: object) -> TinyViT:
    network = TinyViT(**options).eval()  # type: ignore[arg-type]
    network.load_state_dict(seeded_weights(network, seed))
    return network


def images(size: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))


def attend_cell_by_cell(layer: WindowAttention, x_byxc: Tensor) -> Tensor:
    """The definition: fill the grid up with zeros; each cell attends to those of its window, with a bias that
    depends on how many rows and columns lie between them."""
    window, heads = layer.window, layer.heads
    _, height, width, channels = x_byxc.shape
    padded = layer.norm(F.pad(x_byxc, (0, 0, 0, -width % window, 0, -height % window)))
    out = torch.zeros_like(padded)
    size = channels // heads
    places = [(y, x) for y in range(window) for x in range(window)]
    for top in range(0, padded.shape[1], window):
        for left in range(0, padded.shape[2], window):
            place = (slice(None), slice(top, top + window), slice(left, left + window))
            qkv = layer.qkv(padded[place]).flatten(1, 2)
            parts = []
            for head in range(heads):
                q, k, v = qkv[..., 3 * head * size : 3 * (head + 1) * size].chunk(3, dim=-1)
                bias = torch.tensor(
                    [[layer.attention_biases[head, abs(y - b) * window + abs(x - a)] for b, a in places]
                     for y, x in places]
                )  # fmt: skip
                parts.append((q @ k.mT / size**0.5 + bias).softmax(-1) @ v)
            out[place] = layer.proj(torch.cat(parts, -1)).unflatten(1, (window, window))
    return out[:, :height, :width]


@torch.no_grad()
@settings(max_examples=15)
@given(height=st.integers(1, 7), width=st.integers(1, 7), window=st.integers(1, 4))
def test_windows_equal_their_definition_on_any_grid(height: int, width: int, window: int) -> None:
    layer = WindowAttention(12, heads=3, window=window)
    layer.load_state_dict(seeded_weights(layer))
    layer.double()
    x_byxc = torch.randn(2, height, width, 12, dtype=torch.float64)
    torch.testing.assert_close(layer(x_byxc), attend_cell_by_cell(layer, x_byxc))
    want = layer(x_byxc)
    layer.fuse()
    torch.testing.assert_close(layer(x_byxc), want)


@pytest.mark.parametrize("mode", ["pyramid", "single-scale"])
def test_backbone_keeps_what_it_publishes(mode: str) -> None:
    check_backbone(backbone(mode=mode))


@torch.inference_mode()
@pytest.mark.parametrize("mode", ["pyramid", "single-scale"])
def test_fused_network_equals_the_trained_form_and_has_no_norms(mode: str) -> None:
    trained = backbone(mode=mode, classifier=True)
    fused = trained.fuse()
    for got, want in zip(fused(images(192)), trained(images(192)), strict=True):
        assert (got - want).abs().max() < 1e-4 * want.std()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert not any("attention_biases" in key or "head" in key for key in fused.state_dict())
    assert any(isinstance(module, nn.BatchNorm2d) for module in trained.modules())


@pytest.mark.parametrize("size", [128, 160])
def test_strips_of_rows_equal_the_whole_picture(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    network = backbone()
    with torch.enable_grad():  # nothing is cut where gradients are wanted
        whole = [x.detach() for x in network(images(size, batch=2))]
    monkeypatch.setattr(pieces, "PIECE_ELEMENTS", 1000)
    with torch.inference_mode():
        for got, want in zip(network(images(size, batch=2)), whole, strict=True):
            assert (got - want).abs().max() < 1e-4 * want.std()


def test_norms_in_training_measure_the_whole_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms see the whole map without gradients, too, as when their statistics are measured anew."""
    monkeypatch.setattr(pieces, "PIECE_ELEMENTS", 1000)
    with_gradients, without = backbone().train(), backbone().train()
    with_gradients(images(128))
    with torch.no_grad():
        without(images(128))
    want = with_gradients.state_dict()
    for key, value in without.state_dict().items():
        torch.testing.assert_close(value, want[key])


@torch.inference_mode()
@pytest.mark.parametrize("variant", ["5m", "11m", "21m"])
def test_pyramid_equals_that_of_timm(variant: str) -> None:
    declare_torchvision_operators()
    # By its function: the package mobilesam-mirror takes timm's name of it away once it is imported.
    theirs_of = getattr(pytest.importorskip("timm.models.tiny_vit"), f"tiny_vit_{variant}_224")
    theirs = theirs_of(features_only=True, pretrained=False).eval()
    ours = backbone(variant=variant)
    state = ours.state_dict()
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    theirs.load_state_dict({key: state[_ours(key)] for key in theirs.state_dict()})
    for got, want in zip(ours(images(160)), theirs(images(160)), strict=True):
        assert got.shape == want.shape
        assert (got - want).abs().max() < 5e-5 * want.std()


def _ours(key: str) -> str:
    """Our name of a weight of timm's: its way into a stage belongs to that stage, ours to the one before."""
    stage, _, rest = key.partition(".")
    if stage == "patch_embed":
        return key.replace("conv1.", "seq.0.").replace("conv2.", "seq.2.").replace(".conv.", ".c.")
    number = int(stage.removeprefix("stages_"))
    if rest.startswith("downsample."):
        number -= 1
    return f"layers.{number}.{rest}".replace(".conv.", ".c.")


@pytest.mark.shared
@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("model", ["mobile_sam", "tinysam"])
def test_names_and_shapes_are_those_of_the_checkpoints(model: str) -> None:
    manifest = json.loads((goldens_folder() / "image" / f"manifest_{model}.json").read_text("utf-8"))
    official = {
        key.removeprefix("image_encoder."): torch.Size(shape)
        for key, (shape, _) in manifest["state_dict"].items()
        if key.startswith("image_encoder.") and not key.startswith("image_encoder.neck.")
    }
    with torch.device("meta"):
        network = TinyViT(mode="single-scale", classifier=True)
    assert {key: value.shape for key, value in network.state_dict().items()} == official
