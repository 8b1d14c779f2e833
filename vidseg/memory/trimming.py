"""Policies that change what was tracked before it is shown and remembered."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from vidseg.memory.bank import BankPolicy, MemoryFrame, Moment, ObjectBank


@runtime_checkable
class TrimmingPolicy(BankPolicy, Protocol):
    """A policy that takes away from tracked masks what it knows not to be the object."""

    def trim(self, bank: ObjectBank, moment: Moment, logits_hw: Tensor) -> Tensor:
        """The mask logits that are shown and remembered, float32 h x w on the low-res grid.

        Args:
            logits_hw: what the model decoded, in the host's memory; not to be written to. Without an object
                they are all below 0.
        """
        ...

    def note_prompt(self, bank: ObjectBank, memory: MemoryFrame) -> None:
        """Called when the answer to a prompt has been remembered in the bank."""
        ...
