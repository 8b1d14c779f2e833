"""The weights that ship with the package: small, found without a download, and trained."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import vidseg
from vidseg.eval.metrics import region_j
from vidseg.pipeline.made_video import MadeVideo
from vidseg.pipeline.writers import read_masklets
from vidseg.trackers.registry import read_config


def test_weights_are_in_the_package_and_small() -> None:
    _, config = read_config("vidseg-nano")
    with open(config["weights"], "rb") as file:
        assert len(file.read()) <= 10_000_000


def test_it_follows_made_objects_from_their_boxes() -> None:
    video = MadeVideo(num_frames=60)
    session = vidseg.load("vidseg-nano", device="cpu").start(num_frames=60)
    for thing in video.prompts()["objects"]:
        session.prompt(thing["id"], box=thing["prompts"][0]["box"])
    js = []
    for index, (frame, truth) in zip(range(12), video, strict=False):
        result = session.step(frame)
        js += [
            region_j(mask, truth == obj_id) for obj_id, mask in zip(result.obj_ids, result.masks, strict=True)
        ]
        assert index == frame.index
    # 0.92 was measured; 0.03 with random weights.
    assert np.mean(js) > 0.8


def balls(*centres_xy: tuple[int, int], radius: int) -> tuple[npt.NDArray[np.uint8], list[Any]]:
    """A picture of balls of one colour on a rough ground, and where each of them is."""
    rng = np.random.default_rng(0)
    picture = rng.normal((70, 110, 60), 10, (240, 320, 3))
    y, x = np.mgrid[:240, :320]
    masks = [(y - at_y) ** 2 + (x - at_x) ** 2 < radius**2 for at_x, at_y in centres_xy]
    picture[np.any(masks, axis=0)] = (200, 50, 40)
    return picture.clip(0, 255).astype(np.uint8), masks


def test_a_click_asks_for_what_hangs_together_with_it() -> None:
    """Of two balls of one colour, the one that is clicked; both, if both are; and all of a box."""
    picture, (left, right) = balls((80, 120), (240, 120), radius=40)
    session = vidseg.load("vidseg-nano", device="cpu").start()
    session.prompt(1, points=[(80, 120)])
    session.prompt(2, points=[(80, 120), (240, 120)])
    session.prompt(3, box=(39, 79, 281, 161), points=[(80, 120)])
    one, both, boxed = session.step(vidseg.Frame(0, 0.0, picture)).masks
    assert one[left].mean() > 0.9
    assert not one[right].any()
    assert all(mask[ball].mean() > 0.9 for mask in (both, boxed) for ball in (left, right))


def test_what_goes_on_as_before_is_not_called_absent() -> None:
    """A ball among its likes: they have its colours and keys, too, which takes the head's score below 0."""
    centres = [(x, y) for x in (60, 160, 260) for y in (60, 180)]
    session = vidseg.load("vidseg-nano", device="cpu").start()
    session.prompt(1, box=(29, 29, 91, 91))
    for index in range(6):
        picture, (ball, *_) = balls(*((x + 3 * index, y) for x, y in centres), radius=30)
        result = session.step(vidseg.Frame(index, index / 24, picture))
        assert result.states[0] != "absent"
        assert region_j(result.masks[0], ball) > 0.9
    gone, _ = balls((200, 180), radius=30)
    for index in range(6, 9):
        result = session.step(vidseg.Frame(index, index / 24, gone))
    assert result.states[0] == "absent"


def test_a_click_corrects_its_mask_and_the_next_frames() -> None:
    """A fish of which the first mask lacked a half is lost, and asked for with a click on that half."""
    video = MadeVideo(num_frames=60)
    fish = 3
    session = vidseg.load("vidseg-nano", device="cpu").start(num_frames=60)
    js = []
    for frame, truth in itertools.islice(video, 6):
        is_fish = truth == fish
        ys, xs = np.nonzero(is_fish)
        if frame.index == 0:
            session.prompt(fish, mask=is_fish & (np.arange(is_fish.shape[1]) < xs.mean()))
        mask = session.step(frame).masks[0]
        js.append(region_j(mask, is_fish))
        if frame.index == 2:
            x = 0.25 * xs.min() + 0.75 * xs.max()
            mask = session.refine(fish, points=[(x, ys.mean())], labels=[1]).masks[0]
            js.append(region_j(mask, is_fish))
    before, corrected, *after = js[2:]
    # 0.23, then 0.97, 0.98, 0.98 and 0.93
    assert before < 0.4
    assert corrected > 0.9
    assert min(after) > 0.85


def test_clicks_on_the_frame_to_come_correct_what_is_tracked_into_it(tmp_path: Path) -> None:
    """As `refine` does once it is there, and in a prompt file; on their own they would say little."""
    video = MadeVideo(num_frames=60)
    star = video.prompts()["objects"][0]
    click = {"points": [[2.0, 2.0]], "labels": [0]}
    results = []
    for is_before in (True, False):
        session = vidseg.load("vidseg-nano", device="cpu").start(num_frames=60)
        session.prompt(star["id"], box=star["prompts"][0]["box"])
        for frame, _ in itertools.islice(video, 5):
            if frame.index == 3 and is_before:
                session.prompt(star["id"], **click)
            result = session.step(frame)
            if frame.index == 3 and not is_before:
                result = session.refine(star["id"], **click)
            results.append(result)
    for one, other in zip(results[:5], results[5:], strict=True):
        assert np.array_equal(one.low_res_logits, other.low_res_logits)
    assert region_j(results[3].masks[0], results[2].masks[0]) > 0.8

    prompts = [{"frame": 0, "box": star["prompts"][0]["box"]}, {"frame": 3, **click}]
    document = {"objects": [{"id": star["id"], "prompts": prompts}]}
    frames = [frame for frame, _ in itertools.islice(video, 5)]
    vidseg.track(frames, document, tracker="vidseg-nano", device="cpu", out=tmp_path / "out", formats=["rle"])
    for line in read_masklets(tmp_path / "out" / "masklets.jsonl"):
        assert np.array_equal(line.masks[0], results[line.frame_idx].masks[0])
