"""What a project holds, typed: objects, their prompts and masks, and the marks of whoever reviews them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vidseg.annotation.colours import colour_of
from vidseg.annotation.database import TABLES, Database
from vidseg.annotation.masks import Kind, Mask
from vidseg.annotation.spans import Span, is_in, with_span, without_span
from vidseg.errors import PromptError

MAX_VERSIONS = 10
"""How many earlier versions of masks are offered."""

_PROMPT_COLUMNS = "obj, frame, said, counts"
_MASK_COLUMNS = "frame, obj, kind, time, counts, hidden, score, area, box, reverse"


@dataclass(frozen=True, kw_only=True)
class AnnotatedObject:
    """One object, as people call and see it."""

    obj_id: int
    label: str
    colour: str
    """'#rrggbb'"""
    visible: bool = True
    locked: bool = False

    @property
    def name(self) -> str:
        """What to call it in titles and messages."""
        return self.label or f"object {self.obj_id}"


@dataclass(frozen=True, kw_only=True)
class Said:
    """All that was said of one object on one frame: box and points, or a mask drawn by hand."""

    obj_id: int
    frame_idx: int
    box: list[float] | None = None
    points: list[list[float]] | None = None
    labels: list[int] | None = None
    counts: str | None = None
    """COCO's RLE of a drawn mask."""
    in_turn: bool = False
    """Whether it corrects what was tracked into its frame."""

    @property
    def is_drawn(self) -> bool:
        return self.counts is not None


class Project:
    """The tables of one video. Changes are made inside `database.act(...)` or `database.within(...)`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # Objects

    def objects(self) -> list[AnnotatedObject]:
        """All objects, in order of their making."""
        found = self.database.rows("SELECT id, label, colour, visible, locked FROM objects ORDER BY place")
        return [
            AnnotatedObject(obj_id=i, label=label, colour=colour, visible=bool(visible), locked=bool(locked))
            for i, label, colour, visible, locked in found
        ]

    def object(self, obj_id: int) -> AnnotatedObject:
        """One object.

        Raises:
            PromptError: there is none of this id.
        """
        for thing in self.objects():
            if thing.obj_id == obj_id:
                return thing
        raise PromptError(f"there is no object {obj_id}", hint="it may have been deleted; choose another one")

    def add_object(self, *, label: str = "", colour: str | None = None, obj_id: int | None = None) -> int:
        """A new object. Its id was never used before in this project, unless it is given."""
        new_id = obj_id or 1 + int(self.database.fact("last_id") or 0)
        self.database.set_fact("last_id", max(new_id, int(self.database.fact("last_id") or 0)))
        (place,) = self.database.row("SELECT 1 + coalesce(max(place), 0) FROM objects")
        self.database.put("objects", new_id, place, label, colour or colour_of(new_id), True, False)
        return new_id

    def set_object(self, obj_id: int, **changes: Any) -> None:
        """Change label, colour, visible or locked."""
        self.object(obj_id)
        for column in changes.keys() & set(TABLES["objects"][1]):
            self.database.write(f"UPDATE objects SET {column} = ? WHERE id = ?", changes[column], obj_id)

    def remove_object(self, obj_id: int) -> None:
        self.object(obj_id)
        for table in ("prompts", "masks", "absent", "saved_sessions"):
            self.database.write(f"DELETE FROM {table} WHERE obj = ?", obj_id)
        self.database.write("DELETE FROM objects WHERE id = ?", obj_id)
        self.forget_doubts(obj_id, 0, 1 << 53)

    # Prompts

    def said(self, obj_id: int | None = None) -> list[Said]:
        """What was said of one object, or of all, in rising order of frame."""
        where = "" if obj_id is None else "WHERE obj = ?"
        values = () if obj_id is None else (obj_id,)
        return [
            _said(row)
            for row in self.database.rows(
                f"SELECT {_PROMPT_COLUMNS} FROM prompts {where} ORDER BY frame, obj", *values
            )
        ]

    def said_on(self, obj_id: int, frame_idx: int) -> Said | None:
        found = self.database.row(
            f"SELECT {_PROMPT_COLUMNS} FROM prompts WHERE obj = ? AND frame = ?", obj_id, frame_idx
        )
        return _said(found) if found else None

    def say(self, said: Said) -> None:
        region = {"box": said.box, "points": said.points, "labels": said.labels, "in_turn": said.in_turn}
        text = json.dumps({key: value for key, value in region.items() if value is not None})
        self.database.put("prompts", said.obj_id, said.frame_idx, text, said.counts)

    def unsay(self, obj_id: int, frame_idx: int) -> None:
        self.database.write("DELETE FROM prompts WHERE obj = ? AND frame = ?", obj_id, frame_idx)

    # Masks

    def put_mask(self, mask: Mask) -> None:
        box = " ".join(map(str, mask.box))
        values = (mask.kind, mask.time_s, mask.counts, mask.hidden, mask.score, mask.area, box, mask.reverse)
        self.database.put("masks", mask.frame_idx, mask.obj_id, *values)

    def remove_mask(self, obj_id: int, frame_idx: int) -> None:
        self.database.write("DELETE FROM masks WHERE obj = ? AND frame = ?", obj_id, frame_idx)

    def mask(self, obj_id: int, frame_idx: int) -> Mask | None:
        """The mask of an object on a frame, as it was before a person set it absent there."""
        found = self.database.row(
            f"SELECT {_MASK_COLUMNS} FROM masks WHERE frame = ? AND obj = ?", frame_idx, obj_id
        )
        return _mask(found) if found else None

    def masks_on(self, frame_idx: int) -> list[Mask]:
        """The masks of a frame, those set absent with kind 'X'."""
        absent = self.absent()
        return [
            _mask(row, "X" if is_in(absent.get(row[1], ()), frame_idx) else None)
            for row in self.database.rows(
                f"SELECT {_MASK_COLUMNS} FROM masks WHERE frame = ? ORDER BY obj", frame_idx
            )
        ]

    def timeline(self, obj_id: int, first: int, last: int) -> list[tuple[int, Kind, float, int]]:
        """(frame, kind, score, area) of the frames on which an object has a mask, in rising order."""
        absent = self.absent().get(obj_id, [])
        found = self.database.rows(
            "SELECT frame, kind, score, area FROM masks WHERE obj = ? AND frame BETWEEN ? AND ?"
            " ORDER BY frame",
            obj_id,
            first,
            last,
        )
        return [(f, "X", 1.0, 0) if is_in(absent, f) else (f, kind, s, a) for f, kind, s, a in found]

    def frames_with_masks(self) -> Iterator[int]:
        """The frames on which any object has a mask, in rising order."""
        for (frame_idx,) in self.database.rows("SELECT DISTINCT frame FROM masks ORDER BY frame"):
            yield int(frame_idx)

    def num_frames_with_masks(self) -> int:
        return int(self.database.row("SELECT count(DISTINCT frame) FROM masks")[0])

    # Marks

    def absent(self) -> dict[int, list[Span]]:
        """Object id -> spans in which a person set it absent."""
        spans: dict[int, list[Span]] = {}
        for obj_id, first, last in self.database.rows(
            "SELECT obj, first, last FROM absent ORDER BY obj, first"
        ):
            spans.setdefault(obj_id, []).append((first, last))
        return spans

    def set_absent(self, obj_id: int, first: int, last: int, *, on: bool) -> None:
        self.object(obj_id)
        change = with_span if on else without_span
        spans = change(self.absent().get(obj_id, []), first, last)
        self.database.write("DELETE FROM absent WHERE obj = ?", obj_id)
        for span in spans:
            self.database.put("absent", obj_id, *span)

    def reviewed(self) -> list[Span]:
        return [(a, b) for a, b in self.database.rows("SELECT first, last FROM reviewed ORDER BY first")]

    def set_reviewed(self, first: int, last: int, *, on: bool) -> None:
        spans = (with_span if on else without_span)(self.reviewed(), first, last)
        self.database.write("DELETE FROM reviewed")
        for span in spans:
            self.database.put("reviewed", *span)

    def flags(self) -> dict[int, str]:
        """Frame -> note."""
        return dict(self.database.rows("SELECT frame, note FROM flags ORDER BY frame"))

    def set_flag(self, frame_idx: int, note: str | None) -> None:
        if note is None:
            self.database.write("DELETE FROM flags WHERE frame = ?", frame_idx)
        else:
            self.database.put("flags", frame_idx, note)

    def doubts(self) -> list[dict[str, Any]]:
        """Spans worth a look, as `review` in run.json has them."""
        found = self.database.rows(
            "SELECT first, last, objs, reason FROM doubts ORDER BY first, last, reason, objs"
        )
        return [
            {"frames": [first, last], "objects": list(map(int, objs.split())), "reason": reason}
            for first, last, objs, reason in found
        ]

    def add_doubts(self, documents: Sequence[dict[str, Any]]) -> None:
        for document in documents:
            first, last = document["frames"]
            self.database.put(
                "doubts", first, last, " ".join(map(str, document["objects"])), document["reason"]
            )

    def forget_doubts(self, obj_id: int, first: int, last: int) -> None:
        """Forget what was doubtful of an object on some frames."""
        for document in self.doubts():
            if obj_id not in document["objects"]:
                continue
            a, b = document["frames"]
            if b < first or a > last:
                continue
            self.database.write(
                "DELETE FROM doubts WHERE first = ? AND last = ? AND objs = ? AND reason = ?",
                a,
                b,
                " ".join(map(str, document["objects"])),
                document["reason"],
            )
            self.add_doubts([{**document, "frames": span} for span in without_span([(a, b)], first, last)])

    # Earlier versions

    def restore(self, obj_id: int, version: int) -> None:
        """Put an object's masks, and what was said of it, back to what they were before an act."""
        for act in self.database.acts():  # the latest first, so that the earliest one has the last word
            if act.act_id < version:
                break
            for table in ("prompts", "masks", "saved_sessions"):
                keys = TABLES[table][0]
                for key, was in self.database.changes(act.act_id, table):
                    if key[keys.index("obj")] != obj_id:
                        continue
                    if was is None:
                        where = " AND ".join(f"{name} = ?" for name in keys)
                        self.database.write(f"DELETE FROM {table} WHERE {where}", *key)
                    else:
                        self.database.put(table, *key, *was)


def _said(row: tuple[Any, ...]) -> Said:
    obj_id, frame_idx, said, counts = row
    return Said(obj_id=obj_id, frame_idx=frame_idx, counts=counts, **json.loads(said))


def _mask(row: tuple[Any, ...], kind: Kind | None = None) -> Mask:
    frame_idx, obj_id, own_kind, time_s, counts, hidden, score, area, box, reverse = row
    x, y, w, h = map(int, box.split())
    return Mask(
        frame_idx=frame_idx,
        obj_id=obj_id,
        kind=kind or own_kind,
        time_s=time_s,
        counts=counts,
        hidden=hidden,
        score=score,
        area=area,
        box=(x, y, w, h),
        reverse=bool(reverse),
    )
