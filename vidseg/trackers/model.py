"""The model contract: what the engine asks of a model, and the values that pass between the two.

An `ImageModel` encodes a picture once and answers any number of prompts on it. A `MemoryModel` also has a
memory: it reads what is remembered of each object, and makes memories of its answers. Answers are raw: the
engine removes the mask of an object whose score is below 0 (`Engine.settle`). So training can judge such
masks too, and nothing depends on whether gradients are recorded.

Layouts: B objects · K candidates · C channels · H W the grid of the top map · h w the low-res grid · S the
side of the model's square input. Maps of a frame have one row, which all objects share, or B rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from vidseg.errors import ConfigError
from vidseg.memory.bank import Recall
from vidseg.trackers.backbones.kept_windows import KeptWindows
from vidseg.trackers.graphs.replays import Replays

MASK_LOGIT_SCALE, MASK_LOGIT_BIAS = 20.0, -10.0
"""A user's mask gets logits of 20·coverage - 10; SAM 2 also encodes masks into memory this way."""


@dataclass(frozen=True, slots=True)
class Features:
    """The maps that a model makes of one frame, or of several frames, one a row."""

    high_res: list[Tensor]
    """Finer maps that the decoder uses besides the top one, finest first; may be empty."""
    top_1chw: Tensor
    """The coarsest map, to which prompts and memories are applied; stride and channels are the model's own.
    """

    def rows(self, index: Tensor) -> Features:
        """Some of the rows, in the order of `index`."""
        return Features([x[index] for x in self.high_res], self.top_1chw[index])


@dataclass(frozen=True, slots=True)
class Candidates:
    """The candidates of the decoder for each object, with a prompt or without."""

    logits_bkhw: Tensor
    """Mask logits on the low-res grid, float32."""
    predicted_ious_bk: Tensor
    """Predicted IoUs, float32."""
    tokens_bkc: Tensor
    """Output tokens, from which object pointers are made."""
    object_score_logits_b: Tensor
    """Object scores, float32; above 0 the object is judged visible."""
    first_offer: int = 0
    """Tracking chooses among the candidates from this one on: 1 if candidate 0 is only for unambiguous
    prompts."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The chosen mask of each of B objects."""

    low_res_logits_bhw: Tensor
    """Mask logits on the low-res grid, float32."""
    pointers_bc: Tensor
    """Object pointers, one a row."""
    object_score_logits_b: Tensor
    """Object scores, float32; above 0 the object is judged visible."""
    predicted_ious_b: Tensor
    """Predicted IoUs, float32."""


Rows = TypeVar("Rows", Candidates, Decoded)


def cat(parts: Sequence[Rows]) -> Rows:
    """The answers for several groups of objects as one."""
    return _each(parts[0], lambda name: torch.cat([getattr(part, name) for part in parts]))


def pick(answers: Rows, index: Sequence[int]) -> Rows:
    """The answers for some objects, in the order of `index`."""
    picked = torch.as_tensor(index, device=answers.object_score_logits_b.device)
    return _each(answers, lambda name: getattr(answers, name)[picked])


class ImageModel(Protocol):
    """Encodes pictures, and answers prompts on them."""

    image_size: int
    """S, the side of the square model input."""
    feedback_limit: float
    """Mask logits that are fed back with a correction are clamped to plus and minus this."""
    takes_masks: bool
    """Whether it reads earlier mask logits (`previous_logits_bhw`); else it ignores them."""
    takes_decoded: bool
    """Whether frames of videos are resized by their decoder (`vidseg.trackers.contract.DecodedPicture`)."""

    @property
    def low_res_size(self) -> int:
        """The side of the low-res grid."""
        ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def device(self) -> torch.device: ...

    def fuse(self) -> None:
        """Bring the model into its fastest form for tracking; weights must be loaded before."""
        ...

    def compile_parts(self) -> None:
        """Compile the parts that run on every frame; call it after `fuse`."""
        ...

    def encode(self, image_3ss: Tensor) -> Features:
        """The features of one normalised picture, float32 3 x S x S."""
        ...

    def encode_batch(self, images_b3ss: Tensor) -> Features:
        """The features of several normalised pictures, one a row."""
        ...

    def without_memory(self, features: Features) -> Tensor:
        """The map that the decoder takes if nothing is remembered, like that of `MemoryModel.attend`."""
        ...

    def candidates(
        self,
        features: Features,
        conditioned_bchw: Tensor,
        *,
        points_bp2: Tensor | None = None,
        labels_bp: Tensor | None = None,
        previous_logits_bhw: Tensor | None = None,
    ) -> Candidates:
        """All candidates of the decoder for B objects.

        Args:
            conditioned_bchw: from `without_memory` or `attend`; one row, or B.
            points_bp2: float32, pixels of the model's input; a box is its two corners, which come first.
            labels_bp: int32: 1 on the object, 0 off it, 2 and 3 a box's corners, -1 padding.
            previous_logits_bhw: earlier mask logits of the same objects on this frame, to be corrected.
        """
        ...

    def num_prompt_tokens(self, labels_bp: Tensor) -> int:
        """How many sparse tokens the prompt encoder makes of each row of such prompts."""
        ...

    def best_first(self, logits_khw: Tensor, predicted_ious_k: Tensor, *, multimask: bool) -> list[int]:
        """The candidates that answer one prompt on a picture, best first.

        Args:
            multimask: whether to offer alternatives, for an ambiguous prompt; else one mask.
        """
        ...


@runtime_checkable
class ScreensPrompts(Protocol):
    """An image model that answers the points of samplers in another way than prompts that somebody chose: in
    several steps, so that it can stop where going on is not worth it."""

    def screened_candidates(
        self,
        features: Features,
        conditioned_bchw: Tensor,
        *,
        points_bp2: Tensor,
        labels_bp: Tensor,
        least_iou: float,
    ) -> Candidates:
        """Candidates of points that nobody chose; one whose quick answer predicts an IoU that is not above
        `least_iou` keeps that answer. Arguments have one row a prompt; `conditioned_bchw`
        and the features belong to one picture."""
        ...


@runtime_checkable
class KeepsWindows(Protocol):
    """An image model that need not encode the whole of a frame where the video stays as it is."""

    @property
    def keeps_windows(self) -> bool:
        """Whether it does so, as it was configured and where it runs."""
        ...

    def encode_next(self, image_3ss: Tensor, kept: KeptWindows) -> Features:
        """The features of a video's next frame.

        Args:
            image_3ss: normalised, as for `ImageModel.encode`.
            kept: what was made of the frames before; it is brought up to date.
        """
        ...


class Decodes(Protocol):
    """A model that chooses among its candidates."""

    def decode(
        self,
        features: Features,
        conditioned_bchw: Tensor,
        *,
        points_bp2: Tensor | None = None,
        labels_bp: Tensor | None = None,
        previous_logits_bhw: Tensor | None = None,
    ) -> Decoded:
        """The candidate that the model's own rules choose for each of B objects; see `candidates`."""
        ...


@runtime_checkable
class LooksCloser(Decodes, Protocol):
    """A model that answers boxes and clicks better where the object fills its input; see
    `vidseg.trackers.closer_look`."""

    @property
    def looks_closer(self) -> bool:
        """Whether it does so, as it was configured."""
        ...

    def with_masks(self, features: Features, decoded: Decoded, logits_bhw: Tensor) -> Decoded:
        """An answer with other mask logits, and pointers that follow from them.

        Args:
            features: of the frame on whose low-res grid the logits are.
        """
        ...

    def moved(self, tokens_bnc: Tensor, places_hw2: Tensor, image_3ss: Tensor, logits_bhw: Tensor) -> Tensor:
        """Memory tokens of a frame, as if another part of it had been remembered: bfloat16 B x N x C.

        What would have to be encoded is taken from the tokens, so that it is as fine as it was seen.

        Args:
            places_hw2: where the other part's cells lie in the part remembered, x and y from -1 to 1 between
                its borders; what is beyond them is taken from the border.
            image_3ss: the other part, as for `ImageModel.encode`.
            logits_bhw: the masks there.
        """
        ...


class MemoryModel(ImageModel, Decodes, Protocol):
    """An image model with a memory, with which the engine tracks."""

    clicks_correct: bool
    """Whether clicks on the next frame correct the mask tracked into it; else they segment that frame anew.
    """

    def record_parts(self, replays: Replays) -> None:
        """Have the parts that run on every frame recorded and replayed on a GPU; call it after `fuse`."""
        ...

    @property
    def pointer_channels(self) -> int:
        """The width of an object pointer."""
        ...

    @property
    def absent_pointer_c(self) -> Tensor:
        """The pointer of an absent object."""
        ...

    def attend(self, features: Features, recalls: Sequence[Recall], pointer_limit: int) -> Tensor:
        """Features conditioned on the memory of each object, or what is read from it: B x C x H x W.

        Args:
            recalls: one for each object, all of one shape (`Recall.shape`).
            pointer_limit: the times of pointers are divided by it.
        """
        ...

    def take(self, candidates: Candidates, chosen_b: Tensor) -> Decoded:
        """The given candidate of each object."""
        ...

    def take_mask(self, features: Features, masks_bss: Tensor) -> Decoded:
        """Masks from a user, taken as they are: bool, at the model's input size."""
        ...

    def remember(self, features: Features, decoded: Decoded, *, from_prompt: bool) -> Tensor:
        """Memory tokens of B objects: bfloat16 B x N x C.

        Args:
            features: of one row or B; not conditioned, as memories must not feed on memories.
            from_prompt: whether the masks answer a prompt.
        """
        ...

    def all_passes(
        self,
        features: Features,
        conditioned_bchw: Tensor,
        points_bp2: Tensor | None = None,
        labels_bp: Tensor | None = None,
        *,
        previous_logits_bhw: Tensor | None = None,
    ) -> list[Decoded]:
        """The decoder's answers in all its passes, which training judges; the last pass comes last.

        Rules that need no training are not applied.

        Args:
            features: of B rows.
            points_bp2: padded at the end, with labels of -1, as rows may have prompts of different sizes.
        """
        ...

    def masks_read(self, conditioned_bchw: Tensor) -> Tensor | None:
        """The masks that `attend` read by learned keys: 0 to 1, B x h x w; None if the model reads none."""
        ...


def module_of(model: ImageModel) -> nn.Module:
    """The model as a torch module, to load weights into, to train and to count parameters.

    Raises:
        ConfigError: it is no torch module.
    """
    if not isinstance(model, nn.Module):
        raise ConfigError(f"{type(model).__name__} is no torch module")
    return model


def num_parameters(model: ImageModel) -> int | None:
    """How many learned numbers a model has; None of an exported one, whose graphs hold them."""
    return sum(parameter.numel() for parameter in module_of(model).parameters()) or None


def _each(like: Rows, make: Callable[[str], Tensor]) -> Rows:
    """An answer made tensor by tensor; fields that are no tensors are copied from `like`."""
    tensors = [field.name for field in fields(like) if isinstance(getattr(like, field.name), Tensor)]
    changes: dict[str, Any] = {name: make(name) for name in tensors}
    return replace(like, **changes)
