"""A subject of a benchmark that counts its rounds; some trackers make it fail.

Child processes import it, so it is small.
"""

from __future__ import annotations

import os

from vidseg.errors import InputError
from vidseg.trackers.options import TrackerOptions


class CountingSubject:
    def __init__(self, choice: TrackerOptions) -> None:
        self.tracker = choice.tracker
        self.rounds = 0
        if self.tracker == "refuses":
            raise InputError("it does not load")

    def run(self, count: int) -> None:
        self.rounds += count
        if self.tracker == "dies":
            os._exit(1)

    def measured(self) -> tuple[str, int]:
        return self.tracker, self.rounds
