"""Prompt files: what they say, what is refused, and how they are made to fit a video."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vidseg.errors import PromptError
from vidseg.pipeline.prompt_forms import prompt_schema
from vidseg.pipeline.prompts import VideoFacts, read_prompts

VIDEO = VideoFacts(name="dog.mp4", size_hw=(48, 64), num_frames=250)


def save_mask(path: Path, values: Any, *, indexed: bool) -> Path:
    image = Image.fromarray(np.asarray(values, np.uint8), "L" if not indexed else "P")
    if indexed:
        image.putpalette(list(range(256)) * 3)
    image.save(path)
    return path


def label_map(*ids: int, size_hw: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A map with a square of 5 pixels for each id."""
    values = np.zeros(size_hw, np.uint8)
    for place, obj_id in enumerate(ids):
        values[10:15, 10 * place : 10 * place + 5] = obj_id
    return values


def write(folder: Path, content: Any) -> Path:
    path = folder / "box.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def refusal(content: Any) -> str:
    with pytest.raises(PromptError) as caught:
        read_prompts(content)
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) <= 3
    return str(caught.value)


class TestForms:
    def test_long_form_names_objects_frames_and_labels(self, tmp_path: Path) -> None:
        save_mask(tmp_path / "cat.png", label_map(1), indexed=True)
        prompts = read_prompts(
            write(
                tmp_path,
                {
                    "objects": [
                        {
                            "id": 1,
                            "label": "dog",
                            "prompts": [
                                {"frame": 40, "points": [[1, 2], [3, 4]], "labels": [1, 0]},
                                {"frame": 0, "box": [1, 2, 30, 40]},
                            ],
                        },
                        {"id": 2, "prompts": [{"frame": 7, "mask": "cat.png"}]},
                    ]
                },
            )
        )
        dog, cat = prompts.objects
        assert list(dog.on_frames) == [0, 40]
        assert dog.on_frames[0].box.tolist() == [1, 2, 30, 40]
        assert dog.on_frames[40].labels.tolist() == [1, 0]
        assert (dog.first_frame, dog.last_frame) == (0, 40)
        assert cat.on_frames[7].mask.sum() == 25
        assert prompts.labels == {1: "dog"}
        assert prompts.frames == [0, 7, 40]

    @pytest.mark.parametrize("short", [{"box": [1, 2, 3, 4]}, {"points": [[5, 6]], "labels": [1]}])
    def test_short_form_is_object_1_on_frame_0(self, short: dict[str, Any]) -> None:
        (thing,) = read_prompts(short).objects
        (long,) = read_prompts({"objects": [{"id": 1, "prompts": [{"frame": 0, **short}]}]}).objects
        assert thing.obj_id == 1
        assert list(thing.on_frames) == [0]
        assert repr(thing) == repr(long)

    def test_prompts_on_one_frame_are_one_prompt(self) -> None:
        on_frame_3 = [{"frame": 3, "box": [1, 2, 30, 40]}, {"frame": 3, "points": [[5, 6]], "labels": [0]}]
        (thing,) = read_prompts({"objects": [{"id": 4, "prompts": on_frame_3}]}).objects
        assert thing.on_frames[3].box.tolist() == [1, 2, 30, 40]
        assert thing.on_frames[3].points_xy.tolist() == [[5, 6]]

    def test_python_values_say_what_json_says(self) -> None:
        in_python = {"box": np.array([1, 2, 3, 4]), "points": ((np.float32(1), 2),), "labels": (1,)}
        in_json = {"box": [1, 2, 3, 4], "points": [[1, 2]], "labels": [1]}
        assert read_prompts(in_python).document() == read_prompts(in_json).document()

    def test_dash_reads_standard_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Stdin:
            buffer = io.BytesIO(b'{"box": [1, 2, 3, 4]}')

        monkeypatch.setattr("sys.stdin", Stdin)
        assert read_prompts("-").objects[0].on_frames[0].box.tolist() == [1, 2, 3, 4]

    def test_byte_order_mark_is_no_obstacle(self, tmp_path: Path) -> None:
        path = tmp_path / "bom.json"
        path.write_bytes(b'\xef\xbb\xbf{"box": [1, 2, 3, 4]}')
        assert len(read_prompts(path).objects) == 1


class TestMasks:
    @pytest.mark.parametrize("indexed", [True, False])
    def test_mask_with_several_ids_is_several_objects(self, tmp_path: Path, indexed: bool) -> None:
        save_mask(tmp_path / "00000.png", label_map(1, 3, 9), indexed=indexed)
        prompts = read_prompts(write(tmp_path, {"mask": "00000.png"}))
        assert [thing.obj_id for thing in prompts.objects] == [1, 3, 9]
        for place, thing in enumerate(prompts.objects):
            assert np.argwhere(thing.on_frames[0].mask)[0].tolist() == [10, 10 * place]

    def test_void_of_an_indexed_mask_is_no_object(self, tmp_path: Path) -> None:
        save_mask(tmp_path / "m.png", label_map(1, 2, 255), indexed=True)
        prompts = read_prompts(write(tmp_path, {"mask": "m.png"}))
        assert [thing.obj_id for thing in prompts.objects] == [1, 2]

    @pytest.mark.parametrize(
        ("value", "indexed", "obj_id"),
        [(255, False, 1), (7, False, 1), (255, True, 1), (7, True, 7), (1, True, 1)],
    )
    def test_one_value_is_one_object(self, tmp_path: Path, value: int, indexed: bool, obj_id: int) -> None:
        save_mask(tmp_path / "m.png", label_map(value), indexed=indexed)
        (thing,) = read_prompts(write(tmp_path, {"mask": "m.png"})).objects
        assert thing.obj_id == obj_id
        assert thing.on_frames[0].mask.sum() == 25

    def test_binary_and_16_bit_pngs_are_masks(self, tmp_path: Path) -> None:
        Image.fromarray(label_map(1) > 0).save(tmp_path / "bits.png")
        Image.fromarray(label_map(1).astype(np.uint16) * 700).save(tmp_path / "deep.png")
        for name in ("bits.png", "deep.png"):
            (thing,) = read_prompts(write(tmp_path, {"mask": name})).objects
            assert thing.on_frames[0].mask.sum() == 25

    def test_object_takes_its_own_id_from_a_mask_with_several(self, tmp_path: Path) -> None:
        save_mask(tmp_path / "m.png", label_map(1, 2), indexed=True)
        objects = [{"id": 2, "prompts": [{"frame": 0, "mask": "m.png"}]}]
        (thing,) = read_prompts(write(tmp_path, {"objects": objects})).objects
        assert np.argwhere(thing.on_frames[0].mask)[0].tolist() == [10, 10]

    def test_object_takes_a_mask_with_one_value_whatever_it_is(self, tmp_path: Path) -> None:
        save_mask(tmp_path / "m.png", label_map(1), indexed=True)
        objects = [{"id": 5, "prompts": [{"frame": 0, "mask": "m.png"}]}]
        (thing,) = read_prompts(write(tmp_path, {"objects": objects})).objects
        assert thing.on_frames[0].mask.sum() == 25

    def test_id_that_a_mask_does_not_have_is_refused(self, tmp_path: Path) -> None:
        save_mask(tmp_path / "m.png", label_map(1, 2), indexed=True)
        objects = [{"id": 3, "prompts": [{"frame": 0, "mask": "m.png"}]}]
        assert "has the ids 1, 2, but not 3" in refusal(write(tmp_path, {"objects": objects}))

    @pytest.mark.parametrize(
        ("make", "complaint"),
        [
            (lambda path: None, "there is no mask file"),
            (lambda path: path.mkdir(), "cannot be read"),
            (lambda path: path.write_bytes(b""), "not a PNG"),
            (lambda path: path.write_text("no picture"), "not a PNG"),
            (lambda path: Image.new("L", (9, 9), 1).save(path, "JPEG"), "not a PNG"),
            (lambda path: Image.new("RGB", (9, 9), "red").save(path), "colour image"),
            (lambda path: Image.new("LA", (9, 9)).save(path), "colour image"),
            (lambda path: save_mask(path, label_map(), indexed=True), "is empty"),
            (lambda path: save_mask(path, label_map(80, 160, 255), indexed=False), "soft mask"),
        ],
    )
    def test_file_that_is_no_mask_is_refused(self, tmp_path: Path, make: Any, complaint: str) -> None:
        make(tmp_path / "m.png")
        message = refusal(write(tmp_path, {"mask": "m.png"}))
        assert complaint in message
        assert "box.json, field 'mask'" in message

    def test_cut_off_png_is_refused(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        whole = save_mask(tmp_path / "m.png", rng.integers(0, 2, (48, 64)), indexed=True)
        data = whole.read_bytes()
        for length in (9, 40, len(data) // 2):
            whole.write_bytes(data[:length])
            refusal(write(tmp_path, {"mask": "m.png"}))

    def test_mask_of_the_same_shape_is_resized_with_a_warning(self, tmp_path: Path) -> None:
        save_mask(tmp_path / "m.png", label_map(1, size_hw=(24, 32)), indexed=True)
        fitted = read_prompts(write(tmp_path, {"mask": "m.png"})).fit(VIDEO)
        assert fitted.objects[0].on_frames[0].mask.shape == (48, 64)
        assert fitted.objects[0].on_frames[0].mask.sum() == 100
        assert "resized from 32x24 to 64x48" in fitted.warnings[0]

    def test_rounded_sides_are_of_one_shape(self, tmp_path: Path) -> None:
        save_mask(tmp_path / "m.png", label_map(1, size_hw=(480, 854)), indexed=True)
        full_hd = VideoFacts(name="hd.mp4", size_hw=(1080, 1920))
        fitted = read_prompts(write(tmp_path, {"mask": "m.png"})).fit(full_hd)
        assert fitted.objects[0].on_frames[0].mask.shape == (1080, 1920)

    def test_mask_of_another_shape_is_refused(self, tmp_path: Path) -> None:
        save_mask(tmp_path / "m.png", label_map(1, size_hw=(48, 48)), indexed=True)
        with pytest.raises(PromptError, match="48x48 for a video of 64x48: another aspect ratio"):
            read_prompts(write(tmp_path, {"mask": "m.png"})).fit(VIDEO)

    def test_mask_that_vanishes_when_resized_is_refused(self, tmp_path: Path) -> None:
        values = np.zeros((480, 640), np.uint8)
        values[1, 1] = 1
        save_mask(tmp_path / "m.png", values, indexed=True)
        with pytest.raises(PromptError, match="nothing is left"):
            read_prompts(write(tmp_path, {"mask": "m.png"})).fit(VIDEO)


def one(**region: Any) -> dict[str, Any]:
    return {"objects": [{"id": 1, "prompts": [{"frame": 0, **region}]}]}


def with_ids(*ids: Any) -> dict[str, Any]:
    return {"objects": [{"id": i, "prompts": [{"frame": 0, "box": [1, 2, 3, 4]}]} for i in ids]}


class TestRefusals:
    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            ({}, "says nothing"),
            ({"boxes": [1, 2, 3, 4]}, "did you mean 'box'"),
            ({"object": []}, "did you mean 'objects'"),
            ({"box": [1, 2, 3, 4], "masks": "a.png"}, "did you mean 'mask'"),
            ({"box": [1, 2, 3, 4], "frame": 3}, "object 1 on the first frame"),
            ({"objects": []}, "at least 1"),
            ({"objects": {}}, "field 'objects'"),
            ({"objects": [{"id": 1, "prompts": []}]}, "at least 1"),
            ({"objects": [{"id": 1}]}, "objects[0].prompts"),
            ({"objects": [{"prompts": [{"frame": 0, "box": [1, 2, 3, 4]}]}]}, "objects[0].id"),
            ({"objects": [{"id": 1, "prompts": [{"box": [1, 2, 3, 4]}]}]}, "prompts[0].frame"),
            ({"objects": [{"id": 1, "lable": "x", "prompts": []}]}, "did you mean 'label'"),
            ({"objects": [], "version": 1}, "unknown key 'version'"),
            (one(), "empty prompt"),
            (one(boxx=[1, 2, 3, 4]), "did you mean 'box'"),
            (one(box=[1, 2, 3]), "at least 4"),
            (one(box=[1, 2, 3, 4, 5]), "at most 4"),
            (one(box=[10, 2, 10, 4]), "no area"),
            (one(box=[10, 2, 9, 4]), "no area"),
            (one(box=[1, 5, 9, 4]), "no area"),
            (one(box=[1, 2, 3, "4"]), "box[3]"),
            (one(box=[1, 2, 3, None]), "box[3]"),
            (one(box=[1, 2, 3, True]), "box[3]"),
            (one(box=[1, 2, 3, 1e300]), "box[3]"),
            (one(box="1,2,3,4"), "valid list"),
            (one(points=[]), "at least 1"),
            (one(points=[[1]]), "points[0]"),
            (one(points=[1, 2]), "points[0]"),
            (one(points=[[1, 2]], labels=[1, 0]), "1 points but 2 labels"),
            (one(points=[[1, 2], [3, 4]], labels=[1]), "2 points but 1 labels"),
            (one(points=[[1, 2]], labels=[2]), "labels[0]"),
            (one(points=[[1, 2]], labels=[0.5]), "labels[0]"),
            (one(labels=[1]), "empty prompt"),
            (one(box=[1, 2, 3, 4], labels=[1]), "labels without points"),
            (one(mask="a.png", box=[1, 2, 3, 4]), "stands alone"),
            (one(mask=""), "mask"),
            (one(mask=3), "in quotes"),
            (one(mask="a\0b.png"), "cannot be read"),
            (one(frame=-1, box=[1, 2, 3, 4]), "prompts[0].frame"),
            (one(frame=1.5, box=[1, 2, 3, 4]), "prompts[0].frame"),
            (one(frame="0", box=[1, 2, 3, 4]), "prompts[0].frame"),
            (one(frame=10**30, box=[1, 2, 3, 4]), "prompts[0].frame"),
            (with_ids(0), "objects[0].id"),
            (with_ids(-3), "objects[0].id"),
            (with_ids("1"), "objects[0].id"),
            (with_ids(True), "objects[0].id"),
            (with_ids(2**40), "objects[0].id"),
            (with_ids(1, 2, 1), "the object id 1 is used twice"),
            (
                {"objects": [{"id": 1, "prompts": [{"frame": 0, "box": [1, 2, 3, 4]}] * 2}]},
                "two boxes on frame 0",
            ),
        ],
    )
    def test_content_is_refused_with_its_field(self, content: dict[str, Any], complaint: str) -> None:
        assert complaint in refusal(content)

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("", "is empty"),
            ("  \n", "is empty"),
            ("[]", "is a JSON object"),
            ("3", "is a JSON object"),
            ("null", "is a JSON object"),
            ('{"box": [1, 2, 3, 4],}', "line 1, column"),
            ('{"box": [1, 2,\n 3, x]}', "line 2, column 5"),
            ('{"box": [1, 2, 3, 4]', "line 1, column 21"),
            ('{"box": [1, 2, 3, 4]} {}', "line 1, column 23"),
            ('{"box": [1, 2, 3, NaN]}', "NaN is not a number of JSON"),
            ('{"box": [1, 2, 3, Infinity]}', "Infinity is not a number"),
            ('{"box": [1, 2, 3, 1e999]}', "finite"),
            ('{"box": [1, 2, 3, ' + "9" * 5000 + "]}", "too long"),
            ('{"box": [1, 2, 3, 4], "box": [5, 6, 7, 8]}', "the key 'box' stands twice"),
            ("[" * 100_000, "nested too deeply"),
            ('{"mask": "\\ud800.png"}', "field 'mask'"),
        ],
    )
    def test_text_is_refused_with_its_place(self, tmp_path: Path, text: str, complaint: str) -> None:
        message = refusal(write(tmp_path, text))
        assert complaint in message
        assert "box.json" in message

    def test_file_that_cannot_be_read_is_refused(self, tmp_path: Path) -> None:
        assert "there is no prompt file" in refusal(tmp_path / "none.json")
        assert "cannot be read" in refusal(tmp_path)
        (tmp_path / "latin.json").write_bytes(b'{"b\xf6x": 1}')
        assert "not UTF-8" in refusal(tmp_path / "latin.json")


class TestFit:
    def test_box_that_overlaps_the_frame_is_clipped_with_a_warning(self) -> None:
        fitted = read_prompts({"box": [-5, 10, 100, 20]}).fit(VIDEO)
        assert fitted.objects[0].on_frames[0].box.tolist() == [0, 10, 64, 20]
        assert "clipped" in fitted.warnings[0]

    def test_box_inside_the_frame_is_left_alone(self) -> None:
        fitted = read_prompts({"box": [0, 0, 64, 48]}).fit(VIDEO)
        assert fitted.objects[0].on_frames[0].box.tolist() == [0, 0, 64, 48]
        assert fitted.warnings == []

    @pytest.mark.parametrize("box", [[64, 0, 70, 10], [-10, 0, 0, 10], [0, 48, 10, 60], [200, 200, 300, 300]])
    def test_box_outside_the_frame_is_refused(self, box: list[int]) -> None:
        with pytest.raises(PromptError, match="outside the frame \\(64x48\\)") as caught:
            read_prompts({"box": box}).fit(VIDEO)
        assert "object 1, frame 0" in str(caught.value)

    def test_point_outside_the_frame_is_refused(self) -> None:
        with pytest.raises(PromptError, match="lies outside the frame"):
            read_prompts({"points": [[1, 2], [70, 2]]}).fit(VIDEO)

    @pytest.mark.parametrize(
        ("frame", "limits", "complaint"),
        [
            (812, {"num_frames": 250}, r"frame 812 is past the end of 'dog.mp4' \(250 frames\)"),
            (250, {"num_frames": 250}, "past the end"),
            (4, {"start": 5}, "--start is 5"),
            (9, {"end": 9}, "--end is 9"),
        ],
    )
    def test_frame_that_is_not_tracked_is_refused(self, frame: int, limits: Any, complaint: str) -> None:
        prompts = read_prompts(one(frame=frame, box=[1, 2, 3, 4]))
        with pytest.raises(PromptError, match=complaint):
            prompts.fit(VideoFacts(name="dog.mp4", size_hw=(48, 64), **limits))

    def test_frames_at_the_limits_are_tracked(self) -> None:
        facts = VideoFacts(name="dog.mp4", size_hw=(48, 64), start=5, end=10, num_frames=10)
        for frame in (5, 9):
            read_prompts(one(frame=frame, box=[1, 2, 3, 4])).fit(facts)


numbers = st.one_of(st.integers(-1000, 1000), st.floats(-1e6, 1e6, allow_nan=False))
regions = st.fixed_dictionaries(
    {},
    optional={
        "box": st.lists(numbers, min_size=4, max_size=4) | st.none(),
        "points": st.lists(st.lists(numbers, min_size=2, max_size=2), max_size=3) | st.none(),
        "labels": st.lists(st.integers(-1, 2), max_size=3) | st.none(),
        "mask": st.text(max_size=3) | st.none(),
    },
)
objects = st.fixed_dictionaries(
    {
        "id": st.integers(-1, 5),
        "prompts": st.lists(
            st.tuples(regions, st.integers(-1, 9)).map(lambda r: {**r[0], "frame": r[1]}), max_size=2
        ),
    },
    optional={"label": st.text(max_size=3) | st.none()},
)
documents = regions | st.fixed_dictionaries({"objects": st.lists(objects, max_size=2)})


@given(documents)
def test_schema_accepts_what_is_accepted(document: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    try:
        read_prompts(document)
    except PromptError as error:
        # A mask file that is not there is no matter of the schema.
        if not any(text in str(error) for text in ("mask file", "cannot be read", "not a PNG")):
            return
    jsonschema.validate(document, prompt_schema())


@pytest.mark.parametrize(
    "document",
    [
        {"box": [1, 2, 3]},
        {"boxes": [1, 2, 3, 4]},
        {"objects": []},
        {"objects": [{"id": 0, "prompts": [{"frame": 0, "box": [1, 2, 3, 4]}]}]},
        {"objects": [{"id": 1, "prompts": [{"frame": -1, "box": [1, 2, 3, 4]}]}]},
    ],
)
def test_schema_refuses_what_is_refused(document: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, prompt_schema())
    with pytest.raises(PromptError):
        read_prompts(document)


def test_an_empty_name_of_a_prompt_file_is_told_as_such() -> None:
    with pytest.raises(PromptError, match="the name of the prompt file is empty"):
        read_prompts("")


def test_a_picture_in_place_of_a_prompt_file_is_offered_as_a_mask(tmp_path: Path) -> None:
    path = save_mask(tmp_path / "mask.png", label_map(1), indexed=False)
    with pytest.raises(PromptError, match="is a picture, not a prompt file") as caught:
        read_prompts(path)
    assert caught.value.hint == f"""--prompt '{{"mask": "{path}"}}'"""


def test_spans_in_which_an_object_is_absent_rise() -> None:
    prompts = [{"frame": 0, "box": [1, 2, 3, 4]}]
    (thing,) = read_prompts({"objects": [{"id": 1, "absent": [[2, 3], [7, 7]], "prompts": prompts}]}).objects
    assert thing.absent == ((2, 3), (7, 7))
    with pytest.raises(PromptError, match="absent from frame 3 to 2"):
        read_prompts({"objects": [{"id": 1, "absent": [[3, 2]], "prompts": prompts}]})


def test_an_object_starts_on_no_prompt_that_is_in_turn() -> None:
    prompts = [{"frame": frame, "box": [1, 2, 3, 4], "in_turn": frame != 5} for frame in (2, 5, 9)]
    (thing,) = read_prompts({"objects": [{"id": 1, "prompts": prompts}]}).objects
    assert (thing.first_frame, thing.last_frame) == (5, 5)
    (thing,) = read_prompts({"objects": [{"id": 1, "prompts": prompts[::2]}]}).objects
    assert (thing.first_frame, thing.last_frame) == (2, 9)  # there is no other
