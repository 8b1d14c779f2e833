"""What the YAML of a model says of its few bits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from vidseg.errors import ConfigError, InputError
from vidseg.validation import Strict

FEWEST, MOST = 2, 16


class Bits(NamedTuple):
    """Bits of a code: of weights, and of everything else that is multiplied."""

    weights: int
    activations: int

    @classmethod
    def parse(cls, text: str) -> Bits:
        """The bits in a text such as 'W4A8', or '6' for W6A6.

        Raises:
            InputError: it is none.
        """
        if re.fullmatch(r"\d{1,2}", text):
            text = f"W{text}A{text}"
        found = re.fullmatch(r"W(\d{1,2})A(\d{1,2})", text, re.IGNORECASE)
        bits = cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        if not all(FEWEST <= count <= MOST for count in bits):
            raise InputError(
                f"'{text}' are no bits of weights and activations",
                hint=f"4 (W4A4), 6, W4A8, ...; each from {FEWEST} to {MOST}",
            )
        return bits

    def __str__(self) -> str:
        return f"W{self.weights}A{self.activations}"


class LowBits(Strict):
    """`low_bits:` in a YAML of an image model or an engine tracker; see `vidseg compress --simulate-bits`."""

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
    scales_sha256: str | None = None
    """The digest of the file of scales, which tells models of other calibrations apart; None: not said."""

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

    @model_serializer(mode="wrap")
    def _only_what_is_said(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave None out, as `MayHaveLowBits` does."""
        said: dict[str, Any] = written(self)
        return {key: value for key, value in said.items() if value is not None}


class MayHaveLowBits(Strict):
    """Settings of a model that may be one of few bits."""

    low_bits: LowBits | None = None
    """Few bits from which products are computed; None for float32."""

    @model_serializer(mode="wrap")
    def _only_what_is_said(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave None out: sessions that were saved before there were few bits have no such key, and are
        compared with what is written here."""
        said: dict[str, Any] = written(self)
        return {key: value for key, value in said.items() if key != "low_bits" or value is not None}


def require_float(config: Mapping[str, Any], where: str) -> None:
    """Refuse the YAML of a model of few bits where its float32 one is needed.

    Raises:
        ConfigError: its products are computed from few bits.
    """
    if config.get("low_bits") is not None:
        raise ConfigError(
            "the model has few bits, which were chosen for its weights as they are",
            where=where,
            hint="name the model that it was made from, without 'low_bits'",
        )
