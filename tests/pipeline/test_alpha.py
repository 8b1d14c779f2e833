"""Cut-outs: what they show, and what they hide, as pictures and as videos with an alpha channel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

import vidseg
from support.hard_videos import numbered
from support.masklets import described, moving_squares, picture
from vidseg.pipeline.formats import FORMATS, FrameFormat
from vidseg.pipeline.writers import FrameMasks
from vidseg.testing import FakeTracker

BOX = {"box": [20, 20, 40, 40]}


def written(out: Path, name: str, frames: list[FrameMasks]) -> Path:
    row = FORMATS[name]
    assert isinstance(row, FrameFormat)
    writer = row.build(out, described(frames[0].size_hw, {1: "a", 2: ""}))
    for masks in frames:
        writer.write(picture(masks), masks)
    (path,) = writer.finish()
    assert path == out / row.output.removesuffix("/")
    return path


def decoded(path: Path) -> tuple[list[float], list[np.ndarray]]:
    """Times, and RGBA pictures; FFmpeg's own decoder of VP9 leaves the alpha out, libvpx does not."""
    times, pictures = [], []
    with av.open(str(path)) as container:
        stream: Any = container.streams.video[0]
        decoder: Any = stream.codec_context
        if stream.codec_context.name == "vp9":
            decoder = av.CodecContext.create("libvpx-vp9", "r")
        for packet in container.demux(stream):
            for frame in decoder.decode(packet):
                times.append(float(frame.pts * stream.time_base))
                pictures.append(frame.to_ndarray(format="rgba"))
    return times, pictures


def test_pictures_show_the_objects_and_nothing_else(tmp_path: Path) -> None:
    frames = moving_squares(4)
    folder = written(tmp_path, "alpha", frames)
    for masks in frames:
        with Image.open(folder / f"{masks.frame_idx:05d}.png") as file:
            assert file.mode == "RGBA"
            rgba = np.asarray(file)
        shown = masks.masks.any(0)
        np.testing.assert_array_equal(rgba[..., 3], 255 * shown)
        image = picture(masks).image
        assert image is not None
        np.testing.assert_array_equal(rgba[..., :3], image * shown[..., None])


@pytest.mark.parametrize(("name", "tolerance"), [("alpha:prores", 3), ("alpha:vp9", 8)])
@pytest.mark.parametrize("size_hw", [(48, 64), (47, 63)])
def test_videos_show_the_objects_at_their_times(
    tmp_path: Path, name: str, tolerance: int, size_hw: tuple[int, int]
) -> None:
    frames = moving_squares(6, size_hw)
    times, pictures = decoded(written(tmp_path, name, frames))
    assert times == pytest.approx([k / 24 for k in range(6)], abs=1e-3)
    for masks, rgba in zip(frames, pictures, strict=True):
        rgba = rgba[: size_hw[0], : size_hw[1]].astype(int)
        shown = masks.masks.any(0)
        assert np.abs(rgba[..., 3] - 255 * shown).mean() < 2
        assert ((rgba[..., 3] > 127) == shown).mean() > 0.995
        image = picture(masks).image
        assert image is not None
        assert np.abs(rgba[..., :3] - image)[shown].mean() < tolerance


@pytest.mark.parametrize("name", ["alpha:prores", "alpha:vp9"])
def test_videos_say_what_they_are(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name, moving_squares(3))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if name == "alpha:prores":
            assert (stream.codec_context.codec_tag, stream.codec_context.pix_fmt) == ("ap4h", "yuva444p12le")
        else:
            assert stream.metadata["ALPHA_MODE"] == "1"
        assert stream.average_rate == 24


def test_backward_run_has_the_same_cut_outs(tmp_path: Path) -> None:
    video = numbered(tmp_path / "clip.mp4", 6)
    last = {"objects": [{"id": 1, "prompts": [{"frame": 5, "box": [20, 20, 40, 40]}]}]}
    formats = ["rle", "alpha", "alpha:prores"]
    out = tmp_path / "out"
    vidseg.track(video, last, tracker=FakeTracker(), out=out, formats=formats, direction="backward")
    _, pictures = decoded(out / "alpha.mov")
    assert len(pictures) == len(list((out / "alpha").iterdir())) == 6
    for k, rgba in enumerate(pictures):
        with Image.open(out / f"alpha/{k:05d}.png") as file:
            np.testing.assert_array_equal(rgba[..., 3] > 127, np.asarray(file)[..., 3] > 127)
