"""Prompts as people have them in Python: arrays and lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vidseg.errors import PromptError
from vidseg.pipeline.prompts import Prompts, read_prompts

SQUARE = np.zeros((20, 30), bool)
SQUARE[4:9, 5:15] = True
IDS = np.zeros((20, 30), np.uint8)
IDS[2:5, 2:5], IDS[10:15, 10:20] = 3, 7


def masks_of(prompts: Prompts) -> dict[int, dict[int, Any]]:
    return {o.obj_id: {frame: p.mask for frame, p in o.on_frames.items()} for o in prompts.objects}


@pytest.mark.parametrize("given", [SQUARE, {"mask": SQUARE}, {"mask": SQUARE.tolist()}, [SQUARE]])
def test_a_mask_array_is_object_1_on_the_first_frame(given: Any) -> None:
    found = masks_of(read_prompts(given, 6))
    assert list(found) == [1]
    assert np.array_equal(found[1][6], SQUARE)


def test_an_array_of_ids_is_as_many_objects_as_an_indexed_file(tmp_path: Path) -> None:
    picture = Image.fromarray(IDS, "L").convert("P")
    picture.putdata(IDS.flatten().tolist())
    picture.save(tmp_path / "ids.png")
    found, from_file = (
        masks_of(read_prompts(IDS)),
        masks_of(read_prompts({"mask": str(tmp_path / "ids.png")})),
    )
    assert list(found) == list(from_file) == [3, 7]
    for obj_id, on_frames in found.items():
        assert np.array_equal(on_frames[0], from_file[obj_id][0])


def test_a_list_is_an_object_each_and_arrays_stand_in_long_forms_too() -> None:
    listed = read_prompts([{"box": np.array([1, 2, 9, 9])}, SQUARE, {"points": [(3, 4)]}], 2)
    assert [o.obj_id for o in listed.objects] == [1, 2, 3]
    assert all(list(o.on_frames) == [2] for o in listed.objects)
    long = read_prompts({"objects": [{"id": 7, "prompts": [{"frame": 4, "mask": IDS}]}]})
    assert np.array_equal(masks_of(long)[7][4], IDS == 7)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((4, 4), bool), "the mask is empty"),
        (np.zeros((4, 4, 3), np.uint8), "shape"),
        (np.ones((4, 4), np.float32), "float32"),
        ({"mask": []}, "shape"),
        ([1, 2, 3, 4], "a JSON object"),
        ([], "a JSON object"),
    ],
)
def test_what_is_no_prompt_is_refused(given: Any, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        read_prompts(given)
