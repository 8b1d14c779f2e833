"""Named image models in small, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from vidseg.errors import ConfigError
from vidseg.trackers.configs import read_config, tracker_names
from vidseg.trackers.image.build import build_image_model
from vidseg.trackers.image_settings import ImageSettings
from vidseg.trackers.model import module_of
from vidseg.trackers.weights.renames import renames_of
from vidseg.validation import parse

TINY = {
    "kind": "image",
    "family": "sam",
    "image_size": 64,
    "backbone": {
        "name": "sam-vit",
        "channels": 32,
        "heads": 2,
        "depth": 2,
        "global_blocks": [1],
        "mlp": 64,
        "window": 2,
        "grid": 4,
    },
}
"""A transformer of SAM's, narrower than any that is published."""
IMAGE_MODELS = [name for name in tracker_names() if read_config(name)[1]["kind"] == "image"]


def in_small(name: str) -> dict[str, Any]:
    """The configuration of a named model for pictures of 32 pixels.

    Transformers of SAM's and EfficientSAM's keep their widths and have two blocks (of SAM's, one a sort),
    as all of ViT-H take minutes.
    """
    config = read_config(name)[1]
    if config.get("model") != {"name": "pico-sam2"}:  # which looks at 96 pixels anyway
        config["image_size"] = 32
    if config.get("backbone", {}).get("name") == "sam-vit":
        config["backbone"] |= {"depth": 2, "global_blocks": [1], "window": 2}
    if config.get("backbone", {}).get("name") == "plain-vit":
        config["backbone"]["depth"] = 2
    return config


def written_small(name: str, folder: Path) -> tuple[Path, Path]:
    """A YAML of the small model, and a checkpoint of random weights under official names."""
    return written(in_small(name), folder)


def write_pictures(folder: Path, count: int) -> Path:
    """A new folder with pictures of noise, 64 x 48 pixels, to calibrate with."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(count):
        pixels = generator.integers(0, 256, (48, 64, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def compress_call(path: Path, weights: Path, pictures: Path, *more: str) -> list[str]:
    """The words of `vidseg compress` for a model in files, calibrated by pictures."""
    return ["compress", str(path), "--weights", str(weights), "--calibrate", str(pictures), *more]


def written(config: dict[str, Any], folder: Path) -> tuple[Path, Path]:
    """A YAML of an image model, and a checkpoint of random weights under official names."""
    path, weights = folder / "small.yaml", folder / "weights.pt"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    rest = {key: value for key, value in config.items() if key != "kind"}
    settings = parse(ImageSettings, rest, where="small", error=ConfigError)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model, _ = build_image_model(settings, "small")
    torch.save(renames_of(settings.family).to_public(module_of(model).state_dict()), weights)
    return path, weights
