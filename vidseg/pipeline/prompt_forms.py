"""What a prompt file may say, as typed models; `vidseg.pipeline.prompts` reads it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from vidseg.trackers.pending import MAX_ID
from vidseg.validation import FileName, Strict

Pixel = Annotated[float, Field(ge=-1e6, le=1e6)]
MAX_FRAME = 2**53  # many JSON readers lose digits of larger numbers
FrameNumber = Annotated[int, Field(ge=0, le=MAX_FRAME, description="Frame number; the first one is 0.")]


class Region(Strict):
    """The content of one prompt: a box and points together, or a mask alone."""

    box: Annotated[list[Pixel], Field(min_length=4, max_length=4, description="[x0, y0, x1, y1]")] | None = (
        None
    )
    points: (
        Annotated[
            list[Annotated[list[Pixel], Field(min_length=2, max_length=2)]],
            Field(min_length=1, description="[[x, y], ...]"),
        ]
        | None
    ) = None
    labels: (
        Annotated[
            list[Annotated[int, Field(ge=0, le=1)]],
            Field(description="One for each point: 1 on the object, 0 off it. All 1 where left out."),
        ]
        | None
    ) = None
    mask: (
        Annotated[FileName, Field(description="Indexed or greyscale PNG, relative to the prompt file.")]
        | None
    ) = None


class FramePrompt(Region):
    """A prompt on one frame. Several for one object on one frame are merged."""

    frame: FrameNumber
    in_turn: Annotated[
        bool, Field(description="Whether it corrects what is tracked into its frame, and is unknown before.")
    ] = False


class PromptedObject(Strict):
    """An object, with the frames on which it is prompted."""

    id: Annotated[int, Field(ge=1, le=MAX_ID)]
    label: Annotated[str, Field(max_length=200)] | None = None
    absent: Annotated[
        list[Annotated[list[FrameNumber], Field(min_length=2, max_length=2)]],
        Field(description="[[first, last], ...]: frames on which it is not in sight, whatever is tracked."),
    ] = Field(default=[])
    prompts: Annotated[list[FramePrompt], Field(min_length=1)]


class LongForm(Strict):
    """A prompt file with any number of objects, each prompted on any frames."""

    objects: Annotated[list[PromptedObject], Field(min_length=1)]


class ShortForm(Region):
    """A prompt file with one region: object 1 on the first tracked frame. In a mask, each id is an object."""


def prompt_schema() -> dict[str, Any]:
    """The JSON Schema of prompt files."""
    schema = TypeAdapter(LongForm | ShortForm).json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "vidseg prompt file",
        "description": "Pixels of the frame as shown; origin at the top-left corner, x right, y down.",
        **schema,
    }
