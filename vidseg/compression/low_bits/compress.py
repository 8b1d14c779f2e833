"""Quantises an image model to few bits: from a model and pictures to a folder that loads like any other.

OUT/tracker.yaml          the model's YAML, with its `low_bits:`
OUT/weights.safetensors   its weights under official names, in float32; signs of keys may be folded
OUT/scales.safetensors    how each operand is rounded
OUT/report.json           what few bits cost on the pictures
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from vidseg.compression.calibration import read_pictures
from vidseg.compression.low_bits.calibrator import Calibrator
from vidseg.compression.low_bits.pictures import Prompted, answers, importance
from vidseg.compression.low_bits.recording import Seen, recorded
from vidseg.compression.low_bits.table import CALIBRATORS
from vidseg.compression.source import WEIGHTS, YAML, Source, check_free
from vidseg.errors import ConfigError
from vidseg.eval.metrics import region_j
from vidseg.pipeline.atomic import replacing, write_json
from vidseg.trackers.image.build import build_framing
from vidseg.trackers.image.framing import Framing
from vidseg.trackers.image.load import load_image
from vidseg.trackers.image.segmenter import ImageSegmenter
from vidseg.trackers.image_settings import ImageSettings
from vidseg.trackers.low_bits.folding import fold_signs, query_and_key_rows
from vidseg.trackers.low_bits.places import Operands, Places, places_of
from vidseg.trackers.low_bits.saved import scales_of
from vidseg.trackers.low_bits.settings import Bits
from vidseg.trackers.model import ImageModel
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.weights import state_sha256
from vidseg.trackers.weights.renames import renames_of
from vidseg.training.training_state import write_tensors

if TYPE_CHECKING:
    from vidseg.trackers.contract import Box

SCALES = "scales.safetensors"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What few bits cost on the pictures that they were calibrated with."""

    bits: str
    calibrator: str
    layers: int
    """How many layers have rounded operands."""
    attentions: int
    """How many attentions have rounded operands."""
    folded: int
    """The number of attentions whose keys had signs folded."""
    cosine: float
    """The lowest cosine of a picture's features with those in float32."""
    mask_iou: float
    """Mean IoU of the best masks with those in float32, over pictures and prompts."""
    pictures: int


@dataclass(frozen=True)
class _Built:
    """The model in the form that it computes in, and what it came from."""

    source: Source
    model: ImageModel
    framing: Framing
    state: dict[str, Tensor]
    """The weights of the model before it was fused, under our names."""

    @property
    def module(self) -> nn.Module:
        return self.source.model


def compress_low_bits(
    asked: TrackerOptions,
    source: Path,
    out: Path,
    *,
    bits: str,
    calibrator: str = "ptq4sam",
    parts: Sequence[str] = ("image_encoder",),
    box: Box | None = None,
    frames: int = 16,
) -> Report:
    """Write an image model whose products are computed from few bits.

    Args:
        asked: which image model; it is calibrated on the CPU.
        source: a video or a folder of pictures like those to come.
        out: the folder of the results, which must not exist or be empty.
        bits: such as 'W6A6': of weights, and of all else that is multiplied.
        calibrator: a name in `CALIBRATORS`.
        parts: some of `PARTS`.
        box: an object of the pictures, in pixels; None: their middle.
        frames: how many pictures are seen.

    Raises:
        SourceError, DecodeError: the pictures cannot be read.
        ConfigError: the model or a part of it cannot be quantised so, or there is no such calibrator.
        CheckpointError: weights are missing.
        InputError: `bits` or `frames` are none.
        OutputError: `out` holds something.
    """
    chooser = CALIBRATORS.lookup(calibrator, where="--calibrator")(Bits.parse(bits))
    check_free(out)
    built = _build(asked)
    places = places_of(built.module, parts, built.source.where)
    pictures = [Prompted.of(image, box) for image in read_pictures(source, frames)]
    wanted = _seen_by(ImageSegmenter("float32", built.model, built.framing), pictures)
    chosen, changed = _chosen(chooser, built, places, pictures)
    said = {"bits": bits.upper(), "calibrator": calibrator, "parts": list(parts), "scales": SCALES}
    with replacing(out) as folder:
        folder.mkdir()
        _write(folder, built, said, chosen)
        got = _seen_by(load_image(folder / YAML, device="cpu"), pictures)
        report = Report(
            bits=bits.upper(),
            calibrator=calibrator,
            layers=len(places.layers),
            attentions=len(places.attentions),
            folded=changed,
            cosine=min(_cosine(a[0], b[0]) for a, b in zip(got, wanted, strict=True)),
            mask_iou=float(np.mean([_mean_j(a[1], b[1]) for a, b in zip(got, wanted, strict=True)])),
            pictures=len(pictures),
        )
        write_json(folder / "report.json", asdict(report))
    return report


def _build(asked: TrackerOptions) -> _Built:
    source = Source.of(asked.model_copy(update={"device": "cpu"}))
    settings = source.settings
    if not isinstance(settings, ImageSettings):
        raise ConfigError(
            "few bits are for image models",
            where=source.where,
            hint="mobile-sam, tiny-sam, sam-vit-b, ...; or --int8",
        )
    state = {key: value.clone() for key, value in source.model.state_dict().items()}
    model = cast(ImageModel, source.model)
    model.fuse()
    source.model.requires_grad_(False)
    return _Built(source, model, build_framing(settings, source.where), state)


def _chosen(
    chooser: Calibrator, built: _Built, places: Places, pictures: Sequence[Prompted]
) -> tuple[dict[str, Operands], int]:
    """How operands are rounded in each place, and in how many places signs were folded, in the state, too."""

    def run(picture: Prompted) -> Tensor:
        found = list(answers(built.model, built.framing, picture))
        return torch.stack([importance(each) for each in found]).sum()

    runs = [partial(run, picture) for picture in pictures]
    seen = recorded(places, runs, with_importance=chooser.needs_importance)
    with torch.no_grad():
        changed = _fold(chooser, built, seen)
        chosen: dict[str, Operands] = {name: chooser.layer(layer) for name, layer in seen.layers.items()}
        chosen |= {name: chooser.attention(attention) for name, attention in seen.attentions.items()}
    return chosen, changed


def _fold(chooser: Calibrator, built: _Built, seen: Seen) -> int:
    changed = 0
    for name, attention in seen.attentions.items():
        module = attention.attention
        signs = chooser.signs(attention) if query_and_key_rows(module) else None
        if signs is None:
            continue
        attention.change_signs(signs)
        for layer in fold_signs(module, signs):
            for key, value in module.get_submodule(layer).named_parameters():
                built.state[f"{name}.{layer}.{key}"] = value.detach().clone()
        changed += 1
    return changed


def _write(folder: Path, built: _Built, said: Mapping[str, Any], chosen: Mapping[str, Operands]) -> None:
    source = built.source
    weights = renames_of(source.settings.family).to_public(built.state)
    write_tensors(folder / WEIGHTS, weights, {"format": "pt", "tracker": source.name})
    write_tensors(folder / SCALES, scales_of(chosen), {"format": "pt", "tracker": source.name})
    low_bits = {**said, "weights_sha256": state_sha256(weights)}
    document = {"kind": "image", **source.config, "weights": WEIGHTS, "low_bits": low_bits}
    (folder / YAML).write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def _seen_by(segmenter: ImageSegmenter, pictures: Sequence[Prompted]) -> list[tuple[Any, list[Any]]]:
    """The features of each picture, and the best mask for each of its prompts."""
    seen = []
    for picture in pictures:
        embedding = segmenter.embed(picture.image)
        masks = [embedding.segment(**prompt)[0].mask for prompt in picture.prompts]
        seen.append((embedding.features, masks))
    return seen


def _cosine(a: Any, b: Any) -> float:
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))


def _mean_j(found: Sequence[Any], wanted: Sequence[Any]) -> float:
    return float(np.mean([region_j(*pair) for pair in zip(found, wanted, strict=True)]))
