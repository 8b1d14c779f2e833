"""The model contract: what the engine asks of a model, and what passes between the two.

An `ImageModel` encodes a picture once and answers any number of prompts on it. A `MemoryModel` does that with
a memory: it reads what is remembered of each object, and makes memories of its answers. Answers are raw: that
an object whose score is below 0 has no mask is for the engine to apply (`Engine.settle`), so that training
can judge what a model says of it all the same, and nothing depends on whether gradients are recorded.

Layouts: B objects · K candidates · C channels · H W the grid of the top map · h w the low-res grid · S the
side of the model's square input. Maps of a frame have one row, which all objects share, or B rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from vidseg.errors import ConfigError
from vidseg.memory.bank import Recall

MASK_LOGIT_SCALE, MASK_LOGIT_BIAS = 20.0, -10.0
"""A mask given by a user has logits of 20·coverage - 10, and SAM 2 encodes masks into memory so."""


@dataclass(frozen=True, slots=True)
class Features:
    """What a model makes of one frame, or of as many frames as the maps have rows."""

    high_res: list[Tensor]
    """Finer maps that the decoder takes besides the top one, finest first; empty where it takes none."""
    top_1chw: Tensor
    """The map that prompts and memories are read into; its stride and its channels are the model's own."""

    def rows(self, index: Tensor) -> Features:
        """Some of the rows."""
        return Features([x[index] for x in self.high_res], self.top_1chw[index])


@dataclass(frozen=True, slots=True)
class Candidates:
    """What the decoder offers for one prompt of each object, or without a prompt."""

    logits_bkhw: Tensor
    """float32, mask logits on the low-res grid."""
    predicted_ious_bk: Tensor
    """float32."""
    tokens_bkc: Tensor
    """What the object pointer of each candidate is made of."""
    object_score_logits_b: Tensor
    """float32; above 0 the object is judged visible."""
    first_offer: int = 0
    """The first candidate that tracking chooses among: 1 where candidate 0 is for prompts without doubt."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The chosen mask of each of B objects."""

    low_res_logits_bhw: Tensor
    """float32, mask logits on the low-res grid."""
    pointers_bc: Tensor
    """Object pointers."""
    object_score_logits_b: Tensor
    """float32; above 0 the object is judged visible."""
    predicted_ious_b: Tensor
    """float32."""


Rows = TypeVar("Rows", Candidates, Decoded)


def cat(parts: Sequence[Rows]) -> Rows:
    """Answers for some objects and for others, as one."""
    return _each(parts[0], lambda name: torch.cat([getattr(part, name) for part in parts]))


def pick(answers: Rows, index: Sequence[int]) -> Rows:
    """The answers for some objects, in the order of `index`."""
    picked = torch.as_tensor(index, device=answers.object_score_logits_b.device)
    return _each(answers, lambda name: getattr(answers, name)[picked])


class ImageModel(Protocol):
    """Encodes pictures, and answers prompts on them."""

    image_size: int
    """S."""
    feedback_limit: float
    """Mask logits that come back with a correction are clamped to this at either side of 0."""
    takes_decoded: bool
    """Whether frames of videos are resized by their decoder: `vidseg.trackers.contract.DecodedPicture`."""

    @property
    def low_res_size(self) -> int:
        """Side of the low-res grid."""
        ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def device(self) -> torch.device: ...

    def fuse(self) -> None:
        """Take the form that tracks fastest; weights are loaded before."""
        ...

    def compile_parts(self) -> None:
        """Compile the parts that every frame goes through; after `fuse`."""
        ...

    def encode(self, image_3ss: Tensor) -> Features:
        """Features of one normalised picture, float32 3 x S x S."""
        ...

    def encode_batch(self, images_b3ss: Tensor) -> Features:
        """Features of several normalised pictures, a row each."""
        ...

    def without_memory(self, features: Features) -> Tensor:
        """What the decoder takes where nothing is remembered, in place of what `MemoryModel.attend` gives."""
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
        """All that the decoder says of B objects.

        Args:
            conditioned_bchw: from `without_memory` or `attend`; one row, or B.
            points_bp2: float32, pixels of the model's input; a box is its two corners, which come first.
            labels_bp: int32: 1 on the object, 0 off it, 2 and 3 a box's corners, -1 padding.
            previous_logits_bhw: earlier mask logits of the same objects on this frame, which are corrected.
        """
        ...

    def num_prompt_tokens(self, labels_bp: Tensor) -> int:
        """How many sparse tokens the prompt encoder makes of each row of such prompts."""
        ...

    def best_first(self, logits_khw: Tensor, predicted_ious_k: Tensor, *, multimask: bool) -> list[int]:
        """The candidates that answer one prompt on a picture, the best one first.

        Args:
            multimask: offer alternatives, for a prompt that leaves open what is meant; else one mask.
        """
        ...

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


class MemoryModel(ImageModel, Protocol):
    """An image model with a memory: what the engine tracks with."""

    clicks_correct: bool
    """Whether clicks on a frame to come correct what is tracked into it; else they segment it anew."""

    @property
    def pointer_channels(self) -> int:
        """Width of an object pointer."""
        ...

    @property
    def absent_pointer_c(self) -> Tensor:
        """The pointer of an object that is not there."""
        ...

    def attend(self, features: Features, recalls: Sequence[Recall], pointer_limit: int) -> Tensor:
        """Features as the memory of each object changes them, or what is read of it: B x C x H x W.

        Args:
            recalls: of one shape (`Recall.shape`), one for each object.
            pointer_limit: what the times of pointers are scaled by.
        """
        ...

    def take(self, candidates: Candidates, chosen_b: Tensor) -> Decoded:
        """One candidate of each object, by its number."""
        ...

    def take_mask(self, features: Features, masks_bss: Tensor) -> Decoded:
        """Masks that a user gives, as they are: bool, at the model's input size."""
        ...

    def remember(self, features: Features, decoded: Decoded, *, from_prompt: bool) -> Tensor:
        """Memory tokens of B objects: bfloat16 B x N x C.

        Args:
            features: of one row or B; those without memory, as memories must not feed on memories.
            from_prompt: the masks answer a prompt.
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
        """What training judges: the decoder's answers before rules that need no training, the last pass last.

        Args:
            features: of B rows.
            points_bp2: padded at the end, with labels of -1, as rows may have prompts of different sizes.
        """
        ...

    def masks_read(self, conditioned_bchw: Tensor) -> Tensor | None:
        """The masks that `attend` read by learned keys, 0 to 1, B x h x w; None where a model reads none."""
        ...


def module_of(model: ImageModel) -> nn.Module:
    """The torch module that a model is: what weights are loaded into, trained and counted in.

    Raises:
        ConfigError: it is none, and has no weights of torch's.
    """
    if not isinstance(model, nn.Module):
        raise ConfigError(f"{type(model).__name__} is no torch module")
    return model


def _each(like: Rows, make: Callable[[str], Tensor]) -> Rows:
    """An answer made tensor by tensor; what is no tensor is taken from `like`."""
    tensors = [field.name for field in fields(like) if isinstance(getattr(like, field.name), Tensor)]
    changes: dict[str, Any] = {name: make(name) for name in tensors}
    return replace(like, **changes)
