"""`benchmarks/convert_exports.py` says clearly what it cannot try."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "convert_exports.py"


@pytest.mark.parametrize(
    ("facts", "tool", "told"),
    [
        (None, "coreml", "is no export"),
        ({"format": "onnx", "parts": {}}, "coreml", "--format pt2"),
        ({"format": "pt2", "parts": {}}, "tensorrt", "--format onnx"),
    ],
)
def test_what_is_no_export_for_the_tool_is_refused(
    tmp_path: Path, facts: dict[str, object] | None, tool: str, told: str
) -> None:
    if facts is not None:
        (tmp_path / "facts.json").write_text(json.dumps(facts))
    run = subprocess.run([sys.executable, SCRIPT, tool, tmp_path], capture_output=True, text=True)
    assert run.returncode == 2
    assert told in run.stderr
    assert "Traceback" not in run.stderr
