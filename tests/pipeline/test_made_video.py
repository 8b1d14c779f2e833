"""The made video: the same each time, with a ground truth that holds what the demo promises."""

from __future__ import annotations

import numpy as np
import pytest

from vidseg.pipeline.made_video import MadeVideo
from vidseg.pipeline.prompts import VideoFacts, read_prompts


@pytest.fixture(scope="module")
def areas() -> np.ndarray:
    """(frames, objects): pixels seen of star, ball, fish."""
    video = MadeVideo(num_frames=30, size_hw=(90, 160))
    return np.array([[(truth == obj_id).sum() for obj_id in video.labels] for _, truth in video])


def test_it_is_the_same_each_time_it_is_made() -> None:
    one, other = (list(MadeVideo(num_frames=3, size_hw=(72, 128))) for _ in range(2))
    for (frame, truth), (frame_again, truth_again) in zip(one, other, strict=True):
        np.testing.assert_array_equal(frame.image, frame_again.image)
        np.testing.assert_array_equal(truth, truth_again)
        assert frame.pts_seconds == frame.index / 24


def test_another_seed_makes_another_video() -> None:
    first, other = (next(iter(MadeVideo(num_frames=3, size_hw=(72, 128), seed=s)))[0].image for s in (1, 2))
    assert (first != other).mean() > 0.5


def test_every_object_is_whole_on_the_first_frame(areas: np.ndarray) -> None:
    assert (areas[0] > 300).all()


def test_the_fish_leaves_and_comes_back(areas: np.ndarray) -> None:
    is_there = areas[:, 2] > 0
    assert np.flatnonzero(np.diff(is_there.astype(int))).shape == (2,)
    assert is_there[[0, -1]].all()
    assert (~is_there).sum() >= 5


def test_the_star_hides_a_part_of_the_ball(areas: np.ndarray) -> None:
    assert areas[12:18, 1].min() < 0.9 * areas[[0, -1], 1].min()
    assert areas[12:18, 1].min() > 0


def test_the_truth_follows_the_pictures() -> None:
    """The star is blue and white, the ball red and yellow, the ground neither."""
    video = MadeVideo(num_frames=9, size_hw=(180, 320))
    for frame, truth in video:
        assert frame.image is not None
        red, _, blue = np.moveaxis(frame.image.astype(int), 2, 0)
        assert np.median((blue - red)[truth == 1]) > 0
        assert np.median((red - blue)[truth == 2]) > 100
        assert abs(np.median((red - blue)[truth == 0])) < 80


@pytest.mark.parametrize("size_hw", [(64, 64), (135, 241), (200, 96)])
def test_the_prompts_fit_the_video(size_hw: tuple[int, int]) -> None:
    video = MadeVideo(num_frames=3, size_hw=size_hw)
    prompts = video.prompts()
    assert [thing["label"] for thing in prompts["objects"]] == ["star", "ball", "fish"]
    fitted = read_prompts(prompts).fit(VideoFacts(name="made", size_hw=size_hw, num_frames=3))
    assert fitted.warnings == []
    _, truth = next(iter(video))
    for thing in prompts["objects"]:
        x0, y0, x1, y1 = (int(side) for side in thing["prompts"][0]["box"])
        inside = truth[y0:y1, x0:x1] == thing["id"]
        assert inside.sum() == (truth == thing["id"]).sum()
        assert inside.any(0).all() or thing["label"] == "ball"
