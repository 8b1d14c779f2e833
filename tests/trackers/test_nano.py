"""The weights that ship with the package: small, found without a download, and trained."""

from __future__ import annotations

import numpy as np

import vidseg
from vidseg.eval.metrics import region_j
from vidseg.pipeline.made_video import MadeVideo
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
