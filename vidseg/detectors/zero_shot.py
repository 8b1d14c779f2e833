"""Detectors that look for a text: OWLv2 and Grounding DINO, by the transformers library.

The weights are the user's: a folder with a model as `save_pretrained` leaves it, or the name of one that the
library has in its cache. Nothing is downloaded here, and code that comes with a model is never run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from vidseg.detectors.contract import Detection, best_first, inside
from vidseg.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from vidseg.trackers.contract import Frame

LOWEST_SCORE = 0.2
"""Detections of a lower score are left out, unless a threshold is given."""


class ZeroShotDetector:
    """A detector that is told in words what to find."""

    def __init__(
        self, name: str, model: Any, processor: Any, texts: tuple[str, ...], threshold: float | None
    ) -> None:
        self.name = name
        self._model = model
        self._processor = processor
        self._texts = list(texts)
        self._threshold = LOWEST_SCORE if threshold is None else threshold

    @classmethod
    def open(cls, model: str, texts: tuple[str, ...], threshold: float | None = None) -> ZeroShotDetector:
        """Open a model, on a GPU if there is one.

        Args:
            model: a folder, or the name of a model in the library's cache.
            texts: what to look for.
            threshold: detections of a lower score are left out.

        Raises:
            InputError: no text, or no such model on this machine.
            MissingExtraError: transformers is not installed.
        """
        from vidseg.trackers.device import pick_device

        if not texts:
            raise InputError(f"the detector '{model}' looks for a text", hint='give one: --text "red cup"')
        try:
            from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor
        except ImportError:
            raise MissingExtraError(
                "transformers", "text", needed_for="a detector that looks for a text"
            ) from None
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            processor = AutoProcessor.from_pretrained(model, **local)
            network = AutoModelForZeroShotObjectDetection.from_pretrained(
                model, use_safetensors=True, **local
            )
        except Exception as error:  # the library raises errors of many kinds
            first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f"the detector '{model}' cannot be opened ({first_line})",
                hint=f"get it first: hf download {model}; or give its folder",
            ) from None
        return cls(model, network.eval().to(pick_device("auto")), processor, texts, threshold)

    @torch.inference_mode()
    def detect(self, frame: Frame) -> list[Detection]:
        assert frame.image is not None
        inputs = self._processor(images=frame.image, text=[self._texts], return_tensors="pt")
        inputs = inputs.to(self._model.device)
        outputs = self._model(**inputs)
        found = self._processor.post_process_grounded_object_detection(
            outputs, **self._words(inputs), threshold=self._threshold, target_sizes=[frame.size_hw]
        )[0]
        labels = found.get("text_labels") or [self._texts[int(number)] for number in found["labels"]]
        rows = zip(found["boxes"].tolist(), labels, found["scores"].tolist(), strict=True)
        return best_first(
            [inside(box, self._asked(label), score, frame.size_hw) for box, label, score in rows]
        )

    def _asked(self, phrase: str) -> str:
        """The text that a phrase answers: Grounding DINO gives back those words of it that it saw."""
        words = set(phrase.split())
        return max(self._texts, key=lambda text: len(words & set(text.split())) / len(text.split()))

    def _words(self, inputs: Any) -> dict[str, Any]:
        """OWLv2 wants the texts back; Grounding DINO reads its labels from the tokens of the prompt."""
        if "input_ids" in inputs and self._model.config.model_type == "grounding-dino":
            return {"input_ids": inputs["input_ids"]}
        return {"text_labels": [self._texts]}
