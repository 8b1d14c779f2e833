"""`vidseg bench`: what it measures, and the efficiency table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import vidseg
from support.counting_subject import CountingSubject
from support.parity import SIZE, SMALL_MODEL, as_frames, moving_picture
from vidseg import cli
from vidseg.errors import InputError, RunError
from vidseg.eval.bench import MAX_OBJECTS, Measured, StageClock, efficiency, now_ms, piece_of_ground
from vidseg.eval.bench_memory import bench_memory
from vidseg.eval.bench_report import as_plot, as_table, as_text
from vidseg.eval.operations import uncounted_operations
from vidseg.eval.turns import Failure, in_turns
from vidseg.memory.linear import Linear
from vidseg.trackers.engine import STAGES
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.parts import BANK_POLICIES


def test_further_objects_have_places_of_their_own_in_the_picture() -> None:
    height, width = 90, 160
    boxes = [piece_of_ground(number, (height, width)) for number in range(MAX_OBJECTS)]
    assert all(
        0 <= left < right <= width and 0 <= top < bottom <= height for left, top, right, bottom in boxes
    )
    for number, (left, top, _, _) in enumerate(boxes):
        apart = [max(abs(left - box[0]), abs(top - box[1])) for box in boxes[:number]]
        assert min(apart, default=height) > 1


def measured(name: str, parameters: int, gflops: float | None, fps: float, score: float | None) -> Measured:
    return Measured(
        name=name,
        parameters=parameters,
        weight_bytes=4 * parameters,
        gflops=gflops,
        ms=1000 / fps,
        ms_by_stage={"encode": 5.0, "rest": 1.0} if gflops else {},
        frames_per_second=fps,
        peak_memory_bytes={"host": 2**30},
        growth_bytes_per_frame=0.0,
        score=score,
    )


ROWS = [
    measured("flow", 0, None, 40.0, 70.0),
    measured("large", 200_000_000, 800.0, 2.0, 90.0),
    measured("small", 50_000_000, 100.0, 10.0, 80.0),
]


def test_eer_is_the_mean_ratio_to_the_reference() -> None:
    table = {row["name"]: row for row in efficiency(ROWS)}
    assert table["flow"]["eer"] is None
    assert table["large"]["eer"] == 1
    assert table["small"]["eer"] == pytest.approx((0.25 + 0.125 + 0.25) / 3)
    assert {row["name"]: row["eer"] for row in efficiency(ROWS, "small")}["large"] == pytest.approx(16 / 3)
    assert {row["eer"] for row in efficiency(ROWS, "flow")} == {None}  # it has no weights


def test_tables_have_a_line_for_each_tracker() -> None:
    for text in (as_text(ROWS), as_table(efficiency(ROWS))):
        assert all(any(line.startswith(row.name) for line in text.splitlines()) for row in ROWS)


def test_the_plot_shows_every_scored_tracker() -> None:
    picture = ElementTree.fromstring(as_plot(ROWS))
    assert len([e for e in picture.iter() if e.tag.endswith("circle")]) == 3
    assert {"flow", "large", "small"} <= {e.text for e in picture.iter()}
    with pytest.raises(InputError, match="no scores"):
        as_plot([measured("a", 1, 1.0, 1.0, None)])


def test_operations_of_the_fused_layer_are_those_of_a_plain_one() -> None:
    x = torch.randn(3, 7, 32)
    counts = []
    for layer in (Linear(32, 16, "gelu"), nn.Linear(32, 16)):
        with (
            torch.no_grad(),
            FlopCounterMode(display=False, custom_mapping=uncounted_operations()) as counter,
        ):
            layer(x)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] == 2 * 3 * 7 * 32 * 16


@pytest.mark.parametrize("policy", BANK_POLICIES.known)
def test_every_stage_is_seen_under_every_bank_policy(tmp_path: Path, policy: str) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(f"{SMALL_MODEL}\nbank: {{name: {policy}}}\n", encoding="utf-8")
    tracker = vidseg.load(path, allow_random_weights=True, image_size=SIZE, device="cpu")
    clock, session = StageClock(tracker), tracker.start()
    session.prompt(1, box=[20, 10, 60, 50])
    for frame in as_frames(moving_picture(3)):
        clock.start_frame()
        began = now_ms()
        session.step(frame)
        spent = clock.end_frame(now_ms() - began)
    assert set(spent) == {*STAGES, "rest"}
    assert all(ms > 0 for ms in spent.values()), spent


@pytest.mark.slow
def test_trackers_are_measured_in_turns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--allow-random-weights", "--image-size", "256", "--frames", "3", "--warm-up", "2"]
    arguments += ["--size", "160x96", "--threads", "1", "--json"]
    assert cli.main(["bench", "--tracker", "sam2.1-hiera-tiny,edgetam", *arguments]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in document["trackers"]] == ["sam2.1-hiera-tiny", "edgetam"]
    for row in document["trackers"]:
        assert set(row["ms_by_stage"]) == {*STAGES, "rest"}
        assert set(row["gflops_by_stage"]) == set(STAGES)
        assert sum(row["gflops_by_stage"].values()) <= row["gflops"] * (1 + 1e-9)
        assert all(row["gflops_by_stage"][stage] > 0 for stage in STAGES)
        assert row["peak_memory_bytes"]["host"] > row["weight_bytes"] > 0
        assert row["score"] is None
    assert document["efficiency"][0]["eer"] == 1
    assert document["efficiency"][1]["parameters_m"] < document["efficiency"][0]["parameters_m"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tracker", "tokens_a_frame", "frames_read"),
    [("sam2.1-hiera-tiny", 256, 7), ("edgetam", 512, 7), ("surgical-sam2", 256, 5)],
)
def test_memory_is_counted_as_it_is_kept_and_read(
    tracker: str, tokens_a_frame: int, frames_read: int
) -> None:
    """At 256 pixels the grid has 16 x 16 cells; EdgeTAM keeps 512 latents at every size. One frame more is
    kept than read: the newest one may yet be corrected, and would read the oldest."""
    choice = TrackerOptions(
        tracker=tracker, image_size=256, allow_random_weights=True, device="cpu", dtype="float32"
    )
    row = bench_memory(choice, objects=(1, 2), memory_frames=(1, 7), repeats=1)
    assert row.bank_tokens == 8 * tokens_a_frame
    assert row.bank_bytes == row.bank_tokens * 64 * 2 + 16 * 256 * 4
    assert row.tokens_read == frames_read * tokens_a_frame
    read = {(reading.objects, reading.memory_frames): reading for reading in row.readings}
    assert set(read) == {(1, 1), (1, 7), (2, 1), (2, 7)}
    assert read[1, 1].tokens == tokens_a_frame
    assert all(reading.ms > 0 for reading in row.readings)


def test_memory_is_printed_for_each_tracker(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--allow-random-weights", "--image-size", "64", "--threads", "1", "--device", "cpu"]
    arguments += ["--dtype", "float32"]  # pointers have the model's type, which else depends on the processor
    assert cli.main(["bench", "--memory", "--tracker", "sam2.1-hiera-tiny", *arguments]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:5] == ["tracker", "kept", "KiB", "read", "objects"]
    assert lines[0].split()[:5] == ["sam2.1-hiera-tiny", "128", "32", "112", "1"]
    assert [line.split()[0] for line in lines[1:3]] == ["2", "5"]


def test_memory_of_a_tracker_without_a_bank_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--memory", "--tracker", "flow"]) == 2
    assert "'flow' keeps no memory bank" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["--reference", "nosuch"], "--reference 'nosuch' is not among the measured trackers"),
        (["--tracker", "flow,nosuch"], "unknown tracker 'nosuch'"),
    ],
)
@pytest.mark.parametrize("table", [[], ["--table", "2"]], ids=["trackers", "pictures"])
def test_bench_checks_names_before_it_measures(
    names: list[str],
    message: str,
    table: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for module in ("bench", "bench_images"):
        monkeypatch.setattr(f"vidseg.eval.{module}.in_turns", None)
    assert cli.main(["bench", *names, *table]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--frames", "0"],
        ["--size", "big"],
        ["--plot", "a.png"],
        ["--plot", "nowhere/a.svg"],
        ["--results", "nowhere"],
        ["--warm-up", "0"],
        ["--threads", "0"],
        ["--points-per-side", "8"],
        ["--points-per-side", "3", "--table", "4"],
    ],
)
def test_bench_refuses_wrong_calls(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", *arguments]) == 2
    assert 1 <= len(capsys.readouterr().err.splitlines()) <= 3


def choices_of(*names: str) -> list[TrackerOptions]:
    return [TrackerOptions(tracker=name) for name in names]


def test_a_tracker_that_fails_leaves_the_others_their_figures() -> None:
    told: list[Failure] = []
    choices = choices_of("fine", "refuses", "dies", "fine too")
    assert in_turns(CountingSubject, choices, [2, 1], told.append) == [("fine", 3), ("fine too", 3)]
    assert [(of.tracker, of.error.message) for of in told] == [
        ("refuses", "it does not load"),
        ("dies", "the process of tracker 'dies' ended before it answered"),
    ]


def test_where_every_tracker_fails_the_last_failure_is_raised() -> None:
    told: list[Failure] = []
    with pytest.raises(RunError, match="'dies' ended"):
        in_turns(CountingSubject, choices_of("refuses", "dies"), [1], told.append)
    assert [of.tracker for of in told] == ["refuses"]


def test_the_command_tells_failures_and_prints_the_rest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(make: object, choices: object, turns: object, on_failure: Any) -> list[Measured]:
        on_failure(Failure("edgetam", InputError("it does not load", hint="mend it")))
        return ROWS[:1]

    monkeypatch.setattr("vidseg.eval.bench.in_turns", measure)
    call = ["bench", "--tracker", "flow,edgetam", "--reference", "edgetam"]
    assert cli.main(call) == 3
    printed = capsys.readouterr()
    assert printed.out.splitlines()[1].startswith("flow ")
    assert "it does not load\n  at: edgetam\n  fix: mend it\n" in printed.err
    assert "there is no EER: 'edgetam' was not measured" in printed.err
    assert cli.main([*call, "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in document["trackers"]] == ["flow"]
    assert document["failed"] == [{"tracker": "edgetam", "error": "it does not load"}]


def test_scores_of_evaluations_stand_side_by_side_only_where_they_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def evaluation(
        name: str, tracker: str, score: float, dataset: str = "davis2017", sequence: str = "ants"
    ) -> str:
        document = {
            "dataset": dataset,
            "protocol": "davis2017",
            "card": {"tracker": tracker},
            "objects": {sequence: {"1": {}}},
            "score": score,
        }
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(document))
        return str(tmp_path / name)

    flow, again = evaluation("flow", "flow", 71.0), evaluation("again", "flow", 72.0)
    other_set = evaluation("set", "edgetam", 80.0, dataset="folder")
    other_sequences = evaluation("sequences", "edgetam", 80.0, sequence="bees")
    unmeasured = evaluation("unmeasured", "sam2.1-hiera-tiny", 80.0)
    for other, message in (
        (other_set, "is of the dataset davis2017"),
        (other_sequences, "are not of the same sequences"),
        (unmeasured, "its tracker 'sam2.1-hiera-tiny' is not among the measured"),
        (again, "its tracker 'flow' has one already"),
    ):
        assert cli.main(["bench", "--tracker", "flow,edgetam", "--results", f"{flow},{other}"]) == 2
        assert message in capsys.readouterr().err
    rows = [measured(name, 0, None, 40.0, 99.0) for name in ("flow", "edgetam")]
    monkeypatch.setattr("vidseg.eval.bench.in_turns", lambda *_: rows)
    assert cli.main(["bench", "--tracker", "flow,edgetam", "--results", flow, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["trackers"]
    assert [row["score"] for row in found] == [71.0, None]  # 99 is the made video's
