"""`vidseg bench --table 4`: the time of finding everything, by model and sampler."""

from __future__ import annotations

import json

import pytest

from vidseg import cli
from vidseg.eval.bench_everything import EverythingMeasured, SamplerMeasured, everything_table


def test_the_table_has_a_line_for_each_sampler_and_the_published_figure() -> None:
    samplers = {
        "grid": SamplerMeasured(ms=2000.4, prompts=1024, masks=20.25),
        "two-round": SamplerMeasured(ms=700.0, prompts=380.4, masks=18.0),
    }
    rows = [
        EverythingMeasured(name="tiny-sam", samplers=samplers, published={"everything_ms": 776}),
        EverythingMeasured(name="mine", samplers=samplers, published={}),
    ]
    lines = everything_table(rows).splitlines()
    assert lines[1].split() == ["tiny-sam", "grid", "2000", "1024", "20.2", "everything_ms", "776"]
    assert lines[2].split()[:5] == ["tiny-sam", "two-round", "700", "380", "18.0"]
    assert lines[4].split()[-1] == "-"


@pytest.mark.slow
def test_a_model_is_measured_with_both_samplers(capsys: pytest.CaptureFixture[str]) -> None:
    size = ("--frames", "1", "--size", "96x64", "--threads", "1", "--points-per-side", "8")
    assert cli.main(["bench", "--table", "4", *size, "--json"]) == 0
    (model,) = json.loads(capsys.readouterr().out)["models"]
    assert model["name"] == "vidseg-nano"
    grid, two_round = model["samplers"]["grid"], model["samplers"]["two-round"]
    assert grid["prompts"] == 64
    assert 4 <= two_round["prompts"] <= 64
    assert grid["ms"] > 0
