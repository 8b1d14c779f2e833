"""Frames asked for in any order against the one thing that is always right: decode everything, then pick."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from support.hard_videos import NUM_FRAMES, RECIPES, HardVideos, number_in
from vidseg.errors import SourceError
from vidseg.pipeline.read import read
from vidseg.pipeline.read.random_access import RandomAccess


@pytest.mark.parametrize("name", RECIPES)
def test_any_frame_in_any_order_is_the_reader_s(hard_videos: HardVideos, name: str) -> None:
    path = hard_videos[name]
    everything = [frame.image.tobytes() for frame in read(path) if frame.image is not None]
    source = RandomAccess(path)
    assert source.num_frames == NUM_FRAMES
    numbers = [3, 4, 5, 59, 0, 30, 31, 12, 58, *random.Random(1).sample(range(NUM_FRAMES), 20)]
    for number in numbers:
        frame = source.frame(number)
        assert (frame.index, number_in(frame.image)) == (number, number)
        assert frame.image.tobytes() == everything[number]
    source.close()


def test_a_source_opened_again_shares_what_was_learned(hard_videos: HardVideos) -> None:
    first = RandomAccess(hard_videos["open_gop.ts"])
    again = first.another(keep_decoded=True)
    assert again.num_frames == NUM_FRAMES
    assert again._video is not None
    assert first._video is not None
    assert again._video.index is first._video.index
    frame = again.frame(41)
    assert number_in(frame.image) == 41
    assert frame.decoded is not None
    first.close()
    again.close()


def test_frames_of_a_folder(tmp_path: Path) -> None:
    import cv2
    import numpy as np

    for number in range(12):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((4, 6, 3), number, np.uint8))
    source = RandomAccess(tmp_path)
    assert source.num_frames == 12
    assert [int(source.frame(n).image[0, 0, 0]) for n in (11, 2, 10)] == [11, 2, 10]
    with pytest.raises(SourceError, match="has no frame 12"):
        source.frame(12)
