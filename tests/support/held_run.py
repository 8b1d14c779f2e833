"""A `vidseg` in another process that waits on a frame, where a test finds it however busy the machine is."""

from __future__ import annotations

import sys
from pathlib import Path

PROGRAM = """
import importlib, sys, time
from pathlib import Path
from vidseg.cli import main

module, name, held_at, reached, gate, *call = sys.argv[1:]
owner = getattr(importlib.import_module(module), name)
step = owner.step

def step_when_let(self, *given):
    *_, frame = given
    if frame.index == int(held_at):
        Path(reached).touch()
        while not Path(gate).exists():
            time.sleep(0.01)
    return step(self, *given)

owner.step = step_when_let
sys.exit(main(call))
"""


def held_run(call: list[str], owner: type, held_at: int, gate: Path) -> list[str]:
    """The command of a run that makes a file `gate-reached` in frame `held_at`, and waits for a file `gate`.

    Args:
        call: the arguments of `vidseg`.
        owner: the class whose method `step` takes the run's frames, as its last argument.
    """
    where = [owner.__module__, owner.__name__, str(held_at), f"{gate}-reached", str(gate)]
    return [sys.executable, "-c", PROGRAM, *where, *call]
