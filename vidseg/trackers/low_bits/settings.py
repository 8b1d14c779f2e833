"""What the YAML of an image model says of its few bits."""

from __future__ import annotations

import re
from typing import NamedTuple

from pydantic import Field, field_validator

from vidseg.errors import InputError
from vidseg.validation import Strict

FEWEST, MOST = 2, 16


class Bits(NamedTuple):
    """Bits of a code: of weights, and of everything else that is multiplied."""

    weights: int
    activations: int

    @classmethod
    def parse(cls, text: str) -> Bits:
        """The bits in a text such as 'W6A6'.

        Raises:
            InputError: it is none.
        """
        found = re.fullmatch(r"W(\d{1,2})A(\d{1,2})", text, re.IGNORECASE)
        bits = cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        if not all(FEWEST <= count <= MOST for count in bits):
            raise InputError(
                f"'{text}' are no bits of weights and activations",
                hint=f"W4A4, W6A6, W8A8, ...; each from {FEWEST} to {MOST}",
            )
        return bits


class LowBits(Strict):
    """`low_bits:` in a YAML of `kind: image`, as `vidseg compress --bits` writes it."""

    bits: str
    """'W6A6': bits of weights and of activations."""
    calibrator: str
    """What chose the scales; a fact about them."""
    parts: list[str] = Field(min_length=1)
    """The parts whose products are rounded."""
    scales: str
    """The name of the file of scales, in the folder of the weights."""
    weights_sha256: str
    """The digest of the weights that the scales are for."""

    @field_validator("bits")
    @classmethod
    def _bits(cls, value: str) -> str:
        try:
            Bits.parse(value)
        except InputError as error:
            raise ValueError(error.message) from None
        return value

    @field_validator("scales")
    @classmethod
    def _a_name(cls, value: str) -> str:
        if value in ("", ".", "..") or "/" in value or "\\" in value:
            raise ValueError("the name of a file in the folder of the weights belongs here")
        return value
