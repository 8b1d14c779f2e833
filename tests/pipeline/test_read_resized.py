"""What trackers of the SAM 2 family see of a video is what SAM 2's own loader of videos makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

import vidseg
from support.hard_videos import CLOSED_GOP, FFMPEG_MATRIX, HEVC, OPEN_GOP, encode, picture
from support.parity import small_tracker
from vidseg.compat import SAM2VideoPredictor
from vidseg.pipeline.read.orientation import Orientation
from vidseg.pipeline.read.pictures import ToRgb
from vidseg.pipeline.read.resizing import Resizing
from vidseg.testing import FakeSession, FakeTracker
from vidseg.trackers.contract import Frame, FrameResult, TrackerTraits
from vidseg.trackers.image_encoder import IMAGE_STD, normalise

SIDE = 64
"""Of the small tracker's input."""
NUM_FRAMES = 14
BOX = {"box": [10, 10, 60, 50]}


def seen_picture(number: int, size_hw: tuple[int, int]) -> np.ndarray:
    """A numbered picture with coarse random colours in its lower half."""
    height, width = size_hw
    colours = np.random.default_rng(number).integers(0, 256, (height // 3 + 1, width // 3 + 1, 3), np.uint8)
    image = picture(number, size_hw)
    image[height // 2 :] = np.kron(colours, np.ones((3, 3, 1), np.uint8))[height // 2 : height, :width]
    return image


def made(path: Path, size_hw: tuple[int, int] = (64, 96), num_frames: int = NUM_FRAMES, **how: Any) -> Path:
    how = {"options": CLOSED_GOP, **how}
    return encode(path, (seen_picture(k, size_hw) for k in range(num_frames)), **how)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("videos") / "clip.mp4", (120, 214))


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return small_tracker(tmp_path_factory.mktemp("tracker"))


def official_inputs(path: Path, side: int = SIDE) -> Tensor:
    """What the official predictor sees of a video: float32 T x 3 x S x S, normalised."""
    decord = pytest.importorskip("decord", reason="the official loader needs the extra 'decord'")
    misc = pytest.importorskip("sam2.utils.misc", reason="needs the extra 'sam2'")
    decord.logging.set_level(decord.logging.QUIET)
    try:
        images, _, _ = misc.load_video_frames_from_video_file(
            str(path), side, offload_video_to_cpu=True, compute_device=torch.device("cpu")
        )
    finally:
        decord.bridge.reset_bridge()
    return images  # type: ignore[no-any-return]


@contextmanager
def seen_by(tracker: Any) -> Iterator[list[Tensor]]:
    """The model's inputs, in the order in which they come."""
    seen: list[Tensor] = []
    trunk = tracker.engine.model.image_encoder.trunk
    handle = trunk.register_forward_pre_hook(lambda _module, inputs: seen.extend(inputs[0].clone()))
    try:
        yield seen
    finally:
        handle.remove()


def steps_apart(ours: list[Tensor], official: Tensor) -> int:
    """The largest difference, in 1/255."""
    assert len(ours) == len(official)
    std = torch.tensor(IMAGE_STD)[:, None, None]
    return round(float(((torch.stack(ours) - official).abs() * std * 255).max()))


def inputs_of(frames: Any, side: int = SIDE) -> list[Tensor]:
    """The frames of a source as a tracker of that size would see them."""
    return [normalise(torch.from_numpy(frame.decoded.resized(side)).permute(2, 0, 1)) for frame in frames]


@pytest.mark.parametrize("reader", ["pyav", "decord"])
@pytest.mark.parametrize(
    "span", [{}, {"start": 5, "end": 11}, {"reverse": True}, {"start": 2, "end": 13, "reverse": True}]
)
@pytest.mark.parametrize("options", [CLOSED_GOP, OPEN_GOP])
def test_session_sees_what_the_official_loader_makes(
    tmp_path: Path, tracker: Any, reader: str, span: dict[str, int], options: dict[str, str]
) -> None:
    path = made(tmp_path / "clip.mp4", options=options)
    official = official_inputs(path)[span.get("start", 0) : span.get("end")]
    session = tracker.start(reverse=span.get("reverse", False))
    session.prompt(1, **BOX)
    with seen_by(tracker) as seen:
        for frame in vidseg.read(path, reader=reader, **span):  # type: ignore[arg-type]
            session.step(frame)
    ours = seen[::-1] if span.get("reverse") else seen
    assert torch.equal(torch.stack(ours), official)


@pytest.mark.parametrize(
    "how",
    [
        {"size_hw": (242, 426)},
        {"size_hw": (96, 64)},
        {"size_hw": (64, 64)},
        {"size_hw": (320, 128)},
        {"size_hw": (63, 97), "pix_fmt": "yuv444p"},
        {"size_hw": (63, 97), "codec": "mpeg4", "options": {}},
        {"pix_fmt": "yuv422p"},
        {"pix_fmt": "yuv420p10le"},
        {"pix_fmt": "yuv422p10le"},
        {"codec": "libx265", "options": HEVC, "pix_fmt": "yuv420p10le"},
        {"codec": "mjpeg", "pix_fmt": "yuvj420p", "options": {}},
        {"codec": "png", "pix_fmt": "rgb24", "options": {}},
        {"pts": [k * k for k in range(NUM_FRAMES)], "base": 1000},
    ],
    ids=lambda how: "-".join(str(value) for key, value in how.items() if key not in ("options", "pts")),
)
@pytest.mark.parametrize("side", [SIDE, 320])
def test_every_way_of_storing_pictures_is_resized_alike(
    tmp_path: Path, how: dict[str, Any], side: int
) -> None:
    path = made(tmp_path / "clip.mov", **how)
    assert torch.equal(torch.stack(inputs_of(vidseg.read(path), side)), official_inputs(path, side))


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("chroma_place", [0, 2])
def test_tags_of_colours_are_followed_alike(
    tmp_path: Path, matrix: str, full_range: bool, chroma_place: int
) -> None:
    def tag(stream: Any) -> None:
        stream.codec_context.colorspace = FFMPEG_MATRIX[matrix]
        stream.codec_context.color_range = 2 if full_range else 1

    options = {"x264-params": f"chromaloc={chroma_place}"}
    path = made(tmp_path / "clip.mp4", num_frames=3, options=options, prepare=tag)
    assert torch.equal(torch.stack(inputs_of(vidseg.read(path))), official_inputs(path))


@pytest.mark.parametrize("counterclockwise_deg", [90, 180, 270])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le"])
def test_turned_videos_are_turned_before_they_are_resized(
    tmp_path: Path, counterclockwise_deg: int, pix_fmt: str
) -> None:
    path = made(
        tmp_path / "turned.mp4",
        num_frames=3,
        pix_fmt=pix_fmt,
        prepare=lambda stream: stream.set_display_rotation(counterclockwise_deg),
    )
    ours, official = inputs_of(vidseg.read(path)), official_inputs(path)
    # Decord spreads out the colours of 10-bit 4:2:2 at another depth before it turns them.
    assert steps_apart(ours, official) <= (1 if pix_fmt == "yuv422p10le" else 0)


def test_mirrored_pictures_are_resized_as_they_are_shown(tmp_path: Path) -> None:
    with av.open(made(tmp_path / "clip.mp4", num_frames=1, pix_fmt="yuv444p")) as container:
        stored = next(container.decode(video=0))
    for rotation_deg in (0, 90, 180, 270):
        for mirrored in (False, True):
            orientation = Orientation(rotation_deg, mirrored)
            image = ToRgb(orientation)(stored)
            resized = Resizing(orientation).keep(stored, image).resized(32)
            shown = cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA)
            assert np.abs(resized.astype(int) - shown).mean() < 12, orientation  # turned wrongly: over 30


@pytest.mark.parametrize("reader", ["pyav", "decord"])
@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_track_feeds_what_the_official_loader_makes(
    clip: Path, tracker: Any, tmp_path: Path, reader: str, direction: str
) -> None:
    official = official_inputs(clip)
    prompts = {"objects": [{"id": 1, "prompts": [{"frame": 6, **BOX}]}]}
    with seen_by(tracker) as seen:
        vidseg.track(
            clip,
            prompts,
            tracker=tracker,
            out=tmp_path / "run",
            formats=["rle"],
            direction=direction,  # type: ignore[arg-type]
            reader=reader,  # type: ignore[arg-type]
        )
    forward, backward = list(range(6, NUM_FRAMES)), list(range(6, -1, -1))
    order = {"forward": forward, "backward": backward, "both": [*backward, *forward]}[direction]
    assert torch.equal(torch.stack(seen), official[order])


def test_official_interface_feeds_it_too(clip: Path, tracker: Any) -> None:
    official = official_inputs(clip)
    predictor = SAM2VideoPredictor(tracker)
    state = predictor.init_state(str(clip))
    with seen_by(tracker) as seen:
        predictor.add_new_points_or_box(state, 3, 1, box=BOX["box"])
        for _ in predictor.propagate_in_video(state):
            pass
    assert torch.equal(seen[0], official[3])
    assert torch.equal(torch.stack(seen[-NUM_FRAMES + 4 :]), official[4:])


def test_reference_tracker_is_fed_it_too(clip: Path) -> None:
    official = official_inputs(clip)
    from vidseg.trackers.sam2_official import model_input

    ours = [model_input(frame, SIDE) for frame in vidseg.read(clip)]
    assert torch.equal(torch.stack(ours), official)


@pytest.mark.parametrize("name", ["bedroom", "cups", "hummingbird", "juggle"])
@pytest.mark.slow
def test_real_clips_are_resized_as_the_official_loader_does(shared: Path, name: str) -> None:
    path = shared / "data" / "clips" / f"{name}.mp4"
    assert torch.equal(torch.stack(inputs_of(vidseg.read(path), 256)), official_inputs(path, 256))


def test_real_clip_is_tracked_from_the_official_inputs(shared: Path, tracker: Any, tmp_path: Path) -> None:
    path = shared / "data" / "clips" / "cups.mp4"
    with seen_by(tracker) as seen:
        vidseg.track(path, {"box": [400, 200, 700, 500]}, tracker=tracker, out=tmp_path / "run", end=6)
    assert torch.equal(torch.stack(seen), official_inputs(path)[:6])


# --- What is kept, and for whom


def test_resumed_run_gives_the_same_bytes(clip: Path, tmp_path: Path) -> None:
    def track(out: Path, tracker: Any, **more: Any) -> bytes:
        vidseg.track(clip, BOX, tracker=tracker, out=out, formats=["rle"], save_every=3, **more)
        return (out / "masklets.jsonl").read_bytes()

    class Stops:
        """The tracker, interrupted before its sixth step."""

        name = "small"

        def __init__(self, tracker: Any) -> None:
            self.tracker = tracker

        def __getattr__(self, name: str) -> Any:
            return getattr(self.tracker, name)

        def start(self, num_frames: int | None = None, reverse: bool = False) -> Any:
            session = self.tracker.start(num_frames, reverse)
            step = session.step

            def interrupted(frame: Frame) -> FrameResult:
                if frame.index == 5:
                    raise KeyboardInterrupt
                return step(frame)  # type: ignore[no-any-return]

            session.step = interrupted
            return session

    tracker = small_tracker(tmp_path)
    whole = track(tmp_path / "whole", tracker)
    with pytest.raises(KeyboardInterrupt):
        track(tmp_path / "cut", Stops(tracker))
    assert track(tmp_path / "cut", tracker, resume=True) == whole


class Watching(FakeTracker):
    """Notes whether frames hold their decoded pictures."""

    def __init__(self, takes: bool) -> None:
        super().__init__()
        self.held: list[bool] = []
        if takes:
            self.traits = TrackerTraits(takes_decoded=True)

    def start(self, num_frames: int | None = None, reverse: bool = False) -> FakeSession:
        session = super().start(num_frames, reverse)
        step = session.step

        def noted(frame: Frame) -> FrameResult:
            self.held.append(frame.decoded is not None)
            return step(frame)

        session.step = noted  # type: ignore[method-assign]
        return session


@pytest.mark.parametrize("takes", [False, True])
def test_decoded_pictures_are_held_for_trackers_that_take_them(
    clip: Path, tmp_path: Path, takes: bool
) -> None:
    tracker = Watching(takes)
    vidseg.track(clip, BOX, tracker=tracker, out=tmp_path / "run", formats=["rle"])
    assert tracker.held == [takes] * NUM_FRAMES


def test_reader_holds_them_unless_told_not_to(clip: Path) -> None:
    assert all(frame.decoded is not None for frame in vidseg.read(clip))
    assert all(frame.decoded is None for frame in vidseg.read(clip, keep_decoded=False))


def test_frame_with_another_image_drops_them(clip: Path, tracker: Any) -> None:
    frame = next(iter(vidseg.read(clip)))
    assert frame.image is not None
    other = replace(frame, image=frame.image // 2)
    assert other.decoded is None
    assert replace(frame, index=7).decoded is not None
    session = tracker.start()
    session.prompt(1, **BOX)
    with seen_by(tracker) as seen:
        session.step(other)
    resized = tracker.engine.model_input(vidseg.Frame(0, 0.0, frame.image // 2))
    assert torch.equal(seen[0], resized)


def test_folders_are_resized_as_images(clip: Path, tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "frames"
    folder.mkdir()
    for frame in vidseg.read(clip, end=2):
        Image.fromarray(frame.image).save(folder / f"{frame.index:05d}.jpg")
    assert all(frame.decoded is None for frame in vidseg.read(folder))
