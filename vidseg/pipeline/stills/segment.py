"""`segment`: the objects of pictures by prompts, one mask for each object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vidseg.errors import PromptError
from vidseg.pipeline.prompts import Prompts, VideoFacts, read_prompts
from vidseg.pipeline.stills.masks import PictureMasks, Thing
from vidseg.pipeline.stills.pictures import Picture
from vidseg.trackers.label_map import hidden_pixels, mask_boxes, paint_label_map

if TYPE_CHECKING:
    import numpy.typing as npt

    from vidseg.trackers.image.segmenter import ImageSegmenter

PromptsOf = Callable[[Picture], Prompts]


def same_prompts(source: Any) -> PromptsOf:
    """One prompt file, or the content of one, for every picture.

    Raises:
        PromptError: it is wrong by itself.
    """
    prompts = _checked(read_prompts(source))
    return lambda picture: prompts


def with_prompts_beside(pictures: Sequence[Picture]) -> tuple[list[Picture], list[Picture]]:
    """The pictures that have a prompt file of their own name, with it, and those that have none.

    Raises:
        PromptError: no picture has one.
    """
    prompted, without = [], []
    for picture in pictures:
        if picture.prompts_beside.is_file():
            prompted.append(replace(picture, prompts=picture.prompts_beside))
        else:
            without.append(picture)
    if not prompted:
        raise PromptError(
            "nothing says what to segment",
            hint="--box X0,Y0,X1,Y1, --points X,Y or --prompt FILE for every picture; or a.json beside a.jpg",
        )
    return prompted, without


def own_prompts(picture: Picture) -> Prompts:
    """The prompts in the file that is for a picture alone.

    Raises:
        PromptError: they are wrong by themselves.
    """
    return _checked(read_prompts(picture.prompts))


def segment(
    segmenter: ImageSegmenter, prompts: Prompts, picture: Picture, image: npt.NDArray[np.uint8]
) -> PictureMasks:
    """The objects of one picture; where masks overlap, the highest logit keeps the pixel in the label map.

    Raises:
        PromptError: the prompts do not fit the picture.
    """
    height, width = image.shape[:2]
    objects = prompts.fit(VideoFacts(name=picture.path.name, size_hw=(height, width))).objects
    asked = [next(iter(thing.on_frames.values())) for thing in objects]
    answers = segmenter.embed(image).candidates_batch([prompt.arguments() for prompt in asked])
    # One click leaves open what is meant, so the model may choose among its alternatives.
    is_open = [prompt.is_clicks and len(prompt.labels) == 1 for prompt in asked]
    chosen = [answer.found(multimask=multi)[0] for answer, multi in zip(answers, is_open, strict=True)]
    things = [
        Thing(thing.obj_id, found, thing.label or "") for thing, found in zip(objects, chosen, strict=True)
    ]
    masks = np.stack([found.mask for found in chosen])
    boxes = mask_boxes(masks)

    def logits() -> npt.NDArray[np.float32]:
        return np.stack(
            [
                answer.logits()[answer.best_first(multimask=multi)[0]]
                for answer, multi in zip(answers, is_open, strict=True)
            ]
        )

    hidden = hidden_pixels(masks, logits, boxes)
    label_map = paint_label_map([thing.obj_id for thing in things], masks, boxes, hidden)
    return PictureMasks(image, things, label_map)


def _checked(prompts: Prompts) -> Prompts:
    for thing in prompts.objects:
        where = f"{prompts.where}, object {thing.obj_id}"
        if list(thing.on_frames) != [0]:
            raise PromptError("a picture has the frame 0 alone", where=where)
        if thing.on_frames[0].mask is not None:
            raise PromptError(
                "a mask is no prompt for a picture: it would be the answer", where=where, hint="box or points"
            )
    return prompts
