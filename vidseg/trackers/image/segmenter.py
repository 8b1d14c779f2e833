"""The image segmenter: takes pictures, and returns embeddings that answer prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from vidseg.errors import InputError
from vidseg.trackers.image.embedding import Embedding
from vidseg.trackers.image.framing import Framing
from vidseg.trackers.model import ImageModel


class ImageSegmenter:
    """An image model, ready to use; made by `vidseg.load_image`.

    Nothing is kept between pictures: each embedding holds its own tensors.

    Args:
        sampling: settings of samplers that fit the model's scores, where those of SAM do not.
        discovery: the same for discovery in videos, besides those of `sampling`.
        weights_sha256: digest of the model's weights; None where they are random.
        dtype_reason: why the model computes in its type, for records of runs.
    """

    def __init__(
        self,
        name: str,
        model: ImageModel,
        framing: Framing,
        sampling: Mapping[str, Any] | None = None,
        discovery: Mapping[str, Any] | None = None,
        *,
        weights_sha256: str | None = None,
        dtype_reason: str | None = None,
    ) -> None:
        self.name = name
        self.model = model
        self.framing = framing
        self.sampling = dict(sampling or {})
        self.discovery = {**self.sampling, **(discovery or {})}
        self.weights_sha256 = weights_sha256
        self.dtype_reason = dtype_reason

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    def embed(self, image: npt.NDArray[np.uint8]) -> Embedding:
        """Encode a picture; after that, a prompt on it costs only a run of the decoder.

        `vidseg-nano` then also takes one or two more looks at the part of the picture around the prompt.

        Args:
            image: uint8 H x W x 3, RGB (OpenCV reads BGR: `image[..., ::-1]`).

        Raises:
            InputError: `image` is no such array.
        """
        return self.embed_batch([image])[0]

    @torch.inference_mode()
    def embed_batch(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[Embedding]:
        """Encode several pictures, of any sizes, in one run of the encoder.

        Raises:
            InputError: one of them is not uint8 H x W x 3; the message says which.
        """
        for place, image in enumerate(images):
            _check(image, f"picture {place}" if len(images) > 1 else "the picture")
        if not len(images):
            return []
        inputs = [self.framing.model_input(image, self.device) for image in images]
        if len({model_input.shape for model_input in inputs}) > 1:  # pictures at their own scale
            return [self.embed(image) for image in images]
        features = self.model.encode_batch(torch.stack(inputs))
        return [
            Embedding(
                self.model,
                self.framing,
                model_input,
                features.rows(torch.tensor([row])),
                image,
                self.embed,
                self.sampling,
                self.weights_sha256,
            )
            for row, (image, model_input) in enumerate(zip(images, inputs, strict=True))
        ]

    def __repr__(self) -> str:
        return f"ImageSegmenter('{self.name}', {self.device}, {str(self.dtype).removeprefix('torch.')})"


def _check(image: object, what: str) -> None:
    hint = "give uint8 height x width x 3, RGB: np.array(PIL.Image.open(...).convert('RGB'))"
    if not isinstance(image, np.ndarray):
        raise InputError(f"{what} is a {type(image).__name__}", hint=hint)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(f"{what} is {image.dtype} of shape {image.shape}", hint=hint)
