"""A bank policy that reads the newest memory alone, besides those of conditioning frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from vidseg.memory.bank import RecentFrames
from vidseg.trackers.parts import Part, register_bank_policy


@dataclass(frozen=True)
class Newest(RecentFrames):
    recent_frames: Annotated[int, Field(ge=1)] = 1


register_bank_policy("outside-newest", Part(Newest))
