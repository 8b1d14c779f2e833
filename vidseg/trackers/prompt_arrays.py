"""What callers give as boxes, points, labels and masks, as arrays; what is none is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vidseg.errors import PromptError

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]


def points_of(points: Any) -> FloatArray:
    """P x 2; a single point may stand without a list around it."""
    if points is None:
        return np.zeros((0, 2), np.float32)
    array = floats_of(points, "points")
    if array.size and array.shape[-1:] != (2,):
        raise PromptError(
            f"points {array.tolist()}, where [x, y] belongs for each",
            hint="give points=[[x, y], ...]; labels=[1, 0, ...] say which are on the object",
        )
    return array.reshape(-1, 2)


def labels_of(labels: Any, num_points: int) -> npt.NDArray[np.int32]:
    """P; all 1 where none are given."""
    if labels is None:
        return np.ones(num_points, np.int32)
    array = array_of(labels)
    if array.ndim != 1:
        raise PromptError(
            f"labels {labels!r}, where a list of numbers belongs",
            hint=f"give one for each point: labels={[1] * num_points}",
        )
    if len(array) != num_points:
        raise PromptError(
            f"{num_points} points but {len(array)} labels", hint="give one label for each point"
        )
    if not np.isin(array, (0, 1)).all():
        raise PromptError(
            f"labels {array.tolist()}", hint="labels are the numbers 1 (on the object) and 0 (off it)"
        )
    return array.astype(np.int32)


def mask_of(mask: Any) -> npt.NDArray[np.bool_]:
    """bool H x W with at least one pixel.

    Raises:
        PromptError: it is no array with two axes, is empty, has numbers that are not finite, or leaves open
            what is the object: a soft mask, or a map of several objects.
    """
    array = array_of(mask)
    if array.dtype.kind not in "biuf":
        raise PromptError(
            f"a mask of {type(mask).__name__}", hint="give an array, height x width; read files first"
        )
    if array.ndim != 2:
        raise PromptError(f"a mask of shape {array.shape}", hint="give height x width")
    if not np.isfinite(array).all():
        raise PromptError("the mask has a number that is not finite", hint="give bool height x width")
    marked = array > 0
    if not marked.any():
        raise PromptError("the mask is empty", hint="mark at least one pixel of the object")
    # Logits, which have both signs, are cut at 0. Of other numbers two are a mask, and nobody knows of more.
    low, high = (0, 0) if array.dtype.kind == "b" else (array[marked].min(), array.max())
    if low != high and not array.min() < 0:
        raise PromptError(
            f"a mask of several numbers, {low:.3g} to {high:.3g}",
            hint="give bool height x width: mask > 0.5 of a soft mask, mask == id of a map of objects",
        )
    return marked


def array_of(value: Any) -> npt.NDArray[Any]:
    """What was given, as an array; one without axes if its rows are of several lengths."""
    try:
        return np.asarray(_on_the_host(value))
    except ValueError:  # rows of several lengths
        return np.asarray(None)


def how_to_give_a_box(given: FloatArray) -> str:
    """The hint for numbers that are no box, by the shape in which they were given."""
    if given.ndim == 2 and len(given) > 1 and given.shape[1] == 4:
        return "prompt each object by its own box=[x0, y0, x1, y1]"
    if given.shape == (1, 4):
        return "take the list around it away: box=[x0, y0, x1, y1]"
    return "give box=[x0, y0, x1, y1]"


def floats_of(value: Any, what: str) -> FloatArray:
    """Finite numbers, of any shape; `what` they are, for messages."""
    try:
        with np.errstate(over="ignore"):  # what is too large is infinite, and refused
            # A copy, as callers may fill theirs with other numbers.
            array = np.array(_on_the_host(value), dtype=np.float32)
    except (TypeError, ValueError):
        raise PromptError(f"{what} {value!r} is not a list of numbers") from None
    if not np.isfinite(array).all():
        raise PromptError(f"{what} {array_of(value).tolist()} has a number that is not finite")
    return array


def _on_the_host(value: Any) -> Any:
    """A tensor of torch, wherever it is and whatever its type, as one that NumPy reads; else the value."""
    if not hasattr(value, "detach"):
        return value
    tensor = value.detach().cpu()
    return tensor.float() if tensor.is_floating_point() else tensor
