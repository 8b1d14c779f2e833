"""Detectors as ONNX files, run by onnxruntime: YOLO- and DETR-style networks as their exporters write them.

The outputs tell the kind; boxes are scaled back to the frame. What a file does not say itself (names of
classes, normalisation) may stand in a JSON of the same name beside it: `model.onnx`, `model.json`.

Layouts: N boxes · K classes · H W the network's input.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from vidseg.detectors.contract import Detection, best_first, inside
from vidseg.detectors.onnx_outputs import Boxes, read_outputs
from vidseg.errors import InputError, MissingExtraError
from vidseg.trackers.onnx.graphs import session_options
from vidseg.validation import Strict, parse

if TYPE_CHECKING:
    from vidseg.trackers.contract import Frame

DEFAULT_SIDE = 640
"""Side of the input of a network whose file leaves it open; YOLO's exporters use it."""
LETTERBOX_GREY = 114
"""Grey value around a picture that is fitted into a square, as YOLO is trained with."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NMS_IOU = 0.5
"""Boxes of one class whose IoU is above this are one thing, and the best one stays (YOLO alone)."""


class OnnxSettings(Strict):
    """What may stand in the JSON beside the file."""

    names: list[str] | None = None
    """The classes, in order; None: those in the file, or their numbers."""
    mean: list[float] | None = Field(default=None, min_length=3, max_length=3)
    std: list[float] | None = Field(default=None, min_length=3, max_length=3)
    """Normalisation of pixels from 0 to 1; None: ImageNet's for DETR, none for others."""
    activation: Literal["softmax", "sigmoid"] = "softmax"
    """How DETR's class logits become scores: softmax with "nothing" as the last class, or sigmoid."""
    threshold: float = Field(default=0.25, ge=0, le=1)
    """Detections of a lower score are left out."""


class OnnxDetector:
    """A detector in an ONNX file."""

    def __init__(
        self, name: str, session: Any, settings: OnnxSettings, texts: tuple[str, ...], threshold: float | None
    ) -> None:
        self.name = name
        self._session = session
        self._settings = settings
        self._texts = texts
        self._threshold = settings.threshold if threshold is None else threshold
        self._inputs = session.get_inputs()
        shape = self._inputs[0].shape
        sides = [side if isinstance(side, int) else DEFAULT_SIDE for side in shape[2:]]
        self._input_hw = (sides[0], sides[1])
        self._outputs = [output.name for output in session.get_outputs()]
        self._names = settings.names or _names_in_file(session)
        if texts and self._names and not set(texts) & set(self._names):
            raise InputError(
                f"the detector '{name}' knows no '{', '.join(texts)}'",
                hint=f"it knows {', '.join(self._names[:20])}",
            )

    @classmethod
    def open(cls, path: Path, texts: tuple[str, ...] = (), threshold: float | None = None) -> OnnxDetector:
        """Open a file.

        Args:
            texts: the only classes to look for; none: all.
            threshold: detections of a lower score are left out; None: the settings'.

        Raises:
            InputError: it is missing, no ONNX, or no detector that takes one picture.
            MissingExtraError: onnxruntime is not installed.
        """
        try:
            import onnxruntime
        except ImportError:
            raise MissingExtraError("onnxruntime", "onnx", needed_for="a detector in an ONNX file") from None
        if not path.is_file():
            raise InputError("there is no such detector", where=str(path))
        beside = path.with_suffix(".json")
        content = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
        settings = parse(OnnxSettings, content, where=str(beside), error=InputError)
        try:
            session = onnxruntime.InferenceSession(
                str(path), session_options(), providers=onnxruntime.get_available_providers()
            )
        except Exception as error:  # onnxruntime has an exception of its own for each fault
            first_line = str(error).splitlines()[0]
            raise InputError(
                f"the file is no ONNX model that runs here ({first_line})", where=str(path)
            ) from None
        shape = session.get_inputs()[0].shape
        if len(shape) != 4 or shape[1] != 3:
            raise InputError(
                f"the network takes {shape}, and a detector takes pictures: batch x 3 x height x width",
                where=str(path),
            )
        return cls(path.stem, session, settings, texts, threshold)

    def detect(self, frame: Frame) -> list[Detection]:
        assert frame.image is not None
        is_yolo = len(self._outputs) == 1
        picture, scale_xy, offset_xy = (
            _letterboxed(frame.image, self._input_hw) if is_yolo else _stretched(frame.image, self._input_hw)
        )
        found = read_outputs(
            dict(zip(self._outputs, self._session.run(None, self._feeds(picture, frame)), strict=True)),
            activation=self._settings.activation,
            input_hw=self._input_hw,
            num_classes=len(self._names) if self._names else None,
            where=self.name,
        )
        kept = found.at_least(self._threshold)
        if found.may_repeat:
            kept = kept.rows(_distinct(kept))
        if found.are_of_frame:
            scale_xy, offset_xy = np.ones(2), np.zeros(2)
        boxes = (kept.xyxy_n4.reshape(-1, 2, 2) - offset_xy) / scale_xy
        rows = zip(boxes.reshape(-1, 4), kept.classes_n, kept.scores_n, strict=True)
        named = [(box.tolist(), self._label(int(number)), float(score)) for box, number, score in rows]
        return best_first(
            [
                inside(box, label, score, frame.size_hw)
                for box, label, score in named
                if not self._texts or label in self._texts
            ]
        )

    def _feeds(self, picture: npt.NDArray[np.uint8], frame: Frame) -> dict[str, Any]:
        settings = self._settings
        is_detr = len(self._outputs) == 2
        mean = settings.mean or (IMAGENET_MEAN if is_detr else (0.0, 0.0, 0.0))
        std = settings.std or (IMAGENET_STD if is_detr else (1.0, 1.0, 1.0))
        pixels = (picture.astype(np.float32) / 255 - np.array(mean, np.float32)) / np.array(std, np.float32)
        feeds: dict[str, Any] = {}
        for place, needed in enumerate(self._inputs):
            if place == 0:
                value = pixels.transpose(2, 0, 1)[None]
                feeds[needed.name] = value.astype(np.float16 if "float16" in needed.type else np.float32)
            elif needed.name == "pixel_mask":  # DETR: which pixels are no padding
                feeds[needed.name] = np.ones((1, *self._input_hw), np.int64)
            elif needed.name == "orig_target_sizes":  # RT-DETR: width and height that boxes are scaled to
                feeds[needed.name] = np.array([[frame.size_hw[1], frame.size_hw[0]]], np.int64)
            else:
                raise InputError(f"the detector '{self.name}' wants an input '{needed.name}'")
        return feeds

    def _label(self, number: int) -> str:
        return self._names[number] if self._names and number < len(self._names) else str(number)


def _names_in_file(session: Any) -> list[str] | None:
    """The classes as YOLO's exporter writes them into the file: "{0: 'person', 1: 'bicycle'}"."""
    text = session.get_modelmeta().custom_metadata_map.get("names")
    try:
        names = ast.literal_eval(text) if text else None  # literals only: nothing is run
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if isinstance(names, dict):
        return [str(names.get(number, number)) for number in range(len(names))]
    return [str(name) for name in names] if isinstance(names, list) else None


Scaled = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""A picture, the factor from the frame's pixels (x, y), and what is added to them then."""


def _letterboxed(image: npt.NDArray[np.uint8], input_hw: tuple[int, int]) -> Scaled:
    """The picture at its own aspect ratio, in the middle of grey."""
    height, width = image.shape[:2]
    scale = min(input_hw[0] / height, input_hw[1] / width)
    new_h, new_w = round(height * scale), round(width * scale)
    top, left = round((input_hw[0] - new_h) / 2 - 0.1), round((input_hw[1] - new_w) / 2 - 0.1)
    picture = np.full((*input_hw, 3), LETTERBOX_GREY, np.uint8)
    resized = cv2.resize(image, (new_w, new_h), interpolation=cv2.INTER_LINEAR)
    picture[top : top + new_h, left : left + new_w] = resized
    return picture, np.full(2, scale), np.array([left, top], float)


def _stretched(image: npt.NDArray[np.uint8], input_hw: tuple[int, int]) -> Scaled:
    height, width = image.shape[:2]
    picture = cv2.resize(image, (input_hw[1], input_hw[0]), interpolation=cv2.INTER_LINEAR)
    return picture, np.array([input_hw[1] / width, input_hw[0] / height]), np.zeros(2)


def _distinct(found: Boxes) -> npt.NDArray[np.intp]:
    """Rows that remain when boxes of one class that overlap much are one."""
    if not len(found.scores_n):
        return np.zeros(0, np.intp)
    xywh = np.concatenate([found.xyxy_n4[:, :2], found.xyxy_n4[:, 2:] - found.xyxy_n4[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxesBatched(
        xywh.tolist(), found.scores_n.tolist(), found.classes_n.tolist(), 0.0, NMS_IOU
    )
    return np.asarray(kept, np.intp).reshape(-1)
