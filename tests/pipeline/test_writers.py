"""Label maps and masklets: what is written, that it agrees, and that an interrupted run can be taken up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco

from support.masklets import described, frame_masks, masklets, moving_squares, picture
from vidseg.errors import InputError
from vidseg.pipeline.build_writers import build_writers
from vidseg.pipeline.formats import FORMATS, check_formats
from vidseg.pipeline.writers import FrameMasks, read_masklets
from vidseg.pipeline.writers.masklets import MaskletsWriter
from vidseg.pipeline.writers.png import PngWriter
from vidseg.pipeline.writers.rle import decode_rle, encode_rle
from vidseg.trackers.contract import FrameResult
from vidseg.trackers.palette import davis_palette, object_colour


def png_writer(out: Path, obj_ids: list[int]) -> PngWriter:
    return PngWriter(out, described((48, 64), dict.fromkeys(obj_ids, "")))


def write_all(writer: PngWriter | MaskletsWriter, frames: list[FrameMasks]) -> None:
    for masks in frames:
        writer.write(picture(masks), masks)


def files_under(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# The palette.


def test_palette_starts_as_the_davis_palette_does() -> None:
    first = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128)]
    assert [tuple(davis_palette()[3 * i : 3 * i + 3]) for i in range(7)] == first
    assert tuple(davis_palette()[-3:]) == (224, 224, 192)
    assert len(davis_palette()) == 768


def test_palette_is_that_of_davis_annotations(shared: Path) -> None:
    annotation = shared / "data/davis_like/Annotations/480p/dogs-jump/00000.png"
    assert bytes(Image.open(annotation).getpalette() or []) == davis_palette()


@pytest.mark.parametrize("obj_id", [1, 254, 255, 508, 100_000])
def test_object_colour_is_never_the_backgrounds(obj_id: int) -> None:
    assert object_colour(obj_id) != (0, 0, 0)


# Frame masks.


def result_of_two(**facts: Any) -> FrameResult:
    """A result on objects 7 and 9, whose masks both fill a frame of 4 x 6 pixels, changed by `facts`."""
    whole: dict[str, Any] = {
        "frame_idx": 3,
        "pts_seconds": 0.125,
        "size_hw": (4, 6),
        "obj_ids": [7, 9],
        "low_res_logits": np.ones((2, 2, 2), np.float32),
        "object_score_logits": np.ones(2, np.float32),
        "predicted_ious": np.ones(2, np.float32),
        "states": ["visible", "visible"],
        "to_video_res": lambda logits, size_hw: np.ones((len(logits), *size_hw), np.float32),
    }
    return FrameResult(**{**whole, **facts})


def test_score_is_predicted_iou_times_visibility() -> None:
    result = result_of_two(
        object_score_logits=np.array([0.0, -1000.0], np.float32),
        predicted_ious=np.array([0.8, np.nan], np.float32),
        states=["visible", "absent"],
    )
    masks = FrameMasks.of(result)
    assert masks.scores == pytest.approx([0.4, 0.0])
    assert (masks.frame_idx, masks.pts_seconds, masks.obj_ids) == (3, 0.125, [7, 9])
    assert masks.masks.shape == (2, 4, 6)


def test_an_object_of_whose_mask_nothing_is_left_at_the_videos_size_is_absent() -> None:
    # The rule that keeps masks apart has given all pixels to the first object.
    result = result_of_two(
        to_video_res=lambda logits, size_hw: np.stack([np.ones(size_hw), -np.ones(size_hw)])
    )
    assert FrameMasks.of(result).states == ["visible", "absent"]
    assert result.states == ["visible", "visible"]


# png


def test_png_is_an_indexed_label_map(tmp_path: Path) -> None:
    frames = moving_squares(3, num_objects=3)
    write_all(png_writer(tmp_path, [1, 2, 3]), frames)
    assert files_under(tmp_path) == ["masks/00000.png", "masks/00001.png", "masks/00002.png"]
    for masks in frames:
        image = Image.open(tmp_path / f"masks/{masks.frame_idx:05d}.png")
        assert image.mode == "P"
        assert bytes(image.getpalette() or []) == davis_palette()
        np.testing.assert_array_equal(np.asarray(image), masks.label_map())


def test_png_gives_an_overlap_of_unknown_logits_to_the_first_object(tmp_path: Path) -> None:
    both = np.ones((2, 5, 7), np.bool_)
    write_all(png_writer(tmp_path, [2, 5]), [frame_masks(0, both, [5, 2])])
    assert np.unique(np.asarray(Image.open(tmp_path / "masks/00000.png"))).tolist() == [5]


def test_png_holds_id_254_in_a_label_map(tmp_path: Path) -> None:
    write_all(png_writer(tmp_path, [254]), [frame_masks(0, np.ones((1, 5, 7)), [254])])
    assert np.unique(np.asarray(Image.open(tmp_path / "masks/00000.png"))).tolist() == [254]


def test_png_with_higher_ids_has_a_folder_for_each_object(tmp_path: Path) -> None:
    masks = frame_masks(12, np.stack([np.eye(6, dtype=bool), np.ones((6, 6), bool)]), [3, 255])
    write_all(png_writer(tmp_path, [3, 255]), [masks])
    assert files_under(tmp_path) == ["masks/255/00012.png", "masks/3/00012.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "masks/3/00012.png")), np.eye(6))


def test_png_has_16_bits_where_an_id_that_was_found_needs_them(tmp_path: Path) -> None:
    write_all(png_writer(tmp_path, [1]), [frame_masks(i, np.ones((1, 5, 7)), [299 * i + 1]) for i in (0, 1)])
    with Image.open(tmp_path / "masks/00000.png") as low, Image.open(tmp_path / "masks/00001.png") as high:
        assert (low.mode, high.mode) == ("P", "I;16")
        assert (np.array(high) == 300).all()


def test_png_names_grow_beyond_five_digits(tmp_path: Path) -> None:
    write_all(png_writer(tmp_path, [1]), [frame_masks(123_456, np.ones((1, 2, 2)))])
    assert files_under(tmp_path) == ["masks/123456.png"]


def test_png_resumes_with_the_frames_that_are_done(tmp_path: Path) -> None:
    write_all(png_writer(tmp_path, [1, 2]), moving_squares(6))
    (tmp_path / "masks/00006.png.part").write_bytes(b"half a picture")
    assert png_writer(tmp_path, [1, 2]).resume(lambda frame_idx: frame_idx < 4) == 4
    assert files_under(tmp_path) == [f"masks/{i:05d}.png" for i in range(4)]


# rle


@given(st.data())
def test_rle_is_cocos_and_comes_back_whole(data: st.DataObject) -> None:
    for masks in data.draw(masklets()):
        for mask in masks.masks:
            rle = encode_rle(mask)
            assert rle["counts"] == coco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
            assert rle["size"] == list(mask.shape)
            np.testing.assert_array_equal(decode_rle(rle), mask)


@pytest.mark.parametrize("counts", ["", "0", "abc", "PPYo0", "é"])
def test_rle_that_does_not_fill_its_size_is_refused(counts: str) -> None:
    with pytest.raises(InputError, match="does not fill its size"):
        decode_rle({"size": [5, 4], "counts": counts})


# masklets.jsonl


def test_masklets_lines_hold_the_documented_fields(tmp_path: Path) -> None:
    frames = moving_squares(4)
    writer = MaskletsWriter(tmp_path)
    write_all(writer, frames)
    assert writer.finish() == [tmp_path / "masklets.jsonl"]
    assert files_under(tmp_path) == ["masklets.jsonl"]
    lines = [json.loads(line) for line in (tmp_path / "masklets.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2, 3]
    for line, masks in zip(lines, frames, strict=True):
        assert set(line) == {"frame", "time", "objects"}
        assert line["time"] == masks.frame_idx / 24
        assert [item["id"] for item in line["objects"]] == [1, 2]
        for item, mask in zip(line["objects"], masks.masks, strict=True):
            assert set(item) == {"id", "rle", "score", "box", "area"}
            np.testing.assert_array_equal(coco.decode(item["rle"]), mask)
            assert item["area"] == mask.sum() == coco.area(item["rle"])
            assert item["box"] == coco.toBbox(item["rle"]).tolist()
    absent = lines[0]["objects"][1]
    assert (absent["area"], absent["box"], absent["score"]) == (0, [0, 0, 0, 0], 0.0)


@given(frames=masklets())
def test_masklets_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, frames: list[FrameMasks]
) -> None:
    out = tmp_path_factory.mktemp("run")
    writer = MaskletsWriter(out)
    write_all(writer, frames)
    writer.finish()
    back = list(read_masklets(out / "masklets.jsonl", size_hw=frames[0].size_hw))
    assert [masks.frame_idx for masks in back] == [masks.frame_idx for masks in frames]
    for masks, written in zip(back, frames, strict=True):
        assert masks.obj_ids == written.obj_ids
        assert masks.scores == written.scores
        assert masks.pts_seconds == written.pts_seconds
        np.testing.assert_array_equal(masks.masks, written.masks)


@pytest.mark.parametrize("order", [[4, 3, 2, 1, 0], [2, 3, 4, 1, 0], [0, 1, 2, 2, 3, 4]])
def test_masklets_end_in_rising_order(tmp_path: Path, order: list[int]) -> None:
    frames = moving_squares(5)
    writer = MaskletsWriter(tmp_path)
    write_all(writer, [frames[i] for i in order])
    writer.finish()
    back = list(read_masklets(tmp_path / "masklets.jsonl"))
    assert [masks.frame_idx for masks in back] == [0, 1, 2, 3, 4]
    for masks, written in zip(back, frames, strict=True):
        np.testing.assert_array_equal(masks.masks, written.masks)


def whole_run(out: Path, order: list[int]) -> bytes:
    frames = moving_squares(8)
    writer = MaskletsWriter(out)
    write_all(writer, [frames[i] for i in order])
    writer.finish()
    return (out / "masklets.jsonl").read_bytes()


@pytest.mark.parametrize("is_reverse", [False, True])
@pytest.mark.parametrize("ending", ["killed", "torn", "finished"])
def test_masklets_of_a_resumed_run_are_those_of_a_whole_one(
    tmp_path: Path, ending: str, is_reverse: bool
) -> None:
    frames = moving_squares(8)
    order = list(range(8))[::-1] if is_reverse else list(range(8))
    out = tmp_path / "resumed"
    first = MaskletsWriter(out)
    write_all(first, [frames[i] for i in order[:6]])
    if ending == "finished":
        first.finish()
    if ending == "torn":
        with open(first.part, "ab") as file:
            file.write(b'{"frame": 6, "time": 0.25, "obj')
    done = set(order[:4])
    second = MaskletsWriter(out)
    assert second.resume(done.__contains__) == 4
    write_all(second, [frames[i] for i in order[4:]])
    second.finish()
    assert (out / "masklets.jsonl").read_bytes() == whole_run(tmp_path / "whole", order)
    assert files_under(out) == ["masklets.jsonl"]


def test_masklets_with_a_torn_line_are_cut_before_it(tmp_path: Path) -> None:
    writer = MaskletsWriter(tmp_path)
    write_all(writer, moving_squares(2))
    with open(writer.part, "ab") as file:
        file.write(b'{"frame": 2, "ti')
    writer.finish()
    assert len(list(read_masklets(tmp_path / "masklets.jsonl"))) == 2


def test_masklets_of_no_frames_are_an_empty_file(tmp_path: Path) -> None:
    assert MaskletsWriter(tmp_path).finish() == [tmp_path / "masklets.jsonl"]
    assert list(read_masklets(tmp_path / "masklets.jsonl")) == []


def test_masklets_that_are_discarded_leave_nothing(tmp_path: Path) -> None:
    writer = MaskletsWriter(tmp_path)
    write_all(writer, moving_squares(2))
    writer.discard()
    assert files_under(tmp_path) == []


GOOD = {"frame": 0, "time": 0.0, "objects": []}
THING = {"id": 1, "rle": {"size": [2, 2], "counts": "4"}, "score": 0.5, "box": [0, 0, 0, 0], "area": 0}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "dictionary|object"),
        (json.dumps({**GOOD, "frames": 1}), "unknown key 'frames'"),
        (json.dumps({**GOOD, "time": "now"}), "number"),
        (json.dumps({**GOOD, "objects": [{**THING, "area": 1.5}]}), "integer"),
        (json.dumps({**GOOD, "objects": [{**THING, "rle": {"size": [2], "counts": "4"}}]}), "size"),
        (
            json.dumps({**GOOD, "objects": [{**THING, "rle": {"size": [2, 2], "counts": "9"}}]}),
            "does not fill",
        ),
    ],
)
def test_masklets_that_are_malformed_are_refused_with_their_place(
    tmp_path: Path, line: str, message: str
) -> None:
    path = tmp_path / "masklets.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{line}\n")
    with pytest.raises(InputError, match=message) as error:
        list(read_masklets(path))
    assert "line 2" in str(error.value) or "frame 0" in str(error.value)


def test_masklets_of_several_sizes_are_refused(tmp_path: Path) -> None:
    writer = MaskletsWriter(tmp_path)
    write_all(writer, [frame_masks(0, np.ones((1, 4, 4))), frame_masks(1, np.ones((1, 5, 4)))])
    writer.finish()
    with pytest.raises(InputError, match="a mask of 4x5 in a video of 4x4"):
        list(read_masklets(tmp_path / "masklets.jsonl"))


# All together.


def test_formats_are_checked() -> None:
    check_formats([name for name in FORMATS if not name.endswith(":polygons")])
    with pytest.raises(InputError, match=r"'coco' and 'coco:polygons' are both written to masklets\.coco"):
        check_formats(["coco", "coco:polygons"])
    with pytest.raises(InputError, match="did you mean 'overlay'"):
        check_formats(["overlai"])
    with pytest.raises(InputError):
        check_formats([])
    with pytest.raises(InputError):
        check_formats(["png", "png"])


def test_all_formats_together_leave_only_whole_files(tmp_path: Path) -> None:
    frames = moving_squares(5)
    writers = build_writers(
        [name for name in FORMATS if not name.endswith(":polygons")],
        tmp_path,
        described((48, 64), {1: "square", 2: ""}),
        state=tmp_path / ".state",
    )
    for masks in frames:
        for writer in writers:
            writer.write(picture(masks), masks)
    done = [path for writer in writers for path in writer.finish()]
    assert all(path.exists() for path in done)
    assert files_under(tmp_path) == sorted(
        [
            *(f"masks/{i:05d}.png" for i in range(5)),
            *(f"frames/{i:05d}.jpg" for i in range(5)),
            *(f"alpha/{i:05d}.png" for i in range(5)),
            "alpha.mov",
            "alpha.webm",
            "masks.tar",
            "masklets.jsonl",
            "masklets.coco.json",
            "masklets.cvat.xml",
            "masklets.cvat-images.xml",
            "masklets.label-studio/images.json",
            "masklets.label-studio/images.xml",
            *(f"masklets.mots/instances/{i:05d}.png" for i in range(5)),
            "masklets.mots/instances/labels.txt",
            "masklets.mots/instances.txt",
            *(f"masklets.yolo/labels/{i:05d}.txt" for i in range(5)),
            "masklets.yolo/data.yaml",
            "masklets.mot.txt",
            "masklets.sav.json",
            "masklets.ytvis.json",
            "overlay.mp4",
        ]
    )
    for masks in read_masklets(tmp_path / "masklets.jsonl"):
        label_map = np.asarray(Image.open(tmp_path / f"masks/{masks.frame_idx:05d}.png"))
        np.testing.assert_array_equal(label_map, masks.label_map())


def test_masklets_are_not_left_where_nobody_asked_for_them(tmp_path: Path) -> None:
    writers = build_writers(
        ["coco"], tmp_path, described((48, 64), {1: "", 2: ""}), state=tmp_path / ".state"
    )
    for masks in moving_squares(3):
        for writer in writers:
            writer.write(picture(masks), masks)
    for writer in writers:
        writer.finish()
    assert files_under(tmp_path) == [".state/unwanted.jsonl", "masklets.coco.json"]
