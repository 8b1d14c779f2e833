"""What `read` promises whatever the source: kinds of sources, spans, and the life of a Source."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import vidseg
from support.hard_videos import NUM_FRAMES, SIZE_HW, HardVideos, number_in, picture
from vidseg.errors import DecodeError, InputError, SourceError
from vidseg.pipeline.read import read
from vidseg.pipeline.read.ahead import DecodeAhead


def decode_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "vidseg-decode"]


def open_files() -> list[str]:
    return [str(link.resolve()) for link in Path("/proc/self/fd").iterdir()]


# --- Sources


def test_reading_a_video_gives_upright_contiguous_rgb_frames_with_numbers_and_times(
    hard_videos: HardVideos,
) -> None:
    frames = list(read(hard_videos["b_frames.mp4"]))
    assert [frame.index for frame in frames] == list(range(NUM_FRAMES))
    assert [number_in(frame.image) for frame in frames] == list(range(NUM_FRAMES))
    assert [frame.pts_seconds for frame in frames] == pytest.approx([k / 24 for k in range(NUM_FRAMES)])
    assert all(frame.image.flags.c_contiguous and frame.image.dtype == np.uint8 for frame in frames)
    assert {frame.size_hw for frame in frames} == {SIZE_HW}


def test_info_keeps_the_claim_of_the_header_apart_from_what_is_known(hard_videos: HardVideos) -> None:
    info = read(hard_videos["b_frames.mp4"]).info
    assert (info.kind, info.name, info.path) == ("video", "b_frames.mp4", hard_videos["b_frames.mp4"])
    assert (info.size_hw, info.frame_rate, info.codec) == (SIZE_HW, 24, "h264")
    assert (info.num_frames_from_header, info.num_frames) == (NUM_FRAMES, None)
    assert info.duration_s == pytest.approx(2.5)
    assert (info.rotation_deg, info.is_live, info.can_seek, info.frame_files) == (0, False, True, None)


def test_read_is_public_and_imports_no_decoder_until_a_file_is_read() -> None:
    program = (
        "import sys, vidseg.pipeline.read as r; print(any(m in sys.modules for m in ('av', 'cv2', 'PIL')))"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "False"
    assert vidseg.read is read


@pytest.mark.parametrize("start", [None, 0, 2])
def test_arrays_are_frames_too(start: int | None) -> None:
    arrays = [picture(k) for k in range(5)]
    for source in (arrays, iter(arrays), np.stack(arrays), (array for array in arrays)):
        frames = list(read(source, start=start, end=4))
        assert [frame.index for frame in frames] == list(range(start or 0, 4))
        assert all((frame.image == arrays[frame.index]).all() for frame in frames)


def test_a_list_of_arrays_is_read_in_reverse_and_knows_its_length() -> None:
    source = read([picture(k) for k in range(5)], reverse=True, end=4)
    assert (source.info.kind, source.info.num_frames) == ("array", 5)
    assert [number_in(frame.image) for frame in source] == [3, 2, 1, 0]


def test_frames_are_passed_on_with_their_own_numbers_and_times() -> None:
    frames = [vidseg.Frame(10 + k, 0.5 * k, picture(k)) for k in range(3)]
    assert list(read(frames)) == frames


def test_an_iterable_is_asked_for_no_more_than_is_consumed() -> None:
    asked = []

    def arrays() -> Iterator[np.ndarray]:
        for k in range(100):
            asked.append(k)
            yield picture(k)

    iterator = iter(read(arrays()))
    next(iterator), next(iterator)
    assert len(asked) <= 2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.mp4", "does not exist"),
        ("", "does not exist"),
        (Path("no/such/folder"), "does not exist"),
        ("/dev/null", "neither a file nor a folder"),
        ([], "holds no frames"),
        (iter([]), "holds no frames"),
        ([np.zeros((4, 4), np.uint8)], r"uint8 of shape \(4, 4\)"),
        ([np.zeros((4, 4, 3), np.float32)], "float32"),
        (["a", "b"], "shape"),
        (None, "NoneType cannot be read"),
        (2.5, "float cannot be read"),
        (97, "camera 97 cannot be opened"),
        ("97", "camera 97 cannot be opened"),
        (-3, "camera -3 cannot be opened"),
        (10**12, "camera 1000000000000 cannot be opened"),
        ("nosuch://host/path", "cannot be opened"),
        ("http://127.0.0.1:9/live.ts", "refused"),
    ],
)
def test_what_is_no_source_is_refused_in_three_lines(
    source: object, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        read(source)
    assert caught.value.hint
    assert len(str(caught.value).splitlines()) <= 3
    assert capfd.readouterr() == ("", "")


def test_arrays_of_two_sizes_break_where_the_second_size_comes() -> None:
    iterator = iter(read([picture(0), picture(1), picture(2)[:, :50]]))
    assert [next(iterator).index, next(iterator).index] == [0, 1]
    with pytest.raises(DecodeError, match="array 2 is 50x64") as caught:
        next(iterator)
    assert caught.value.frames_read == 2


@pytest.mark.parametrize("options", [{"reverse": True}, {"start": 5}])
def test_an_iterator_is_neither_reversed_nor_read_past_its_end(options: dict[str, int]) -> None:
    with pytest.raises(SourceError):
        read((picture(k) for k in range(5)), **options)


# --- Spans and options


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ({"start": -1}, "-1 is negative"),
        ({"end": -2}, "-2 is negative"),
        ({"start": 5, "end": 5}, "no frames between"),
        ({"start": 7, "end": 5}, "no frames between"),
        ({"start": 60}, r"past the end of 'b_frames.mp4' \(60 frames\)"),
        ({"start": 999, "reverse": True}, r"past the end of 'b_frames.mp4' \(60 frames\)"),
    ],
)
def test_a_span_that_holds_nothing_is_an_error(
    hard_videos: HardVideos, span: dict[str, int], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        read(hard_videos["b_frames.mp4"], **span)


def test_an_end_past_the_last_frame_means_the_last_frame(hard_videos: HardVideos) -> None:
    assert [frame.index for frame in read(hard_videos["b_frames.mp4"], start=58, end=1000)] == [58, 59]


@pytest.mark.parametrize(
    "options", [{"queue_frames": 0}, {"reader": "pyva"}, {"on_behind": "sleep"}, {"on_behind": "drop"}]
)
def test_options_that_make_no_sense_are_refused(hard_videos: HardVideos, options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        read(hard_videos["b_frames.mp4"], **options)
    assert str(hard_videos["b_frames.mp4"]) not in open_files()


# --- The life of a Source


def test_a_source_is_read_once(hard_videos: HardVideos) -> None:
    source = read(hard_videos["b_frames.mp4"], end=2)
    assert len(list(source)) == 2
    with pytest.raises(SourceError, match="read already"):
        iter(source)


def test_a_loop_that_ends_early_ends_the_thread_and_closes_the_file(hard_videos: HardVideos) -> None:
    path = hard_videos["b_frames.mp4"]
    for _ in read(path, queue_frames=2):
        assert decode_threads()
        break
    assert not decode_threads()
    assert str(path) not in open_files()


@pytest.mark.parametrize("frames_before", [None, 0, 3])
@pytest.mark.parametrize("reverse", [False, True])
def test_closing_ends_the_thread_and_closes_the_file(
    hard_videos: HardVideos, frames_before: int | None, reverse: bool
) -> None:
    path = hard_videos["b_frames.mp4"]
    with read(path, reverse=reverse) as source:
        if frames_before is not None:
            iterator = iter(source)
            for _ in range(frames_before):
                next(iterator)
    source.close()
    assert not decode_threads()
    assert str(path) not in open_files()


def test_an_error_in_the_loop_ends_the_thread(hard_videos: HardVideos) -> None:
    def loop() -> None:
        with read(hard_videos["b_frames.mp4"]) as source:
            for _ in source:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop()
    assert not decode_threads()


@pytest.mark.parametrize("size", [1, 3, 8])
def test_no_more_than_the_queue_is_decoded_ahead(size: int) -> None:
    made: list[int] = []
    waited = threading.Event()

    def items() -> Iterator[int]:
        for k in range(100):
            if k == size + 1:
                waited.set()
            made.append(k)
            yield k

    ahead = DecodeAhead(items(), size)
    for consumed in range(1, 20):
        assert next(ahead) == consumed - 1
        assert len(made) <= consumed + size + 1  # one is in the hands of the thread
    assert waited.wait(5)
    ahead.close()
    assert len(made) < 100


def test_dropping_keeps_the_newest_and_counts_the_rest() -> None:
    first_taken, all_made = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 0
        first_taken.wait(5)
        yield from range(1, 50)
        all_made.set()

    ahead = DecodeAhead(items(), 4, drop=True)
    assert next(ahead) == 0
    first_taken.set()
    assert all_made.wait(5)
    assert list(ahead) == [46, 47, 48, 49]
    assert ahead.dropped == 45


def test_an_error_comes_after_the_good_items_and_only_once() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise DecodeError("broken", frames_read=3)

    ahead = DecodeAhead(items(), 8)
    assert [next(ahead), next(ahead), next(ahead)] == [0, 1, 2]
    with pytest.raises(DecodeError):
        next(ahead)
    assert list(ahead) == []
