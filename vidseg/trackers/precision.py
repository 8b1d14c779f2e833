"""The type that a model computes in: the one that was asked for or, for 'auto', the one that pays here.

bfloat16 halves the memory, and where products of it are fast most of the time of a frame; it rounds to eight
bits. 'auto' takes it only for models whose masks were compared with those in float32.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from vidseg.kept_figures import kept_figures
from vidseg.memory.linear import Linear, has_onednn_product
from vidseg.trackers.choices import DType

ENOUGH = 1.5
"""'auto' takes bfloat16 on a processor only where its products are so many times as fast as those of float32.
Measured: 0.5 on a Xeon without AMX, 2.3 to 4.4 on processors that multiply it in hardware."""
AMPERE = (8, 0)
"""The first compute capability of NVIDIA's GPUs whose matrix units take bfloat16."""
ROWS, WIDTH, HIDDEN = 1024, 384, 1536
"""The product that is measured: a quarter of a feed-forward layer of Hiera tiny's third stage at 1024 px."""
REPEATS = 5
"""How often each is measured, after a run that warms up."""


@dataclass(frozen=True)
class Precision:
    """The type that a model computes in, and why."""

    dtype: torch.dtype
    reason: str

    @property
    def name(self) -> str:
        return str(self.dtype).removeprefix("torch.")


def choose_precision(asked: DType, device: torch.device, *, bfloat16_is_proven: bool) -> Precision:
    """The type for a model.

    Args:
        bfloat16_is_proven: whether the model's masks were found the same in bfloat16.
    """
    if asked != "auto":
        return Precision(getattr(torch, asked), "asked for")
    if not bfloat16_is_proven:
        return Precision(torch.float32, "bfloat16 is not proven for this model")
    if device.type == "cuda":
        return _on_gpu(device)
    if device.type == "cpu":
        return _on_cpu()
    return Precision(torch.float32, f"bfloat16 is not measured on {device.type}")


def _on_gpu(device: torch.device) -> Precision:
    name = torch.cuda.get_device_name(device)
    if torch.cuda.get_device_capability(device) >= AMPERE:
        return Precision(torch.bfloat16, f"the {name} multiplies bfloat16")
    return Precision(torch.float32, f"the {name} does not multiply bfloat16")


def _on_cpu() -> Precision:
    if not has_onednn_product(torch.bfloat16):
        return Precision(torch.float32, "this processor does not multiply bfloat16")
    times = product_ms()
    ratio = times["float32"] / times["bfloat16"]
    told = f"products of bfloat16 are {ratio:.1f} times as fast as those of float32 on this processor"
    return Precision(torch.bfloat16 if ratio >= ENOUGH else torch.float32, told)


def product_ms() -> dict[str, float]:
    """Milliseconds of a product as the encoder has them, in 'float32' and in 'bfloat16', on this processor.

    Measured once for each processor, version of PyTorch and number of threads, which takes some 0.1 s.
    """
    depends_on = {
        "processor": processor(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "product": [ROWS, WIDTH, HIDDEN],
    }
    return kept_figures("products", depends_on, _measure_products)


@torch.inference_mode()
def _measure_products() -> Mapping[str, float]:
    types = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    layers = {name: Linear(WIDTH, HIDDEN).to(dtype) for name, dtype in types.items()}
    inputs = {name: torch.full((ROWS, WIDTH), 0.5, dtype=dtype) for name, dtype in types.items()}
    times: dict[str, list[float]] = {name: [] for name in types}
    for _ in range(REPEATS + 1):  # in turns, so that other load falls on both
        for name in types:
            began = time.perf_counter()
            layers[name](inputs[name])
            times[name].append(1000 * (time.perf_counter() - began))
    return {name: statistics.median(ms[1:]) for name, ms in times.items()}  # the first one warms up


def processor() -> list[str]:
    """The processor's name and what it can do; on virtual machines names alone say little."""
    wanted = ("model name", "flags", "Features")
    facts: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in wanted:
                facts.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    return [facts[key] for key in wanted if key in facts] or [platform.processor() or platform.machine()]
