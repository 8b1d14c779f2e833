"""One encoded picture, and the prompts it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vidseg.errors import PromptError
from vidseg.samplers import Found, everything
from vidseg.trackers.image.answer import Answer
from vidseg.trackers.image.embedded_picture import EmbeddedPicture
from vidseg.trackers.image.framing import Framing, PartialFraming
from vidseg.trackers.image.looking_closer import looked_closer
from vidseg.trackers.image.prompt import ImagePrompt
from vidseg.trackers.model import Features, ImageModel

if TYPE_CHECKING:
    from vidseg.samplers.points import Crop
    from vidseg.trackers.contract import BoolArray, Box, FloatArray, Labels, Points

PROMPT_KEYS = ("box", "points", "labels", "mask_logits")


class Embedding:
    """A picture that went through the encoder once; made by `ImageSegmenter.embed`.

    Coordinates are pixels of the picture, x to the right, y down, origin at the top-left corner.

    Args:
        picture: uint8 H x W x 3, RGB: parts of it are encoded if a sampler asks for crops, or a model looks
            closer at what a prompt asks for.
        embed: encodes such a crop.
    """

    def __init__(
        self,
        model: ImageModel,
        framing: Framing,
        model_input_3ss: Tensor,
        encoded: Features,
        picture: npt.NDArray[np.uint8],
        embed: Callable[[npt.NDArray[np.uint8]], Embedding],
        sampling: Mapping[str, Any] | None = None,
        weights_sha256: str | None = None,
    ) -> None:
        self.size_hw = picture.shape[0], picture.shape[1]
        """Height and width of the picture."""
        self.encoded = encoded
        """The features that all prompts share: one row, on the model's device."""
        self._model = model
        self._framing = framing
        self._model_input_3ss = model_input_3ss
        self._picture = picture.copy()  # it may be looked at again, when the caller has another in its place
        self._embed = embed
        self._sampling = sampling or {}
        self._weights_sha256 = weights_sha256

    @property
    def model_input(self) -> FloatArray:
        """float32 (3, S, S): the normalised input of the encoder."""
        return self._model_input_3ss.cpu().numpy()

    @property
    def features(self) -> FloatArray:
        """float32 (C, h, w): the output of the encoder at its coarsest stride."""
        return self.encoded.top_1chw[0].float().cpu().numpy()

    def candidates(
        self,
        *,
        box: Box | None = None,
        points: Points | None = None,
        labels: Labels | None = None,
        mask_logits: Any = None,
    ) -> Answer:
        """All candidates of the decoder for one prompt.

        Args:
            box: (x0, y0, x1, y1).
            points: P x 2.
            labels: P: 1 on the object, 0 off it; None: all are on it.
            mask_logits: float32 (1, h, w): one of an earlier answer's `low_res_logits`, to be improved.

        Raises:
            PromptError: nothing is given, or it does not fit the picture.
        """
        return self.candidates_batch(
            [{"box": box, "points": points, "labels": labels, "mask_logits": mask_logits}]
        )[0]

    def candidates_batch(self, prompts: Sequence[Mapping[str, Any]]) -> list[Answer]:
        """Answers to several prompts; the decoder runs once for all prompts with equally many points.

        Args:
            prompts: each with the arguments of `candidates`: `[{"box": ...}, {"box": ...}]`.

        Raises:
            PromptError: see `candidates`; the message says which prompt it was.
        """
        return self.answers([self._checked(prompt, n, len(prompts)) for n, prompt in enumerate(prompts)])

    def segment(
        self,
        *,
        box: Box | None = None,
        points: Points | None = None,
        labels: Labels | None = None,
        mask_logits: Any = None,
        multimask: bool = True,
    ) -> list[Found]:
        """The masks that answer a prompt, the best one first by the model family's own rule.

        Args:
            multimask: whether to offer alternatives, for an ambiguous prompt such as one click; else one
                mask.

        The other arguments and the errors are those of `candidates`.
        """
        answer = self.candidates(box=box, points=points, labels=labels, mask_logits=mask_logits)
        return answer.found(multimask=multimask)

    def everything(
        self, sampler: str = "grid", *, skip: BoolArray | None = None, **settings: Any
    ) -> list[Found]:
        """All objects of the picture, as a sampler finds them, the best ones first.

        Args:
            sampler: a name of `vidseg.samplers.SAMPLERS`.
            skip: bool H x W; nothing is asked there.
            **settings: of the sampler (`points_per_side=16`, ...). Where they are not given, the model's own
                thresholds hold, and then the sampler's defaults.

        Raises:
            ConfigError: an unknown sampler or setting.
        """
        return self.everything_asked(sampler, skip=skip, **settings)[0]

    def everything_asked(
        self, sampler: str = "grid", *, skip: BoolArray | None = None, **settings: Any
    ) -> tuple[list[Found], int]:
        """What `everything` finds, and how many prompts the decoder answered for it."""
        return everything(self.prompted(), sampler, settings, defaults=self._sampling, skip=skip)

    def prompted(self) -> EmbeddedPicture:
        """The picture as samplers ask it; see `vidseg.samplers.PromptedPicture`."""
        return EmbeddedPicture(
            model=self._model,
            framing=self._framing,
            encoded=self.encoded,
            size_hw=self.size_hw,
            embed_crop=self._prompted_crop,
            weights_sha256=self._weights_sha256,
        )

    def _prompted_crop(self, crop: Crop) -> EmbeddedPicture:
        return self._embed(self._picture[crop.y0 : crop.y1, crop.x0 : crop.x1]).prompted()

    @torch.inference_mode()
    def answers(self, prompts: Sequence[ImagePrompt]) -> list[Answer]:
        """Answers to prompts that have been checked already, in their order."""
        kinds: dict[tuple[int, int, bool], list[int]] = {}
        for place, prompt in enumerate(prompts):
            # The decoder would see padding, so only prompts of one shape go together.
            num_tokens = self._model.num_prompt_tokens(torch.from_numpy(prompt.labels)[None])
            kind = (len(prompt.labels), num_tokens, prompt.mask_logits is not None)
            kinds.setdefault(kind, []).append(place)
        answers: dict[int, Answer] = {}
        for places in kinds.values():
            batch = self._answers_alike([prompts[place] for place in places])
            answers |= zip(places, batch, strict=True)
        return [answers[place] for place in range(len(prompts))]

    def _answers_alike(self, prompts: Sequence[ImagePrompt]) -> list[Answer]:
        device = self._model.device
        points = torch.from_numpy(np.stack([prompt.points_xy for prompt in prompts]))
        labels = torch.from_numpy(np.stack([prompt.labels for prompt in prompts])).to(device)
        given = [prompt.mask_logits for prompt in prompts if prompt.mask_logits is not None]
        candidates = self._model.candidates(
            self.encoded,
            self._model.without_memory(self.encoded).expand(len(prompts), -1, -1, -1),
            points_bp2=self._framing.to_model_points(points, self.size_hw).to(device),
            labels_bp=labels,
            previous_logits_bhw=torch.stack(given).to(device) if given else None,
        )
        candidates = looked_closer(
            self._model, self._framing, self._picture, self.encoded, prompts, candidates
        )
        num_tokens = self._model.num_prompt_tokens(labels)
        rows = zip(prompts, candidates.logits_bkhw, candidates.predicted_ious_bk, strict=True)
        return [
            Answer(self._model, self._framing_of(prompt), prompt, self.size_hw, logits, ious, num_tokens)
            for prompt, logits, ious in rows
        ]

    def _framing_of(self, prompt: ImagePrompt) -> Framing:
        if isinstance(self._framing, PartialFraming):
            return self._framing.about(prompt, self.size_hw)
        return self._framing

    def _checked(self, given: Mapping[str, Any], place: int, count: int) -> ImagePrompt:
        try:
            if not isinstance(given, Mapping):
                raise PromptError(f"a prompt of {type(given).__name__}", hint="give a dict, {'box': ...}")
            strangers = sorted(set(given) - set(PROMPT_KEYS))
            if strangers:
                raise PromptError(f"unknown key '{strangers[0]}'", hint=", ".join(PROMPT_KEYS))
            if given.get("mask_logits") is not None and not self._model.takes_masks:
                raise PromptError("this model takes no mask", hint="give points or a box alone")
            prompt = ImagePrompt.of(self.size_hw, self._model.low_res_size, **given)
        except PromptError as error:
            if count > 1:
                error.at(f"prompt {place}")
            raise
        limit = self._model.feedback_limit
        if prompt.mask_logits is None:
            return prompt
        return replace(prompt, mask_logits=prompt.mask_logits.clamp(-limit, limit))
