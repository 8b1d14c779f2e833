"""Typed models for what comes from files (prompts, jobs, YAML), with errors a person can act on."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from vidseg.errors import InputError


class Strict(BaseModel):
    """Unknown keys stop the run; values are not coerced from other types; NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


ModelT = TypeVar("ModelT", bound=BaseModel)


def parse(
    model: type[ModelT], data: Any, *, where: str, error: Callable[..., InputError] = InputError
) -> ModelT:
    """`data` as a `model`, or an `error` that names the first wrong field and how many more there are.

    Args:
        where: the file (and line) the data came from.
        error: the class of error to raise.
    """
    try:
        return model.model_validate(data)
    except ValidationError as failure:
        problems = failure.errors(include_url=False)
        # A misspelt key comes first: a field that is missing is often the same mistake.
        first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
        field = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"]).lstrip(".")
        if first["type"] == "extra_forbidden":
            key = str(first["loc"][-1])
            known = _fields_at(model, first["loc"][:-1])
            near = difflib.get_close_matches(key, known, n=1)
            message = f"unknown key '{key}'"
            hint = (
                f"did you mean '{near[0]}'?"
                if near
                else (f"known keys: {', '.join(known)}" if known else None)
            )
        else:
            message = f"{first['msg'][0].lower()}{first['msg'][1:]}"
            hint = None
        if len(problems) > 1:
            message += f" (and {len(problems) - 1} more)"
        place = f"{where}, field '{field}'" if field else where
        raise error(message, where=place, hint=hint) from None


def _fields_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The field names of the model that `loc` leads to; empty when the path cannot be followed."""
    from typing import get_args

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
