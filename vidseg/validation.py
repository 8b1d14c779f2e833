"""Typed models for what comes from files (prompts, jobs, YAML), with errors a person can act on."""

from __future__ import annotations

import difflib
import json
import math
import os
from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_type_hints

from pydantic import (
    BaseModel,
    ConfigDict,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
    create_model,
)
from pydantic_core import PydanticCustomError

from vidseg.errors import InputError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def is_number(value: Any) -> bool:
    """Whether a value out of JSON is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class Strict(BaseModel):
    """Unknown keys stop the run; values are not coerced from other types; NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _check_file_name(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise PydanticCustomError("file_name", "a file's name or address belongs here, in quotes")
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        raise PydanticCustomError("file_name", "no file can have this name") from None
    return value


FileName = Annotated[
    str,
    PlainValidator(_check_file_name),
    WithJsonSchema({"type": "string", "minLength": 1}, mode="validation"),
]
"""A file name in models of data from files; a plain `str` would refuse names that are not UTF-8."""


ModelT = TypeVar("ModelT")


def parse(
    model: type[ModelT], data: Any, *, where: str, error: Callable[..., InputError] = InputError
) -> ModelT:
    """`data` as a `model`, or an `error` that names the first wrong field and how many more there are.

    Args:
        model: a `Strict` model; or a dataclass, which is read by the same rules. Limits of a dataclass' field
            stand in its type: `Annotated[int, Field(ge=1)] = 6`.
        where: the file (and line) the data came from.
        error: the class of error to raise.
    """
    strict = strict_of(model)  # type: ignore[arg-type]
    try:
        parsed = strict.model_validate(data)
        return parsed if isinstance(parsed, model) else model(**dict(parsed))
    except ValidationError as failure:
        problems = failure.errors(include_url=False)
        # A misspelt key is reported first, as it often is the reason why another field is missing.
        first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
        field = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"]).lstrip(".")
        if first["type"] == "extra_forbidden":
            key = str(first["loc"][-1])
            known = _fields_at(strict, first["loc"][:-1])
            near = difflib.get_close_matches(key, known, n=1)
            message = f"unknown key '{key}'"
            hint = (
                f"did you mean '{near[0]}'?"
                if near
                else (f"known keys: {', '.join(known)}" if known else None)
            )
        else:
            message, hint = _told(first), None
        if len(problems) > 1:
            message += f" (and {len(problems) - 1} more)"
        place = f"{where}, field '{field}'" if field else where
        raise error(message, where=place, hint=hint) from None


def _told(problem: ErrorDetails) -> str:
    """What is wrong with a value, and the value itself if it is short."""
    limits = problem.get("ctx", {})
    if problem["type"] in ("too_short", "too_long"):
        wanted = limits.get("min_length", limits.get("max_length"))
        bound = "at least" if problem["type"] == "too_short" else "at most"
        return f"a list of {limits['actual_length']}, where {bound} {wanted} item{'s' * (wanted != 1)} belong"
    message = f"{problem['msg'][0].lower()}{problem['msg'][1:]}"
    value = json.dumps(problem["input"], default=repr)
    if problem["type"] == "value_error":  # raised by our own checks, whose message is complete
        return str(limits["error"])
    is_shown = problem["type"] != "missing" and len(value) <= 40
    return f"{message}, not {value}" if is_shown else message


@cache
def strict_of(model: Any) -> type[BaseModel]:
    """A `Strict` model with the fields of a dataclass; a model is returned as it is."""
    if issubclass(model, BaseModel):
        return model
    types = get_type_hints(model, include_extras=True)
    wanted: dict[str, Any] = {
        f.name: (types[f.name], ... if f.default is MISSING else f.default) for f in fields(model)
    }
    made: type[BaseModel] = create_model(model.__name__, __base__=Strict, **wanted)
    return made


def _fields_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The field names of the model that `loc` leads to; empty if the path cannot be followed."""
    current: Any = model
    for part in loc:
        if isinstance(part, int):
            continue
        fields = getattr(current, "model_fields", {})
        if part not in fields:
            return []
        current = fields[part].annotation
        while not (isinstance(current, type) and issubclass(current, BaseModel)):
            inner = [a for a in get_args(current) if a is not type(None)]
            if not inner:
                return []
            current = inner[0]
    return sorted(getattr(current, "model_fields", {}))
