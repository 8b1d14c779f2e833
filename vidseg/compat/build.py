"""The official builders: from the name of a configuration and a checkpoint to a predictor."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeVar

from vidseg.compat.loading import build, of_published
from vidseg.compat.model import SAM2Base
from vidseg.compat.video_predictor import SAM2VideoPredictor

Model = TypeVar("Model", bound=SAM2Base)


def build_sam2(
    config_file: str,
    ckpt_path: str | os.PathLike[str] | None = None,
    device: Any = "auto",
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    **options: Any,
) -> SAM2Base:
    """A model for `SAM2ImagePredictor`.

    Args:
        config_file: an official configuration ('configs/sam2.1/sam2.1_hiera_l.yaml', 'sam2_hiera_t',
            'edgetam'), a tracker's name, or the YAML of a tracker.
        ckpt_path: a file of weights; None for those of the cache (`vidseg weights get`).
        device: 'auto' takes CUDA, then MPS, then the CPU; or a device of torch.
        hydra_overrides_extra: '++model.NAME=VALUE' for the options that `SAM2Base` lists.
        **options: of `vidseg.load`.

    Raises:
        CallError: an option that is not known or cannot be had.
        ConfigError, CheckpointError: see `vidseg.load`.
    """
    return build(
        SAM2Base, config_file, ckpt_path, device, mode, hydra_overrides_extra, apply_postprocessing, options
    )


build_sam2_video_predictor = SAM2VideoPredictor.built


def build_sam2_hf(model_id: str, **options: Any) -> SAM2Base:
    """`build_sam2` by the name of a published model, 'facebook/sam2.1-hiera-large', or a folder that has it.

    Raises:
        CheckpointError: its weights are not on this machine; the hint says how to get them.
    """
    return of_published(build_sam2, model_id, options)


def build_sam2_video_predictor_hf(model_id: str, **options: Any) -> SAM2VideoPredictor:
    """`build_sam2_video_predictor` by the name of a published model; see `build_sam2_hf`."""
    return of_published(build_sam2_video_predictor, model_id, options)
