"""Builds PicoSAM2 from a YAML."""

from __future__ import annotations

from vidseg.errors import ConfigError
from vidseg.trackers.image_settings import GivenImage
from vidseg.trackers.pico_sam2.image_model import PicoImageModel
from vidseg.trackers.pico_sam2.network import STRIDE
from vidseg.validation import Strict


class PicoSettings(Strict):
    """Settings of `model: {name: pico-sam2}` in a YAML: there are none."""


def build_pico_sam2(settings: PicoSettings, given: GivenImage) -> PicoImageModel:
    """The model, with weights not yet loaded.

    Raises:
        ConfigError: squares of that size cannot be halved four times, or a backbone is named.
    """
    if given.own_backbone is not None:
        raise ConfigError("pico-sam2 is a network of its own and takes no backbone", where=given.where)
    if given.image_size % STRIDE:
        raise ConfigError(
            f"squares of {given.image_size} pixels cannot be halved four times",
            where=given.where,
            hint=f"image_size: {given.image_size // STRIDE * STRIDE or STRIDE}",
        )
    return PicoImageModel(given.image_size)
