"""What a session takes, refuses and says."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import vidseg
from support.parity import VIDEO_HW, as_frames, moving_picture, small_tracker
from vidseg.errors import CheckpointError, ConfigError, InputError, OutputError, PromptError
from vidseg.trackers.contract import Frame

BOX = {"box": [20.0, 10.0, 60.0, 50.0]}
CLICKS = {"points": [[30.0, 30.0], [80.0, 5.0]], "labels": [1, 0]}
CLICK = {"points": [[70.0, 40.0]], "labels": [1]}


@pytest.fixture(scope="module")
def tracker(tmp_path_factory):
    return small_tracker(tmp_path_factory.mktemp("tracker"))


@pytest.fixture(scope="module")
def frames():
    return as_frames(moving_picture(24, 64))


def make_mask():
    mask = np.zeros(VIDEO_HW, bool)
    mask[15:45, 25:70] = True
    return {"mask": mask}


def last_row(session, frames):
    return [session.step(frame) for frame in frames][-1].low_res_logits


def test_tracker_keeps_the_contract(tracker):
    vidseg.check_tracker(tracker)


def test_result_describes_itself(tracker, frames):
    session = tracker.start()
    session.prompt(4, **BOX)
    session.prompt(2, **make_mask())
    result = session.step(frames[0])
    assert result.obj_ids == session.obj_ids == [4, 2]
    assert result.low_res_logits.shape == (2, 16, 16)
    assert result.video_res_logits.shape == result.masks.shape == (2, *VIDEO_HW)
    assert result.object_pointers.shape == (2, 256)
    assert result.masks.dtype == bool
    assert result.object_score_logits[1] == 10  # a mask prompt is sure of its object
    assert result.predicted_ious[1] == 1
    assert result.states == ["visible", "visible"]


def test_mask_prompt_comes_out_as_it_went_in(tracker, frames):
    session = tracker.start()
    session.prompt(1, **make_mask())
    mask = session.step(frames[0]).masks[0]
    wanted = make_mask()["mask"]
    assert (mask & wanted).sum() / (mask | wanted).sum() > 0.85  # through a grid of 16 x 16


def test_images_and_model_inputs_give_the_same(tracker):
    image = np.random.default_rng(0).integers(0, 255, (*VIDEO_HW, 3), np.uint8)
    with_image = Frame(0, 0.0, image)
    prepared = tracker.engine.model_input(with_image)
    results = []
    for frame in (with_image, Frame(0, 0.0, model_input=prepared.numpy(), size_hw=VIDEO_HW)):
        session = tracker.start()
        session.prompt(1, **BOX)
        results.append(session.step(frame).low_res_logits)
    assert np.array_equal(*results)


def test_several_prompts_before_a_frame_are_one(tracker, frames):
    whole, pieces = tracker.start(), tracker.start()
    whole.prompt(1, points=[[30, 30], [80, 5]], labels=[1, 0], box=BOX["box"])
    pieces.prompt(1, points=[[30, 30]], labels=[1])
    pieces.prompt(1, **BOX)
    pieces.prompt(1, points=[[80, 5]], labels=[0])
    assert np.array_equal(last_row(whole, frames[:2]), last_row(pieces, frames[:2]))


def test_ids_of_numpy_are_ids(tracker, frames, tmp_path):
    session = tracker.start()
    session.prompt(np.int64(3), **BOX)
    session.step(frames[0])
    session.save(tmp_path / "state")
    assert tracker.restore(tmp_path / "state").obj_ids == [3]


@pytest.mark.parametrize("obj_id", [-1, 1.5, "1", True, None])
def test_other_ids_are_refused(tracker, obj_id):
    with pytest.raises(PromptError, match="object id"):
        tracker.start().prompt(obj_id, **BOX)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({}, "an empty prompt"),
        ({"box": [10, 10, 10, 20]}, "no area"),
        ({"box": [10, 10, 20]}, "where four numbers belong"),
        ({"points": [[1, 2]], "labels": [1, 0]}, "1 points but 2 labels"),
        ({"points": [[1, float("nan")]]}, "not finite"),
        ({"mask": np.zeros(VIDEO_HW)}, "the mask is empty"),
        ({"mask": np.ones(VIDEO_HW), "box": [0, 0, 5, 5]}, "stands alone"),
        ({"mask": np.linspace(0, 1, 5400).reshape(VIDEO_HW)}, "a mask of several numbers"),
        ({"mask": np.arange(5400, dtype=np.uint16).reshape(VIDEO_HW) % 3}, "several numbers, 1 to 2"),
        ({"mask": np.full(VIDEO_HW, np.nan)}, "the mask has a number that is not finite"),
    ],
)
def test_wrong_prompts_are_refused_at_once(tracker, frames, prompt, message):
    session = tracker.start()
    with pytest.raises(PromptError, match=message):
        session.prompt(1, **prompt)
    session.prompt(1, **BOX)
    assert session.step(frames[0]).obj_ids == [1]
    with pytest.raises(PromptError, match=message):
        session.refine(1, **prompt)
    assert session.step(frames[1]).obj_ids == [1]


@pytest.mark.parametrize(
    "prompt", [{"points": [[500, 5]]}, {"box": [95, 5, 99, 20]}, {"mask": np.ones((30, 30))}]
)
def test_prompt_that_does_not_fit_the_frame_is_dropped_alone(tracker, frames, prompt):
    session = tracker.start()
    session.prompt(1, **prompt)
    session.prompt(2, **BOX)
    with pytest.raises(PromptError, match=r"object 1, frame 0"):
        session.step(frames[0])
    assert session.step(frames[0]).obj_ids == [2]
    with pytest.raises(PromptError):
        session.refine(2, **prompt)
    assert session.step(frames[1]).obj_ids == [2]


def test_frame_that_cannot_be_used_leaves_the_session_as_it_was(tracker, frames):
    session, other = tracker.start(5), tracker.start(5)
    for each in (session, other):
        each.prompt(1, **BOX)
    wrong = Frame(0, 0.0, model_input=torch.zeros(3, 32, 32), size_hw=VIDEO_HW)
    with pytest.raises(InputError, match="a model input of shape"):
        session.step(wrong)
    with pytest.raises(InputError, match="a model input of shape"):
        session.condition(wrong)
    with pytest.raises(InputError, match="declared to have 5 frames"):
        session.step(frames[7])
    assert np.array_equal(last_row(session, frames[:2]), last_row(other, frames[:2]))


@pytest.mark.parametrize("reverse", [False, True])
def test_frames_out_of_order_are_refused(tracker, frames, reverse, tmp_path):
    session = tracker.start(reverse=reverse)
    session.prompt(1, **BOX)
    session.step(frames[10])
    behind, ahead = (frames[11], frames[9]) if reverse else (frames[9], frames[11])
    with pytest.raises(InputError, match=f"frame {behind.index} was given after frame 10"):
        session.step(behind)
    session.save(tmp_path / "state")
    restored = tracker.restore(tmp_path / "state")
    with pytest.raises(InputError, match="order of index"):
        restored.step(behind)
    assert np.array_equal(session.step(ahead).low_res_logits, restored.step(ahead).low_res_logits)


def test_a_session_that_keeps_all_takes_frames_in_any_order(tracker, frames):
    session = tracker.start(keep_all=True)
    session.prompt(1, **BOX)
    for index in (10, 11, 3, 20, 10):
        assert session.step(frames[index]).obj_ids == [1]


def test_frames_may_be_left_out(tracker, frames):
    session = tracker.start()
    session.prompt(1, **BOX)
    for index in (0, 3, 4, 23):
        assert np.isfinite(session.step(frames[index]).low_res_logits).all()


def test_condition_without_a_prompt_is_refused(tracker, frames):
    with pytest.raises(PromptError, match="no object is prompted"):
        tracker.start().condition(frames[0])


def test_refine_without_a_frame_is_refused(tracker, frames, tmp_path):
    session = tracker.start()
    with pytest.raises(InputError, match="no frame to correct"):
        session.refine(1, **BOX)
    session.prompt(1, **BOX)
    session.step(frames[0])
    session.save(tmp_path / "state")
    with pytest.raises(InputError, match="no frame to correct"):
        tracker.restore(tmp_path / "state").refine(1, **BOX)


def test_a_correction_after_a_look_ahead_is_of_the_frame_as_it_was(tracker, frames):
    """Cameras fill one buffer again and again."""
    corrected = []
    for _ in range(2):
        buffer = np.random.default_rng(0).integers(0, 256, (*VIDEO_HW, 3), np.uint8)
        session = tracker.start()
        session.prompt(1, **BOX)
        session.step(vidseg.Frame(0, 0.0, buffer))
        session.prompt(2, **BOX)
        session.condition(frames[9])
        if corrected:
            buffer[:] = 255 - buffer
        corrected.append(session.refine(1, points=[[30, 30]], labels=[1]).low_res_logits)
    assert np.array_equal(*corrected)


@pytest.mark.parametrize("obj_id", [True, 1.0, "1", [1]])
def test_what_is_no_id_removes_nothing(tracker, obj_id):
    session = tracker.start()
    session.prompt(1, **BOX)
    with pytest.raises(PromptError, match="object id"):
        session.remove(obj_id)
    assert session.obj_ids == [1]


def test_a_length_that_is_no_number_is_refused(tracker):
    with pytest.raises(InputError, match=r"num_frames is 2\.5"):
        tracker.start(num_frames=2.5)


def test_removing_a_stranger_is_refused(tracker):
    session = tracker.start()
    session.prompt(2, **BOX)
    with pytest.raises(PromptError, match="no object 1 to remove"):
        session.remove(1)
    session.remove(2)
    with pytest.raises(PromptError, match="no object 2 to remove"):
        session.remove(2)


def test_a_correction_may_condition(tracker, frames, tmp_path):
    plain = tracker.start()
    condition = small_tracker(tmp_path, corrections_condition=True).start()
    for session in (plain, condition):
        session.prompt(1, **BOX)
        for frame in frames[:4]:
            session.step(frame)
        session.refine(1, **CLICK)
        session.step(frames[4])
    assert list(plain.banks[1].conditioning) == [0]
    assert list(condition.banks[1].conditioning) == [0, 3]
    assert 3 not in condition.banks[1].tracked


def test_memory_around_a_correction_may_be_cleared(frames, tmp_path):
    session = small_tracker(tmp_path, clear_memory_around_corrections=True).start()
    session.prompt(1, **BOX)
    session.condition(frames[0])
    session.prompt(1, **CLICKS)
    session.condition(frames[20])
    for frame in frames[:20]:
        session.step(frame)
    assert 19 in session.banks[1].tracked
    session.step(frames[20])  # where a conditioning frame is reached
    assert max(session.banks[1].tracked) < 13
    session.step(frames[21])
    session.refine(1, **CLICK)
    assert [t for t in session.banks[1].tracked if t > 12] == [21]


def test_masks_may_be_kept_apart(frames, tmp_path):
    session = small_tracker(tmp_path, non_overlap_masks=True).start()
    session.prompt(1, **BOX)
    session.prompt(2, **make_mask())
    masks = [session.step(frame).masks for frame in frames[:3]][-1]
    assert masks.any()
    assert (masks.sum(0) <= 1).all()


def test_cap_on_conditioning_frames_is_an_option(tmp_path):
    tracker = small_tracker(tmp_path, max_conditioning=3)
    assert tracker.engine.policy.max_conditioning == 3
    assert tracker.describe()["config"]["bank"]["max_conditioning"] == 3
    with pytest.raises(ConfigError, match="max_conditioning"):
        small_tracker(tmp_path, max_conditioning=1)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_runs(frames, tmp_path, dtype):
    tracker = small_tracker(tmp_path, dtype=dtype)
    session = tracker.start()
    session.prompt(1, **BOX)
    session.prompt(2, **make_mask())
    for frame in frames[:3]:
        result = session.step(frame)
        assert result.low_res_logits.dtype == np.float32
        assert np.isfinite(result.low_res_logits).all()
    assert session.banks[1].at(0).tokens_nc.dtype == torch.bfloat16


def test_description_is_json(tracker):
    facts = json.loads(json.dumps(tracker.describe()))
    assert facts["config"]["kind"] == "engine"
    assert facts["weights_sha256"] is None  # random weights are told apart from any published ones
    assert facts["dtype"] == "float32"


def test_sessions_of_other_weights_or_options_are_refused(tracker, frames, tmp_path):
    session = tracker.start()
    session.prompt(1, **BOX)
    session.step(frames[0])
    session.save(tmp_path / "state")
    other = small_tracker(tmp_path, fill_hole_area=8)
    with pytest.raises(CheckpointError, match="other weights or another configuration"):
        other.restore(tmp_path / "state")
    model = small_tracker(tmp_path)
    with torch.no_grad():
        model.engine.model.no_mem_embed.add_(1)
    with pytest.raises(CheckpointError, match="other weights or another configuration"):
        model.restore(tmp_path / "state")


@pytest.mark.parametrize("content", [b"", b"\x00" * 40, b"{}", b"PK\x03\x04 not a session"])
def test_files_that_are_no_sessions_are_refused(tracker, tmp_path, content):
    (tmp_path / "state").write_bytes(content)
    with pytest.raises(CheckpointError, match="not a saved session"):
        tracker.restore(tmp_path / "state")
    with pytest.raises(CheckpointError, match="no such session file"):
        tracker.restore(tmp_path / "missing")


def test_a_session_that_lacks_a_part_is_refused(tracker, tmp_path):
    tracker.start().save(tmp_path / "state")
    content = (tmp_path / "state").read_bytes()
    (tmp_path / "state").write_bytes(content.replace(b"last_frame", b"past_frame"))
    with pytest.raises(CheckpointError, match="lacks a part"):
        tracker.restore(tmp_path / "state")


def test_a_restored_session_needs_its_file_no_more(tracker, frames, tmp_path):
    session = tracker.start()
    session.prompt(1, **BOX)
    session.step(frames[0])
    session.save(tmp_path / "state")
    restored = tracker.restore(tmp_path / "state")
    with open(tmp_path / "state", "r+b") as file:  # in place, as copying another file over it does
        file.write(bytes((tmp_path / "state").stat().st_size))
    for frame in frames[1:3]:
        assert np.array_equal(restored.step(frame).low_res_logits, session.step(frame).low_res_logits)


@pytest.mark.parametrize("name", ["", "a" * 250, "a\0b"])
def test_a_session_cannot_have_every_name(tracker, tmp_path, name):
    with pytest.raises(OutputError, match="the session cannot be written"):
        tracker.start().save(name and f"{tmp_path}/{name}")
    assert not list(tmp_path.iterdir())


def test_a_session_may_have_a_name_that_is_not_utf_8(tracker, tmp_path):
    tracker.start().save(tmp_path / "\udcff")
    assert tracker.restore(tmp_path / "\udcff").obj_ids == []


def test_a_saved_session_is_whole_or_absent(tracker, frames, tmp_path, monkeypatch):
    session = tracker.start()
    session.prompt(1, **BOX)
    session.step(frames[0])
    session.save(tmp_path / "state")
    before = (tmp_path / "state").read_bytes()
    session.step(frames[1])
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("the disk is gone")))
    with pytest.raises(OSError, match="the disk is gone"):
        session.save(tmp_path / "state")
    assert (tmp_path / "state").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
