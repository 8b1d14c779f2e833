"""`benchmarks/gpu.py`: a part that fails costs its own figures alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from support import failing_parts

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.skipif(sys.platform == "win32", reason="the parts run in a group of processes (POSIX)")
def test_parts_that_fail_lose_nothing_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import gpu  # type: ignore[import-not-found]

    kinds = ["fine", "fine", "raises", "fine", "dies", "hangs", "fine"]
    wanted = [
        gpu.Part(kind, {"number": n}, 0.5 if kind == "hangs" else 300.0) for n, kind in enumerate(kinds)
    ]
    out = tmp_path / "gpu.json"
    worker = gpu.Worker(failing_parts.run, {"dtype": "float32"})
    gpu.measure_all(wanted, 3600.0, out, worker)
    rows = json.loads(out.read_text())["rows"]
    assert [(row["part"], row["number"]) for row in rows] == list(zip(kinds, range(7), strict=True))
    assert [row["part"] for row in rows if "error" in row] == ["raises", "dies", "hangs"]
    assert "illegal memory access" in rows[2]["error"]
    assert "died" in rows[4]["error"]
    assert "given up" in rows[5]["error"]
    assert rows[0]["dtype"] == "float32"
    # One process as long as all goes well; a new one, with a GPU that works, after an error.
    assert rows[0]["process"] == rows[1]["process"]
    assert len({rows[n]["process"] for n in (0, 3, 6)}) == 3
    assert "illegal memory access" in gpu.table({"rows": rows})
    assert len(capsys.readouterr().out.splitlines()) == 7


def test_nothing_is_begun_when_the_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import gpu

    worker = gpu.Worker(failing_parts.run, {})
    found = gpu.measure_all([gpu.Part("fine", {})], -1.0, None, worker)
    assert found["rows"] == [{"part": "fine", "error": "no time was left"}]
    assert "no time" in capsys.readouterr().out


def test_every_part_is_known_and_the_table_has_a_row_for_each_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import gpu
    import gpu_parts  # type: ignore[import-not-found]

    wanted = gpu.parts(tmp_path, 25, 3)
    assert {part.kind for part in wanted} == set(gpu_parts.PARTS)
    row = {"median_ms": 5.0, "p95_ms": 6.0, "at_once_ms": 7.0, "launches": 9.0, "gpu_busy_ms": 4.0}
    row |= {"allocated_gb": 0.5, "reserved_gb": 0.75, "first_mask_s": 1.5, "tera_operations": 1.0}
    row |= {"kind": "vidseg", "tracker": "edgetam", "objects": 1}
    told = gpu.table({"rows": [{"part": "rate", "tflops": 800.0}, {"part": "frames", **row}]})
    assert "| vidseg: `edgetam` | 1 | 5.0 | 6.0 | 7.0 | 9 | 4.0 | 0.50, 0.75 | 1.50 | 25% |" in told
