"""Which object has a pixel that several claim: as in SAM 2's exporter, from the logits to every label map."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from PIL import Image
from safetensors.torch import save_file

import vidseg
from support.hard_videos import numbered
from support.made_datasets import make_davis
from support.masklets import frame_masks, picture
from support.parity import SMALL_MODEL, weights_for
from vidseg import cli
from vidseg.eval.datasets import open_dataset
from vidseg.pipeline.loop import with_all_objects
from vidseg.pipeline.merge import WaitingMasks
from vidseg.pipeline.prompt_schedule import PromptSchedule
from vidseg.pipeline.prompts import read_prompts
from vidseg.pipeline.writers import FrameMasks, read_masklets
from vidseg.pipeline.writers.masklets import encode_line
from vidseg.testing import FakeTracker
from vidseg.trackers.contract import FrameResult
from vidseg.trackers.label_map import mask_boxes, paint_label_map, still_hidden

LabelMap = npt.NDArray[np.int32]


def official_label_map(obj_ids: Sequence[int], logits_nhw: npt.NDArray[np.float32]) -> LabelMap:
    """What `tools/vos_inference.py` writes of these logits.

    With `non_overlap_masks` the official constraint leaves each pixel to one object; masks are cut at 0 and
    painted from the highest id down (`put_per_obj_mask`).
    """
    modeling = pytest.importorskip("sam2.modeling.sam2_base", reason="needs the extra 'sam2'")
    constrain = modeling.SAM2Base._apply_non_overlapping_constraints
    scores = constrain(None, torch.from_numpy(logits_nhw)[:, None])[:, 0]
    label_map = np.zeros(logits_nhw.shape[1:], np.int32)
    for obj_id, score in sorted(zip(obj_ids, scores, strict=True), key=lambda pair: -pair[0]):
        label_map[score.numpy() > 0] = obj_id
    return label_map


def result_of(obj_ids: Sequence[int], logits_nhw: npt.NDArray[np.float32]) -> FrameResult:
    count = len(obj_ids)
    return FrameResult(
        frame_idx=0,
        pts_seconds=0.0,
        size_hw=logits_nhw.shape[1:],
        obj_ids=obj_ids,
        low_res_logits=logits_nhw,
        object_score_logits=np.full(count, 4, np.float32),
        predicted_ious=np.full(count, 0.5, np.float32),
        states=["visible"] * count,
        to_video_res=lambda logits, size_hw: logits,
    )


@st.composite
def made_logits(draw: st.DrawFn) -> tuple[list[int], npt.NDArray[np.float32]]:
    """Logits of one to four objects; they have few values, so that many are the same."""
    obj_ids = draw(st.lists(st.integers(1, 20), min_size=1, max_size=4, unique=True))
    values = st.sampled_from([-11.0, -3.0, 0.0, 0.25, 2.0, 2.5, 10.0]) | st.floats(-20, 20, width=32)
    return obj_ids, draw(st_numpy.arrays(np.float32, (len(obj_ids), 4, 5), elements=values, fill=values))


@given(made_logits())
def test_label_maps_of_made_logits_are_the_official_ones(
    tmp_path_factory: pytest.TempPathFactory, made: tuple[list[int], npt.NDArray[np.float32]]
) -> None:
    obj_ids, logits = made
    expected = official_label_map(obj_ids, logits)
    result = result_of(obj_ids, logits)
    np.testing.assert_array_equal(result.label_map(), expected)
    masks = FrameMasks.of(result)
    np.testing.assert_array_equal(masks.label_map(), expected)
    np.testing.assert_array_equal(masks.masks, logits > 0)
    others = with_all_objects(masks, [*sorted(obj_ids), 99])
    np.testing.assert_array_equal(others.label_map(), expected)
    stored = tmp_path_factory.getbasetemp() / "masklets.jsonl"
    stored.write_bytes(encode_line(others))
    (read,) = read_masklets(stored)
    np.testing.assert_array_equal(read.label_map(), expected)
    np.testing.assert_array_equal(read.masks, others.masks)


def test_label_maps_of_the_golden_logits_are_the_official_ones(shared: Path) -> None:
    golden = np.load(shared / "goldens" / "golden_postprocess.npz", allow_pickle=False)
    logits, constrained = golden["nonoverlap_in"][:, 0], golden["nonoverlap_out"][:, 0]
    assert ((logits > 0).sum(0) > 1).any()
    label_map = result_of([1, 2, 3], logits).label_map()
    for row, obj_id in enumerate((1, 2, 3)):
        np.testing.assert_array_equal(label_map == obj_id, constrained[row] > 0)


def test_objects_that_do_not_overlap_hide_nothing() -> None:
    logits = np.full((2, 4, 6), -5, np.float32)
    logits[0, :, :3], logits[1, :, 3:] = 1, 2
    assert FrameMasks.of(result_of([1, 2], logits)).hidden is None
    assert b"hidden" not in encode_line(FrameMasks.of(result_of([1, 2], logits)))


def test_where_two_passes_meet_the_higher_score_is_shown(tmp_path: Path) -> None:
    """1 and 2 wait from the reverse pass, which showed 2 in front of 1; 3 comes from the forward pass."""
    prompts = read_prompts(
        {
            "objects": [
                {"id": obj_id, "prompts": [{"frame": frame, "box": [0, 0, 4, 4]}]}
                for obj_id, frame in ((1, 9), (2, 8), (3, 0))
            ]
        }
    )
    everywhere, nowhere = np.ones((4, 6), bool), np.zeros((4, 6), bool)
    left = everywhere.copy()
    left[:, 3:] = False
    waiting_masks = WaitingMasks(tmp_path, PromptSchedule(objects=prompts.objects), (4, 6))
    reverse = frame_masks(5, [everywhere, left, nowhere])
    reverse.hidden, reverse.scores = np.stack([left, nowhere, nowhere]), [0.9, 0.5, 0.0]
    waiting_masks.put(picture(reverse), reverse)
    waiting_masks.finish()
    forward = frame_masks(5, [nowhere, nowhere, everywhere])
    forward.scores = [0.0, 0.0, 0.7]
    merged = waiting_masks.merged(forward)
    assert merged.masks.sum(axis=(1, 2)).tolist() == [24, 12, 24]
    np.testing.assert_array_equal(merged.label_map(), np.where(left, 3, 1))


def test_an_absent_object_takes_no_pixel_from_others(tmp_path: Path) -> None:
    prompts = [{"frame": 0, "box": [2, 2, 8, 8]}]
    objects = [{"id": obj_id, "prompts": prompts} for obj_id in (1, 2, 3)]
    objects[0]["absent"] = [[0, 0]]
    out, formats = tmp_path / "out", ("png", "rle")
    pictures = [np.zeros((10, 12, 3), np.uint8)]
    vidseg.track(pictures, {"objects": objects}, tracker=FakeTracker(), out=out, formats=formats)
    (frame,) = vidseg.read_run(out)
    box = np.zeros((10, 12), bool)
    box[2:8, 2:8] = True
    np.testing.assert_array_equal(frame.masks, np.stack([np.zeros_like(box), box, box]))
    np.testing.assert_array_equal(frame.label_map(), 2 * box)
    np.testing.assert_array_equal(label_maps_in(out / "masks")[0], 2 * box)


def test_a_pass_hides_no_pixel_behind_an_object_that_another_pass_follows(tmp_path: Path) -> None:
    """On frames 3 to 7 object 1 is that of the forward pass, and object 2 that of the reverse pass."""
    box = [20, 20, 40, 40]
    objects = [
        {"id": obj_id, "prompts": [{"frame": frame, "box": box} for frame in frames]}
        for obj_id, frames in ((1, (2, 9)), (2, (8,)))
    ]
    video, out = numbered(tmp_path / "clip.mp4", 10), tmp_path / "out"
    how = {"tracker": FakeTracker(), "out": out, "formats": ("png", "rle"), "direction": "both"}
    vidseg.track(video, {"objects": objects}, **how)
    for frame, label_map in zip(vidseg.read_run(out), label_maps_in(out / "masks"), strict=True):
        np.testing.assert_array_equal(frame.label_map() > 0, frame.masks.any(0))
        np.testing.assert_array_equal(label_map, frame.label_map())


def test_where_the_mask_in_front_has_changed_another_one_shows() -> None:
    masks = np.ones((3, 1, 4), bool)
    hidden = masks.copy()
    hidden[2] = False
    masks[2, 0, 1:] = False  # 3 was in front of both, and keeps its first pixel alone
    masks[0, 0, 2:] = False
    masks[1, 0, 3:] = False
    left = still_hidden(masks, hidden)
    assert left.astype(int)[:, 0].tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    label_map = paint_label_map([1, 2, 3], masks, mask_boxes(masks), left)
    assert label_map.tolist() == [[3, 1, 2, 0]]


# The whole path


@pytest.fixture(scope="module")
def tracker_yaml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tracker") / "small.yaml"
    path.write_text(SMALL_MODEL + "weights: small.safetensors\n")
    save_file(weights_for(path, weights=None), path.with_suffix(".safetensors"))
    return path


PROMPTS = {
    "objects": [
        {"id": 5, "prompts": [{"frame": 0, "box": [4, 4, 44, 40]}]},
        {"id": 2, "prompts": [{"frame": 0, "box": [10, 6, 60, 44]}]},
        {"id": 9, "prompts": [{"frame": 2, "box": [2, 10, 50, 46]}]},
    ]
}


def official_label_maps(tracker_yaml: Path, frames: Path, prompts: dict[str, Any]) -> list[LabelMap]:
    """The official rule on the logits of our session, which it must matter for."""
    session = vidseg.load(tracker_yaml, device="cpu").start(num_frames=6)
    label_maps, changed = [], 0
    for frame in vidseg.read(frames):
        for thing in prompts["objects"]:
            for prompt in thing["prompts"]:
                if prompt["frame"] == frame.index:
                    region = {key: value for key, value in prompt.items() if key != "frame"}
                    if "mask" in region:
                        region["mask"] = np.asarray(Image.open(region["mask"])) == thing["id"]
                    session.prompt(thing["id"], **region)
        result = session.step(frame)
        label_map = official_label_map(result.obj_ids, result.video_res_logits)
        ids = np.where(result.masks, np.reshape(result.obj_ids, (-1, 1, 1)), 255)
        changed += np.count_nonzero(label_map[ids.min(0) < 255] != ids.min(0)[ids.min(0) < 255])
        label_maps.append(label_map)
    assert changed > 20, "it is the lowest id's pixel all the same"
    return label_maps


def label_maps_in(folder: Path) -> list[LabelMap]:
    return [np.asarray(Image.open(path), np.int32) for path in sorted(folder.glob("*.png"))]


def label_maps_of_tar(path: Path) -> list[LabelMap]:
    with tarfile.open(path) as archive:
        pictures = [archive.extractfile(member).read() for member in archive.getmembers()]  # type: ignore[union-attr]
    return [np.asarray(Image.open(io.BytesIO(data)), np.int32) for data in pictures]


def test_track_writes_the_official_label_maps(tracker_yaml: Path, tmp_path: Path) -> None:
    frames = make_davis(tmp_path / "data") / "JPEGImages/480p/ants"
    prompt, out = tmp_path / "prompt.json", tmp_path / "out"
    prompt.write_text(json.dumps(PROMPTS))
    arguments = ["--tracker", str(tracker_yaml), "--device", "cpu", "--quiet"]
    command = ["track", str(frames), "--prompt", str(prompt), "--out", str(out), *arguments]
    assert cli.main([*command, "--format", "png,tar,rle"]) == 0
    expected = official_label_maps(tracker_yaml, frames, PROMPTS)
    np.testing.assert_array_equal(label_maps_in(out / "masks"), expected)
    np.testing.assert_array_equal(label_maps_of_tar(out / "masks.tar"), expected)
    assert cli.main(["convert", str(out), "--format", "tar", "--out", str(tmp_path / "later")]) == 0
    np.testing.assert_array_equal(label_maps_of_tar(tmp_path / "later/masks.tar"), expected)
    stored = np.stack([masks.masks for masks in read_masklets(out / "masklets.jsonl")])
    assert (stored.sum(axis=1) > 1).any(), "masklets.jsonl holds whole masks, which overlap"


def test_eval_scores_the_official_label_maps(tracker_yaml: Path, tmp_path: Path) -> None:
    root, out = make_davis(tmp_path / "data"), tmp_path / "out"
    arguments = ["--root", str(root), "--out", str(out), "--tracker", str(tracker_yaml), "--device", "cpu"]
    assert cli.main(["eval", "davis2017", *arguments, "--quiet"]) == 0
    (ants,) = (s for s in open_dataset("davis2017", root).sequences if s.name == "ants")
    prompts = {
        "objects": [
            {"id": given.obj_id, "prompts": [{"frame": given.frame_idx, "mask": str(given.path)}]}
            for given in ants.given
        ]
    }
    expected = official_label_maps(tracker_yaml, ants.images, prompts)
    np.testing.assert_array_equal(label_maps_in(out / "masks/ants"), expected)
