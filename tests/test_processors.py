"""How many processors there are to use, from what the kernel shows of control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidseg import processors


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


V1 = "12:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n0::/docker/1"


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        ("0::/", {}, None),
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),
        (
            "0::/a/b",
            {"cpu.max": "max 100000", "a/cpu.max": "200000 100000", "a/b/cpu.max": "300000 100000"},
            2,
        ),
        ("0::/docker/1", {"cpu.max": "50000 100000"}, 0.5),
        (V1, {"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
        (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        (V1, {"cpu/docker/1/cpu.cfs_quota_us": "1000", "cpu/docker/1/cpu.cfs_period_us": "100000"}, 0.01),
        (V1, {"memory/docker/1/cpu.max": "1 100000"}, None),
    ],
)
def test_the_limit_is_the_lowest_of_the_groups_that_a_process_is_in(
    own: str, files: dict[str, str], limit: float | None, tmp_path: Path
) -> None:
    names = write(tmp_path, {"own": own}) / "own"
    assert processors.limit(write(tmp_path / "cgroup", files), names) == limit


def test_systems_without_control_groups_set_no_limit(tmp_path: Path) -> None:
    assert processors.limit(tmp_path, tmp_path / "nothing") is None


@pytest.mark.parametrize(("limit", "usable"), [(None, 8), (100.0, 8), (2.0, 2), (1.5, 2), (0.1, 1)])
def test_no_more_processors_are_usable_than_a_process_is_bound_to(
    limit: float | None, usable: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processors, "limit", lambda: limit)
    monkeypatch.setattr(processors.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert processors.usable() == usable
