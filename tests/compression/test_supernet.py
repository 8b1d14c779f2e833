"""The elastic supernet: slices are exact, subnets fit their budget, and the found one is a model like any."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from PIL import Image
from torch import Tensor

import vidseg
from vidseg import cli
from vidseg.compression.calls import Call, outputs_of, told_by
from vidseg.compression.supernet.choices import Choices
from vidseg.compression.supernet.reorder import apart, layer_scores, reorder, unit_scores
from vidseg.compression.supernet.sandwich import train
from vidseg.compression.supernet.search import search
from vidseg.compression.supernet.subnet import Elastic, Subnet, settings_of, slice_of
from vidseg.compression.supernet.times import measure
from vidseg.errors import ConfigError
from vidseg.trackers.backbones.single_scale_neck import SingleScaleNeck
from vidseg.trackers.image_encoder import ImageEncoder
from vidseg.trackers.parts import build_backbone

SAM = {"name": "sam-vit", "channels": 8, "heads": 2, "depth": 3, "global_blocks": [1], "mlp": 16, "grid": 4}
PLAIN = {"name": "plain-vit", "variant": "tiny", "depth": 3, "channels": 12, "mlp": 16, "global_blocks": [1]}
BACKBONES = {"sam-vit": {**SAM, "window": 3}, "plain-vit": PLAIN}


def supernet(backbone: str = "sam-vit") -> Elastic:
    trunk = build_backbone(BACKBONES[backbone], 64, "test")
    encoder = ImageEncoder(trunk, SingleScaleNeck(trunk.channels[0])).double().eval()
    generator = torch.Generator().manual_seed(0)
    for weight in encoder.parameters():
        weight.data = 0.3 * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    return Elastic(encoder, BACKBONES[backbone], 64)


def pictures(count: int) -> list[Call]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(1, 3, 64, 64, generator=generator, dtype=torch.float64),) for _ in range(count)]


def test_units_come_in_the_order_of_the_definition_and_the_output_stays() -> None:
    encoder, calls = supernet(), pictures(2)
    before = told_by(encoder, calls[0])
    hidden: list[list[Tensor]] = [[] for _ in range(3)]
    for number, block in enumerate(encoder.trunk.blocks):
        first = block.get_submodule("mlp.layers.0")
        first.register_forward_pre_hook(
            lambda module, given, number=number: hidden[number].append(
                F.gelu(given[0] @ module.weight.T + module.bias).flatten(0, -2)
            )
        )
    scores = unit_scores(encoder, calls)
    for number, of_block in enumerate(scores):
        outgoing = encoder.trunk.blocks[number].get_parameter("mlp.layers.1.weight")
        tokens = torch.cat(hidden[number][:2])
        for unit in range(16):
            norm = sum(value**2 for value in tokens[:, unit].tolist()) ** 0.5
            assert float(of_block[unit]) == pytest.approx(sum(map(abs, outgoing[:, unit].tolist())) * norm)
    reorder(encoder.trunk, scores)
    torch.testing.assert_close(told_by(encoder, calls[0])[0], before[0], rtol=1e-9, atol=1e-9)
    for of_block in unit_scores(encoder, calls):
        assert (of_block[:-1] >= of_block[1:] - 1e-9).all()


@pytest.mark.parametrize("subnet", [(16, 5, 9), (0, 16, 3), (7, 0, 0)])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_prefix_slice_equals_the_model_unit_by_unit(backbone: str, subnet: Subnet) -> None:
    """The reference adds up single hidden units, and skips blocks by leaving their input as it is."""
    encoder = supernet(backbone)
    (call,) = pictures(1)
    encoder.subnet = subnet
    got = told_by(encoder, call)[0]
    trunk = encoder.trunk

    def unit_by_unit(block: torch.nn.Module, units: int, x: Tensor) -> Tensor:
        layers = block.get_submodule("mlp.layers")
        first, bias = layers.get_parameter("0.weight"), layers.get_parameter("0.bias")
        last, out = layers.get_parameter("1.weight"), layers.get_parameter("1.bias").expand_as(x)
        for unit in range(units):
            out = out + F.gelu(x @ first[unit] + bias[unit])[..., None] * last[:, unit]
        return out

    for block, units in zip(trunk.blocks, subnet, strict=True):
        if units:
            mlp = block.get_submodule("mlp")
            mlp.forward = lambda x, block=block, units=units: unit_by_unit(block, units, x)  # type: ignore[method-assign]
        else:
            block.forward = lambda x: x  # type: ignore[method-assign]
    want = encoder.neck(trunk(*call))[0]
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_a_subnet_built_by_its_settings_equals_the_slice_to_the_bit() -> None:
    encoder = supernet()
    encoder.subnet = (4, 0, 12)
    settings = settings_of(encoder.trunk, encoder.subnet)
    assert settings == {"depth": 2, "global_blocks": [], "mlp": [4, 12]}
    trunk = build_backbone({**BACKBONES["sam-vit"], **settings}, 64, "test").double().eval()
    trunk.load_state_dict(slice_of(encoder.trunk.state_dict(), encoder.subnet))
    (call,) = pictures(1)
    with torch.no_grad():
        assert torch.equal(encoder.neck(trunk(*call))[0], outputs_of(encoder, call)[0])


def test_gradients_of_a_slice_reach_its_units_alone() -> None:
    encoder = supernet()
    encoder.subnet = (4, 0, 16)
    outputs_of(encoder, pictures(1)[0])[0].square().mean().backward()
    first, left_out = (encoder.trunk.blocks[number].get_parameter("mlp.layers.0.weight") for number in (0, 1))
    assert first.grad is not None
    assert first.grad[:4].abs().sum() > 0
    assert not first.grad[4:].any()
    assert left_out.grad is None


def test_sandwich_training_brings_the_smallest_subnet_nearer() -> None:
    encoder, teacher, calls = supernet(), supernet(), pictures(3)
    wanted = [told_by(teacher, call) for call in calls]
    choices = Choices.of(encoder.subnet, layer_scores(encoder, calls, wanted))

    def distance() -> float:
        encoder.subnet = choices.smallest
        return apart(encoder, calls, wanted)

    before = distance()
    encoder.subnet = choices.largest
    assert apart(encoder, calls, wanted) < 1e-9
    train(encoder, teacher, choices, calls, epochs=12)
    assert encoder.subnet == choices.largest
    assert distance() < before


def test_choices_are_what_they_say() -> None:
    choices = Choices.of((16, 16, 16, 16, 16, 16), [0.5, 0.1, 0.9, 0.2, 0.6, 0.7])
    assert choices.of_blocks[1] == choices.of_blocks[3] == (0, 4, 8, 12, 16)
    assert choices.of_blocks[0] == (4, 8, 12, 16)
    assert (choices.largest, choices.smallest) == ((16,) * 6, (4, 0, 4, 0, 4, 4))
    rng = random.Random(0)
    drawn = [choices.draw(rng) for _ in range(200)]
    for subnet in (*drawn, *(choices.mutated(each, rng) for each in drawn)):
        assert all(units in allowed for units, allowed in zip(subnet, choices.of_blocks, strict=True))
    # The less important block is left out more often.
    assert sum(each[1] == 0 for each in drawn) > sum(each[3] == 0 for each in drawn) > 0
    subnet = choices.largest
    for _ in range(100):
        subnet = choices.smaller(subnet, rng)
    assert subnet == choices.smallest


def test_the_search_finds_the_best_within_the_budget() -> None:
    """The cost of a unit is 1 everywhere, its worth differs between blocks: the best subnet is known."""
    choices = Choices.of((4, 4, 4), [1.0, 0.1, 1.0])
    worth = (3.0, 1.0, 2.0)

    def apart_of(subnet: Subnet) -> float:
        return 100 - sum(units * each for units, each in zip(subnet, worth, strict=True))

    found = search(choices, apart_of, lambda subnet: float(sum(subnet)), 7.0)
    assert found.subnet == (4, 0, 3)
    assert (found.ms, found.apart) == (7.0, 82.0)
    with pytest.raises(ConfigError, match=r"smallest subnet takes 2\.0 ms"):
        search(choices, apart_of, lambda subnet: float(sum(subnet)), 1.0)


def test_times_add_up_over_blocks() -> None:
    encoder = supernet()
    choices = Choices.of(encoder.subnet, [1.0, 0.1, 1.0])
    times = measure(encoder, choices, pictures(1)[0])
    assert [set(each) for each in times.of_blocks] == [{4, 8, 12, 16}] * 3
    assert encoder.subnet == choices.largest
    one = times.of((4, 0, 8))
    assert one == pytest.approx(times.rest + times.of_blocks[0][4] + times.of_blocks[2][8])
    assert min(min(each.values()) for each in times.of_blocks) > 0


@pytest.fixture
def call(tmp_path: Path) -> list[str]:
    """A call but for the budget, with a tiny model."""
    generator = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for number in range(2):
        pixels = generator.integers(0, 256, (48, 64, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"pictures/{number}.png")
    config = {"kind": "image", "family": "sam", "image_size": 64, "backbone": SAM}
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    call = ["compress", str(tmp_path / "model.yaml"), "--calibrate", str(tmp_path / "pictures")]
    return [
        *call,
        "--out",
        str(tmp_path / "out"),
        "--allow-random-weights",
        "--epochs",
        "1",
        "--device",
        "cpu",
    ]


def test_the_found_subnet_loads_like_any_other(
    call: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*call, "--within-ms", "1e6", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    document = yaml.safe_load((tmp_path / "out/tracker.yaml").read_text(encoding="utf-8"))
    subnet = report["found"]["subnet"]
    assert document["backbone"]["mlp"] == [units for units in subnet if units]
    assert document["backbone"]["depth"] == len(document["backbone"]["mlp"])
    segmenter = vidseg.load_image(tmp_path / "out/tracker.yaml", device="cpu")
    assert segmenter.embed(np.zeros((48, 64, 3), np.uint8)).segment(box=(8, 8, 40, 40))[0].mask.shape == (
        48,
        64,
    )
    kept = json.loads((tmp_path / "out/supernet.json").read_text(encoding="utf-8"))
    assert kept["found"] == report["found"]


@pytest.mark.parametrize(
    ("budget", "message"),
    [("1e-6", "the smallest subnet takes"), ("0", "above 0"), ("nan", "above 0"), ("inf", "above 0")],
)
def test_a_budget_out_of_reach_is_refused(
    budget: str, message: str, call: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*call, "--within-ms", budget]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_encoders_without_blocks_to_leave_out_are_refused(
    call: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hiera = {"name": "hiera", "embed_dim": 8, "heads": 1, "stages": [1, 1, 1, 1], "global_blocks": [2]}
    config = {"kind": "engine", "image_size": 64, "backbone": hiera}
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert cli.main([*call, "--within-ms", "1e6"]) == 2
    assert "plain vision transformer" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
