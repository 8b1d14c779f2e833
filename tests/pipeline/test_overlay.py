"""The overlay: what is painted, and that the video is one that browsers play, as long as its source."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from support.masklets import described, frame_masks, moving_squares, picture
from vidseg.errors import DecodeError
from vidseg.pipeline.build_writers import build_writers
from vidseg.pipeline.writers import FrameMasks, h264, read_masklets
from vidseg.pipeline.writers.h264 import H264Video
from vidseg.pipeline.writers.overlay import OverlayWriter
from vidseg.pipeline.writers.replay import replay
from vidseg.trackers.contract import Frame
from vidseg.trackers.painting import Painter
from vidseg.trackers.palette import object_colour

GREY = 128


def decoded(path: Path) -> list[tuple[float, np.ndarray]]:
    with av.open(str(path)) as container:
        return [
            (float(frame.pts * frame.time_base), frame.to_ndarray(format="rgb24"))
            for frame in container.decode(video=0)
        ]


def paint(image: np.ndarray, masks: FrameMasks, labels: dict[int, str] | None = None) -> np.ndarray:
    return Painter(labels or {}).paint(image, masks.obj_ids, masks.masks, masks.boxes)


def painted(mask: np.ndarray, labels: dict[int, str] | None = None, obj_id: int = 1) -> np.ndarray:
    grey = np.full((*mask.shape, 3), GREY, np.uint8)
    return paint(grey, frame_masks(0, mask[None], [obj_id]), labels)


def square(size_hw: tuple[int, int] = (240, 320)) -> np.ndarray:
    mask = np.zeros(size_hw, np.bool_)
    mask[100:180, 120:220] = True
    return mask


# Painting.


def test_an_object_is_filled_with_its_see_through_colour() -> None:
    inside = painted(square())[140, 170]
    expected = 0.55 * GREY + 0.45 * np.array(object_colour(1))
    np.testing.assert_allclose(inside, expected, atol=1)


def test_pixels_far_from_every_object_are_untouched() -> None:
    changed = (painted(square()) != GREY).any(2)
    rows, columns = np.nonzero(changed)
    assert columns.min() >= 100
    assert columns.max() <= 240
    assert rows.max() <= 186
    assert (changed[:60] == 0).all()


def test_the_outline_is_brighter_than_the_fill_and_crisp() -> None:
    red = painted(square())[140, 210:230, 0].astype(int)  # the right edge lies between 219 and 220
    fill = red[0]
    assert (red[:8] == fill).all()
    assert (red[9:11] > fill + 40).all()
    assert (red[12:] == GREY).all()


def test_the_outline_of_a_curve_is_smooth() -> None:
    y, x = np.mgrid[:480, :640]
    disk = painted(np.hypot(x - 320, y - 240) < 120)[121:, :, 1]  # below its tag
    assert len(np.unique(disk)) > 20


def test_the_image_itself_is_not_painted_on() -> None:
    image = np.full((60, 80, 3), GREY, np.uint8)
    paint(image, frame_masks(0, np.ones((1, 60, 80))))
    assert (image == GREY).all()


def test_the_lowest_id_is_on_top() -> None:
    both = np.stack([square(), square()])
    image = np.full((240, 320, 3), GREY, np.uint8)
    top = paint(image, frame_masks(0, both, [1, 2]))[140, 170]
    under = 0.55 * GREY + 0.45 * np.array(object_colour(2))
    np.testing.assert_allclose(top, 0.55 * under + 0.45 * np.array(object_colour(1)), atol=2)


def test_a_tag_stands_over_the_object_and_grows_with_its_label() -> None:
    def tag_pixels(label: str) -> np.ndarray:
        colour = np.array(object_colour(2))
        return (np.abs(painted(square(), {2: label}, 2).astype(int) - colour).max(2) < 24)[:98].sum(0)

    without, with_label = tag_pixels(""), tag_pixels("a dog")
    assert 0 < np.count_nonzero(without) < np.count_nonzero(with_label)
    assert abs(np.average(np.arange(320), weights=with_label) - 170) < 4


@pytest.mark.parametrize("label", ["x" * 500, "line\nbreak", "狗 😀", "\x00", " "])
def test_any_label_can_be_drawn(label: str) -> None:
    assert painted(square(), {1: label}).shape == (240, 320, 3)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 64), (64, 1), (7, 5), (33, 47)])
def test_pictures_of_any_size_can_be_painted(size_hw: tuple[int, int]) -> None:
    for mask in (np.ones(size_hw, bool), np.zeros(size_hw, bool), np.eye(*size_hw, dtype=bool)):
        assert painted(mask, {1: "label"}).shape == (*size_hw, 3)


# The video.


def test_the_video_is_one_that_browsers_play(tmp_path: Path) -> None:
    video = H264Video(tmp_path / "overlay.mp4", rate=Fraction(30))
    for i in range(20):
        video.write(np.full((48, 64, 3), 10 * i, np.uint8), i / 30)
    assert video.finish()
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt, context.width, context.height) == ("h264", "yuv420p", 64, 48)
        assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)
        assert (stream.frames, stream.average_rate) == (20, 30)
    data = (tmp_path / "overlay.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_colours_come_back_as_they_went_in(tmp_path: Path) -> None:
    colours = [(200, 40, 30), (20, 180, 60), (30, 60, 200), (250, 250, 250), (5, 5, 5)]
    video = H264Video(tmp_path / "v.mp4", rate=Fraction(10))
    for i, colour in enumerate(colours):
        video.write(np.full((64, 64, 3), colour, np.uint8), i / 10)
    video.finish()
    with av.open(str(tmp_path / "v.mp4")) as container:
        for frame, colour in zip(container.decode(video=0), colours, strict=True):
            shown = frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray()
            np.testing.assert_allclose(shown[32, 32], colour, atol=6)


@pytest.mark.parametrize("size_hw", [(47, 64), (48, 63), (47, 63), (2, 2), (1, 1)])
def test_an_odd_size_is_made_even_by_repeating_the_edge(tmp_path: Path, size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    video = H264Video(tmp_path / "v.mp4", rate=Fraction(10))
    y, x = np.mgrid[:height, :width]
    image = np.repeat((40 + 2 * x + y)[..., None], 3, axis=2).astype(np.uint8)
    for i in range(3):
        video.write(image, i / 10)
    video.finish()
    frames = decoded(tmp_path / "v.mp4")
    assert len(frames) == 3
    shown = frames[0][1].astype(int)
    assert shown.shape[:2] == (height + height % 2, width + width % 2)
    np.testing.assert_allclose(shown[:height, :width], image, atol=12)
    np.testing.assert_allclose(shown[-1, -1], image[-1, -1], atol=12)


@pytest.mark.parametrize(
    "rate", [Fraction(24), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(12, 5)]
)
def test_the_frame_rate_is_kept(tmp_path: Path, rate: Fraction) -> None:
    video = H264Video(tmp_path / "v.mp4", rate=rate)
    for i in range(12):
        video.write(np.full((32, 32, 3), 20 * i, np.uint8), float(i / rate))
    video.finish()
    with av.open(str(tmp_path / "v.mp4")) as container:
        assert container.streams.video[0].average_rate == rate
    assert [seconds for seconds, _ in decoded(tmp_path / "v.mp4")] == pytest.approx(
        [float(i / rate) for i in range(12)]
    )


def test_variable_times_are_kept_from_the_first_frame_on(tmp_path: Path) -> None:
    times = [5.0, 5.04, 5.5, 5.51, 7.0, 7.0401]
    video = H264Video(tmp_path / "v.mp4", rate=Fraction(25))
    for seconds in times:
        video.write(np.full((32, 32, 3), 99, np.uint8), seconds)
    video.finish()
    kept = [seconds for seconds, _ in decoded(tmp_path / "v.mp4")]
    np.testing.assert_allclose(kept, np.array(times) - 5, atol=1e-5)


@pytest.mark.parametrize(
    "times",
    [[0.0] * 5, [0.0, 1.0, 0.5, 0.25, 2.0], [0.0, float("nan"), float("nan"), 1.0, 2.0], [float("nan")] * 5],
)
def test_no_frame_is_lost_where_times_are_broken(tmp_path: Path, times: list[float]) -> None:
    video = H264Video(tmp_path / "v.mp4", rate=None)
    for seconds in times:
        video.write(np.full((32, 32, 3), 99, np.uint8), seconds)
    video.finish()
    kept = [seconds for seconds, _ in decoded(tmp_path / "v.mp4")]
    assert len(kept) == 5
    assert kept == sorted(set(kept))


def test_the_file_is_there_only_when_whole(tmp_path: Path) -> None:
    writer = OverlayWriter(tmp_path, frame_rate=Fraction(24), painter=Painter({}))
    for masks in moving_squares(30):
        writer.write(picture(masks), masks)
    assert not (tmp_path / "overlay.mp4").exists()
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_without_frames_there_is_no_file(tmp_path: Path) -> None:
    assert OverlayWriter(tmp_path, frame_rate=None, painter=Painter({})).finish() == []
    assert list(tmp_path.iterdir()) == []


def test_without_an_h264_encoder_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h264, "_can_encode", lambda name: name == "mpeg4")
    video = H264Video(tmp_path / "v.mp4", rate=Fraction(24))
    with pytest.warns(UserWarning, match="no H.264 encoder"):
        video.write(np.zeros((32, 32, 3), np.uint8), 0.0)
    assert video.finish()
    assert len(decoded(tmp_path / "v.mp4")) == 1


# Runs that cannot be painted as they go.


def paint_at_the_end(out: Path, order: list[int], frames: list[FrameMasks]) -> None:
    writers = build_writers(
        ["rle", "overlay"],
        out,
        described((48, 64), {1: "a", 2: ""}),
        state=out / ".state",
        read_again=lambda: [picture(masks) for masks in frames],
    )
    for i in order:
        for writer in writers:
            writer.write(picture(frames[i]), frames[i])
    for writer in writers:
        writer.finish()


def test_a_backward_run_has_the_same_overlay_as_a_forward_one(tmp_path: Path) -> None:
    frames = moving_squares(10)
    paint_at_the_end(tmp_path / "backward", list(range(10))[::-1], frames)
    writers = build_writers(
        ["rle", "overlay"], tmp_path / "forward", described((48, 64), {1: "a", 2: ""}), state=tmp_path
    )
    for masks in frames:
        for writer in writers:
            writer.write(picture(masks), masks)
    for writer in writers:
        writer.finish()
    backward, forward = (decoded(tmp_path / name / "overlay.mp4") for name in ("backward", "forward"))
    assert len(backward) == len(forward) == 10
    for (time_b, image_b), (time_f, image_f) in zip(backward, forward, strict=True):
        assert time_b == time_f
        np.testing.assert_array_equal(image_b, image_f)


def test_frames_without_masks_stay_as_they_are(tmp_path: Path) -> None:
    frames = moving_squares(6)
    paint_at_the_end(tmp_path, [2, 3], frames)
    images = decoded(tmp_path / "overlay.mp4")
    assert len(images) == 6
    for i in (0, 5):
        difference = np.abs(images[i][1].astype(int) - picture(frames[i]).image)
        assert difference.mean() < 3


def test_a_source_that_breaks_gives_an_overlay_of_what_could_be_read(tmp_path: Path) -> None:
    frames = moving_squares(6)
    paint_at_the_end(tmp_path, list(range(6)), frames)

    def breaking() -> Iterator[Frame]:
        yield from (picture(masks) for masks in frames[:4])
        raise DecodeError("it broke", frames_read=4)

    masklets = read_masklets(tmp_path / "masklets.jsonl")
    replay(breaking(), masklets, OverlayWriter(tmp_path, frame_rate=Fraction(24), painter=Painter({})))
    assert len(decoded(tmp_path / "overlay.mp4")) == 4
