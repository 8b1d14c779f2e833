"""A protocol whose scoring ends the process, as the system does where memory runs out."""

from __future__ import annotations

import os
from dataclasses import dataclass

from vidseg.eval.protocols.contract import SequenceJob, SequenceScore
from vidseg.eval.protocols.davis2017 import Davis2017


@dataclass(frozen=True)
class DyingProtocol(Davis2017):
    def score(self, job: SequenceJob) -> SequenceScore:
        os._exit(1)
