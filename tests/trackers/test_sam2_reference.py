"""The official predictor behind our contract gives what it gives when it is used the official way."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from support.goldens import PromptCall, Propagation, normalised
from support.seeded import seeded_weights
from vidseg.errors import CheckpointError, ConfigError, InputError, MissingExtraError, PromptError
from vidseg.trackers import sam2_official
from vidseg.trackers.check import check_tracker
from vidseg.trackers.contract import Frame
from vidseg.trackers.registry import load

pytest.importorskip("sam2", reason="needs the extra 'sam2'")

SIZE = 128
VIDEO_HW = (60, 90)
NUM_FRAMES = 6
BOX = {"box": [20.0, 10.0, 60.0, 50.0]}
CLICKS = {"points": [[30.0, 30.0], [80.0, 5.0]], "labels": [1, 0]}


def make_mask():
    mask = np.zeros(VIDEO_HW, bool)
    mask[15:45, 25:70] = True
    return {"mask": mask}


@pytest.fixture(scope="module")
def weights():
    """Seeded weights under which objects are visible on some frames."""
    from support.official import official_predictor

    return seeded_weights(official_predictor("sam2.1_hiera_t", image_size=SIZE), seed=3)


@pytest.fixture(scope="module")
def predictor(weights):
    from support.official import official_predictor

    return official_predictor("sam2.1_hiera_t", weights, SIZE)


@pytest.fixture(scope="module")
def inputs():
    """float32 (T, 3, S, S): noise that moves, so that frames differ."""
    canvas = np.random.default_rng(1).integers(0, 255, (12, 18, 3), np.uint8)
    picture = np.kron(canvas, np.ones((5, 5, 1), np.uint8))
    images = np.stack([np.roll(picture, 3 * shift, axis=1) for shift in range(NUM_FRAMES)])
    return normalised(images, SIZE)


@pytest.fixture(scope="module")
def frames(inputs):
    return [Frame(i, i / 10, model_input=x, size_hw=VIDEO_HW) for i, x in enumerate(inputs)]


@pytest.fixture(scope="module")
def tracker(weights):
    return load("sam2-reference", weights=weights, image_size=SIZE, device="cpu")


def official(predictor, inputs, steps):
    from support.official import run_official

    return run_official(predictor, inputs, VIDEO_HW, steps)


def assert_same(result, frame):
    """Our result of a frame is what the official state holds of it: the same code, so the same numbers."""
    assert result.obj_ids == frame.obj_ids
    np.testing.assert_allclose(result.low_res_logits, frame.low_res_logits, rtol=0, atol=1e-5)
    np.testing.assert_allclose(result.object_score_logits, frame.object_score_logits, rtol=0, atol=1e-5)
    np.testing.assert_allclose(result.object_pointers, frame.object_pointers, rtol=0, atol=1e-5)
    np.testing.assert_allclose(result.video_res_logits, frame.video_res_logits, rtol=0, atol=1e-4)


def test_streaming_equals_the_official_two_phases(tracker, predictor, inputs, frames):
    steps = [PromptCall(0, 1, BOX), PromptCall(0, 7, make_mask()), Propagation(None, False)]
    want = official(predictor, inputs, steps).passes[0]
    session = tracker.start(num_frames=NUM_FRAMES)
    session.prompt(1, **BOX)
    session.prompt(7, **make_mask())
    seen = set()
    for frame in frames:
        result = session.step(frame)
        assert_same(result, want[frame.index])
        seen |= set(result.states)
    assert {"visible", "absent"} <= seen  # else these weights would prove little


def test_reverse_equals_the_official_reverse(tracker, predictor, inputs, frames):
    want = official(predictor, inputs, [PromptCall(5, 2, CLICKS), Propagation(None, True)]).passes[0]
    session = tracker.start(num_frames=NUM_FRAMES, reverse=True)
    session.prompt(2, **CLICKS)
    for frame in reversed(frames):
        assert_same(session.step(frame), want[frame.index])


def test_conditioning_frames_ahead_equal_the_official_ones(tracker, predictor, inputs, frames):
    steps = [PromptCall(0, 1, BOX), PromptCall(3, 1, CLICKS), Propagation(None, False)]
    want = official(predictor, inputs, steps).passes[0]
    session = tracker.start(num_frames=NUM_FRAMES)
    for index, prompt in ((0, BOX), (3, CLICKS)):
        session.prompt(1, **prompt)
        session.condition(frames[index])
    for frame in frames:
        assert_same(session.step(frame), want[frame.index])


def test_corrections_equal_the_official_ones(tracker, predictor, inputs, frames):
    from support.official import official_state
    from vidseg.trackers.contract import Prompt
    from vidseg.trackers.sam2_official import add_prompt

    state = official_state(predictor, inputs, VIDEO_HW)
    add_prompt(predictor, state, 0, 1, Prompt.of(**BOX))
    list(predictor.propagate_in_video(state, max_frame_num_to_track=2))
    corrected = add_prompt(predictor, state, 2, 1, Prompt.of(**CLICKS))
    want = {idx: masks for idx, _, masks in predictor.propagate_in_video(state, start_frame_idx=3)}

    session = tracker.start(num_frames=NUM_FRAMES)
    session.prompt(1, **BOX)
    for frame in frames[:3]:
        session.step(frame)
    result = session.refine(1, **CLICKS)
    np.testing.assert_allclose(result.video_res_logits, corrected[:, 0].numpy(), rtol=0, atol=1e-4)
    for frame in frames[3:]:
        got = session.step(frame).video_res_logits
        np.testing.assert_allclose(got, want[frame.index][:, 0].numpy(), rtol=0, atol=1e-4)


def test_bfloat16_equals_the_official_autocast(weights, predictor, inputs, frames):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        steps = [PromptCall(0, 1, BOX), Propagation(None, False)]
        want = official(predictor, inputs, steps).passes[0]
    tracker = load("sam2-reference", weights=weights, image_size=SIZE, device="cpu", dtype="bfloat16")
    session = tracker.start(num_frames=NUM_FRAMES)
    session.prompt(1, **BOX)
    for frame in frames[:3]:
        assert_same(session.step(frame), want[frame.index])


def test_going_on_after_restore_is_bit_identical(tracker, frames, tmp_path):
    session = tracker.start()
    session.prompt(1, **BOX)
    for frame in frames[:3]:
        session.step(frame)
    session.prompt(4, **CLICKS)
    session.save(tmp_path / "state.safetensors")
    restored = tracker.restore(tmp_path / "state.safetensors")
    for frame in frames[3:]:
        kept, again = session.step(frame), restored.step(frame)
        assert kept.obj_ids == again.obj_ids == [1, 4]
        assert np.array_equal(kept.low_res_logits, again.low_res_logits)
        assert np.array_equal(kept.object_score_logits, again.object_score_logits)


@pytest.mark.slow
def test_a_saved_session_does_not_grow_with_the_video(tracker, frames, tmp_path):
    session = tracker.start()
    session.prompt(1, **BOX)
    sizes = {}
    for index in range(41):
        session.step(Frame(index, index / 10, model_input=frames[index % 2].model_input, size_hw=VIDEO_HW))
        if index in (20, 40):
            session.save(tmp_path / "state.safetensors")
            sizes[index] = (tmp_path / "state.safetensors").stat().st_size
    assert abs(sizes[40] - sizes[20]) < 1000  # digits of frame numbers


def test_a_session_of_other_weights_is_refused(tracker, frames, tmp_path):
    session = tracker.start()
    session.prompt(1, **BOX)
    session.step(frames[0])
    session.save(tmp_path / "state.safetensors")
    other = load(
        "sam2-reference", allow_random_weights=True, image_size=SIZE, config="sam2_hiera_t", device="cpu"
    )
    with pytest.raises(CheckpointError, match="other weights or another configuration"):
        other.restore(tmp_path / "state.safetensors")


def test_objects_come_and_go(tracker, frames):
    session = tracker.start()
    assert session.step(frames[0]).obj_ids == []
    session.prompt(3, **BOX)
    assert session.step(frames[1]).obj_ids == [3]
    session.prompt(9, **CLICKS)
    assert session.step(frames[2]).masks.shape == (2, *VIDEO_HW)
    session.remove(3)
    assert session.step(frames[3]).obj_ids == [9]
    session.remove(9)
    assert session.step(frames[4]).obj_ids == []
    with pytest.raises(PromptError, match="no object 9"):
        session.remove(9)


def test_frames_before_the_first_prompt_are_tracked_in_float32(tracker, frames):
    session = tracker.start(num_frames=NUM_FRAMES)
    session.prompt(1, **BOX)
    session.condition(frames[3])
    results = [session.step(frame) for frame in frames]
    assert all(result.obj_ids == [1] for result in results)
    assert all(np.isfinite(result.low_res_logits).all() for result in results)


def test_dropping_frames_changes_nothing(tracker, weights, frames):
    frugal = load("sam2-reference", weights=weights, image_size=SIZE, device="cpu", keep_frames=False)
    sessions = [each.start() for each in (tracker, frugal)]
    for session in sessions:
        session.prompt(1, **BOX)
    for frame in frames:
        kept, dropped = (session.step(frame) for session in sessions)
        assert np.array_equal(kept.low_res_logits, dropped.low_res_logits)
    assert len(sessions[0]._images) == NUM_FRAMES
    assert len(sessions[1]._images) == 1


def test_images_are_prepared_as_by_the_official_loader(tmp_path):
    from sam2.utils.misc import load_video_frames_from_jpg_images

    pixels = np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "0.jpg")
    want, height, width = load_video_frames_from_jpg_images(
        str(tmp_path), SIZE, offload_video_to_cpu=True, compute_device=torch.device("cpu")
    )
    image = np.asarray(Image.open(tmp_path / "0.jpg").convert("RGB"))
    got = sam2_official.model_input(Frame(0, 0.0, image), SIZE)
    assert (height, width) == image.shape[:2]
    assert torch.equal(got, want[0])


def test_ids_that_are_no_integers_are_refused(tracker, frames):
    session = tracker.start()
    for obj_id in (-1, 1.5, "1", True):
        with pytest.raises(PromptError, match="object id"):
            session.prompt(obj_id, **BOX)
    session.prompt(np.int64(3), **BOX)
    assert session.step(frames[0]).obj_ids == [3]
    with pytest.raises(PromptError, match="object id"):
        session.refine("3", **BOX)


def test_a_wrong_prompt_does_not_lose_the_others(tracker, frames):
    session = tracker.start()
    session.prompt(1, points=[[500, 5]], labels=[1])
    session.prompt(2, **BOX)
    with pytest.raises(PromptError, match="outside the frame"):
        session.step(frames[0])
    assert session.step(frames[0]).obj_ids == [2]


def test_wrong_input_is_named(tracker, frames):
    session = tracker.start(num_frames=2)
    with pytest.raises(InputError, match="declared to have 2 frames"):
        session.step(frames[4])
    with pytest.raises(InputError, match="no frame to correct"):
        session.refine(1, **BOX)
    with pytest.raises(InputError, match="the model input is"):
        session.step(Frame(0, 0.0, model_input=torch.zeros(3, 64, 64), size_hw=VIDEO_HW))
    session.step(frames[0])
    with pytest.raises(InputError, match="the video was 90x60"):
        session.step(Frame(1, 0.0, image=np.zeros((30, 30, 3), np.uint8)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 100}, "multiple of 32"),
        ({"config": "sam3"}, "field 'config'"),
        ({"colour": 1}, "unknown option 'colour'"),
        ({"device": "cuda:99"}, "not on this machine"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        load("sam2-reference", allow_random_weights=True, **options)


def test_missing_weights_say_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setenv("VIDSEG_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"vidseg weights get sam2.1-hiera-tiny"):
        load("sam2-reference")


def test_wrong_weights_are_named(weights):
    short = {name: value for name, value in weights.items() if name != "no_obj_ptr"}
    with pytest.raises(CheckpointError, match=r"1 missing \(first missing: no_obj_ptr\)"):
        load("sam2-reference", weights=short)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(sam2_official, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vidseg\[sam2\]'"):
        load("sam2-reference", allow_random_weights=True)


def test_description_is_json(tracker):
    facts = json.loads(json.dumps(tracker.describe()))
    assert facts["config"]["config"] == "sam2.1_hiera_t"
    assert facts["parameters"] == 38_962_498
    assert len(facts["weights_sha256"]) == 64


@pytest.mark.slow
def test_tracker_keeps_the_contract(weights):
    check_tracker(load("sam2-reference", weights=weights, image_size=SIZE, device="cpu"))
