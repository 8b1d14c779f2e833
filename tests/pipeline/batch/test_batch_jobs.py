"""Files of jobs: what is read, what is refused, and what a folder or a table becomes."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidseg.cli import main
from vidseg.errors import InputError
from vidseg.pipeline.batch.jobs import JobsFile, JobsFileError
from vidseg.pipeline.batch.make_jobs import jobs_of_csv, jobs_of_folder
from vidseg.trackers.choices import DEFAULT_TRACKER

GOOD = {"id": "a", "video": "a.mp4", "prompt": {"box": [1, 2, 3, 4]}}


def write(folder: Path, *lines: Any) -> JobsFile:
    path = folder / "jobs.jsonl"
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines))
    return JobsFile(path)


def test_jobs_are_read_in_order_and_again_by_their_place(tmp_path: Path) -> None:
    jobs = write(tmp_path, GOOD, "", {**GOOD, "id": "b", "prompt": "b.json", "tracker": "edgetam"})
    assert jobs.check() == 2
    (_, first), (place, second) = jobs
    assert first.video == str(tmp_path / "a.mp4")
    assert first.options.tracker == DEFAULT_TRACKER
    assert second.prompt == str(tmp_path / "b.json")
    assert jobs.at(place) == second


def test_addresses_stay_and_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    prompt = {"objects": [{"id": 1, "prompts": [{"frame": 0, "mask": "m.png"}]}]}
    jobs = write(tmp_path, {"id": "a", "video": "s3://b/a.mp4", "prompt": prompt})
    job = next(iter(jobs))[1]
    assert job.video == "s3://b/a.mp4"
    assert isinstance(job.prompt, dict)
    assert job.prompt["objects"][0]["prompts"][0]["mask"] == str(tmp_path / "m.png")


def test_job_says_more_than_the_command(tmp_path: Path) -> None:
    jobs = write(tmp_path, {**GOOD, "options": {"direction": "both"}}, {**GOOD, "id": "b"})
    jobs.defaults = {"tracker": "edgetam", "direction": "backward", "device": "cpu"}
    first, second = (job for _, job in jobs)
    options = first.options
    assert (options.direction, options.device, options.tracker) == ("both", "cpu", "edgetam")
    assert second.options.direction == "backward"


BAD: list[tuple[Any, str]] = [
    ("nope", "not JSON"),
    ("[1]", "not a JSON object"),
    ('{"id": "x", "id": "y", "video": "v", "prompt": "p"}', "stands twice"),
    ({"id": "x", "video": "v.mp4"}, "nothing says what to follow (field 'prompt')"),
    ({**GOOD, "vidoe": "x"}, "did you mean 'video'"),
    ({**GOOD, "id": "../up"}, "cannot be a folder's name"),
    ({**GOOD, "id": "report.jsonl"}, "cannot be a folder's name"),
    ({**GOOD, "id": "Summary.json"}, "cannot be a folder's name"),
    ({**GOOD, "id": "summary.json.part"}, "cannot be a folder's name"),
    ({**GOOD, "id": ""}, "cannot be a folder's name"),
    ({**GOOD, "tracker": "edgetan"}, "did you mean 'edgetam'"),
    ({**GOOD, "tracker": "mine.yaml"}, "no such tracker configuration"),
    ({**GOOD, "options": {"formats": ["pngg"]}}, "did you mean 'png'"),
    ({**GOOD, "options": {"directoin": "both"}}, "did you mean 'direction'"),
    ({**GOOD, "options": {"save_every": -1}}, "greater than or equal to 0"),
    ({**GOOD, "prompt": {"boxx": [1, 2, 3, 4]}}, "did you mean 'box'"),
    ({**GOOD, "prompt": {"objects": []}}, "at least 1 item"),
    ({**GOOD, "video": "nostore://a/b.mp4"}, "no store that fsspec knows"),
    ('{"id": "x", "video": "v", "prompt": {"box": [0, 0, NaN, 1]}}', "NaN"),
]


@pytest.mark.parametrize(("line", "what"), BAD, ids=[what for _, what in BAD])
def test_bad_line_is_told_with_its_number(tmp_path: Path, line: Any, what: str) -> None:
    with pytest.raises(JobsFileError) as caught:
        write(tmp_path, {**GOOD, "id": "fine"}, line).check()
    [(line_no, message)] = caught.value.problems
    assert line_no == 2
    assert what in message
    assert f"line 2: {message[:80]}" in str(caught.value)  # a long one is cut


def test_all_bad_lines_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(JobsFileError) as caught:
        write(tmp_path, *(line for line, _ in BAD), {**GOOD, "id": "fine"}).check()
    assert [line_no for line_no, _ in caught.value.problems] == list(range(1, len(BAD) + 1))


def test_lines_with_the_same_fault_are_told_together(tmp_path: Path) -> None:
    lines = [GOOD if k in (4, 7) else "nope" for k in range(1, 3001)]
    lines[6] = {**GOOD, "id": "../up"}
    with pytest.raises(JobsFileError) as caught:
        write(tmp_path, *lines).check()
    told = str(caught.value).splitlines()
    assert told[0].startswith("2999 of 3000 lines of ")
    assert told[1].startswith("  lines 1-3, 5-6, 8-3000: not JSON")
    assert "; line 7: the id '../up' cannot be" in told[1]
    assert len(told) == 3


def test_of_many_faults_the_first_are_told_in_three_lines(tmp_path: Path) -> None:
    lines = [{**GOOD, "id": f"../{k}"} for k in range(40)] + ["nope", GOOD] * 40
    with pytest.raises(JobsFileError) as caught:
        write(tmp_path, *lines).check()
    told = str(caught.value).splitlines()
    assert len(told) == 3
    assert "line 5: the id '../4' cannot be" in told[1]
    assert "other faults" in told[1]
    assert len(caught.value.problems) == 119


def test_ids_that_folders_could_not_tell_apart_are_refused(tmp_path: Path) -> None:
    jobs = write(tmp_path, GOOD, {**GOOD, "id": "b"}, {**GOOD, "id": "A"}, {**GOOD, "id": "b"})
    with pytest.raises(JobsFileError) as caught:
        jobs.check()
    assert caught.value.problems == [(3, "the id 'A' is that of line 1"), (4, "the id 'b' is that of line 2")]


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_file_without_jobs_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "jobs.jsonl").write_text(text)
    with pytest.raises(InputError, match="holds no jobs"):
        JobsFile(tmp_path / "jobs.jsonl").check()


@pytest.mark.parametrize("change", ["append", "replace", "remove"])
def test_a_run_keeps_to_the_jobs_it_began_with(tmp_path: Path, change: str) -> None:
    jobs = write(tmp_path, GOOD, {**GOOD, "id": "b"})
    assert jobs.check() == 2
    path = tmp_path / "jobs.jsonl"
    seen = []
    for place, job in jobs:
        if change == "append":
            path.write_text(path.read_text() + '{"id": "half')
        elif change == "replace":
            (tmp_path / "new").write_text(json.dumps({**GOOD, "id": "other-name"}) + "\n")
            (tmp_path / "new").replace(path)
        else:
            path.unlink(missing_ok=True)
        assert jobs.at(place) == job
        seen.append(job.id)
    assert seen == [GOOD["id"], "b"]


def test_jobs_may_come_through_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    lines = "".join(json.dumps({**GOOD, "id": f"j{k}"}) + "\n" for k in range(3))
    threading.Thread(target=(tmp_path / "pipe").write_text, args=(lines,), daemon=True).start()
    jobs = JobsFile(tmp_path / "pipe")
    assert jobs.check() == 3
    assert [job.id for _, job in jobs] == ["j0", "j1", "j2"]


@given(st.binary(max_size=200))
def test_any_bytes_are_jobs_or_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(data)
    with pytest.raises(InputError):
        JobsFile(path).check()


def test_folder_of_videos_becomes_jobs(tmp_path: Path) -> None:
    for name in (
        "a.mp4",
        "a.json",
        "sub/b.MOV",
        "sub/b.png",
        "c.mp4",
        "d/0.jpg",
        "d/1.jpg",
        "d.json",
        "x.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    jobs, left_out = jobs_of_folder(str(tmp_path))
    here = str(tmp_path)
    assert jobs == [
        {"id": "a", "video": f"{here}/a.mp4", "prompt": f"{here}/a.json"},
        {"id": "d", "video": f"{here}/d", "prompt": f"{here}/d.json"},
        {"id": "sub-b", "video": f"{here}/sub/b.MOV", "prompt": {"mask": f"{here}/sub/b.png"}},
    ]
    assert left_out == ["c.mp4"]


def test_table_becomes_jobs(tmp_path: Path) -> None:
    table = tmp_path / "clips.csv"
    table.write_text(
        "id,video,prompt,tracker,direction,end,formats\n"
        'one,a.mp4,a.json,edgetam,both,7,"png,rle"\n'
        '"two",s3://b/c.mp4,"{""box"": [1, 2, 3, 4]}",,,,\n'
        'three,c.mp4,"{""mask"": ""m.png""}",mine.yaml,,,\n'
    )
    jobs = jobs_of_csv(str(table))
    assert jobs == [
        {
            "id": "one",
            "video": str(tmp_path / "a.mp4"),
            "prompt": str(tmp_path / "a.json"),
            "tracker": "edgetam",
            "options": {"direction": "both", "end": 7, "formats": ["png", "rle"]},
        },
        {"id": "two", "video": "s3://b/c.mp4", "prompt": {"box": [1, 2, 3, 4]}},
        {
            "id": "three",
            "video": str(tmp_path / "c.mp4"),
            "prompt": {"mask": str(tmp_path / "m.png")},
            "tracker": str(tmp_path / "mine.yaml"),
        },
    ]
    assert write(tmp_path, *jobs[:2]).check() == 2


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("video\na.mp4\n", "has no column"),
        ("video,prompt\na.mp4\n", "line 2: more or fewer cells"),
        ("video,prompt\n,a.json\n", "line 2: no video"),
        (
            'video,prompt\n"a\nb.mp4",a.json\nb.mp4, \nc.mp4,\n,c.json',
            "lines 4-5: no prompt; line 6: no video",
        ),
        ("", "has no column"),
    ],
)
def test_table_that_gives_no_jobs_is_an_error(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        jobs_of_csv(str(tmp_path / "t.csv"))
    assert what in str(caught.value)


TABLE = 'id,video,prompt\none,a.mp4,a.json\ntwo,b.mp4,"{""box"": [1, 2, 3, 4]}"\n'


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "sep=;", "sep=|"])
def test_tables_of_other_programs_become_the_same_jobs(
    tmp_path: Path, delimiter: str, encoding: str, newline: str
) -> None:
    plain, table = tmp_path / "plain.csv", tmp_path / "t.tsv"
    plain.write_text(TABLE)
    lines = [line.split(",", 2) for line in TABLE.splitlines()]
    text = "".join(delimiter[-1].join(cells) + "\n" for cells in lines)
    if delimiter.startswith("sep="):
        text = f"{delimiter}\n{text}"
    if encoding == "utf-16-be":
        text = f"\ufeff{text}"
    table.write_bytes(text.replace("\n", newline).encode(encoding))
    assert jobs_of_csv(str(table)) == jobs_of_csv(str(plain))


def test_a_bad_row_of_a_table_of_excel_is_told_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("sep=;\nid;video;prompt\none;a.mp4\n")
    with pytest.raises(InputError, match="line 3: more or fewer cells"):
        jobs_of_csv(str(tmp_path / "t.csv"))


def test_a_row_added_to_a_table_leaves_the_ids_of_the_others(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    ids = []
    for rows in (9, 10):
        table.write_text("video,prompt\n" + "".join(f"{k}.mp4,{k}.json\n" for k in range(rows)))
        ids.append([job["id"] for job in jobs_of_csv(str(table))])
    assert ids[1][:9] == ids[0] == [f"job-00000{k}" for k in range(1, 10)]


@pytest.mark.parametrize("name", ["t.csv", "t.TSV", "t.txt", "t.tab"])
def test_make_takes_tables_by_their_suffix(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("video\tprompt\na.mp4\ta.json\n")
    assert main(["batch", "make", str(tmp_path / name), "--out", str(tmp_path / "jobs.jsonl")]) == 0
    (line,) = (tmp_path / "jobs.jsonl").read_text().splitlines()
    assert json.loads(line)["video"] == str(tmp_path / "a.mp4")
