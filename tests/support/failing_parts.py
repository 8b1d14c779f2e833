"""Parts of a benchmark that go wrong in all ways; run in a process of their own."""

from __future__ import annotations

import os
import time
from typing import Any


def run(kind: str, arguments: dict[str, Any]) -> dict[str, Any]:
    if kind == "raises":
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    if kind == "dies":
        os._exit(139)
    if kind == "hangs":
        time.sleep(3600)
    return {"process": os.getpid(), **arguments}
