"""Names and files to detectors.

A detector is named by a file, `boxes.json` or `model.onnx`, or by a name of the table with what follows a
colon: `owlv2:FOLDER`. A plug-in calls `register_detector`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vidseg.detectors.contract import Detector
from vidseg.errors import InputError
from vidseg.registry import Registry

Opener = Callable[[str, tuple[str, ...], float | None], Detector]
"""(what follows the colon, texts to look for, lowest score or None for the detector's own) -> detector."""


def _boxes(path: str, texts: tuple[str, ...], threshold: float | None) -> Detector:
    from vidseg.detectors.boxes_file import BoxesFile

    return BoxesFile.read(Path(path), texts, threshold)


def _onnx(path: str, texts: tuple[str, ...], threshold: float | None) -> Detector:
    from vidseg.detectors.onnx_file import OnnxDetector

    return OnnxDetector.open(Path(path), texts, threshold)


def _owlv2(model: str, texts: tuple[str, ...], threshold: float | None) -> Detector:
    from vidseg.detectors.zero_shot import ZeroShotDetector

    return ZeroShotDetector.open(model or "google/owlv2-base-patch16-ensemble", texts, threshold)


def _grounding_dino(model: str, texts: tuple[str, ...], threshold: float | None) -> Detector:
    from vidseg.detectors.zero_shot import ZeroShotDetector

    return ZeroShotDetector.open(model or "IDEA-Research/grounding-dino-tiny", texts, threshold)


DETECTORS: Registry[Opener] = Registry(
    "detector", {"boxes": _boxes, "grounding-dino": _grounding_dino, "onnx": _onnx, "owlv2": _owlv2}
)
SUFFIXES = {".json": "boxes", ".onnx": "onnx"}
"""End of a file's name -> detector that reads it."""


def register_detector(name: str, opener: Opener) -> None:
    """Make `--detector NAME` and `--detector NAME:ARGUMENT` call `opener`.

    Raises:
        ConfigError: the name is taken.
    """
    DETECTORS.register(name, opener)


def open_detector(
    spec: str, texts: str | tuple[str, ...] = (), *, threshold: float | None = None
) -> Detector:
    """The detector that a text names.

    Args:
        spec: a file (`boxes.json`, `model.onnx`), or NAME or NAME:ARGUMENT with a name of the table.
        texts: what to look for: several texts, or one with commas between them, 'red cup, dog'. A detector
            with classes of its own looks for those alone that are named.
        threshold: detections of a lower score are left out; None: the detector's own.

    Raises:
        ConfigError: no such name.
        InputError: no such file, or a threshold that is none.
        MissingExtraError: a package is not installed.
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(f"a detector's threshold of {threshold}", hint="give 0 to 1")
    if isinstance(texts, str):
        texts = tuple(text.strip() for text in texts.split(",") if text.strip())
    name, argument = parts_of(spec)
    opener = DETECTORS.lookup(name, hint="or give a file: boxes.json, model.onnx")
    return opener(argument, texts, threshold)


def is_file(name: str) -> bool:
    """Whether the argument of the detectors of this name is a file: boxes, or a network."""
    return name in SUFFIXES.values()


def parts_of(spec: str) -> tuple[str, str]:
    """A detector's name, which the table may not have, and its argument, which is empty without one."""
    name, _, argument = spec.partition(":")
    suffix = Path(spec).suffix.lower()
    return (SUFFIXES[suffix], spec) if suffix in SUFFIXES and name not in DETECTORS else (name, argument)
