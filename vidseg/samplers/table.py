"""Samplers by name, and the one function that runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from vidseg.errors import ConfigError
from vidseg.registry import Registry
from vidseg.samplers.asking import Asking
from vidseg.samplers.boxes import BoxSettings, boxes
from vidseg.samplers.found import Found
from vidseg.samplers.grid import GridSettings, grid
from vidseg.samplers.peaks import PeakSettings, peaks
from vidseg.samplers.picture import Decode, DecodedPicture, PromptedPicture
from vidseg.samplers.proposals import Proposal
from vidseg.samplers.two_round import TwoRoundSettings, two_round
from vidseg.validation import parse

if TYPE_CHECKING:
    import numpy.typing as npt

    from vidseg.samplers.points import Crop


@dataclass(frozen=True)
class Sampler:
    """A row of the table of samplers."""

    settings: type
    """A frozen dataclass of its settings; limits stand in the types (`vidseg.validation.parse`)."""
    propose: Callable[[Asking, Any], list[Proposal]]
    """(the picture, to be asked; settings) -> masks, the best ones first."""


SAMPLERS: Registry[Sampler] = Registry(
    "sampler",
    {
        "grid": Sampler(GridSettings, grid),
        "two-round": Sampler(TwoRoundSettings, two_round),
        "boxes": Sampler(BoxSettings, boxes),
        "peaks": Sampler(PeakSettings, peaks),
    },
)


def register_sampler(name: str, sampler: Sampler) -> None:
    """Make a sampler known by a name, to `everything(sampler=NAME)` and `--sampler NAME`.

    Raises:
        ConfigError: the name is taken.
    """
    SAMPLERS.register(name, sampler)


def propose(
    name: str,
    decode: Decode,
    size_hw: tuple[int, int],
    *,
    decode_crop: Callable[[Crop], Decode] | None = None,
    skip: npt.NDArray[np.bool_] | None = None,
    **settings: Any,
) -> tuple[list[Found], int]:
    """Find the masks of a picture that a function knows: samplers without a model.

    Args:
        name: a sampler.
        decode: takes points (float64 N x 2, pixels, x before y) and returns mask logits (N, K, H, W) and
            predicted IoUs (N, K), as arrays or tensors. The sampler `boxes` gives it boxes, N x 4.
        size_hw: H and W of the picture.
        decode_crop: makes the `decode` of a crop, which takes and returns what belongs to the crop's own
            pixels. None: crops are cut from what `decode` answers for the whole picture.
        skip: bool H x W; points there are not asked.
        **settings: of the sampler; see its settings class.

    Returns:
        The masks, best first, and how many prompts were asked.

    Raises:
        ConfigError: an unknown sampler or setting, or an answer of the wrong shape.
    """
    return everything(DecodedPicture(decode, size_hw, decode_crop), name, settings, skip=skip)


def everything(
    picture: PromptedPicture,
    name: str,
    settings: Mapping[str, Any],
    *,
    defaults: Mapping[str, Any] | None = None,
    skip: npt.NDArray[np.bool_] | None = None,
) -> tuple[list[Found], int]:
    """All masks that a sampler finds in any picture that answers prompts; see `propose`.

    Args:
        defaults: the model's own; those that the sampler does not have are left out.
    """
    if skip is not None:
        skip = np.asarray(skip)
        if skip.shape != picture.size_hw or skip.dtype.kind not in "bui":
            raise ConfigError(
                f"skip of shape {skip.shape}, {skip.dtype}, for a picture of {picture.size_hw}",
                hint="give bool, height x width",
            )
        skip = skip.astype(bool)
    parsed = settings_of(name, settings, defaults=defaults)
    asking = Asking(picture, skip)
    proposals = SAMPLERS.lookup(name).propose(asking, parsed)
    return [proposal.found(picture.size_hw) for proposal in proposals], asking.num_asked


def settings_of(name: str, settings: Mapping[str, Any], *, defaults: Mapping[str, Any] | None = None) -> Any:
    """A sampler's settings, checked: an object of its settings class.

    Raises:
        ConfigError: an unknown sampler or setting, or a value that is not allowed.
    """
    model = SAMPLERS.lookup(name).settings
    known = {field.name for field in fields(model)}
    given = {key: value for key, value in (defaults or {}).items() if key in known} | dict(settings)
    return parse(model, given, where=f"sampler '{name}'", error=ConfigError)
