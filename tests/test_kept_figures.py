"""Figures are measured once, and again where the file that keeps them is of no use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vidseg.kept_figures import kept_figures


class Measurement:
    """Gives another figure each time."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> dict[str, float]:
        self.times += 1
        return {"ms": float(self.times)}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VIDSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_measures_once_for_each_thing_it_depends_on() -> None:
    measure = Measurement()
    assert [kept_figures("a", {"threads": 1}, measure)["ms"] for _ in range(3)] == [1, 1, 1]
    assert kept_figures("a", {"threads": 2}, measure) == {"ms": 2}
    assert kept_figures("b", {"threads": 1}, measure) == {"ms": 3}
    assert kept_figures("a", {"threads": 1}, measure) == {"ms": 1}


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        '{"depends_on": {"threads": 1}, "figures": {}}',
        '{"depends_on": {"threads": 1}, "figures": {"ms": -1}}',
        '{"depends_on": {"threads": 1}, "figures": {"ms": NaN}}',
        '{"depends_on": {"threads": 1}, "figures": {"ms": "soon"}}',
        '{"depends_on": {"threads": 2}, "figures": {"ms": 5}}',
        '{"depends_on": {"threads": 1}, "figures": [5]}',
        "[" * 100_000,
    ],
)
def test_measures_again_where_the_file_is_damaged(cache: Path, damage: str) -> None:
    measure = Measurement()
    kept_figures("a", {"threads": 1}, measure)
    (file,) = (cache / "measured").iterdir()
    file.write_text(damage)
    assert kept_figures("a", {"threads": 1}, measure) == {"ms": 2}
    assert json.loads(file.read_text())["figures"] == {"ms": 2}
    assert list((cache / "measured").iterdir()) == [file]


def test_measures_each_time_where_nothing_can_be_kept(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    measure = Measurement()
    assert [kept_figures("a", {}, measure)["ms"] for _ in range(2)] == [1, 2]
