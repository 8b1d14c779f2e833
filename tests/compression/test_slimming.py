"""Slimming: a cut model equals the whole one without the channels, and scores are what they promise."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidseg.compression.calls import Call, distance, told_by
from vidseg.compression.slimming.alignment import align
from vidseg.compression.slimming.importance import importance
from vidseg.compression.slimming.parts import SlimPart, part_of
from vidseg.compression.slimming.widths import Width, cut, settings_of
from vidseg.memory.attention import MemoryTokens
from vidseg.trackers.backbones.single_scale_neck import SingleScaleNeck
from vidseg.trackers.configs import read_config
from vidseg.trackers.image_encoder import ImageEncoder, PyramidNeck
from vidseg.trackers.parts import MEMORY_ATTENTIONS, build_backbone, build_part

SAM = {"name": "sam-vit", "channels": 16, "heads": 2, "depth": 2, "global_blocks": [1], "mlp": 32}
PLAIN = {"name": "plain-vit", "variant": "tiny", "depth": 2, "global_blocks": [1], "channels": 24, "mlp": 32}
HIERA = {"name": "hiera", "embed_dim": 8, "heads": 2, "stages": [1, 1, 2, 1], "global_blocks": [3]}
BACKBONES = {
    "sam-vit": {**SAM, "window": 3, "grid": 4},
    "sam-vit of uneven blocks": {**SAM, "window": 3, "grid": 4, "mlp": [32, 20]},
    "plain-vit": PLAIN,
    "hiera": {**HIERA, "windows": [4, 2, 3, 2]},
}
FEED_FORWARD = {"name": "rotary", "layers": 2, "feedforward": 16}


class Model(nn.Module):
    """The parts of a model that matter here, with random weights."""

    def __init__(self, backbone: dict[str, object], memory_attention: dict[str, object]) -> None:
        super().__init__()
        trunk = build_backbone(backbone, 64, "test")
        pyramid = trunk.mode == "pyramid"
        neck = PyramidNeck(trunk.channels) if pyramid else SingleScaleNeck(trunk.channels[0])
        self.image_encoder = ImageEncoder(trunk, neck)
        self.memory_attention = build_part(MEMORY_ATTENTIONS, "memory_attention", memory_attention, "test")
        self.double().eval()


def seeded(backbone: str) -> Model:
    model = Model(BACKBONES[backbone], FEED_FORWARD)
    generator = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        weight.data = 0.3 * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    return model


def pictures(count: int) -> list[Call]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(1, 3, 64, 64, generator=generator, dtype=torch.float64),) for _ in range(count)]


def memory_read() -> Call:
    generator = torch.Generator().manual_seed(1)
    features, position = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((1, 256, 4, 4), (256, 4, 4))
    )
    tokens, positions = (torch.randn(2, 36, 64, generator=generator, dtype=torch.float64) for _ in range(2))
    return features, position, MemoryTokens(tokens, positions, num_pointer_tokens=4, num_frames=2)


def some_kept(widths: Sequence[Width], share: float) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [width.best(torch.rand(width.units, generator=generator), width.count(share)) for width in widths]


class NormOfSome(nn.Module):
    """A layer norm that measures some channels and leaves zeros in the others."""

    def __init__(self, norm: nn.LayerNorm, kept: Tensor) -> None:
        super().__init__()
        self.norm, self.kept = norm, kept

    def forward(self, x: Tensor) -> Tensor:
        weight, bias, eps = self.norm.weight[self.kept], self.norm.bias[self.kept], self.norm.eps
        some = F.layer_norm(x[..., self.kept], (len(self.kept),), weight, bias, eps)
        return torch.zeros_like(x).index_copy(-1, self.kept, some)


@torch.no_grad()
def mask(part: SlimPart, widths: Sequence[Width], kept: Sequence[Tensor]) -> None:
    """Set every weight of what is not kept to zero; norms measure the rest alone."""
    norms = {name: norm for name, norm in part.module.named_modules() if isinstance(norm, nn.LayerNorm)}
    for width, units in zip(widths, kept, strict=True):
        gone = torch.tensor([unit for unit in range(width.units) if unit not in units.tolist()])
        for use in width.uses:
            weight = part.module.get_parameter(use.weight)
            weight.index_fill_(use.axis, use.places(gone), 0.0)
    for width, units in zip(widths, kept, strict=True):
        for use in width.uses:
            name = use.weight.removesuffix(".weight")
            if name in norms:
                parent, _, attribute = name.rpartition(".")
                setattr(part.module.get_submodule(parent), attribute, NormOfSome(norms[name], units))


@pytest.mark.parametrize("share", [0.5, 0.7])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_slimmed_encoder_equals_the_masked_one(backbone: str, share: float) -> None:
    whole = seeded(backbone)
    part = part_of(whole, "image_encoder", "test")
    kept = some_kept(part.widths, share)
    entry = {**BACKBONES[backbone], **settings_of(part.widths, kept)}
    slim = Model(entry, FEED_FORWARD)
    slim.image_encoder.load_state_dict(cut(part.module.state_dict(), part.widths, kept))
    assert len(slim.image_encoder.trunk.state_dict()) == len(whole.image_encoder.trunk.state_dict())
    (call,) = pictures(1)
    unmasked = told_by(whole.image_encoder, call)
    mask(part, part.widths, kept)
    masked = told_by(whole.image_encoder, call)
    for got, want, other in zip(told_by(slim.image_encoder, call), masked, unmasked, strict=True):
        torch.testing.assert_close(got, want, atol=1e-9, rtol=1e-9)
        assert not torch.allclose(want, other, atol=1e-2)


def test_slimmed_memory_attention_equals_the_masked_one() -> None:
    whole = seeded("plain-vit")
    part = part_of(whole, "memory_attention", "test")
    kept = some_kept(part.widths, 0.6)
    slim = Model(PLAIN, {**FEED_FORWARD, **settings_of(part.widths, kept)})
    slim.memory_attention.load_state_dict(cut(part.module.state_dict(), part.widths, kept))
    assert slim.memory_attention.layers[0].linear1.out_features == 6
    unmasked = told_by(whole.memory_attention, memory_read())[0]
    mask(part, part.widths, kept)
    (want,) = told_by(whole.memory_attention, memory_read())
    torch.testing.assert_close(told_by(slim.memory_attention, memory_read())[0], want, atol=1e-9, rtol=1e-9)
    assert not torch.allclose(want, unmasked, atol=1e-3)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_importance_is_the_slope_of_the_loss_as_a_unit_is_scaled(backbone: str) -> None:
    student, teacher = seeded(backbone).image_encoder, seeded(backbone).image_encoder
    calls = pictures(2)
    widths = part_of(seeded(backbone), "image_encoder", "test").widths
    scores = importance(student, teacher, calls, widths, noise=10.0, seed=5)
    noise = torch.Generator().manual_seed(5)
    wanted = [
        [out + 10 * torch.randn(out.shape, generator=noise).double() for out in told_by(teacher, call)]
        for call in calls
    ]
    weights = {name: weight.detach() for name, weight in teacher.named_parameters()}
    for width, score in list(zip(widths, scores, strict=True))[:: max(1, len(widths) // 4)]:
        scale = torch.ones(width.units, dtype=torch.float64, requires_grad=True)
        scaled = dict(weights)
        for use in width.uses:
            of_axis = torch.ones(weights[use.weight].shape[use.axis], dtype=torch.float64)
            for unit in range(width.units):
                places = use.places(torch.tensor([unit]))
                of_axis = of_axis.index_add(0, places, (scale[unit] - 1).expand(len(places)))
            shape = [-1 if axis == use.axis else 1 for axis in range(weights[use.weight].dim())]
            scaled[use.weight] = scaled[use.weight] * of_axis.view(shape)
        losses = [
            distance(torch.func.functional_call(teacher, scaled, call), told)
            for call, told in zip(calls, wanted, strict=True)
        ]
        (slope,) = torch.autograd.grad(torch.stack(losses).sum(), scale)
        torch.testing.assert_close(score.double(), slope.abs(), rtol=1e-4, atol=1e-5)
        assert float(score.max()) > 1e-4


def test_removing_half_and_77_percent_of_vit_b_gives_the_published_widths() -> None:
    with torch.device("meta"):
        trunk = build_backbone({"name": "sam-vit"}, 1024, "test")
        whole = nn.ModuleDict({"image_encoder": ImageEncoder(trunk, SingleScaleNeck(768))})
    part = part_of(whole, "image_encoder", "test")
    for name, share in (("slim-sam-50", 0.5), ("slim-sam-77", 0.77)):
        kept = [torch.arange(width.count(share)) for width in part.widths]
        published = read_config(name)[1]["backbone"]
        assert settings_of(part.widths, kept) == {
            "channels": published["channels"],
            "attention": published["channels"],
            "mlp": published["mlp"],
        }


def test_heads_keep_equally_many_of_the_best_channels() -> None:
    width = Width("bottleneck", "attention", 12, (), groups=3)
    scores = torch.tensor([4.0, 9.0, 1.0, 8.0, 1.0, 1.0, 2.0, 3.0, 5.0, 6.0, 7.0, 0.0])
    assert width.best(scores, width.count(0.5)).tolist() == [1, 3, 6, 7, 9, 10]
    assert width.count(0.99) == 3
    assert Width("bottleneck", "mlp", 120, (), multiple=4).count(0.9) == 12


def test_distillation_brings_a_slimmed_part_nearer_to_the_teacher() -> None:
    whole = seeded("plain-vit").float()
    part = part_of(whole, "image_encoder", "test")
    touched = [width for width in part.widths if width.kind == "bottleneck"]
    calls = [(call[0].float(),) for call in pictures(4)]
    kept = [width.best(score, width.count(0.5)) for width, score in zip(
        touched, importance(part.module, part.module, calls, touched), strict=True)]  # fmt: skip
    channels = [width for width in part.widths if width.kind == "embedding"]
    said = settings_of([*channels, *touched], [torch.arange(24), *kept])
    slim = Model({**PLAIN, **said}, FEED_FORWARD).float()
    slim.image_encoder.load_state_dict(cut(part.module.state_dict(), touched, kept))

    def apart() -> float:
        each = [distance(told_by(slim.image_encoder, call), told_by(part.module, call)) for call in calls]
        return float(torch.stack(each).mean())

    before = apart()
    align(slim.image_encoder, part.module, part.module, part.features["embedding"], calls, epochs=20)
    assert apart() < 0.95 * before
