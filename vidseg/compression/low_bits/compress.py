"""Quantises a model to few bits: from a model and pictures to a folder that loads like any other.

OUT/tracker.yaml          the model's YAML, with its `low_bits:`
OUT/weights.safetensors   its weights under official names, in float32; signs of keys may be folded
OUT/scales.safetensors    how each operand is rounded
OUT/report.json           what few bits cost on the pictures
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml

from vidseg.compression.calibration import read_pictures
from vidseg.compression.kept import Kept
from vidseg.compression.low_bits.calibrator import Calibrator
from vidseg.compression.low_bits.pictures import Prompted
from vidseg.compression.low_bits.reconstruction import LEAST, BlockError, reconstruct
from vidseg.compression.low_bits.recording import Run, Seen, recorded
from vidseg.compression.low_bits.subject import Subject
from vidseg.compression.low_bits.table import CALIBRATORS
from vidseg.compression.source import WEIGHTS, YAML
from vidseg.errors import InputError
from vidseg.eval.metrics import region_j
from vidseg.export.comparison import cosine
from vidseg.pipeline.atomic import check_free, replacing, write_json
from vidseg.trackers.image.load import load_image
from vidseg.trackers.image.segmenter import ImageSegmenter
from vidseg.trackers.low_bits.folding import fold_signs, query_and_key_rows
from vidseg.trackers.low_bits.places import Operands, Places, places_of
from vidseg.trackers.low_bits.saved import scales_of
from vidseg.trackers.low_bits_settings import Bits
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.weights import sha256_of, state_sha256
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
    steps: int
    """How many steps each block learned; 0: all is as calibrated."""
    blocks: dict[str, BlockError]
    """The error of each block that learned."""


def compress_low_bits(
    asked: TrackerOptions,
    source: Path | None,
    out: Path,
    *,
    bits: str,
    calibrator: str = "ptq4sam",
    parts: Sequence[str] = ("image_encoder",),
    box: Box | None = None,
    frames: int = 16,
    steps: int = 0,
) -> Report:
    """Write a model whose products are computed from few bits.

    Args:
        asked: which image model, or vidseg-nano; it is calibrated on the CPU.
        source: a video or a folder of pictures like those to come; vidseg-nano takes the pictures of a folder
            for the frames of a video. None: see `read_pictures`.
        out: the folder of the results, which must not exist or be empty.
        bits: such as 'W4A8': of weights, and of all else that is multiplied; '6' for W6A6.
        calibrator: a name in `CALIBRATORS`.
        parts: some of `PARTS`, or of those that the model names.
        box: an object of the pictures, in pixels; None: their middle.
        frames: how many pictures are seen.
        steps: how many steps each block learns after calibration; see `reconstruct`.

    Raises:
        SourceError, DecodeError: the pictures cannot be read.
        ConfigError: the model or a part of it cannot be quantised so, or there is no such calibrator.
        CheckpointError: weights are missing.
        InputError: `bits` or `frames` are none, or pictures are too few to learn from.
        OutputError: `out` holds something.
    """
    code = Bits.parse(bits)
    chooser = CALIBRATORS.lookup(calibrator, where="--calibrator")(code)
    check_free(out)
    subject = Subject.of(asked)
    places = places_of(subject.module, parts, subject.source.where)
    images = read_pictures(source, frames)
    if steps < 0:
        raise InputError(f"--reconstruct {steps}", hint="give at least 1 step, or leave it out")
    if steps and len(images) < LEAST:
        raise InputError(
            f"blocks are learned from {LEAST} pictures or more, and there are {len(images)}",
            where="--calibrate" if source is None else str(source),
            hint="give more, and --frames that takes them",
        )
    pictures = [Prompted.of(image, box) for image in images]
    runs = subject.runs(pictures, with_importance=chooser.needs_importance)
    wanted = _seen_by(subject.segmenter, pictures)
    chosen, folded = _chosen(chooser, subject, places, runs)
    kept: Kept | None = None
    blocks: dict[str, BlockError] = {}
    if steps:
        calibrated = state_sha256(scales_of(chosen))
        model = (subject.source.config, subject.state)
        kept = Kept.of(out, *model, images, box, steps=steps, calibrated=calibrated)
        blocks = reconstruct(subject.module, places, chosen, runs, steps, bits=code, kept=kept)
    said = {"bits": str(code), "calibrator": calibrator, "parts": list(parts), "scales": SCALES}
    with replacing(out) as folder:
        folder.mkdir()
        _write(folder, subject, said, chosen)
        got = _seen_by(load_image(folder / YAML, device="cpu"), pictures)
        report = Report(
            bits=str(code),
            calibrator=calibrator,
            layers=len(places.layers),
            attentions=len(places.attentions),
            folded=folded,
            cosine=min(cosine(a[0], b[0]) for a, b in zip(got, wanted, strict=True)),
            mask_iou=float(np.mean([_mean_j(a[1], b[1]) for a, b in zip(got, wanted, strict=True)])),
            pictures=len(pictures),
            steps=steps,
            blocks=blocks,
        )
        write_json(folder / "report.json", asdict(report))
    if kept is not None:
        kept.forget()
    return report


def _chosen(
    chooser: Calibrator, subject: Subject, places: Places, runs: Sequence[Run]
) -> tuple[dict[str, Operands], int]:
    """How operands are rounded in each place, and in how many places signs were folded, in the state, too."""
    seen = recorded(places, runs, with_importance=chooser.needs_importance)
    with torch.no_grad():
        folded = _fold(chooser, subject, seen)
        chosen: dict[str, Operands] = {name: chooser.layer(layer) for name, layer in seen.layers.items()}
        chosen |= {name: chooser.attention(attention) for name, attention in seen.attentions.items()}
    return chosen, folded


def _fold(chooser: Calibrator, subject: Subject, seen: Seen) -> int:
    changed = 0
    for name, attention in seen.attentions.items():
        module = attention.attention
        signs = chooser.signs(attention) if query_and_key_rows(module) else None
        if signs is None:
            continue
        attention.change_signs(signs)
        for layer in fold_signs(module, signs):
            for key, value in module.get_submodule(layer).named_parameters():
                subject.state[f"{name}.{layer}.{key}"] = value.detach().clone()
        changed += 1
    return changed


def _write(folder: Path, subject: Subject, said: Mapping[str, Any], chosen: Mapping[str, Operands]) -> None:
    source = subject.source
    weights = renames_of(source.settings.family).to_public(subject.state)
    write_tensors(folder / WEIGHTS, weights, {"format": "pt", "tracker": source.name})
    write_tensors(folder / SCALES, scales_of(chosen), {"format": "pt", "tracker": source.name})
    digests = {"weights_sha256": state_sha256(weights), "scales_sha256": sha256_of(folder / SCALES)}
    low_bits = {**said, **digests}
    config = {key: value for key, value in source.config.items() if key != "bfloat16_is_proven"}
    document = {"kind": source.kind, **config, "weights": WEIGHTS, "low_bits": low_bits}
    (folder / YAML).write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def _seen_by(segmenter: ImageSegmenter, pictures: Sequence[Prompted]) -> list[tuple[Any, list[Any]]]:
    """The features of each picture, and the best mask for each of its prompts."""
    seen = []
    for picture in pictures:
        embedding = segmenter.embed(picture.image)
        masks = [embedding.segment(**prompt)[0].mask for prompt in picture.prompts]
        seen.append((embedding.features, masks))
    return seen


def _mean_j(found: Sequence[Any], wanted: Sequence[Any]) -> float:
    return float(np.mean([region_j(*pair) for pair in zip(found, wanted, strict=True)]))
