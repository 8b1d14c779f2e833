"""Scripts written for the official predictor give the same answers with ours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import vidseg
from support.goldens import (
    PromptCall,
    assert_golden,
    frames,
    golden_names,
    golden_tracker,
    load_golden,
    memory_stats,
    video_bits,
    video_sub,
)
from support.hard_videos import numbered
from vidseg.compat import CallError, SAM2VideoPredictor
from vidseg.errors import InputError, PromptError
from vidseg.memory.bank import RecentFrames
from vidseg.trackers.contract import Frame

BOX = [20.0, 10.0, 60.0, 50.0]
NUM_FRAMES = 9

Answer = tuple[int, list[int], torch.Tensor]
Script = Callable[[Any, Any], Iterator[Answer]]


def some_mask(shift: int = 0) -> np.ndarray:
    mask = np.zeros((60, 90), bool)
    mask[15 + shift : 45, 25:70] = True
    return mask


# Scripts: what a user of the official package writes. `p` is either predictor, `s` its state.


def box(p: Any, s: Any) -> Iterator[Answer]:
    yield p.add_new_points_or_box(s, frame_idx=0, obj_id=1, box=BOX)
    yield from p.propagate_in_video(s)


def several_objects(p: Any, s: Any) -> Iterator[Answer]:
    yield p.add_new_points_or_box(s, 1, 4, points=[[30, 30], [80, 5]], labels=[1, 0])
    yield p.add_new_mask(s, 1, 2, some_mask())
    yield p.add_new_points_or_box(s, 1, 9, points=np.array([[50, 20]]), labels=np.array([1]), box=BOX)
    yield from p.propagate_in_video(s, max_frame_num_to_track=4)
    yield from p.propagate_in_video(s, start_frame_idx=6)
    yield from p.propagate_in_video(s, reverse=True)


def clicks_one_by_one(p: Any, s: Any) -> Iterator[Answer]:
    yield p.add_new_points(s, 0, 1, [[30, 30]], [1])
    yield p.add_new_points_or_box(s, 0, 1, [[0.9, 0.1]], [0], clear_old_points=False, normalize_coords=False)
    yield p.add_new_points_or_box(
        s, 0, 1, torch.tensor([[35.0, 25.0]]), torch.tensor([1]), clear_old_points=False
    )
    yield p.add_new_points_or_box(s, 0, 1, box=[0.2, 0.2, 0.6, 0.8], normalize_coords=False)
    yield p.add_new_points_or_box(s, 0, 1, [[35, 25]], [1], clear_old_points=False)
    yield from p.propagate_in_video(s, max_frame_num_to_track=3)


def corrections(p: Any, s: Any) -> Iterator[Answer]:
    yield p.add_new_points_or_box(s, 0, 1, [[30, 30]], [1])
    yield from p.propagate_in_video(s)
    yield p.add_new_points_or_box(s, 3, 1, [[70, 40]], [0])
    yield p.add_new_points_or_box(s, 3, 1, [[25, 20]], [1], clear_old_points=False)
    yield p.add_new_points_or_box(s, 5, 1, box=BOX)  # does not read the correction of frame 3 yet
    yield from p.propagate_in_video(s, start_frame_idx=4, max_frame_num_to_track=2)
    yield p.add_new_mask(s, 6, 1, some_mask())
    yield p.add_new_points_or_box(s, 0, 1, [[40, 40]], [1])  # a conditioning frame that was visited
    yield from p.propagate_in_video(s)


def masks_of_every_kind(p: Any, s: Any) -> Iterator[Answer]:
    mask = some_mask()
    yield p.add_new_mask(s, 0, 1, mask.astype(np.uint8) * 255)
    yield p.add_new_mask(s, 1, 1, torch.from_numpy(mask) * 20.0 - 10.0)  # logits
    yield p.add_new_mask(s, 2, 1, torch.from_numpy(mask) * 0.6 + 0.2)
    yield p.add_new_mask(s, 3, 1, torch.from_numpy(mask).int() * 3)


def both_directions(p: Any, s: Any) -> Iterator[Answer]:
    yield p.add_new_points_or_box(s, 5, 1, box=BOX)
    yield p.add_new_mask(s, 5, 2, some_mask())
    yield from p.propagate_in_video(s, reverse=True)
    yield p.add_new_points_or_box(s, 2, 1, [[30, 30]], [1])  # corrected as it was tracked: in reverse
    yield from p.propagate_in_video(s)
    yield p.add_new_points_or_box(s, 7, 2, [[30, 30]], [1])
    yield from p.propagate_in_video(s, start_frame_idx=0, reverse=True)  # nothing


def conditioning_frames_and_a_late_object(p: Any, s: Any) -> Iterator[Answer]:
    yield p.add_new_points_or_box(s, 1, 1, box=BOX)
    yield p.add_new_points_or_box(s, 4, 1, [[40, 30]], [1])
    yield p.add_new_mask(s, 7, 1, some_mask())
    yield from p.propagate_in_video(s)
    yield p.add_new_points_or_box(s, 3, 2, [[60, 30], [10, 50]], [1, 0])
    yield from p.propagate_in_video(s, start_frame_idx=3)


def taking_back(p: Any, s: Any) -> Iterator[Answer]:
    yield p.add_new_points_or_box(s, 0, 1, box=BOX)
    yield p.add_new_points_or_box(s, 3, 1, [[40, 30]], [1])
    yield p.add_new_mask(s, 0, 5, some_mask())
    yield p.clear_all_prompts_in_frame(s, 3, 1)
    yield from p.propagate_in_video(s)
    yield p.add_new_points_or_box(s, 3, 1, [[40, 30]], [1])
    yield p.add_new_points_or_box(s, 4, 5, [[60, 30]], [1])
    yield p.clear_all_prompts_in_frame(s, 4, 5)
    yield p.add_new_points_or_box(s, 8, 5, [[60, 30]], [1])
    ids, updated = p.remove_object(s, 5)
    yield from ((t, list(ids), masks) for t, masks in sorted(updated, key=lambda pair: pair[0]))
    yield from p.propagate_in_video(s, start_frame_idx=1)
    assert p.remove_object(s, 77) == (list(s["obj_ids"]), [])
    assert p.remove_object(s, 1) == ([], [])
    yield p.add_new_points_or_box(s, 2, 1, [[40, 30]], [1])
    p.reset_state(s)
    yield p.add_new_mask(s, 2, 3, np.zeros((60, 90), bool))
    yield p.add_new_mask(s, 5, 3, some_mask())
    yield from p.propagate_in_video(s)


FAST = [corrections, masks_of_every_kind]
SLOW = [
    box,
    several_objects,
    clicks_one_by_one,
    both_directions,
    conditioning_frames_and_a_late_object,
    taking_back,
]


def read_of(answers: Iterator[Answer]) -> list[tuple[int, list[int], np.ndarray]]:
    return [(t, list(ids), masks.float().numpy().copy()) for t, ids, masks in answers]


@pytest.fixture(scope="module")
def pair():
    pytest.importorskip("sam2", reason="needs the extra 'sam2'")
    from support.parity import Pair

    return Pair("sam2.1_hiera_t", "sam2.1-hiera-tiny")


def assert_same_answers(pair: Any, script: Script, make_tracker: Callable[[], Any]) -> None:
    from support.official import official_state
    from support.parity import VIDEO_HW, as_frames, assert_close, moving_picture

    inputs = moving_picture(NUM_FRAMES)

    def check(want: list[tuple[int, list[int], np.ndarray]]) -> None:
        ours = SAM2VideoPredictor(make_tracker())
        got = read_of(script(ours, ours.init_state(as_frames(inputs))))
        assert [answer[:2] for answer in got] == [answer[:2] for answer in want]
        for number, ((frame_idx, _, wanted), (_, _, given)) in enumerate(zip(want, got, strict=True)):
            assert_close("logits", wanted, given, f"answer {number}, frame {frame_idx}")

    pair.compare(lambda p: read_of(script(p, official_state(p, inputs, VIDEO_HW))), check)


@pytest.mark.parametrize("script", [*FAST, *(pytest.param(s, marks=pytest.mark.slow) for s in SLOW)])
def test_script_gives_the_official_answers(pair, script):
    assert_same_answers(pair, script, lambda: pair.tracker)


@pytest.mark.slow
def test_script_gives_the_official_answers_with_sam2():
    pytest.importorskip("sam2", reason="needs the extra 'sam2'")
    from support.parity import Pair

    other = Pair("sam2_hiera_t", "sam2-hiera-tiny")
    assert_same_answers(other, corrections, lambda: other.tracker)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "official_option", "our_option"),
    [
        (corrections, {"add_all_frames_to_correct_as_cond": True}, {"corrections_condition": True}),
        (
            conditioning_frames_and_a_late_object,
            {"max_cond_frames_in_attn": 2},
            {"policy": RecentFrames(max_conditioning=2)},
        ),
        (both_directions, {"memory_temporal_stride_for_eval": 2}, {"policy": RecentFrames(stride=2)}),
    ],
)
def test_options_do_what_the_official_ones_do(pair, monkeypatch, script, official_option, our_option):
    for name, value in official_option.items():
        monkeypatch.setattr(pair.predictor, name, value)
    assert_same_answers(pair, script, lambda: pair.tracker_with(**our_option))


@pytest.mark.slow
def test_objects_are_kept_apart_as_by_the_official_constraint(pair):
    """Its very code on our masks; beside its own ones, pixels on which objects score alike would decide."""
    from support.parity import as_frames, moving_picture

    answers = []
    for tracker in (pair.tracker, pair.tracker_with(non_overlap_masks=True)):
        predictor = SAM2VideoPredictor(tracker)
        state = predictor.init_state(as_frames(moving_picture(NUM_FRAMES)))
        answers.append(read_of(several_objects(predictor, state)))
    for (_, _, overlapping), (_, _, apart) in zip(*answers, strict=True):
        want = pair.predictor._apply_non_overlapping_constraints(torch.from_numpy(overlapping))
        assert np.array_equal(want.numpy(), apart)


def regions_on_the_cpu(masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the official CUDA extension gives: labels and areas of 8-connected regions."""
    labels, areas = np.zeros(masks.shape, np.int32), np.zeros(masks.shape, np.int32)
    for row, mask in enumerate(masks.numpy()):
        _, regions, stats, _ = cv2.connectedComponentsWithStats(mask[0].astype(np.uint8), connectivity=8)
        labels[row, 0], areas[row, 0] = regions, stats[regions, cv2.CC_STAT_AREA]
    return torch.from_numpy(labels), torch.from_numpy(areas)


@pytest.mark.slow
def test_holes_are_filled_where_the_official_extension_fills_them(pair, monkeypatch):
    import sam2.utils.misc

    monkeypatch.setattr(sam2.utils.misc, "get_connected_components", regions_on_the_cpu)
    monkeypatch.setattr(pair.predictor, "fill_hole_area", 8)
    assert_same_answers(pair, corrections, lambda: pair.tracker_with(fill_hole_area=8))


@pytest.mark.slow
def test_memory_around_prompted_frames_is_cleared_as_officially_meant(pair, monkeypatch):
    """The official method that the option calls is missing from release 1.1; here it is, by its docstring."""

    def clear(state: Any, frame_idx: int, obj_idx: int) -> None:
        tracked = state["output_dict_per_obj"][obj_idx]["non_cond_frame_outputs"]
        reach = pair.predictor.memory_temporal_stride_for_eval * pair.predictor.num_maskmem
        for other in range(frame_idx - reach, frame_idx + reach + 1):
            if other != frame_idx:
                tracked.pop(other, None)

    monkeypatch.setattr(pair.predictor, "clear_non_cond_mem_around_input", True)
    monkeypatch.setattr(pair.predictor, "_clear_obj_non_cond_mem_around_input", clear, raising=False)
    options = {"clear_memory_around_corrections": True}
    assert_same_answers(pair, corrections, lambda: pair.tracker_with(**options))


TWICE_COVERED = ("sam2.1_hiera_b+_B", "sam2.1_hiera_b+_E", "sam2_hiera_t_A", "sam2.1_hiera_t_G")
"""Scenarios that another golden tells too (G is A, at full size); test_engine_goldens.py plays them all."""


def _marked(name: Any) -> Any:
    is_fast = name.values[0] in ("sam2.1_hiera_t_C", "absent")
    return name if is_fast else pytest.param(*name.values, marks=[*name.marks, pytest.mark.slow])


@pytest.mark.parametrize(
    "name", [_marked(n) for n in golden_names("sam2*") if n.values[0] not in TWICE_COVERED]
)
def test_shim_reproduces_the_golden(name):
    golden = load_golden(name)
    predictor = SAM2VideoPredictor(golden_tracker(golden))
    state = predictor.init_state(frames(golden))
    got: dict[str, Any] = {}
    prompts = passes = 0
    for step in golden.steps:
        if isinstance(step, PromptCall):
            if "mask" in step.prompt:
                answer = predictor.add_new_mask(state, step.frame_idx, step.obj_id, step.prompt["mask"])
            else:
                answer = predictor.add_new_points_or_box(state, step.frame_idx, step.obj_id, **step.prompt)
            frame_idx, ids, masks = answer
            got[f"prompt{prompts}_frame"] = np.array(frame_idx)
            got[f"prompt{prompts}_ids"] = np.array(ids)
            got[f"prompt{prompts}_video_sub"] = video_sub(masks[:, 0].numpy())
            got[f"prompt{prompts}_video_bits"] = video_bits(masks[:, 0].numpy())
            prompts += 1
            continue
        rows: dict[str, list[Any]] = {}
        for frame_idx, _, masks in predictor.propagate_in_video(state, step.start, reverse=step.reverse):
            banks = list(state.session.banks.values())
            memories = [bank.at(frame_idx) for bank in banks]
            row = {
                "order": frame_idx,
                "low": np.stack([m.low_res_logits_hw.numpy() for m in memories]),
                "obj": [m.object_score_logit for m in memories],
                "ptr": np.stack([m.pointer_c.numpy() for m in memories]),
                "is_cond": [frame_idx in bank.conditioning for bank in banks],
                "mem_stats": [memory_stats(m.tokens_nc) for m in memories],
                "video_sub": video_sub(masks[:, 0].numpy()),
                "video_bits": video_bits(masks[:, 0].numpy()),
            }
            for key, value in row.items():
                rows.setdefault(f"pass{passes}_{key}", []).append(value)
        got |= {key: np.array(value) for key, value in rows.items()}
        passes += 1
    assert_golden(golden, got)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    from support.parity import small_tracker

    return small_tracker(tmp_path_factory.mktemp("tracker"))


def pictures(num_frames: int = 4) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (60, 90, 3), np.uint8) for _ in range(num_frames)]


def answers_on(tiny: Any, source: Any) -> list[Any]:
    predictor = SAM2VideoPredictor(tiny)
    state = predictor.init_state(source)
    first = predictor.add_new_points_or_box(state, 2, 1, box=BOX)
    return read_of(
        iter(
            [first, *predictor.propagate_in_video(state), *predictor.propagate_in_video(state, reverse=True)]
        )
    )


def test_sources_of_every_kind_give_the_same(tiny, tmp_path):
    from PIL import Image

    folder = tmp_path / "frames"
    folder.mkdir()
    for number, picture in enumerate(pictures()):
        Image.fromarray(picture).save(folder / f"{number:05d}.png")
    want = answers_on(tiny, pictures())
    assert [t for t, *_ in want] == [2, 2, 3, 2, 1, 0]
    renumbered = [Frame(100 + k, k / 10, picture) for k, picture in enumerate(pictures())]
    for source in (renumbered, folder, str(folder)):
        for (_, _, wanted), (_, _, given) in zip(want, answers_on(tiny, source), strict=True):
            assert np.array_equal(wanted, given)


def test_video_file_is_read_as_often_as_wanted(tiny, tmp_path):
    video = numbered(tmp_path / "v.mp4", 12)
    with vidseg.read(video) as opened:
        want = answers_on(tiny, list(opened))
    got = answers_on(tiny, video)
    assert [answer[0] for answer in got] == [2, *range(2, 12), 2, 1, 0]
    for (_, _, wanted), (_, _, given) in zip(want, got, strict=True):
        assert np.array_equal(wanted, given)


def test_frames_are_encoded_once_and_not_held(tiny, monkeypatch):
    encoded = []
    encode = type(tiny.engine).encode
    monkeypatch.setattr(type(tiny.engine), "encode", lambda e, f: (encoded.append(f.index), encode(e, f))[1])
    predictor = SAM2VideoPredictor(tiny)
    state = predictor.init_state(pictures(5))
    predictor.add_new_points_or_box(state, 0, 1, box=BOX)
    predictor.add_new_points_or_box(state, 0, 2, [[30, 30]], [1])
    list(predictor.propagate_in_video(state))
    assert encoded == [0, 1, 2, 3, 4]


def test_answers_are_the_official_types(tiny):
    predictor = SAM2VideoPredictor(tiny)
    state = predictor.init_state(pictures(), offload_video_to_cpu=True, async_loading_frames=True)
    assert (state["num_frames"], state["video_height"], state["video_width"]) == (4, 60, 90)
    frame_idx, obj_ids, masks = predictor.add_new_points_or_box(state, 0, 7, box=BOX)
    assert (frame_idx, obj_ids, state["obj_ids"]) == (0, [7], [7])
    assert masks.shape == (1, 1, 60, 90)
    assert masks.dtype == torch.float32
    _, obj_ids, masks = predictor.add_new_points_or_box(state, 1, 3, box=BOX)
    assert obj_ids == [7, 3]
    assert (masks[0] == -1024).all()
    assert (masks[1] != -1024).any()


def test_objects_may_come_and_go_while_frames_come(tiny):
    predictor = SAM2VideoPredictor(tiny)
    state = predictor.init_state(pictures(5))
    predictor.add_new_points_or_box(state, 0, 1, box=BOX)
    seen = {}
    for frame_idx, obj_ids, masks in predictor.propagate_in_video(state):
        seen[frame_idx] = (obj_ids, len(masks))
        if frame_idx == 1:
            predictor.add_new_points_or_box(state, 1, 2, box=BOX)
    assert set(map(str, seen.values())) == {"([1], 1)"}
    assert [ids for _, ids, _ in predictor.propagate_in_video(state, 1)] == [[1, 2]] * 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, s: p.add_new_points_or_box(s, 0, 1), "neither points nor a box"),
        (lambda p, s: p.add_new_points_or_box(s, 0, 1, points=[[1, 2]]), "together"),
        (
            lambda p, s: p.add_new_points_or_box(s, 0, 1, points=[[1, 2]], labels=[1, 0]),
            "1 points but 2 labels",
        ),
        (lambda p, s: p.add_new_points_or_box(s, 0, 1, box=BOX, clear_old_points=False), "after points"),
        (lambda p, s: p.add_new_points_or_box(s, 4, 1, box=BOX), "frame 4 of a video of 4 frames"),
        (lambda p, s: p.add_new_points_or_box(s, -1, 1, box=BOX), "frame -1"),
        (lambda p, s: p.add_new_mask(s, 0, 1, np.ones((1, 60, 90))), "a mask of shape"),
        (lambda p, s: list(p.propagate_in_video(s)), "no object has points or a mask"),
        (lambda p, s: p.remove_object(s, 5, strict=True), "no object 5"),
        (lambda p, s: p.clear_all_prompts_in_frame(s, 0, 5), "no object 5"),
    ],
)
def test_wrong_calls_are_named_and_change_nothing(tiny, call, message):
    predictor = SAM2VideoPredictor(tiny)
    state = predictor.init_state(pictures())
    with pytest.raises(CallError, match=message):
        call(predictor, state)
    assert state["obj_ids"] == []
    predictor.add_new_points_or_box(state, 0, 1, box=BOX)
    assert len(list(predictor.propagate_in_video(state))) == 4


def test_propagation_from_a_frame_that_is_not_there_is_named(tiny):
    predictor = SAM2VideoPredictor(tiny)
    state = predictor.init_state(pictures())
    predictor.add_new_points_or_box(state, 0, 1, box=BOX)
    with pytest.raises(CallError, match="frame 4 of a video of 4 frames"):
        list(predictor.propagate_in_video(state, start_frame_idx=4, reverse=True))
    assert list(predictor.propagate_in_video(state, start_frame_idx=4)) == []


def test_object_without_prompts_left_is_named(tiny):
    predictor = SAM2VideoPredictor(tiny)
    state = predictor.init_state(pictures())
    predictor.add_new_points_or_box(state, 0, 1, box=BOX)
    list(predictor.propagate_in_video(state))
    predictor.clear_all_prompts_in_frame(state, 0, 1)
    with pytest.raises(CallError, match="object 1 has no points"):
        list(predictor.propagate_in_video(state))
    with pytest.raises(CallError, match="no prompt left"):
        predictor.add_new_points_or_box(state, 2, 1, [[30, 30]], [1])


def test_wrong_calls_raise_what_official_scripts_catch():
    assert issubclass(CallError, ValueError)
    assert issubclass(CallError, RuntimeError)
    assert issubclass(CallError, PromptError)


def test_sources_that_can_be_read_only_once_are_refused(tiny):
    with pytest.raises(InputError, match="can be read only once"):
        SAM2VideoPredictor(tiny).init_state(iter(pictures()))


def test_other_trackers_are_refused():
    with pytest.raises(InputError, match="'flow' is not one of the SAM 2 family"):
        SAM2VideoPredictor(vidseg.load("flow"))


def test_import_does_not_load_the_pipeline():
    code = "import vidseg, sys; vidseg.compat.SAM2VideoPredictor; assert 'vidseg.pipeline' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)
