"""Pictures without a frame around them go straight into a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vidseg
from support.parity import SMALL_MODEL
from vidseg.errors import InputError, OutputError
from vidseg.testing import FakeTracker
from vidseg.trackers.contract import Prompt
from vidseg.trackers.given_frame import as_frame

PICTURES = [np.random.default_rng(index).integers(0, 256, (48, 64, 3), np.uint8) for index in range(3)]


def tracker(name: str, folder: Path) -> Any:
    if name == "fake":
        return FakeTracker()
    if name == "engine":
        (folder / "small.yaml").write_text(SMALL_MODEL, encoding="utf-8")
        return vidseg.load(folder / "small.yaml", allow_random_weights=True, device="cpu")
    return vidseg.load(name)


@pytest.mark.parametrize("name", ["flow", "engine", "fake"])
def test_pictures_are_frames_counted_on(name: str, tmp_path: Path) -> None:
    given = tracker(name, tmp_path)
    sessions = [given.start() for _ in range(3)]
    for session in sessions:
        session.prompt(1, box=(10, 10, 40, 40))
    for index, picture in enumerate(PICTURES):
        framed = sessions[0].step(vidseg.Frame(index, index / 24, picture))
        plain = sessions[1].step(picture)
        turned = sessions[2].step(picture[..., ::-1], bgr=True)
        for result in (plain, turned):
            assert (result.frame_idx, result.pts_seconds) == (framed.frame_idx, framed.pts_seconds)
            assert np.array_equal(result.masks, framed.masks)


@pytest.mark.parametrize("name", ["flow", "engine"])
def test_a_buffer_may_be_filled_again(name: str, tmp_path: Path) -> None:
    given = tracker(name, tmp_path)
    sessions = [given.start(), given.start()]
    for session in sessions:
        session.prompt(1, box=(10, 10, 40, 40))
    buffer = np.empty_like(PICTURES[0])
    for picture in PICTURES:
        buffer[:] = picture
        want, got = sessions[0].step(picture), sessions[1].step(buffer)
        assert np.array_equal(want.low_res_logits, got.low_res_logits)


@pytest.mark.parametrize("name", ["flow", "engine"])
def test_numbers_of_numpy_are_saved(name: str, tmp_path: Path) -> None:
    given = tracker(name, tmp_path)
    session = given.start(num_frames=np.int64(9))
    session.prompt(np.int64(1), box=(10, 10, 40, 40))
    session.step(vidseg.Frame(np.int64(0), np.float32(0.5), PICTURES[0]))  # type: ignore[arg-type]
    session.save(tmp_path / "state")
    assert given.restore(tmp_path / "state").step(PICTURES[1]).frame_idx == 1
    with pytest.raises(OutputError, match="cannot be written"):
        session.save(tmp_path / "nowhere" / "state")


def test_a_mask_thinner_than_a_pixel_of_the_input_is_kept(tmp_path: Path) -> None:
    session = tracker("engine", tmp_path).start()
    mask = np.zeros((480, 640), bool)
    mask[100, 200] = True
    session.prompt(1, mask=mask)
    result = session.step(np.zeros((480, 640, 3), np.uint8))
    y, x = np.argwhere(result.low_res_logits[0] == result.low_res_logits[0].max())[0]
    height, width = result.low_res_logits.shape[1:]
    assert abs(y - 100 / 480 * height) <= 1
    assert abs(x - 200 / 640 * width) <= 1


@pytest.mark.parametrize(
    ("given", "more", "message"),
    [
        ("a.png", {}, "got a str, which is no frame"),
        ([[0, 0, 0]], {}, "got a list"),
        (np.array(5), {"bgr": True}, "got a ndarray of shape"),
        (PICTURES[0].astype(np.float32), {}, "float32"),
        (PICTURES[0][..., 0], {}, "of shape"),
        (PICTURES[0], {"reverse": True}, "in reverse has no index"),
        (vidseg.Frame(0, 0.0, PICTURES[0]), {"bgr": True}, "bgr=True is for arrays"),
    ],
)
def test_what_is_no_frame_is_refused(given: Any, more: dict[str, bool], message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_frame(given, None, **more)


@pytest.mark.parametrize("image", [Image.fromarray(PICTURES[0]), PICTURES[0].tolist(), "a.png"])
def test_a_frame_has_an_array(image: Any) -> None:
    with pytest.raises(InputError, match="frame 3: the image is a"):
        vidseg.Frame(3, 0.0, image)


@pytest.mark.parametrize("name", ["vidseg-nano", "flow", "engine", "fake"])
def test_a_picture_alone_does_not_say_which_frame_lies_ahead(name: str, tmp_path: Path) -> None:
    session = tracker(name, tmp_path).start()
    session.prompt(1, box=(10, 10, 40, 40))
    with pytest.raises(InputError, match=r"condition\(\) got a ndarray"):
        session.condition(PICTURES[0])  # type: ignore[arg-type]


def test_tensors_prompt_whatever_their_type() -> None:
    box = torch.tensor([10, 10, 40, 30], dtype=torch.bfloat16, requires_grad=True)
    mask = torch.eye(48, 64, dtype=torch.bfloat16, requires_grad=True)
    assert Prompt.of(box=box).box.tolist() == [10, 10, 40, 30]  # type: ignore[arg-type, union-attr]
    assert Prompt.of(mask=mask).mask.sum() == 48  # type: ignore[union-attr]
    points = torch.tensor([[20.0, 30.0]], requires_grad=True)
    prompt = Prompt.of(points=points, labels=torch.tensor([1.0], requires_grad=True))  # type: ignore[arg-type]
    assert (prompt.points_xy.tolist(), prompt.labels.tolist()) == ([[20, 30]], [1])


def test_mask_logits_prompt_where_they_are_above_0() -> None:
    logits = np.linspace(-5, 5, 48 * 64).reshape(48, 64)
    assert np.array_equal(Prompt.of(mask=logits).mask, logits > 0)
