"""The option `encoder_products`: refused without a GPU; a stand-in notes what is asked of torchao."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import vidseg
from vidseg.errors import ConfigError, MissingExtraError
from vidseg.trackers.encoder_products import check_encoder_products, two_of_four, use_encoder_products


@pytest.mark.parametrize("asked", ["int8", "sparse"])
def test_they_are_refused_where_there_is_no_gpu(asked: Any) -> None:
    for name in ("sam2.1-hiera-tiny", "mobile-sam"):
        with pytest.raises(ConfigError, match=f"'{asked}' on the device 'cpu'; they need an NVIDIA GPU"):
            vidseg.load(name, device="cpu", encoder_products=asked, allow_random_weights=True)
    with pytest.raises(ConfigError, match="encoder_products"):
        vidseg.load("flow", encoder_products=asked)


def test_a_missing_torchao_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(MissingExtraError, match="torchao"):
        check_encoder_products("int8", torch.device("cuda"), "tracker 'a'")
    check_encoder_products(None, torch.device("cpu"), "tracker 'a'")


def test_an_old_gpu_has_no_sparse_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao", ModuleType("torchao"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    check_encoder_products("int8", torch.device("cuda"), "tracker 'a'")
    with pytest.raises(ConfigError, match="no sparse tensor cores"):
        check_encoder_products("sparse", torch.device("cuda"), "tracker 'a'")


def test_two_of_every_four_weights_are_kept_and_they_are_the_largest() -> None:
    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))
    sparse = two_of_four(weight).unflatten(1, (-1, 4))
    assert ((sparse != 0).sum(dim=2) == 2).all()
    kept = sparse.abs().sum(dim=2)
    torch.testing.assert_close(kept, weight.unflatten(1, (-1, 4)).abs().topk(2, dim=2).values.sum(dim=2))
    equal = two_of_four(torch.ones(32, 64)).unflatten(1, (-1, 4))
    assert ((equal != 0).sum(dim=2) == 2).all()


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image_encoder = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Linear(64, 32), nn.Linear(60, 32))
        self.mask_decoder = nn.Linear(64, 32)


@pytest.fixture
def asked_of_torchao(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """Stands in for torchao; notes for each of its functions which layers were to be changed."""
    changed: dict[str, list[Any]] = {}

    def function(name: str) -> Any:
        def change(module: nn.Module, config: Any, filter_fn: Any) -> None:
            changed[name] = [
                type(config).__name__,
                *(part for each, part in module.named_modules() if filter_fn(part, each)),
            ]

        return change

    for package, call, config in (
        ("quantization", "quantize_", "Int8DynamicActivationInt8WeightConfig"),
        ("sparsity", "sparsify_", "semi_sparse_weight"),
    ):
        module = ModuleType(f"torchao.{package}")
        setattr(module, call, function(call))
        setattr(module, config, type(config, (), {}))
        monkeypatch.setitem(sys.modules, f"torchao.{package}", module)
    monkeypatch.setitem(sys.modules, "torchao", ModuleType("torchao"))
    return changed


def test_linear_layers_of_the_encoder_alone_are_changed(asked_of_torchao: dict[str, list[Any]]) -> None:
    model = _Model()
    _, fits, narrow = model.image_encoder
    dense = model.mask_decoder.weight.clone()
    use_encoder_products(model, "int8", torch.float32, "model 'a'")
    assert asked_of_torchao["quantize_"] == ["Int8DynamicActivationInt8WeightConfig", fits, narrow]
    with pytest.raises(ConfigError, match="need 16 bits"):
        use_encoder_products(model, "sparse", torch.float32, "model 'a'")
    use_encoder_products(model.bfloat16(), "sparse", torch.bfloat16, "model 'a'")
    assert asked_of_torchao["sparsify_"] == ["semi_sparse_weight", fits]
    assert isinstance(fits.weight, torch.Tensor)
    assert float((fits.weight == 0).float().mean()) == 0.5
    assert torch.equal(model.mask_decoder.weight, dense.bfloat16())
    with pytest.raises(ConfigError, match="no image encoder"):
        use_encoder_products(nn.Linear(4, 4), "int8", torch.float32, "model 'a'")
