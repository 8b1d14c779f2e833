"""The official builders, options as attributes, and the state that scripts look into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support.parity import SMALL_MODEL, small_tracker
from vidseg.compat import (
    CallError,
    SAM2ImagePredictor,
    SAM2VideoPredictor,
    build_sam2,
    build_sam2_video_predictor,
)
from vidseg.compat.loading import tracker_name
from vidseg.errors import CheckpointError, ConfigError, InputError

BOX = [20.0, 10.0, 60.0, 50.0]


def pictures(count: int = 5) -> list[Any]:
    canvas = np.random.default_rng(1).integers(0, 255, (12, 18, 3), np.uint8)
    picture = np.kron(canvas, np.ones((5, 5, 1), np.uint8))
    return [np.roll(picture, 3 * t, axis=1) for t in range(count)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return small_tracker(tmp_path_factory.mktemp("small"))


@pytest.fixture
def yaml_file(tmp_path: Path) -> str:
    (tmp_path / "small.yaml").write_text(SMALL_MODEL, encoding="utf-8")
    return str(tmp_path / "small.yaml")


@pytest.mark.parametrize(
    ("official", "name"),
    [
        ("configs/sam2.1/sam2.1_hiera_l.yaml", "sam2.1-hiera-large"),
        ("sam2_hiera_b+.yaml", "sam2-hiera-base-plus"),
        ("sam2.1_hiera_t", "sam2.1-hiera-tiny"),
        ("configs/edgetam.yaml", "edgetam"),
        ("configs/efficienttam/efficienttam_ti_512x512.yaml", "efficienttam-ti-512"),
        ("sam2.1-hiera-small", "sam2.1-hiera-small"),
    ],
)
def test_official_configurations_have_our_names(official: str, name: str) -> None:
    assert tracker_name(official) == name


def test_builders_take_the_official_arguments(yaml_file: str) -> None:
    predictor = build_sam2_video_predictor(
        yaml_file,
        device=torch.device("cpu"),
        hydra_overrides_extra=["++model.non_overlap_masks=true"],
        allow_random_weights=True,
    )
    assert predictor.fill_hole_area == 8
    assert predictor.non_overlap_masks is True
    assert predictor.eval() is predictor.to("cpu") is predictor
    assert predictor.image_size == 64
    assert sum(p.numel() for p in predictor.parameters()) > 1e5
    model = build_sam2(yaml_file, device="cpu", allow_random_weights=True)
    assert model.fill_hole_area == 0
    assert isinstance(SAM2ImagePredictor(model), SAM2ImagePredictor)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "train"}, "vidseg train"),
        ({"apply_postprocessing": False}, "cannot be had"),
        ({"hydra_overrides_extra": ["++model.memory_attention.layer.dropout=0"]}, "not known"),
    ],
)
def test_what_cannot_be_had_is_said(yaml_file: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(CallError, match=message):
        build_sam2_video_predictor(yaml_file, device="cpu", allow_random_weights=True, **arguments)


def test_published_models_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDSEG_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(CheckpointError, match=r"vidseg weights get sam2\.1-hiera-tiny"):
        SAM2VideoPredictor.from_pretrained("facebook/sam2.1-hiera-tiny", device="cpu")
    with pytest.raises(ConfigError, match=r"unknown model 'sam2\.1-hiera-tny'; did you mean"):
        SAM2ImagePredictor.from_pretrained("facebook/sam2.1-hiera-tny")
    model = SAM2VideoPredictor.from_pretrained(
        "facebook/sam2.1-hiera-tiny", device="cpu", allow_random_weights=True, image_size=64
    )
    assert model.tracker.name == "sam2.1-hiera-tiny"
    assert model.fill_hole_area == 8


def test_weights_of_the_hubs_cache_and_of_folders_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import save_file

    from support.seeded import seeded_weights
    from vidseg.trackers.build import expected_shapes
    from vidseg.trackers.registry import read_config
    from vidseg.trackers.settings import EngineSettings

    config = read_config("edgetam")[1]
    del config["kind"]
    state = seeded_weights(expected_shapes(EngineSettings.model_validate(config), "test"))
    monkeypatch.setenv("VIDSEG_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    snapshot = tmp_path / "hub" / "models--somebody--EdgeTAM" / "snapshots" / "0a1b"
    snapshot.mkdir(parents=True)
    torch.save({"model": state}, snapshot / "edgetam.pt")
    cached = SAM2VideoPredictor.from_pretrained("somebody/EdgeTAM", device="cpu")
    folder = tmp_path / "my-model"
    folder.mkdir()
    with pytest.raises(CallError, match="there are no weights"):
        SAM2VideoPredictor.from_pretrained(str(folder))
    save_file(state, folder / "model.safetensors")
    local = SAM2VideoPredictor.from_pretrained(str(folder), device="cpu")
    assert cached.tracker.name == local.tracker.name == "edgetam"
    assert cached.tracker.weights_sha256 == local.tracker.weights_sha256 is not None


def test_options_act_when_they_are_set(tiny: Any) -> None:
    predictor = SAM2VideoPredictor(tiny)
    state = predictor.init_state(pictures())
    predictor.add_new_points_or_box(state, 0, 1, box=BOX)
    predictor.add_new_points_or_box(state, 0, 2, box=[25.0, 12.0, 70.0, 50.0])

    def overlap() -> int:
        (_, _, masks), *_ = predictor.propagate_in_video(state, max_frame_num_to_track=0)
        return int((masks[0] > 0).logical_and(masks[1] > 0).sum())

    assert overlap() > 0
    predictor.non_overlap_masks = True
    assert overlap() == 0
    predictor.fill_hole_area = 4
    assert predictor.tracker.engine.fill_hole_area == 4
    predictor.max_cond_frames_in_attn = 3
    assert predictor.tracker.engine.policy.max_conditioning == 3
    predictor.max_cond_frames_in_attn = -1
    assert predictor.tracker.engine.policy.max_conditioning is None
    predictor.add_all_frames_to_correct_as_cond = True
    list(predictor.propagate_in_video(state))
    predictor.add_new_points_or_box(state, 3, 1, [[30, 30]], [1])
    list(predictor.propagate_in_video(state))
    assert 3 in state["output_dict_per_obj"][0]["cond_frame_outputs"]
    assert (tiny.options.non_overlap_masks, tiny.engine.fill_hole_area) == (False, 0)  # the caller's own


@pytest.mark.parametrize("name", ["num_maskmem", "image_size", "sigmoid_scale_for_mem_enc", "anything"])
def test_options_without_effect_are_refused(tiny: Any, name: str) -> None:
    with pytest.raises(CallError, match=f"setting '{name}' would have no effect"):
        setattr(SAM2VideoPredictor(tiny), name, 1)
    with pytest.raises(CallError, match="max_cond_frames_in_attn = 1"):
        SAM2VideoPredictor(tiny).max_cond_frames_in_attn = 1


def test_state_reads_as_the_official_dictionary(tiny: Any) -> None:
    predictor = SAM2VideoPredictor(tiny)
    state = predictor.init_state(pictures())
    predictor.add_new_points_or_box(state, 0, 7, [[30, 30]], [1], box=BOX)
    predictor.add_new_mask(state, 1, 3, np.ones((60, 90), bool))
    assert list(state["temp_output_dict_per_obj"][0]["cond_frame_outputs"]) == [0]
    list(predictor.propagate_in_video(state))
    assert {"num_frames", "obj_ids", "images", "output_dict_per_obj"} <= set(state)
    assert dict(state).keys() == set(state)
    assert state.get("cached_features") is None
    assert (state["obj_id_to_idx"], state["obj_idx_to_id"]) == ({7: 0, 3: 1}, {0: 7, 1: 3})
    assert len(state["images"]) == 5
    assert state["images"][-1].shape == (3, 64, 64)
    assert len(list(state["images"])) == 5
    points = state["point_inputs_per_obj"][0][0]
    assert points["point_labels"].tolist() == [[2, 3, 1]]
    assert torch.allclose(points["point_coords"][0, 2], torch.tensor([30 * 64 / 90, 30 * 64 / 60]))
    assert state["mask_inputs_per_obj"][1][1].shape == (1, 1, 60, 90)
    outputs = state["output_dict_per_obj"][0]
    assert list(outputs["cond_frame_outputs"]) == [0]
    assert list(outputs["non_cond_frame_outputs"]) == [1, 2, 3, 4]
    assert outputs["cond_frame_outputs"][0]["pred_masks"].shape == (1, 1, 16, 16)
    assert state["frames_tracked_per_obj"][0][4] == {"reverse": False}
    with pytest.raises(CallError, match="cannot be set"):
        state["num_frames"] = 3
    with pytest.raises(KeyError):
        state["no such thing"]


def test_models_are_built_in_the_middle_of_inference_mode(yaml_file: str) -> None:
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        predictor = build_sam2_video_predictor(yaml_file, device="cpu", allow_random_weights=True)
        state = predictor.init_state(pictures(2))
        predictor.add_new_points_or_box(state, 0, 1, box=BOX)
        assert len(list(predictor.propagate_in_video(state))) == 2
        images = SAM2ImagePredictor(build_sam2(yaml_file, device="cpu", allow_random_weights=True))
        images.set_image(pictures(1)[0])
        assert images.predict(box=BOX)[0].shape == (3, 60, 90)


def test_training_is_refused(tiny: Any) -> None:
    predictor = SAM2VideoPredictor(tiny)
    assert predictor.train(False) is predictor
    with pytest.raises(CallError, match="does not train"):
        predictor.train()


def test_other_trackers_are_refused() -> None:
    with pytest.raises(InputError, match="'flow' is not one of the SAM 2 family"):
        build_sam2("flow")


def test_video_notebook_runs(yaml_file: str) -> None:
    """The official video notebook, cell by cell, in our own words; one import is another."""
    predictor = build_sam2_video_predictor(yaml_file, device="cpu", allow_random_weights=True)
    inference_state = predictor.init_state(video_path=pictures(6))
    predictor.reset_state(inference_state)
    prompts: dict[int, Any] = {}
    points, labels = np.array([[30, 25]], dtype=np.float32), np.array([1], np.int32)
    prompts[2] = points, labels
    _, _, out_mask_logits = predictor.add_new_points_or_box(
        inference_state=inference_state, frame_idx=0, obj_id=2, points=points, labels=labels
    )
    assert (out_mask_logits[0] > 0.0).cpu().numpy().shape == (1, 60, 90)
    points, labels = np.array([[30, 25], [50, 40]], dtype=np.float32), np.array([1, 0], np.int32)
    predictor.add_new_points_or_box(inference_state, 0, 2, points=points, labels=labels)
    predictor.add_new_points_or_box(inference_state, 0, 4, box=np.array(BOX, dtype=np.float32))
    video_segments = {
        out_frame_idx: {
            out_obj_id: (out_mask_logits[i] > 0.0).cpu().numpy() for i, out_obj_id in enumerate(out_obj_ids)
        }
        for out_frame_idx, out_obj_ids, out_mask_logits in predictor.propagate_in_video(inference_state)
    }
    assert list(video_segments) == list(range(6))
    assert all(list(of_frame) == [2, 4] for of_frame in video_segments.values())
    predictor.add_new_points_or_box(
        inference_state, 5, 2, np.array([[60, 30]], np.float32), np.array([0], np.int32)
    )
    again = list(predictor.propagate_in_video(inference_state))
    assert len(again) == 6
