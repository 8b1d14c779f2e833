"""The tracker contract: frames and prompts go in, results come out; and who does it.

Coordinates are pixels of the frame as shown: origin at the top-left corner, x to the right, y down. Layouts
in shapes: N objects · H W video size · h w the mask decoder's own grid.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from vidseg.errors import InputError, PromptError
from vidseg.trackers.prompt_arrays import floats_of, how_to_give_a_box, labels_of, mask_of, points_of
from vidseg.trackers.result import FrameResult as FrameResult
from vidseg.trackers.result import ObjectState as ObjectState

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    BoolArray = npt.NDArray[np.bool_]
    FloatArray = npt.NDArray[np.float32]
    UInt8Array = npt.NDArray[np.uint8]
    Box = Sequence[float] | npt.NDArray[Any]
    """(x0, y0, x1, y1)."""
    Points = Sequence[Sequence[float]] | npt.NDArray[Any]
    """P x 2."""
    Labels = Sequence[int] | npt.NDArray[Any]
    """P: 1 on the object, 0 off it."""

ABSENT_LOGIT = -1024.0
"""Mask logit of every pixel of an absent object (SAM 2's NO_OBJ_SCORE)."""


class DecodedPicture(Protocol):
    """A decoded picture as the decoder holds it, before or beside its conversion to `image`.

    Readers keep it for trackers that use it (`TrackerTraits.takes_decoded`).
    """

    @property
    def image(self) -> npt.NDArray[np.uint8]:
        """The image that was made of it."""
        ...

    def resized(self, side: int) -> npt.NDArray[np.uint8]:
        """uint8 S x S x 3, RGB, as shown, made by the decoder's own scaler; made anew at each call."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded picture.

    Either `image` is given, or `model_input` together with `size_hw`; then the tracker's own resizing and
    normalising is skipped. To change the picture, make a frame with a new image: one that was drawn over in
    place still has its `decoded`.
    """

    index: int
    """Place of the frame in the stream, from 0, in decode order."""
    pts_seconds: float
    """Presentation time in seconds."""
    image: npt.NDArray[np.uint8] | None = None
    """uint8 H x W x 3, RGB, as shown (rotation applied)."""
    model_input: torch.Tensor | FloatArray | None = None
    """float32 3 x S x S, normalised."""
    size_hw: tuple[int, int] = (0, 0)
    """Height and width of the video; taken from `image` if that is given."""
    decoded: DecodedPicture | None = None
    """What `image` was made from, if it came from a video; dropped when a frame gets another image."""
    kept: dict[Any, Any] | None = None
    """What trackers computed of the picture, for a frame that several sessions are given; None: they keep
    nothing with it."""

    def __post_init__(self) -> None:
        try:  # numbers of NumPy could not be written into a session's file
            object.__setattr__(self, "index", operator.index(self.index))
            object.__setattr__(self, "pts_seconds", float(self.pts_seconds))
        except (TypeError, ValueError):
            raise InputError(
                f"a frame with the index {self.index!r} at {self.pts_seconds!r} s",
                hint="give Frame(index, pts_seconds, image), an integer and a number",
            ) from None
        if not math.isfinite(self.pts_seconds):
            raise InputError(
                f"frame {self.index} at {self.pts_seconds} s", hint="give a time in seconds that is finite"
            )
        if self.decoded is not None and self.decoded.image is not self.image:
            object.__setattr__(self, "decoded", None)
        if self.image is not None:
            image, hint = self.image, "give uint8 height x width x 3, RGB"
            if not isinstance(image, np.ndarray):
                raise InputError(f"frame {self.index}: the image is a {type(image).__name__}", hint=hint)
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
                raise InputError(
                    f"frame {self.index}: the image is {image.dtype} of shape {image.shape}", hint=hint
                )
            object.__setattr__(self, "size_hw", (int(image.shape[0]), int(image.shape[1])))
        elif self.model_input is None or min(self.size_hw) < 1:
            raise InputError(
                f"frame {self.index} carries neither an image nor a model input with its size",
                hint="Frame(index, pts_seconds, image) or Frame(..., model_input=..., size_hw=(h, w))",
            )


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """A prompt for one object on one frame: points and box together, or a mask alone."""

    points_xy: FloatArray
    """float32 P x 2, pixels; 0 x 2 without points."""
    labels: npt.NDArray[np.int32]
    """int32 P: 1 on the object, 0 off it."""
    box: FloatArray | None = None
    """float32 (x0, y0, x1, y1), pixels."""
    mask: BoolArray | None = None
    """bool H x W at the video's size."""

    @property
    def is_clicks(self) -> bool:
        """Whether the prompt is points and nothing else."""
        return self.mask is None and self.box is None

    @classmethod
    def of(
        cls,
        *,
        box: Box | None = None,
        points: Points | None = None,
        labels: Labels | None = None,
        mask: Any = None,
    ) -> Prompt:
        """Check and convert what a caller gave: sequences, arrays of NumPy, tensors of torch on any device.

        Raises:
            PromptError: nothing given, a mask together with something else, numbers that are not finite,
                x1 <= x0 or y1 <= y0, another number of labels than of points, an empty mask, or one of
                several numbers (logits, some of them below 0, are cut at 0).
        """
        if mask is not None and (box is not None or points is not None or labels is not None):
            raise PromptError("a mask prompt stands alone", hint="drop the box and the points, or the mask")
        if mask is None and box is None and points is None:
            raise PromptError("an empty prompt", hint="give box=, points= with labels=, or mask=")
        points_xy = points_of(points)
        if points is not None and len(points_xy) == 0 and box is None:
            raise PromptError("the list of points is empty", hint="give at least one point [x, y]")
        if points is None and labels is not None and np.size(labels):
            raise PromptError("labels without points", hint="give points= with labels=")
        labels_array = labels_of(labels, len(points_xy))
        box_array = None
        if box is not None:
            box_array = floats_of(box, "box")
            if box_array.shape != (4,):
                raise PromptError(
                    f"box {box_array.tolist()}, where four numbers belong", hint=how_to_give_a_box(box_array)
                )
            if not (box_array[2] > box_array[0] and box_array[3] > box_array[1]):
                raise PromptError(
                    f"box {box_array.tolist()} has no area",
                    hint="give [x0, y0, x1, y1] with x1 > x0 and y1 > y0",
                )
        mask_array = None if mask is None else mask_of(mask)
        return cls(points_xy, labels_array, box_array, mask_array)

    def arguments(self) -> dict[str, Any]:
        """The arguments of `Session.prompt` that say the same: those of box, points, labels and mask that the
        prompt has; all but the mask as lists of numbers."""
        said: dict[str, Any] = {}
        if self.box is not None:
            said["box"] = self.box.tolist()
        if len(self.points_xy):
            said["points"] = self.points_xy.tolist()
            said["labels"] = self.labels.tolist()
        if self.mask is not None:
            said["mask"] = self.mask
        return said

    def merge(self, later: Prompt) -> Prompt:
        """This prompt and a later one for the same object and frame, as one prompt."""
        if self.mask is not None or later.mask is not None:
            if self.mask is not None and later.mask is not None:
                return later
            raise PromptError("a mask prompt stands alone", hint="drop the box and the points, or the mask")
        return Prompt(
            np.concatenate([self.points_xy, later.points_xy]),
            np.concatenate([self.labels, later.labels]),
            later.box if later.box is not None else self.box,
        )

    def fit(self, size_hw: tuple[int, int]) -> Prompt:
        """Check the prompt against a frame's size; a box that reaches out of the frame is clipped.

        Raises:
            PromptError: a box or point outside the frame, a mask of another size.
        """
        height, width = size_hw
        if self.mask is not None and self.mask.shape != size_hw:
            raise PromptError(
                f"a mask of {self.mask.shape[1]}x{self.mask.shape[0]} for a frame of {width}x{height}",
                hint="give the mask at the video's size",
            )
        outside = (self.points_xy < 0).any(1) | (self.points_xy > (width, height)).any(1)
        if outside.any():
            raise PromptError(
                f"point {self.points_xy[outside][0].tolist()} lies outside the frame ({width}x{height})",
                hint="give pixels of the frame as shown; the origin is the top-left corner",
            )
        if self.box is None:
            return self
        box = np.clip(self.box, 0, np.array([width, height, width, height], np.float32))
        if box[2] <= box[0] or box[3] <= box[1]:
            raise PromptError(
                f"box {self.box.tolist()} lies outside the frame ({width}x{height})",
                hint="give [x0, y0, x1, y1] in pixels of the frame as shown",
            )
        return Prompt(self.points_xy, self.labels, box, None)


@runtime_checkable
class Session(Protocol):
    """One video being tracked.

    Frames are stepped to in rising order of index, or falling in reverse, each once; some may be left out. A
    call that is refused changes nothing in the session, except that a prompt that does not fit its frame is
    dropped.
    """

    @property
    def obj_ids(self) -> list[int]:
        """The objects, in order of their first prompt; each is listed from that prompt on, before its frame
        comes.

        An id that is prompted again after its removal is a new object, and comes last.
        """
        ...

    def prompt(
        self,
        obj_id: int,
        *,
        box: Box | None = None,
        points: Points | None = None,
        labels: Labels | None = None,
        mask: Any = None,
        label: str | None = None,
    ) -> None:
        """Prompt an object, new or old, on the next frame given to `step` or `condition`.

        Several calls for one object before that frame are one prompt.

        Args:
            label: what to call the object in results from now on, 'dog'; None leaves what it is called.

        Raises:
            PromptError: see `Prompt.of`; what depends on the frame's size is checked when the frame comes.
        """
        ...

    def step(self, frame: Frame | UInt8Array, *, bgr: bool = False) -> FrameResult:
        """Track every object into this frame. Without objects the result has N = 0.

        Args:
            frame: a `Frame`; or a picture alone, uint8 H x W x 3, RGB, which is the one after the last.
            bgr: the picture's channels are blue, green, red, as OpenCV reads them.

        Raises:
            PromptError: a prompt does not fit this frame; that prompt is dropped.
            InputError: the frame was stepped to or passed already.
        """
        ...

    def condition(self, frame: Frame) -> FrameResult:
        """Segment a prompted frame that lies ahead, before the frames on the way are stepped through.

        Raises:
            PromptError: no object is prompted, or a prompt does not fit this frame; that one is dropped.
            InputError: the frame was stepped to or passed already.
        """
        ...

    def refine(
        self,
        obj_id: int,
        *,
        box: Box | None = None,
        points: Points | None = None,
        labels: Labels | None = None,
        mask: Any = None,
    ) -> FrameResult:
        """Correct an object on the frame last stepped to, or add one there.

        Returns:
            The frame's new result, for all objects.

        Raises:
            PromptError: see `Prompt.of` and `Prompt.fit`.
            InputError: no frame was stepped to since the session was started or restored.
        """
        ...

    def remove(self, obj_id: int) -> None:
        """Forget an object.

        Raises:
            PromptError: there is no such object.
        """
        ...

    def save(self, path: str | PathLike[str]) -> None:
        """Write the session's state (safetensors, atomically); its size does not grow with the video."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackerTraits:
    """Facts about a tracker that those who feed it must know."""

    takes_decoded: bool = False
    """Whether it uses `Frame.decoded`."""
    clicks_correct: bool = False
    """Whether clicks on the next frame, for an object that it already follows, correct the mask tracked into
    that frame. Else, as in SAM 2, they segment the frame anew."""
    objects_compete: bool = False
    """Whether the mask of an object depends on the others that a session follows beside it."""


@runtime_checkable
class Tracker(Protocol):
    """A model, or a method without one, that can follow objects through videos."""

    @property
    def name(self) -> str: ...

    @property
    def traits(self) -> TrackerTraits: ...

    def start(self, num_frames: int | None = None, reverse: bool = False) -> Session:
        """Begin a video.

        Args:
            num_frames: the length of the video, if known; None for a live stream. SAM 2 scales pointer
                positions by it if it is under 16.
            reverse: frames will come in falling order of index.
        """
        ...

    def restore(self, path: str | PathLike[str]) -> Session:
        """A session saved by this tracker; going on gives the very same masks.

        Raises:
            CheckpointError: the file is not a session of this tracker with these weights.
        """
        ...

    def describe(self) -> Mapping[str, Any]:
        """Facts for run.json, as JSON values: at least `name`, `config`, `weights_sha256` (or None)."""
        ...
