"""Python in new processes that know torch already: to import it takes longer than most calls of tests."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

FRESH = get_context("forkserver")
FRESH.set_forkserver_preload(["torch"])


def run_code(
    code: str, *, env: Mapping[str, str], path: Sequence[str] = (), cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run code as `python -c` would, with these folders first on the path of modules."""
    with tempfile.TemporaryDirectory() as folder:
        told = [Path(folder) / name for name in ("stdout", "stderr")]
        process = FRESH.Process(target=_run, args=(code, dict(env), list(path), cwd or Path.cwd(), told))
        process.start()
        process.join()
        texts = [each.read_text(encoding="utf-8") for each in told]
    return subprocess.CompletedProcess(["python", "-c", code], process.exitcode or 0, *texts)


def _run(code: str, env: dict[str, str], path: list[str], cwd: Path, told: list[Path]) -> None:
    for number, file in enumerate(told, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:0] = path
    sys.argv = ["-c"]
    program: dict[str, Any] = {"__name__": "__main__"}
    exec(code, program)
