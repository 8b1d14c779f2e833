"""How memory is read on a GPU is measured, checked and kept; here with made timers and kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidseg.memory import gpu_kernels, read_choice
from vidseg.memory.attention import MemoryCrossAttention, RotaryCrossAttention
from vidseg.memory.cpu_kernels import without_cpu_kernels
from vidseg.memory.perceiver import LatentCrossAttention
from vidseg.memory.pooled_attention import PooledCrossAttention
from vidseg.memory.read_choice import fastest, read_ms

CHANNELS, IMAGE_SIZE = 32, 64


@pytest.fixture(autouse=True)
def _as_on_a_gpu() -> Iterator[None]:
    with without_cpu_kernels():
        yield


@pytest.fixture(params=[RotaryCrossAttention, PooledCrossAttention, LatentCrossAttention])
def attention(request: pytest.FixtureRequest) -> MemoryCrossAttention:
    torch.manual_seed(0)
    made: MemoryCrossAttention = request.param(CHANNELS, 64)
    return made


def timer(*ms: float) -> Callable[[Callable[[], Tensor]], float]:
    """Says how long each call took that it is asked about, in turn."""
    coming = iter(ms)

    def time_ms(run: Callable[[], Tensor]) -> float:
        run()
        return next(coming)

    return time_ms


def test_what_does_not_run_here_is_left_out(attention: MemoryCrossAttention) -> None:
    """Kernels for GPUs do not run on a CPU; those that fall back to PyTorch's own choice do."""
    times = read_ms(attention, IMAGE_SIZE, timer(3.0, 2.0, 2.0, 2.0))
    assert times["any"] == 3.0
    if not isinstance(attention, PooledCrossAttention):  # it asks for no kernel by name
        assert not {"flash", "efficient"} & times.keys()
    assert attention.read_by == "any"


def test_a_kernel_that_gives_the_same_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    attention = RotaryCrossAttention(CHANNELS, 64)
    monkeypatch.setitem(gpu_kernels.FUSED, "flash", lambda q, k, v: F.scaled_dot_product_attention(q, k, v))
    times = read_ms(attention, IMAGE_SIZE, timer(3.0, 2.0, 4.0))
    assert times == {"any": 3.0, "flash": 2.0, "narrow": 4.0}
    assert fastest(times) == "flash"


def test_a_kernel_that_gives_other_results_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    attention = RotaryCrossAttention(CHANNELS, 64)
    monkeypatch.setitem(gpu_kernels.FUSED, "flash", lambda q, k, v: torch.zeros_like(q))
    monkeypatch.setitem(gpu_kernels.FUSED, "efficient", lambda q, k, v: q * torch.nan)
    assert read_ms(attention, IMAGE_SIZE, timer(3.0, 2.0)).keys() == {"any", "narrow"}


@pytest.mark.parametrize(
    ("times", "way"),
    [
        ({"any": 1.0}, "any"),
        ({"any": 1.0, "flash": 0.98}, "any"),  # it is not worth the change
        ({"any": 1.0, "flash": 0.9, "narrow": 0.8}, "narrow"),
        ({"any": 1.0, "efficient": 2.0}, "any"),
    ],
)
def test_the_fastest_is_taken_if_it_is_clearly_faster(times: dict[str, float], way: str) -> None:
    assert fastest(times) == way


def test_a_model_is_measured_once_and_all_its_layers_read_alike(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("VIDSEG_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    monkeypatch.setattr(read_choice, "has_triton", lambda: True)
    measured = []

    def measure(attention: Any, image_size: int, time_ms: Any) -> dict[str, float]:
        measured.append(image_size)
        return {"any": 2.0, "narrow": 1.0}

    monkeypatch.setattr(read_choice, "read_ms", measure)
    for size in (64, 64, 128):
        model = nn.ModuleList(RotaryCrossAttention(CHANNELS, 64) for _ in range(2))
        read_choice.choose_reads(model, size)
        assert [layer.read_by for layer in model] == ["narrow", "narrow"]  # type: ignore[union-attr]
    assert measured == [64, 128]
    read_choice.choose_reads(nn.Linear(1, 1), 64)  # a model without memory attention
    assert measured == [64, 128]
