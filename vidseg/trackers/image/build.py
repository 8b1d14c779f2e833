"""Image models and framings by name, and what builds an image segmenter from a YAML of `kind: image`.

A plug-in adds rows:

    register_image_model("mine", ImageModelRow(MySettings, build_mine))
    register_framing("mine", Part(MyFraming))  # a dataclass that fulfils `Framing`, with a field `size`

and a YAML may then say `model: {name: mine, ...}` and `framing: {name: mine, ...}`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from vidseg.errors import ConfigError
from vidseg.registry import Registry
from vidseg.trackers.device import pick_device
from vidseg.trackers.encoder_products import check_encoder_products, use_encoder_products
from vidseg.trackers.image.framing import Framing, LongSide, Stretch
from vidseg.trackers.image.nano_framing import NanoFraming
from vidseg.trackers.image.segmenter import ImageSegmenter
from vidseg.trackers.image_settings import GivenImage, ImageSettings
from vidseg.trackers.load_weights import load_weights
from vidseg.trackers.low_bits.saved import install, require_float32
from vidseg.trackers.model import ImageModel, module_of
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.parts import Part, build_backbone, build_part
from vidseg.trackers.pico_sam2.build import PicoSettings, build_pico_sam2
from vidseg.trackers.pico_sam2.framing import WholePicture
from vidseg.trackers.precision import choose_precision
from vidseg.trackers.sam.build import SamSettings, build_sam
from vidseg.trackers.sam.efficient_sam import build_efficient_sam
from vidseg.trackers.weights.renames import renames_of
from vidseg.validation import Strict, parse


@dataclass(frozen=True)
class ImageModelRow:
    """One row of the table of image models."""

    settings: type[Strict]
    """What `model:` in a YAML may say besides its name."""
    build: Callable[[Any, GivenImage], ImageModel]
    """Builds the model, a torch module, from its settings and from what it is built around."""


IMAGE_MODELS: Registry[ImageModelRow] = Registry(
    "image model",
    {
        "efficient-sam": ImageModelRow(Strict, build_efficient_sam),
        "pico-sam2": ImageModelRow(PicoSettings, build_pico_sam2),
        "sam": ImageModelRow(SamSettings, build_sam),
    },
)
FRAMINGS: Registry[Part] = Registry(
    "framing",
    {
        "long-side": Part(LongSide),
        "nano-sam": Part(NanoFraming),
        "pico-sam2": Part(WholePicture),
        "stretch": Part(Stretch),
    },
)


def register_image_model(name: str, row: ImageModelRow) -> None:
    """Make `model: {name: NAME, ...}` in a YAML of `kind: image` build `row`.

    Raises:
        ConfigError: the name is taken. `register_framing` raises it, too.
    """
    IMAGE_MODELS.register(name, row)


def register_framing(name: str, part: Part) -> None:
    """The same for `framing:`; `part` builds a `Framing`. Its `size` is the YAML's `image_size`."""
    FRAMINGS.register(name, part)


def build_image_model(settings: ImageSettings, where: str) -> tuple[ImageModel, Framing]:
    """The model and its framing, with weights not yet loaded.

    Raises:
        ConfigError: a part is unknown or does not fit the others.
    """
    row = IMAGE_MODELS.lookup(settings.model.get("name"), where=f"{where}, field 'model.name'")
    rest = {key: value for key, value in settings.model.items() if key != "name"}
    own = parse(row.settings, rest, where=f"{where}, in 'model'", error=ConfigError)
    framing = build_framing(settings, where)
    backbone = None
    if settings.backbone is not None:
        backbone = build_backbone(settings.backbone, settings.image_size, where)
    model = row.build(own, GivenImage(settings.image_size, backbone, where))
    module_of(model).eval()
    return model, framing


def build_framing(settings: ImageSettings, where: str) -> Framing:
    """The framing of a YAML.

    Raises:
        ConfigError: it is unknown, or has no such settings.
    """
    framing: Framing = build_part(
        FRAMINGS, "framing", {"size": settings.image_size, **settings.framing}, where
    )
    return framing


def public_shapes(settings: ImageSettings, where: str) -> dict[str, tuple[int, ...]]:
    """Official name -> shape of every weight in a checkpoint for these settings; nothing is allocated."""
    with torch.device("meta"):
        model, _ = build_image_model(settings, where)
    state = renames_of(settings.family).to_public(module_of(model).state_dict())
    return {key: tuple(value.shape) for key, value in state.items()}


@dataclass(frozen=True)
class BuiltImage:
    """An image segmenter, and what it was built from."""

    segmenter: ImageSegmenter
    settings: ImageSettings


def build_image(name: str, config: Mapping[str, Any], asked: TrackerOptions) -> BuiltImage:
    """The segmenter of a YAML of `kind: image`, with weights, in its fastest form.

    Args:
        config: the YAML without `kind` and `options`.

    Raises:
        ConfigError: the configuration is wrong, or the device is missing.
        CheckpointError: weights are missing or do not fit.
    """
    where = f"model '{name}'"
    settings = parse(ImageSettings, dict(config), where=where, error=ConfigError)
    if asked.image_size is not None:
        changed = {**dict(config), "image_size": asked.image_size}
        settings = parse(ImageSettings, changed, where=f"{where}, --image-size", error=ConfigError)
    device = pick_device(asked.device)
    check_encoder_products(asked.encoder_products, device, where)
    model, framing = build_image_model(settings, where)
    module = module_of(model)
    digest = load_weights(module, name, asked, settings.weights, renames_of(settings.family))
    model.fuse()
    precision = choose_precision(asked.dtype, device, bfloat16_is_proven=False)
    if settings.low_bits is not None:
        require_float32(precision.dtype, where)
        install(module, settings.low_bits, settings.weights, digest, where)
    module.to(device=device, dtype=precision.dtype)
    if asked.encoder_products:
        use_encoder_products(module, asked.encoder_products, precision.dtype, where)
    if asked.compile:
        model.compile_parts()
    segmenter = ImageSegmenter(name, model, framing, weights_sha256=digest, dtype_reason=precision.reason)
    return BuiltImage(segmenter, settings)
