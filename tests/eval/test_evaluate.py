"""`vidseg eval`: every data set from its folder to its scores, zip and report."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import shutil
import signal
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vidseg
from support.made_datasets import (
    SIZE_HW,
    label_map,
    make_davis,
    make_davis_test_dev,
    make_lvos,
    make_mose,
    make_sav,
    make_vost,
    make_youtube_vos,
    names_of,
    write_frames,
)
from support.trackers import fake_yaml
from vidseg import cli
from vidseg.errors import InputError
from vidseg.eval import tracking
from vidseg.eval.anchors import ANCHORS
from vidseg.eval.compare import compare
from vidseg.eval.datasets import DATASETS, open_dataset
from vidseg.eval.evaluate import evaluate
from vidseg.eval.protocols import PROTOCOLS
from vidseg.eval.protocols.lvos import read_unseen
from vidseg.eval.scoring import score_folders
from vidseg.eval.submission import check_submission
from vidseg.pipeline.writers.png import write_label_png
from vidseg.trackers.options import TrackerOptions

MAKERS: dict[str, Callable[[Path], Path]] = {
    "davis2017": make_davis,
    "davis2016": partial(make_davis, year=2016),
    "davis2017-test-dev": make_davis_test_dev,
    "davis2017-unsupervised": make_davis,
    "sav": make_sav,
    "ytvos": make_youtube_vos,
    "ytvos2018": make_youtube_vos,
    "ytvos2019": partial(make_youtube_vos, with_truth=False),
    "mose": make_mose,
    "mosev2": partial(make_mose, version=2, with_truth=True),
    "lvos": make_lvos,
    "lvosv2": make_lvos,
    "vost": make_vost,
    "vos-benchmark": make_davis,
    "folder": make_davis,
}
TOP_FOLDERS = {
    "ytvos": "Annotations",
    "ytvos2018": "Annotations",
    "ytvos2019": "Annotations",
    "lvos": "Annotations",
    "lvosv2": "Annotations",
}


def run_eval(name: str, root: Path, out: Path, *more: str) -> int:
    tracker = fake_yaml(out.parent)
    arguments = ["--root", str(root), "--out", str(out), "--tracker", str(tracker), "--quiet"]
    return cli.main(["eval", name, *arguments, *more])


def read_results(out: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((out / "results.json").read_text())
    return results


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_goes_from_its_folder_to_its_results(name: str, tmp_path: Path) -> None:
    root = MAKERS[name](tmp_path / "data")
    out = tmp_path / "out"
    finder = ["--discover-with", "vidseg-nano"] if name == "davis2017-unsupervised" else []
    assert run_eval(name, root, out, *finder) == 0
    results = read_results(out)
    data = open_dataset(name, root)
    assert results["status"] == "done"
    assert set(results["sequences"]) == {s.name for s in data.sequences}
    assert all(of["status"] == "done" for of in results["sequences"].values())
    if data.truth is None:
        assert name in ("davis2017-test-dev", "mose", "ytvos2019")
        assert results["score"] is None
    else:
        assert 0 <= results["score"] <= 100
        rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
        assert len(rows) == sum(len(objects) for objects in results["objects"].values())
        assert {row["sequence"] for row in rows} == set(results["objects"])
    assert (results["submission"] is None) == (data.submission is None)
    if data.submission is not None:
        check_submission(data, out / "submission.zip")
        assert results["submission_server"] == data.submission.server
        with zipfile.ZipFile(out / "submission.zip") as archive:
            tops = {entry.split("/")[0] for entry in archive.namelist()}
            assert tops == ({TOP_FOLDERS[name]} if name in TOP_FOLDERS else {s.name for s in data.sequences})
    page = (out / "report.html").read_text()
    assert "<script" not in page
    assert not re.search(r'(src|href)="?https?:', page)
    assert results["card"]["tracker"] == "fake"
    assert results["card"]["weights_sha256"] is None
    assert results["card"]["tracker_facts"].keys().isdisjoint({"name", "config", "weights_sha256"})
    assert results["card"]["versions"]["vidseg"]
    assert results["card"]["machine"]["cores"] == os.cpu_count()


def test_protocols_are_names_of_data_sets_too() -> None:
    assert {*PROTOCOLS} - {*DATASETS} == {"hota", "ytvis"}  # they score boxes and tracks of detectors, too


def test_sav_stands_beside_the_published_figures_of_its_part(tmp_path: Path) -> None:
    root = make_sav(tmp_path / "data")
    listed = root / "sav_val.txt"
    assert open_dataset("sav", root).published == ANCHORS["sav-val"]
    listed.rename(root / "sav_test.txt")
    assert open_dataset("sav", root).published == ANCHORS["sav-test"]
    (root / "sav_test.txt").rename(root / "sav_mine.txt")
    assert open_dataset("sav", root).published == []


def test_unsupervised_davis_is_known_by_its_own_masks(tmp_path: Path) -> None:
    root = make_davis(tmp_path / "davis")
    (root / "Annotations").rename(root / "Annotations_unsupervised")
    data = open_dataset("davis2017-unsupervised", root)
    assert data.truth == root
    assert [s.given for s in data.sequences] == [[] for _ in data.sequences]


@pytest.mark.parametrize(
    "given", [["--annotations", "a.json"], ["--detections", "d.json"], ["--prompts", "box"], ["--limit", "2"]]
)
def test_options_of_pictures_are_refused(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_eval("davis2017", tmp_path, tmp_path / "out", *given) == 2
    assert f"{given[0]} is for pictures, not for 'davis2017'" in capsys.readouterr().err


def test_a_tracker_that_finds_nothing_is_refused_before_any_sequence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_eval("davis2017-unsupervised", make_davis(tmp_path / "data"), tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert "cannot find objects by itself" in told
    assert "fix: --discover-with" in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["davis2017", "davis2016", "sav", "ytvos2019", "mosev2", "lvosv2", "vost"])
def test_lists_and_meta_files_may_have_been_saved_on_windows(
    name: str, encoding: str, tmp_path: Path
) -> None:
    root = MAKERS[name](tmp_path / "data")
    before = open_dataset(name, root)
    lists = [path for path in root.rglob("*") if path.suffix in (".txt", ".json")]
    assert lists
    for path in lists:
        lines = path.read_text().splitlines()
        path.write_text("".join(f"{line}\r\n" for line in [*lines, ""]), encoding=encoding, newline="")
    assert open_dataset(name, root) == before
    if name == "lvosv2":
        assert read_unseen(root / "valid") == {"bbUnseen"}


def test_names_in_a_list_may_have_spaces(tmp_path: Path) -> None:
    root = make_davis(tmp_path / "data", sequences=("red ants", "bees"))
    assert [s.name for s in open_dataset("davis2017", root).sequences] == ["red ants", "bees"]


def test_a_list_that_is_no_text_is_told(tmp_path: Path) -> None:
    root = make_davis(tmp_path / "data")
    (root / "ImageSets/2017/val.txt").write_bytes(b"ants\xff\n")
    with pytest.raises(InputError, match="the list cannot be read"):
        open_dataset("davis2017", root)


@pytest.mark.parametrize("name", ["mose", "mosev2", "ytvos2019"])
def test_it_is_told_which_mask_the_ground_truth_lacks(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maker = make_youtube_vos if name == "ytvos2019" else make_mose
    version = {"version": 2} if name == "mosev2" else {}
    root = maker(tmp_path / "data", with_truth=True, **version)
    assert open_dataset(name, root).truth is not None
    last = max((root / "valid/Annotations").rglob("*.png"))
    last.unlink()
    out = tmp_path / "out"
    call = ["--root", str(root), "--out", str(out), "--tracker", str(fake_yaml(tmp_path))]
    assert cli.main(["eval", name, *call]) == 0
    note = f"1 of 1 sequences lack masks, first '{last.parent.name}' that of frame '{last.stem}'"
    assert note in capsys.readouterr().out
    assert note in str(read_results(out)["card"]["notes"])


def test_a_sequence_with_few_masks_does_not_keep_the_others_from_their_scores(tmp_path: Path) -> None:
    root = make_davis(tmp_path / "data")
    for path in sorted((root / "Annotations/480p/bees").iterdir())[1:]:
        path.unlink()
    out = tmp_path / "out"
    assert run_eval("folder", root, out) == 0
    results = read_results(out)
    assert {name: set(of) for name, of in results["objects"].items()} == {"ants": {"1", "2"}, "bees": set()}
    assert results["card"]["notes"] == ["not scored, as they have no more than two masks: bees"]
    # Where only such sequences could be tracked, the results say so.
    (root / "JPEGImages/480p/ants/00003.jpg").write_bytes(b"broken")
    assert run_eval("folder", root, out, "--resume") == 3
    assert read_results(out)["score"] is None


def test_an_object_is_given_by_its_first_mask_where_names_are_not_padded(tmp_path: Path) -> None:
    root = tmp_path / "data"
    names = [str(number) for number in range(1, 12)]
    write_frames(root / "JPEGImages/ants", names)
    for index, frame in enumerate(names):
        write_label_png(root / f"Annotations/ants/{frame}.png", label_map(index, (1, 2) if index else (1,)))
    (sequence,) = open_dataset("folder", root).sequences
    assert [(given.obj_id, given.path.stem) for given in sequence.given] == [(1, "1"), (2, "2")]


def test_scores_of_random_weights_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = make_davis(tmp_path / "data", sequences=("ants",)), tmp_path / "out"
    for path in (*root.rglob("00003.*"), *root.rglob("00004.*"), *root.rglob("00005.*")):
        path.unlink()
    call = ["eval", "davis2017", "--root", str(root), "--out", str(out), "--device", "cpu"]
    assert cli.main([*call, "--tracker", "vidseg-nano", "--allow-random-weights"]) == 0
    assert "note: random weights: the scores mean nothing" in capsys.readouterr().out
    assert "random weights: the scores mean nothing" in (out / "report.html").read_text()


def test_prompts_come_when_objects_do(tmp_path: Path) -> None:
    data = open_dataset("ytvos2018", make_youtube_vos(tmp_path / "y"))
    assert [(g.obj_id, g.frame_idx) for g in data.sequences[0].given] == [(2, 0), (4, 1)]
    data = open_dataset("lvos", make_lvos(tmp_path / "l"))
    assert [(g.obj_id, g.frame_idx) for g in data.sequences[0].given] == [(1, 0), (2, 1)]
    data = open_dataset("sav", make_sav(tmp_path / "s"))
    sequence = data.sequences[0]
    assert [(g.name, g.frame_idx) for g in sequence.given] == [("000", 0), ("001", 4)]
    assert len(sequence.frame_names) == 9  # tracked at 24 frames a second
    assert sequence.wanted == ["00000", "00004", "00008"]  # scored at 6


def test_youtube_vos_is_tracked_on_all_frames_where_they_are_there(tmp_path: Path) -> None:
    root = make_youtube_vos(tmp_path / "y")
    assert open_dataset("ytvos2019", root).notes  # says that they are not
    every = names_of(21)
    write_frames(root / "valid_all_frames/JPEGImages/0a49f5265b", every)
    for place in (root, root / "valid"):
        data = open_dataset("ytvos2019", place)
        assert data.sequences[0].frame_names == every
        assert [g.frame_idx for g in data.sequences[0].given] == [0, 5]
        assert data.sequences[0].wanted == names_of(5, step=5)
        assert not data.notes
    assert run_eval("ytvos2019", root, tmp_path / "out") == 0
    assert len(list((tmp_path / "out/masks/0a49f5265b").iterdir())) == 5


def test_scores_of_one_kind_of_category_are_told_without_the_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_youtube_vos(tmp_path / "y")
    meta = root / "valid/meta.json"
    meta.write_text(meta.read_text().replace("earless_seal", "ant"))
    arguments = ["eval", "ytvos2018", "--root", str(root), "--out", str(tmp_path / "out"), "--tracker"]
    assert cli.main([*arguments, str(fake_yaml(tmp_path))]) == 0
    printed = capsys.readouterr().out
    assert "G -" in printed
    assert "J_unseen" in printed
    assert read_results(tmp_path / "out")["score"] is None


def test_the_given_masks_come_back_on_their_frames(tmp_path: Path) -> None:
    root = make_davis(tmp_path / "data")
    assert run_eval("davis2017", root, tmp_path / "out") == 0
    with Image.open(tmp_path / "out/masks/ants/00000.png") as picture:
        assert picture.mode == "P"
        assert (np.asarray(picture) == label_map(0, (1, 2))).all()
    names = sorted(path.name for path in (tmp_path / "out/masks/ants").iterdir())
    assert names == [f"{i:05d}.png" for i in range(6)]


def test_a_box_prompt_is_tight_around_the_mask(tmp_path: Path) -> None:
    root = make_davis(tmp_path / "data")
    assert run_eval("davis2017", root, tmp_path / "out", "--prompt", "box") == 0
    record = json.loads((tmp_path / "out/runs/ants/run.json").read_text())
    boxes = [thing["prompts"][0]["box"] for thing in record["prompts"]["objects"]]
    assert boxes == [[5, 4, 21, 18], [5, 24, 21, 38]]


def test_davis_2016_has_one_object_whatever_the_ids(tmp_path: Path) -> None:
    assert run_eval("davis2016", make_davis(tmp_path / "data", 2016), tmp_path / "out") == 0
    assert set(read_results(tmp_path / "out")["objects"]["ants"]) == {"1"}
    with Image.open(tmp_path / "out/masks/ants/00000.png") as picture:
        values = np.asarray(picture)
    assert set(np.unique(values)) == {0, 1}


def test_the_list_of_davis_2016_may_name_every_frame(tmp_path: Path) -> None:
    root = make_davis(tmp_path / "data", 2016)
    (root / "ImageSets/2016").rename(root / "ImageSets/480p")
    places = [(name, f"{i:05d}") for name in ("bees", "ants") for i in range(6)]
    lines = [f"/JPEGImages/480p/{n}/{i}.jpg /Annotations/480p/{n}/{i}.png\n" for n, i in places]
    (root / "ImageSets/480p/val.txt").write_text("".join(lines))
    assert run_eval("davis2016", root, tmp_path / "out") == 0
    assert set(read_results(tmp_path / "out")["objects"]) == {"ants", "bees"}


@pytest.mark.slow
def test_ray_workers_give_the_same_masks_and_leave_the_rest_alone_where_one_fails(tmp_path: Path) -> None:
    """With the weight-free tracker: workers are processes of their own, which know no fake one."""
    pytest.importorskip("ray", reason="needs the extra ray")
    root = make_davis(tmp_path / "data", sequences=("ants", "bees", "cows"))
    broken = root / "JPEGImages/480p/bees/00003.jpg"
    whole = broken.read_bytes()
    arguments = ["eval", "davis2017", "--root", str(root), "--tracker", "flow", "--quiet", "--out"]
    assert cli.main([*arguments, str(tmp_path / "serial")]) == 0
    broken.write_bytes(b"broken")
    out = tmp_path / "ray"
    assert cli.main([*arguments, str(out), "--workers", "2"]) == 3
    statuses = {name: of["status"] for name, of in read_results(out)["sequences"].items()}
    assert statuses == {"ants": "done", "bees": "failed", "cows": "done"}
    # Mended, it goes on, in this process as well as on workers; what was done is not touched.
    broken.write_bytes(whole)
    before = (out / "runs/cows/run.json").stat().st_mtime_ns
    assert cli.main([*arguments, str(out), "--resume"]) == 0
    assert (out / "runs/cows/run.json").stat().st_mtime_ns == before
    assert read_results(out)["objects"] == read_results(tmp_path / "serial")["objects"]
    masks = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.png")}
        for folder in (tmp_path / "serial/masks", out / "masks")
    ]
    assert len(masks[0]) == 18
    assert masks[0] == masks[1]


def test_a_stop_between_sequences_keeps_what_is_done(tmp_path: Path) -> None:
    root, out = make_davis(tmp_path / "data"), tmp_path / "out"
    choice = TrackerOptions(tracker=str(fake_yaml(tmp_path)))
    with pytest.raises(KeyboardInterrupt):
        evaluate(
            "davis2017", root, out, choice, on_outcome=lambda outcome: signal.raise_signal(signal.SIGINT)
        )
    assert len(list((out / "masks").iterdir())) == 1
    assert not (out / "results.json").exists()
    assert run_eval("davis2017", root, out, "--resume") == 0
    assert set(read_results(out)["objects"]) == {"ants", "bees"}


def test_frames_that_were_changed_are_tracked_anew(tmp_path: Path) -> None:
    root, out = make_davis(tmp_path / "data"), tmp_path / "out"
    assert run_eval("davis2017", root, out) == 0
    before = (out / "masks/ants/00005.png").read_bytes()
    Image.new("RGB", SIZE_HW[::-1], "red").save(root / "JPEGImages/480p/ants/00003.jpg")
    assert run_eval("davis2017", root, out, "--resume") == 0
    assert (out / "masks/ants/00005.png").read_bytes() != before


def test_masks_that_cannot_be_kept_fail_their_sequence_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tracking._keep_masks

    def keep(sequence: Any, *args: Any, **more: Any) -> None:
        if sequence.name == "ants":
            raise OSError(errno.ENOSPC, "No space left on device")
        kept(sequence, *args, **more)

    monkeypatch.setattr(tracking, "_keep_masks", keep)
    assert run_eval("davis2017", make_davis(tmp_path / "data"), tmp_path / "out") == 3
    assert "ants: failed, the disk is full" in capsys.readouterr().err
    assert set(read_results(tmp_path / "out")["objects"]) == {"bees"}


def masks_in(out: Path) -> dict[Path, bytes]:
    return {path.relative_to(out): path.read_bytes() for path in (out / "masks").rglob("*.png")}


@pytest.mark.parametrize("killed_while", ["linking", "removing old masks"])
def test_a_kill_while_masks_are_kept_leaves_no_old_ones(
    killed_while: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    def remove_one(folder: Path, **_: Any) -> None:
        if folder.is_dir():
            next(folder.iterdir()).unlink()
            raise Killed

    root, out = make_davis(tmp_path / "data"), tmp_path / "out"
    assert run_eval("davis2017", root, out) == 0
    Image.new("RGB", SIZE_HW[::-1], "red").save(root / "JPEGImages/480p/ants/00003.jpg")
    with monkeypatch.context() as patched:
        if killed_while == "linking":
            patched.setattr("vidseg.eval.tracking._keep_masks", kill)
        else:
            patched.setattr("vidseg.eval.tracking.shutil.rmtree", remove_one)
        with pytest.raises(Killed):
            run_eval("davis2017", root, out, "--resume")
    assert run_eval("davis2017", root, out, "--resume") == 0
    assert run_eval("davis2017", root, tmp_path / "again") == 0
    assert masks_in(out) == masks_in(tmp_path / "again")
    assert read_results(out)["objects"] == read_results(tmp_path / "again")["objects"]


def test_the_same_masks_make_the_same_zip(tmp_path: Path) -> None:
    root = make_davis(tmp_path / "data")
    assert run_eval("davis2017", root, tmp_path / "a") == 0
    assert run_eval("davis2017", root, tmp_path / "b") == 0
    for path in (tmp_path / "b/masks").rglob("*.png"):
        path.chmod(0o600)
        os.utime(path, (0, 0))  # a zip knows no time before 1980
    (tmp_path / "b/submission.zip").unlink()
    assert run_eval("davis2017", root, tmp_path / "b", "--resume") == 0
    zips = [(tmp_path / name / "submission.zip").read_bytes() for name in ("a", "b")]
    assert zips[0] == zips[1]


def test_nothing_old_is_told_of_a_sequence_that_fails_later(tmp_path: Path) -> None:
    root, out = make_davis(tmp_path / "data"), tmp_path / "out"
    assert run_eval("davis2017", root, out) == 0
    (root / "JPEGImages/480p/ants/00003.jpg").write_bytes(b"broken")
    assert run_eval("davis2017", root, out, "--resume") == 3
    assert not (out / "submission.zip").exists()
    assert sorted(path.name for path in (out / "frames").iterdir()) == ["bees.json"]
    page = (out / "report.html").read_text()
    assert "<td>bees" in page
    assert "<td>ants" not in page


def test_a_zip_that_cannot_be_written_leaves_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("vidseg.eval.evaluate.write_submission", full)
    root, out = make_davis(tmp_path / "data"), tmp_path / "out"
    assert run_eval("davis2017", root, out) == 1
    assert read_results(out)["score"] is not None
    assert read_results(out)["submission"] is None
    assert (out / "report.html").is_file()


def test_the_command_says_which_server_takes_the_zip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = MAKERS["davis2017-test-dev"](tmp_path / "data"), tmp_path / "out"
    tracker = str(fake_yaml(tmp_path))
    where = ["--root", str(root), "--out", str(out)]
    assert cli.main(["eval", "davis2017-test-dev", *where, "--tracker", tracker]) == 0
    assert capsys.readouterr().out.endswith(f"{out / 'submission.zip'}, for CodaLab 6812 (was 20516)\n")


def test_a_failed_sequence_is_told_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_davis(tmp_path / "data")
    (root / "JPEGImages/480p/ants/00003.jpg").write_bytes(b"broken")
    out = tmp_path / "out"
    assert run_eval("davis2017", root, out) == 3
    assert "ants: failed" in capsys.readouterr().err  # --quiet leaves errors
    results = read_results(out)
    assert results["status"] == "some failed"
    assert results["sequences"]["ants"]["status"] == "failed"
    assert "00003.jpg" in results["sequences"]["ants"]["error"]
    assert set(results["objects"]) == {"bees"}
    assert results["submission"] is None
    assert "00003.jpg" in (out / "report.html").read_text()
    # Mended, it goes on: only what failed is tracked anew.
    shutil.copy(root / "JPEGImages/480p/ants/00002.jpg", root / "JPEGImages/480p/ants/00003.jpg")
    before = (out / "runs/bees/run.json").stat().st_mtime_ns
    assert run_eval("davis2017", root, out, "--resume") == 0
    assert (out / "runs/bees/run.json").stat().st_mtime_ns == before
    assert read_results(out)["submission"] == "submission.zip"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sequence_that_cannot_be_scored_leaves_the_others_their_scores(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_davis(tmp_path / "data")
    damaged = root / "Annotations/480p/ants/00003.png"
    whole = damaged.read_bytes()
    Image.open(damaged).convert("RGB").save(damaged)
    out = tmp_path / "out"
    if workers:
        monkeypatch.setattr(
            "vidseg.eval.evaluate.score_folders", partial(score_folders_of_two_processes, score_folders)
        )
    assert run_eval("davis2017", root, out) == 3
    assert f"ants: failed, the mask is a picture of mode RGB, not a label map ({damaged})" in (
        capsys.readouterr().err
    )
    results = read_results(out)
    assert results["sequences"]["ants"]["status"] == "failed"
    assert set(results["objects"]) == {"bees"}
    assert results["submission"] is None
    assert not (out / "frames/ants.json").exists()
    assert f"({damaged})" in (out / "report.html").read_text()
    damaged.write_bytes(whole)
    assert run_eval("davis2017", root, out, "--resume") == 0
    assert set(read_results(out)["objects"]) == {"ants", "bees"}


def score_folders_of_two_processes(scored: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return scored(*args, **{**options, "workers": 2})


def test_an_evaluation_without_any_score_says_so(tmp_path: Path) -> None:
    root = make_sav(tmp_path / "data")
    for path in (root / "Annotations_6fps/sav_000001/000").glob("0000[48].png"):
        write_label_png(path, np.zeros(SIZE_HW, np.uint8))
    assert run_eval("sav", root, tmp_path / "out") == 3
    results = read_results(tmp_path / "out")
    assert "on none of its scored frames" in results["sequences"]["sav_000001"]["error"]
    assert results["score"] is None
    assert "nothing is scored" in (tmp_path / "out/report.html").read_text()


def test_a_video_of_mosev2_that_its_meta_file_does_not_know_is_passed_by(tmp_path: Path) -> None:
    root = make_mose(tmp_path / "data", version=2, with_truth=True)
    for kind in ("JPEGImages", "Annotations"):
        shutil.copytree(root / "valid" / kind / "0e8a6b63", root / "valid" / kind / "other")
    assert run_eval("mosev2", root, tmp_path / "out") == 0
    assert set(read_results(tmp_path / "out")["objects"]) == {"0e8a6b63"}


def test_the_card_tells_of_sequences_that_another_version_tracked(tmp_path: Path) -> None:
    root, out = make_davis(tmp_path / "data"), tmp_path / "out"
    assert run_eval("davis2017", root, out) == 0
    assert not any("versions" in note for note in read_results(out)["card"]["notes"])
    record = next((out / "runs").glob("*/run.json"))
    facts = json.loads(record.read_text())
    facts["versions"]["vidseg"] = "0.0.1"
    record.write_text(json.dumps(facts))
    assert run_eval("davis2017", root, out, "--resume") == 0
    told = f"tracked by several versions of vidseg: 0.0.1, {vidseg.__version__}"
    assert told in read_results(out)["card"]["notes"]


def test_resume_refuses_another_tracker_and_another_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = make_davis(tmp_path / "data"), tmp_path / "out"
    assert run_eval("davis2017", root, out) == 0
    assert run_eval("davis2017", root, out) == 2
    assert "--resume" in capsys.readouterr().err
    assert run_eval("davis2017", root, out, "--resume", "--prompt", "box") == 2
    assert "another prompt" in capsys.readouterr().err
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/a.txt").touch()
    assert run_eval("davis2017", root, tmp_path / "letters") == 2
    assert "something else" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name in DATASETS if name not in ("folder", "vos-benchmark")])
def test_a_wrong_folder_says_what_is_missing_and_where_to_get_it(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_eval(name, tmp_path, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "lacks" in error
    assert "is to be had at http" in error
    assert len(error.splitlines()) <= 3
    assert run_eval(name, tmp_path / "nothing", tmp_path / "out") == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "changed", "content", "message"),
    [
        ("davis2017", "Annotations/480p/ants", None, "first frame of 'ants' has no mask"),
        ("davis2017", "JPEGImages/480p/bees", None, "frames of 'bees' are missing"),
        ("davis2017", "JPEGImages/480p/ants/00002.jpg", None, "lacks 1 frames, first '00002'"),
        ("davis2017", "Annotations/480p/ants/00002.png", None, "lacks 1 masks, first '00002'"),
        ("davis2017", "ImageSets/2017/val.txt", "", "no sequences"),
        ("sav", "JPEGImages_24fps/sav_000001/00004.jpg", None, "'00004.png' has no frame"),
        ("ytvos2018", "valid/Annotations/0a49f5265b/00005.png", None, "object 4 of '0a49f5265b' starts on"),
        ("ytvos2018", "valid/JPEGImages/0a49f5265b/00010.jpg", None, "lacks 1 frames"),
        ("ytvos2018", "valid/meta.json", '{"videos": {"0a49f5265b": {"objects": {"two": {}}}}}', "no frames"),
        ("mosev2", "valid/JPEGImages/0e8a6b63/00003.jpg", None, "lacks 1 frames"),
        ("lvos", "valid/Annotations/aaSeen/00000006.png", None, "object 2 of 'aaSeen'"),
        ("lvos", "valid/Annotations/bbUnseen/00000016.png", None, "lacks 1 masks"),
        ("lvos", "valid/JPEGImages/aaSeen/00000011.jpg", None, "lacks 1 frames"),
        ("lvos", "valid/unseen_videos.txt", None, "no list of unseen videos"),
        ("vost", "JPEGImages/555_tear_aluminium_foil/frame00024.jpg", None, "lacks 1 frames"),
        ("folder", "JPEGImages/480p/ants/00002.jpg", None, "lacks 1 frames"),
    ],
)
def test_an_incomplete_folder_is_refused_before_anything_is_tracked(
    name: str,
    changed: str,
    content: str | None,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = MAKERS[name](tmp_path / "data")
    path = root / changed
    if content is not None:
        path.write_text(content)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    assert run_eval(name, root, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert message in error
    assert 1 <= len(error.splitlines()) <= 3
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "removed"),
    [
        ("mosev2", "valid/Annotations/0e8a6b63/00000.png"),
        ("vost", "Annotations/555_tear_aluminium_foil/frame00012.png"),
    ],
)
def test_an_object_may_start_on_a_later_frame(name: str, removed: str, tmp_path: Path) -> None:
    root = MAKERS[name](tmp_path / "data")
    (root / removed).unlink()
    assert run_eval(name, root, tmp_path / "out") == 0


def test_a_root_one_folder_too_high_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_davis(tmp_path / "data/DAVIS")
    assert run_eval("davis2017", tmp_path / "data", tmp_path / "out") == 2
    assert f"is it --root '{root}'?" in capsys.readouterr().err


def test_a_zip_that_the_server_would_refuse_is_refused(tmp_path: Path) -> None:
    root, out = make_davis(tmp_path / "data"), tmp_path / "out"
    assert run_eval("davis2017", root, out) == 0
    data = open_dataset("davis2017", root)

    def changed(change: Callable[[dict[str, bytes]], None]) -> Path:
        with zipfile.ZipFile(out / "submission.zip") as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        change(files)
        path = tmp_path / "changed.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path

    def png(values: np.ndarray, mode: str = "P") -> bytes:
        path = tmp_path / "one.png"
        picture = Image.fromarray(values)
        if mode == "P":
            picture.putpalette([0] * 768)
        picture.save(path)
        return path.read_bytes()

    first = "ants/00000.png"
    for change, message in (
        (lambda files: files.pop(first), "lacks 1 masks"),
        (lambda files: files.update({"ants/99999.png": files[first]}), "no wanted mask"),
        (lambda files: files.update({first: png(np.zeros((9, 9), np.uint8))}), "its frame"),
        (lambda files: files.update({first: png(np.full(SIZE_HW, 9, np.uint8))}), "the id 9"),
        (lambda files: files.update({first: png(np.zeros(SIZE_HW, np.uint8), "L")}), "no indexed PNG"),
    ):
        with pytest.raises(InputError, match=message):
            check_submission(data, changed(change))


def test_compare_tells_a_clear_difference_from_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"s{i}" for i in range(12)]

    def results(out: Path, scores: list[float]) -> Path:
        out.mkdir()
        objects = {n: {"1": {"J_mean": s, "F_mean": s}} for n, s in zip(names, scores, strict=True)}
        card = {"tracker": out.name}
        document = {"dataset": "davis2017", "protocol": "davis2017", "card": card, "objects": objects}
        (out / "results.json").write_text(json.dumps(document))
        return out

    rng = np.random.default_rng(0)
    base = rng.uniform(0.5, 0.9, 12)
    a = results(tmp_path / "a", base.tolist())
    better = results(tmp_path / "better", (base + 0.05).tolist())
    noisy = results(tmp_path / "noisy", (base + rng.choice([-0.05, 0.05], 12) * 1.0).tolist())
    assert cli.main(["eval", "compare", str(a), str(better), "--json"]) == 0
    comparison = json.loads(capsys.readouterr().out)
    assert comparison["difference"] == pytest.approx(5)
    assert comparison["interval"] == pytest.approx([5, 5])
    assert comparison["is_clear"]
    assert cli.main(["eval", "compare", str(a), str(noisy), "--json"]) == 0
    comparison = json.loads(capsys.readouterr().out)
    low, high = comparison["interval"]
    assert low < comparison["difference"] < high
    assert not comparison["is_clear"]
    assert cli.main(["eval", "compare", str(a), str(noisy)]) == 0
    text = capsys.readouterr().out
    assert "no clear difference" in text
    assert text.startswith(f"A: {a} (a)\nB: {noisy} (noisy)\n")
    assert cli.main(["eval", "compare", str(a)]) == 2
    assert cli.main(["eval", "compare", str(a), str(tmp_path)]) == 2
    # Of few sequences all may point the same way by chance.
    for out in (a, better):
        document = read_results(out)
        document["objects"] = {name: document["objects"][name] for name in names[:5]}
        (out / "results.json").write_text(json.dumps(document))
    assert not compare(a, better)["is_clear"]
    capsys.readouterr()
    assert cli.main(["eval", "compare", str(a), str(better)]) == 0
    assert "too few to tell" in capsys.readouterr().out


@pytest.mark.parametrize(
    "objects", ["[1]", '{"ants": {"1": {}}}', '{"ants": {"1": {"J_mean": null, "F_mean": 1}}}', '{"ants": 3}']
)
def test_compare_refuses_results_without_scores(
    objects: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = '{"dataset": "davis2017", "protocol": "davis2017", "card": {"tracker": "a"}, "objects": '
    (tmp_path / "results.json").write_text(f"{start}{objects}}}")
    assert cli.main(["eval", "compare", str(tmp_path), str(tmp_path)]) == 2
    assert "has not J_mean and F_mean of every object" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["davis17", "--root", ".", "--out", "out"],
        ["davis2017", "--out", "out"],
        ["davis2017", "--root", "."],
        ["davis2017", "--root", ".", "--out", "out", "--workers", "-1"],
        ["davis2017", "--root", ".", "--out", "out", "--ray-address", "auto"],
        ["davis2017", "extra", "--root", ".", "--out", "out"],
    ],
)
def test_eval_refuses_wrong_calls(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["eval", *arguments]) == 2
    assert 1 <= len(capsys.readouterr().err.splitlines()) <= 3
    assert not (tmp_path / "out").exists()
