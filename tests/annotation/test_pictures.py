"""Pictures of frames: in which order they are made, how they are kept, and what is not made at all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from support.annotated import NUM_FRAMES, write_video
from vidseg.annotation.picture_file import PictureFile
from vidseg.annotation.picture_plan import PicturePlan
from vidseg.annotation.pictures import BACK_FRAMES, Pictures
from vidseg.errors import SourceError
from vidseg.pipeline.read.random_access import RandomAccess


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "made.mp4"
    write_video(path)
    return path


class Groups:
    """A video of which nothing but its groups is known."""

    def __init__(self, *lengths: int) -> None:
        starts = [sum(lengths[:place]) for place in range(len(lengths))]
        self._groups = [range(start, start + length) for start, length in zip(starts, lengths, strict=True)]

    def groups(self) -> list[range]:
        return self._groups


def plan_of(*lengths: int) -> PicturePlan:
    return PicturePlan(Groups(*lengths))  # type: ignore[arg-type]


def handed_out(plan: PicturePlan) -> Iterator[int]:
    frames: list[int] = []
    while True:
        frames = plan.go_on(frames)
        if not frames:
            return
        yield frames.pop()


def test_keyframes_come_first_then_groups_near_the_playhead() -> None:
    plan = plan_of(4, 4, 4)
    plan.playhead = 9
    assert list(handed_out(plan)) == [0, 4, 8, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3]


def test_a_group_that_the_playhead_leaves_comes_back_later() -> None:
    plan = plan_of(4, 4, 4)
    order = handed_out(plan)
    assert [next(order) for _ in range(5)] == [0, 4, 8, 0, 1]
    plan.playhead = 10
    assert list(order) == [8, 9, 10, 11, 4, 5, 6, 7, 2, 3]


def test_a_file_knows_the_nearest_picture_and_is_begun_anew_when_full(tmp_path: Path) -> None:
    file = PictureFile(tmp_path, max_bytes=100)
    assert file.nearest(5) is None
    for number in (40, 0, 20):
        assert not file.write(number, bytes([number]) * 30)
    assert [file.nearest(number) for number in (0, 9, 11, 20, 31, 99)] == [0, 0, 20, 20, 40, 40]
    assert not file.is_nearly_full
    assert file.write(7, b"seven" * 4)
    assert (len(file), file.nearest(30), file.read(7)) == (1, 7, b"seven" * 4)
    file.close()


def test_what_nobody_waits_for_any_more_is_not_made(path: Path, tmp_path: Path) -> None:
    video = RandomAccess(path)
    read: list[int] = []
    frame = video.frame

    def slowly(number: int):  # type: ignore[no-untyped-def]
        read.append(number)
        time.sleep(0.05)
        return frame(number)

    video.frame = slowly  # type: ignore[method-assign]
    pictures = Pictures(video, tmp_path, may_rest=lambda: False)
    try:
        asked: list[Future[bytes]] = [pictures.get(number) for number in range(30)]
        for future in asked[1:-1]:
            future.cancel()
        asked[-1].result(30)
        asked[0].result(30)
        assert len(read) < 10
    finally:
        pictures.close()


def test_stepping_back_makes_the_frames_before_in_one_go(path: Path, tmp_path: Path) -> None:
    pictures = Pictures(RandomAccess(path), tmp_path, may_rest=lambda: False)
    try:
        pictures.get(40).result(30)
        assert pictures.num_ready == 1
        pictures.get(39).result(30)
        assert pictures.num_ready == 2 + BACK_FRAMES
        assert pictures.nearest(0) == 39 - BACK_FRAMES
    finally:
        pictures.close()


def test_a_frame_that_is_not_there_is_told_and_hinders_no_other(path: Path, tmp_path: Path) -> None:
    pictures = Pictures(RandomAccess(path), tmp_path)
    try:
        with pytest.raises(SourceError, match=f"no frame {NUM_FRAMES}"):
            pictures.get(NUM_FRAMES).result(30)
        assert pictures.get(3).result(30).startswith(b"\xff\xd8")
    finally:
        pictures.close()
