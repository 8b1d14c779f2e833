"""The acts that pages send: what each may say, and what is done; docs/annotate_protocol.md describes them.

Every number is bounded and every unknown field refused, before anything is done.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from vidseg.annotation.workbench import Workbench
from vidseg.errors import InputError, unknown
from vidseg.validation import Strict, parse

MAX_POINTS = 20_000
MAX_AHEAD = 64

Frame = Annotated[int, Field(ge=0, le=2**31)]
Id = Annotated[int, Field(ge=1, le=2**31 - 1)]
Pixel = Annotated[float, Field(ge=-1e6, le=1e6)]
Point = Annotated[list[Pixel], Field(min_length=2, max_length=2)]
Points = Annotated[list[Point], Field(min_length=1, max_length=MAX_POINTS)]
Label = Annotated[str, Field(max_length=200)]
Colour = Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$")]

Answer = dict[str, Any]


class Message(Strict):
    """What every act has."""

    n: Annotated[int, Field(ge=0, le=2**53)]
    act: str


class Look(Message):
    frame: Frame
    object: Id | None = None
    ahead: Annotated[int, Field(ge=0, le=MAX_AHEAD)] = 0


class Hover(Message):
    frame: Frame
    object: Id | None
    x: Pixel
    y: Pixel
    on: bool = True


class Click(Message):
    frame: Frame
    object: Id | None
    x: Pixel
    y: Pixel
    on: bool

    def do(self, bench: Workbench) -> Answer:
        return {"object": bench.session.click(self.frame, self.object, self.x, self.y, on=self.on)}


class Box(Message):
    frame: Frame
    object: Id | None
    box: Annotated[list[Pixel], Field(min_length=4, max_length=4)]

    def do(self, bench: Workbench) -> Answer:
        return {"object": bench.session.box(self.frame, self.object, self.box)}


class Lasso(Message):
    frame: Frame
    object: Id | None
    points: Points
    mode: Literal["replace", "add", "erase"]

    def do(self, bench: Workbench) -> Answer:
        return {"object": bench.session.lasso(self.frame, self.object, self.points, self.mode)}


class Brush(Message):
    frame: Frame
    object: Id | None
    points: Points
    radius: Annotated[float, Field(gt=0, le=1000)]
    mode: Literal["add", "erase"]

    def do(self, bench: Workbench) -> Answer:
        return {"object": bench.session.brush(self.frame, self.object, self.points, self.radius, self.mode)}


class Unprompt(Message):
    frame: Frame
    object: Id
    point: Annotated[int, Field(ge=0, le=MAX_POINTS)] | None = None

    def do(self, bench: Workbench) -> Answer:
        bench.session.unprompt(self.frame, self.object, self.point)
        return {"object": self.object}


class AddObject(Message):
    label: Label = ""
    colour: Colour | None = None

    def do(self, bench: Workbench) -> Answer:
        return {"object": bench.session.add_object(label=self.label, colour=self.colour)}


class SetObject(Message):
    object: Id
    label: Label | None = None
    colour: Colour | None = None
    visible: bool | None = None
    locked: bool | None = None

    def do(self, bench: Workbench) -> Answer:
        said = self.model_dump(exclude={"n", "act", "object"}, exclude_none=True)
        bench.session.set_object(self.object, **said)
        return {}


class RemoveObject(Message):
    object: Id

    def do(self, bench: Workbench) -> Answer:
        bench.session.remove_object(self.object)
        return {}


class MergeObjects(Message):
    object: Id
    into: Id

    def do(self, bench: Workbench) -> Answer:
        bench.session.merge_objects(self.object, self.into)
        return {}


class Absent(Message):
    object: Id
    first: Frame
    last: Frame
    on: bool

    def do(self, bench: Workbench) -> Answer:
        bench.session.set_absent(self.object, self.first, self.last, on=self.on)
        return {}


class Track(Message):
    objects: Annotated[list[Id], Field(min_length=1, max_length=1000)] | None = None
    direction: Literal["forward", "backward", "both"]
    first: Frame | None = None
    last: Frame | None = None

    def do(self, bench: Workbench) -> Answer:
        bench.session.track(self.objects, self.direction, self.first, self.last)
        return {}


class Retrack(Message):
    object: Id
    frame: Frame

    def do(self, bench: Workbench) -> Answer:
        bench.session.retrack(self.object, self.frame)
        return {}


class Cancel(Message):
    def do(self, bench: Workbench) -> Answer:
        bench.session.cancel()
        return {}


class Reviewed(Message):
    first: Frame
    last: Frame
    on: bool

    def do(self, bench: Workbench) -> Answer:
        bench.session.set_reviewed(self.first, self.last, on=self.on)
        return {}


class Flag(Message):
    frame: Frame
    note: Annotated[str, Field(max_length=2000)] | None

    def do(self, bench: Workbench) -> Answer:
        bench.session.flag(self.frame, self.note)
        return {}


class Undo(Message):
    def do(self, bench: Workbench) -> Answer:
        act = bench.session.undo()
        return {"title": None if act is None else act.title}


class Redo(Message):
    def do(self, bench: Workbench) -> Answer:
        act = bench.session.redo()
        return {"title": None if act is None else act.title}


class Restore(Message):
    version: Annotated[int, Field(ge=0, le=2**53)]
    object: Id

    def do(self, bench: Workbench) -> Answer:
        bench.session.restore(self.version, self.object)
        return {}


class Export(Message):
    formats: Annotated[list[Annotated[str, Field(max_length=100)]], Field(min_length=1, max_length=50)]
    frames: Literal["all", "reviewed"]

    def do(self, bench: Workbench) -> Answer:
        bench.export(self.formats, reviewed_only=self.frames == "reviewed")
        return {}


class Open(Message):
    video: Annotated[int, Field(ge=0, le=2**31)]

    def do(self, bench: Workbench) -> Answer:
        bench.open(self.video)
        return {}


ACTS: dict[str, type[Message]] = {
    "look": Look,
    "hover": Hover,
    "click": Click,
    "box": Box,
    "lasso": Lasso,
    "brush": Brush,
    "unprompt": Unprompt,
    "add_object": AddObject,
    "set_object": SetObject,
    "remove_object": RemoveObject,
    "merge_objects": MergeObjects,
    "absent": Absent,
    "track": Track,
    "retrack": Retrack,
    "cancel": Cancel,
    "reviewed": Reviewed,
    "flag": Flag,
    "undo": Undo,
    "redo": Redo,
    "restore": Restore,
    "export": Export,
    "open": Open,
}


def read_act(document: Any) -> Message:
    """The act in a message.

    Raises:
        InputError: there is no such act, or it says what it may not.
    """
    if not isinstance(document, dict) or not isinstance(document.get("act"), str):
        raise InputError("a message without an act", hint='{"n": 1, "act": "look", "frame": 0}')
    if document["act"] not in ACTS:
        raise InputError(unknown("act", document["act"], ACTS))
    return parse(ACTS[document["act"]], document, where=f"act '{document['act'][:40]}'", error=InputError)
