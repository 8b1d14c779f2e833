"""What the protocols accept, refuse and leave out, on made masks."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from support.dying_protocol import DyingProtocol
from support.made_datasets import make_davis, make_lvos, make_mose, make_sav, make_youtube_vos
from vidseg import cli
from vidseg.errors import InputError, RunError
from vidseg.eval.protocols import PROTOCOLS, build_protocol
from vidseg.eval.scoring import score_folders
from vidseg.pipeline import run_record
from vidseg.pipeline.label_png import read_label_png
from vidseg.pipeline.writers.png import write_label_png

Label = npt.NDArray[np.uint8]


def square(obj_id: int = 1, at: int = 3, size: int = 8) -> Label:
    picture = np.zeros((24, 32), np.uint8)
    picture[at : at + size, at : at + size] = obj_id
    return picture


def write_sequence(folder: Path, frames: Sequence[Label]) -> None:
    for index, frame in enumerate(frames):
        write_label_png(folder / f"{index:05d}.png", frame)


def score(protocol: str, truth: Path, prediction: Path, **options: Any) -> dict[str, Any]:
    return score_folders(build_protocol(protocol), truth, prediction, **options)


def score_frames(
    tmp_path: Path, protocol: str, truth: Sequence[Label], prediction: Sequence[Label]
) -> dict[str, Any]:
    write_sequence(tmp_path / "gt/a", truth)
    write_sequence(tmp_path / "pred/a", prediction)
    return score(protocol, tmp_path / "gt", tmp_path / "pred", per_frame=True)


@pytest.mark.parametrize(
    "protocol", ["davis2016", "davis2017", "davis2017-unsupervised", "vos-benchmark", "sav"]
)
def test_a_truth_against_itself_is_perfect(protocol: str, tmp_path: Path) -> None:
    frames = [square(1, at) for at in range(6)]
    document = score_frames(tmp_path, protocol, frames, frames)
    assert set(document["global"].values()) <= {1.0, 0.0, 100.0}
    assert max(document["global"].values()) in (1.0, 100.0)


@pytest.mark.parametrize(
    ("protocol", "maker", "folder"),
    [
        ("sav", make_sav, "Annotations_6fps"),
        ("mosev2", lambda root: make_mose(root, version=2, with_truth=True), "valid"),
        ("lvos", make_lvos, "valid"),
        ("ytvos", make_youtube_vos, "valid"),
        ("davis2017", make_davis, ""),
        ("vos-benchmark", make_davis, ""),
    ],
)
def test_official_layouts_are_scored_as_they_are(
    protocol: str, maker: Any, folder: str, tmp_path: Path
) -> None:
    truth = maker(tmp_path / "data") / folder
    main = next(iter(score(protocol, truth, truth)["global"].values()))
    assert main in (1.0, 100.0)


def test_workers_change_nothing(tmp_path: Path) -> None:
    root = make_davis(tmp_path / "data", sequences=("a", "b", "c"))
    one, three = (score("davis2017", root, root, per_frame=True, workers=n) for n in (1, 3))
    assert one == three


def test_a_process_that_dies_is_told(tmp_path: Path) -> None:
    for name in "ab":
        write_sequence(tmp_path / "gt" / name, [square()] * 4)
        write_sequence(tmp_path / "pred" / name, [square()] * 4)
    with pytest.raises(RunError, match="ended before it answered"):
        score_folders(DyingProtocol(), tmp_path / "gt", tmp_path / "pred", workers=2)


def test_davis_gives_a_gap_in_the_ids_an_object_of_its_own(tmp_path: Path) -> None:
    truth = [square(1) + 3 * (square(1, 13) > 0).astype(np.uint8) for _ in range(5)]
    document = score_frames(tmp_path, "davis2017", truth, truth)
    assert list(document["objects"]["a"]) == ["1", "2", "3"]
    assert document["objects"]["a"]["2"]["J_frames"] == [1.0] * 3


def test_davis_ignores_objects_that_come_up_later(tmp_path: Path) -> None:
    truth = [square(1) for _ in range(5)]
    late = [frame.copy() for frame in truth]
    late[2][15:, 20:] = 2
    document = score_frames(tmp_path, "davis2017", late, truth)
    assert list(document["objects"]["a"]) == ["1"]
    assert document["global"]["J&F-Mean"] == 1


def test_davis_leaves_out_the_first_and_the_last_frame(tmp_path: Path) -> None:
    truth = [square(1) for _ in range(5)]
    prediction = [square(1, 15), *truth[1:-1], square(1, 15)]
    assert score_frames(tmp_path, "davis2017", truth, prediction)["global"]["J&F-Mean"] == 1


def test_davis_refuses_a_higher_id_and_vost_drops_it(tmp_path: Path) -> None:
    truth = [square(1) for _ in range(5)]
    prediction = [frame.copy() for frame in truth]
    prediction[2][20:, 20:] = 7
    with pytest.raises(InputError, match="the id 7"):
        score_frames(tmp_path, "davis2017", truth, prediction)
    assert score("vost", tmp_path / "gt", tmp_path / "pred")["global"]["J-Mean"] == 1


def test_unsupervised_proposals_may_have_any_order_and_void_is_left_out(tmp_path: Path) -> None:
    truth = [square(1) + 2 * (square(1, 13) > 0).astype(np.uint8) for _ in range(4)]
    renamed = np.array([0, 20, 5], np.uint8)
    prediction = [renamed[frame] for frame in truth]
    prediction[1][0, :] = 9  # one proposal too many costs nothing
    truth[2][22:, :] = 255
    prediction[2][22:, :] = 5
    document = score_frames(tmp_path, "davis2017-unsupervised", truth, prediction)
    assert document["global"]["J&F-Mean"] == 1
    matches = document["matches"]["a"].values()
    assert {(m["object"], m["proposal"]) for m in matches} == {(1, 20), (2, 5)}


def test_unsupervised_refuses_a_21st_proposal(tmp_path: Path) -> None:
    truth = [square(1) for _ in range(4)]
    with pytest.raises(InputError, match="the id 21"):
        score_frames(tmp_path, "davis2017-unsupervised", truth, [square(21)] * 4)


def test_vos_benchmark_counts_an_object_from_when_it_is_seen(tmp_path: Path) -> None:
    empty = np.zeros((24, 32), np.uint8)
    truth = [square(1), square(1), square(1), square(1) + square(200, 14), square(1) + square(200, 14), empty]
    document = score_frames(tmp_path, "vos-benchmark", truth, truth)
    objects = document["objects"]["a"]
    assert {name: of["n_frames"] for name, of in objects.items()} == {"1": 4, "200": 2}
    early = [frame.copy() for frame in truth]
    early[1][14:22, 14:22] = 200
    shutil.rmtree(tmp_path / "pred")
    document = score_frames(tmp_path, "vos-benchmark", truth, early)
    assert document["objects"]["a"]["200"]["J_frames"] == [0, 1, 1, 1]


def test_vos_benchmark_drops_what_is_never_annotated(tmp_path: Path) -> None:
    truth = [square(1) for _ in range(5)]
    prediction = [frame.copy() for frame in truth]
    prediction[2][20:, 20:] = 7
    document = score_frames(tmp_path, "vos-benchmark", truth, prediction)
    assert list(document["objects"]["a"]) == ["1"]
    assert document["global"]["J&F"] == 100


def test_sav_ignores_masks_of_frames_that_are_not_annotated(tmp_path: Path) -> None:
    write_sequence(tmp_path / "pred/v/000", [square(1, at % 5) for at in range(9)])
    for index in (0, 4, 8):
        write_label_png(tmp_path / f"gt/v/000/{index:05d}.png", 255 * square(1, index % 5))
    assert score("sav", tmp_path / "gt", tmp_path / "pred")["global"]["J&F"] == 100


def test_sav_refuses_a_mask_with_two_objects(tmp_path: Path) -> None:
    write_sequence(tmp_path / "gt/v/000", [square(1)] * 4)
    write_sequence(tmp_path / "pred/v/000", [square(1) + square(2, 14)] * 4)
    with pytest.raises(InputError, match="more than one object"):
        score("sav", tmp_path / "gt", tmp_path / "pred")


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    "protocol", ["davis2016", "davis2017", "davis2017-unsupervised", "vos-benchmark", "vost"]
)
@pytest.mark.parametrize("removed", ["pred/a", "pred", "gt", "gt/a/00001.png", "pred/a/00002.png"])
def test_what_is_missing_is_an_error(
    protocol: str, removed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [square(1)] * 5
    write_sequence(tmp_path / "gt/a", frames)
    write_sequence(tmp_path / "pred/a", frames)
    remove(tmp_path / removed)
    arguments = [
        "--gt",
        str(tmp_path / "gt"),
        "--pred",
        str(tmp_path / "pred"),
        "--json",
        str(tmp_path / "s.json"),
    ]
    code = cli.main(["score", protocol, *arguments])
    if removed == "gt/a/00001.png":
        assert code == 0  # a frame that is not annotated is not scored
        return
    assert code == 2
    assert 1 <= len(capsys.readouterr().err.splitlines()) <= 3
    assert not (tmp_path / "s.json").exists()


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 80])
def test_a_broken_mask_is_an_error(content: bytes, tmp_path: Path) -> None:
    frames = [square(1)] * 5
    write_sequence(tmp_path / "gt/a", frames)
    write_sequence(tmp_path / "pred/a", frames)
    (tmp_path / "pred/a/00002.png").write_bytes(content)
    with pytest.raises(InputError, match="mask"):
        score("davis2017", tmp_path / "gt", tmp_path / "pred")


def test_a_mask_cut_off_or_damaged_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_label_png(path, np.random.default_rng(0).integers(0, 4, (50, 60), np.uint8))
    data = path.read_bytes()
    for end in range(1, len(data) - 12, 37):
        path.write_bytes(data[:end])
        with pytest.raises(InputError):
            read_label_png(path)
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :])
    with pytest.raises(InputError):
        read_label_png(path)


@pytest.mark.parametrize("save", [{}, {"compress_level": 0}, {"bits": 4}, {"bits": 2}, {"optimize": True}])
@pytest.mark.parametrize("mode", ["P", "L"])
def test_every_kind_of_label_png_is_read_as_pillow_reads_it(
    mode: str, save: dict[str, Any], tmp_path: Path
) -> None:
    values = np.random.default_rng(1).integers(0, 4, (37, 53), np.uint8)
    picture = Image.fromarray(values)
    if mode == "P":
        picture.putpalette([0] * 768)
    picture.save(tmp_path / "a.png", **save)
    with Image.open(tmp_path / "a.png") as reopened:
        expected = np.asarray(reopened)
    assert (read_label_png(tmp_path / "a.png") == expected).all()


def test_a_colour_picture_is_no_label_map(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="not a label map"):
        read_label_png(tmp_path / "a.png")


def test_mosev2_takes_the_videos_of_the_truth_and_passes_by_a_folder_around_predictions(
    tmp_path: Path,
) -> None:
    for name in ("a", "b"):
        write_sequence(tmp_path / "gt/Annotations" / name, [square(1)] * 5)
        write_sequence(tmp_path / "pred/res" / name, [square(1, at=4)] * 5)
    videos = {name: {"objects": ["1"]} for name in ("a", "b", "not_here")}
    (tmp_path / "gt/meta.json").write_text(json.dumps({"videos": videos}))
    inside = score("mosev2", tmp_path / "gt", tmp_path / "pred/res")
    assert set(inside["objects"]) == {"a", "b"}
    assert score("mosev2", tmp_path / "gt", tmp_path / "pred") == inside
    del videos["b"]
    (tmp_path / "gt/meta.json").write_text(json.dumps({"videos": videos}))
    with pytest.raises(InputError, match="does not know the video 'b'"):
        score("mosev2", tmp_path / "gt", tmp_path / "pred")


@pytest.mark.parametrize(
    ("protocol", "name"), [("mosev2", "meta.json"), ("lvos", "valid_meta.json"), ("ytvos", "meta.json")]
)
def test_meta_files_are_checked(protocol: str, name: str, tmp_path: Path) -> None:
    write_sequence(tmp_path / "gt/Annotations/a", [square(1)] * 5)
    write_sequence(tmp_path / "pred/a", [square(1)] * 5)
    (tmp_path / "gt/unseen_videos.txt").touch()

    def refused(match: str) -> None:
        with pytest.raises(InputError, match=match):
            score(protocol, tmp_path / "gt", tmp_path / "pred")

    refused(name)
    for content, match in (("{", "cannot be read"), ("[]", "no 'videos'"), ('{"videos": {"a": {}}}', "a'")):
        (tmp_path / "gt" / name).write_text(content)
        refused(match)


def test_youtube_vos_knows_the_seen_categories_and_believes_what_the_meta_file_says(tmp_path: Path) -> None:
    valid = make_youtube_vos(tmp_path / "data") / "valid"
    prediction = tmp_path / "pred"
    shutil.copytree(valid / "Annotations", prediction)
    for path in prediction.rglob("*.png"):
        mask = read_label_png(path).copy()
        mask[mask == 4] = 0
        write_label_png(path, mask)
    whole = score("ytvos", valid, prediction)["global"]
    assert whole == {"J_seen": 1, "J_unseen": 0, "F_seen": 1, "F_unseen": 0, "G": 0.5}
    meta = json.loads((valid / "meta.json").read_text())
    objects = meta["videos"]["0a49f5265b"]["objects"]

    def rescored(**change: Any) -> dict[str, Any]:
        objects["2"] = {"frames": objects["2"]["frames"], **change}
        (valid / "meta.json").write_text(json.dumps(meta))
        figures: dict[str, Any] = score("ytvos", valid, prediction)["global"]
        return figures

    assert rescored(category="Earless Seal") == whole
    only_unseen = rescored(category="earless_seal", seen=False)
    assert only_unseen == {"J_seen": None, "J_unseen": 0.5, "F_seen": None, "F_unseen": 0.5, "G": None}
    with pytest.raises(InputError, match="of what category object 2"):
        rescored()


def test_no_skip_goes_with_two_protocols_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in PROTOCOLS:
        takes_it = name in ("sav", "vos-benchmark")
        if takes_it:
            assert build_protocol(name, no_skip=True)
        else:
            with pytest.raises(InputError, match="no-skip"):
                build_protocol(name, no_skip=True)
    assert cli.main(["score", "davis17", "--gt", ".", "--pred", "."]) == 2
    assert "did you mean 'davis2017'" in capsys.readouterr().err


def test_a_meta_file_for_a_protocol_that_takes_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_davis(tmp_path / "data")
    call = ["score", "davis2017", "--gt", str(root), "--pred", str(root), "--meta", "meta.json"]
    assert cli.main(call) == 2
    assert "'davis2017' takes no meta file" in capsys.readouterr().err
    takers = {name for name in PROTOCOLS.known if build_protocol(name).takes_meta}
    assert takers == {"lvos", "mosev2", "ytvos"}


def test_score_prints_a_table_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_davis(tmp_path / "data")
    arguments = ["score", "davis2017", "--gt", str(root), "--pred", str(root)]
    assert cli.main(arguments) == 0
    assert "J&F-Mean" in capsys.readouterr().out
    assert cli.main([*arguments, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["global"]["J&F-Mean"] == 1
    assert cli.main([*arguments, "--json", str(tmp_path / "no/such/folder.json")]) == 2
    assert cli.main([*arguments, "--workers", "0"]) == 2


def test_scores_are_shown_even_if_their_file_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for side in ("gt", "pred"):
        write_sequence(tmp_path / side / "a", [square(1)] * 5)
    call = ["score", "davis2017", "--gt", str(tmp_path / "gt"), "--pred", str(tmp_path / "pred"), "--json"]
    assert cli.main([*call, str(tmp_path)]) == 2  # before anything is scored
    assert "is a folder" in capsys.readouterr().err

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("vidseg.pipeline.atomic.write_bytes", full)
    assert cli.main([*call, str(tmp_path / "s.json")]) == 1
    printed = capsys.readouterr()
    assert "J&F-Mean            1.0000" in printed.out
    assert "the disk is full" in printed.err


@pytest.mark.parametrize("run", ["a", "."])
def test_pictures_from_before_an_annotation_are_not_scored(tmp_path: Path, run: str) -> None:
    write_sequence(tmp_path / "gt/a", [square()] * 3)
    pred = tmp_path / "pred"
    write_sequence(pred / run / "masks", [square()] * 3)
    source = {"kind": "array", "path": None, "name": "a", "size_hw": [24, 32]}
    source |= {"frame_rate": None, "num_frames": 2}
    record = dict.fromkeys(run_record._OF_A_RECORD) | {"source": source, "prompts": {"objects": []}}
    for options, is_scored in (({"format": "rle"}, False), ({"format": "rle,png"}, True)):
        document = record | {"options": options, "annotation": {}}
        (pred / run / "run.json").write_text(json.dumps(document))
        if is_scored:
            assert score("davis2017", tmp_path / "gt", pred)["global"]
        else:
            with pytest.raises(InputError, match="annotated since"):
                score("davis2017", tmp_path / "gt", pred)
