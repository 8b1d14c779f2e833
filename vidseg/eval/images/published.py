"""Figures of the survey of SAM's efficient variants, beside which measured ones are put.

Source: Sun et al., "On Efficient Variants of Segment Anything Model", arXiv:2410.04960, tables 2 to 8: times
on an RTX 3090, mIoU and AP on COCO val 2017, AP with the boxes of ViTDet. Only figures that we could read are
here; a name that is missing has none.
"""

from __future__ import annotations

PUBLISHED: dict[str, dict[str, float]] = {
    "sam-vit-h": {"gpu_ms": 472, "everything_ms": 2269, "mIoU box": 0.774, "AP": 0.465},
    "sam2-hiera-base-plus": {"gpu_ms": 46, "mIoU box": 0.757},
    "repvit-sam": {"gpu_ms": 59, "mIoU box": 0.751, "AP": 0.433},
    "edge-sam": {"gflops": 44.0, "cpu_ms": 259, "mIoU box": 0.759},
    "mobile-sam": {"gpu_ms": 44, "cpu_ms": 424, "mIoU box": 0.734, "AP": 0.387},
    "tiny-sam": {"everything_ms": 776, "AP": 0.423},
    "efficientvit-sam-l0": {"gpu_ms": 16, "cpu_ms": 194, "mIoU box": 0.785},
    "efficientvit-sam-xl1": {"mIoU box": 0.799},
    "efficient-sam-ti": {"gpu_ms": 61, "images_per_second": 20.0, "mIoU box": 0.726, "AP": 0.423},
    "efficient-sam-s": {"gpu_ms": 86, "mIoU box": 0.691},
    "nano-sam": {"gpu_ms": 20, "images_per_second": 27.9, "mIoU box": 0.697},
    "slim-sam-50": {"gpu_ms": 87, "parameters_m": 28.0, "mIoU box": 0.755, "AP": 0.428},
    "slim-sam-77": {"gpu_ms": 73, "mIoU box": 0.744, "AP": 0.413},
}
"""Name of a tracker -> figure -> value; mIoU and AP from 0 to 1."""


def published_of(name: str) -> dict[str, float]:
    """The survey's figures of a model; empty if there are none."""
    return PUBLISHED.get(name, {})
