"""Weights under the names of the transformers library: renamed, and beside the library itself."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

import vidseg
from support.official_image import declare_torchvision_operators, picture
from support.parity import VIDEO_HW, as_frames, moving_picture, weights_for
from support.seeded import seeded_weights
from support.transformers_weights import to_transformers
from vidseg.errors import CheckpointError
from vidseg.trackers.build import EngineSettings, expected_shapes
from vidseg.trackers.registry import read_config
from vidseg.trackers.weights import read_checkpoint
from vidseg.trackers.weights.transformers_layout import (
    THEIR_PLACES,
    from_transformers,
    is_transformers,
)

SIZE = 256
BOX = [20.0, 10.0, 60.0, 50.0]
TOLERANCE = 1e-3
"""How far logits may be apart, as a share of their deviation. It is that of support.parity, as memories are
rounded to bfloat16 on either side."""
NUMBER = r"\d+(?=\.|$)|(?<=stages_)\d+"
KEYS = Path(__file__).parent.parent / "support" / "transformers_keys.txt"
NAMES = ["sam2-hiera-base-plus", "sam2.1-hiera-tiny", "edgetam"]


@cache
def state_of(name: str) -> dict[str, Tensor]:
    config = read_config(name)[1]
    del config["kind"]
    return seeded_weights(expected_shapes(EngineSettings.model_validate(config), "test"))


@pytest.mark.parametrize("name", NAMES)
def test_renaming_there_and_back_is_bitwise(name: str) -> None:
    state = state_of(name)
    theirs = to_transformers(state)
    assert is_transformers(theirs)
    assert not is_transformers(state)
    back = from_transformers(theirs)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], value) for key, value in state.items())


@pytest.mark.parametrize(
    ("name", "title"), [("sam2.1-hiera-tiny", "Sam2VideoModel"), ("edgetam", "EdgeTamVideoModel")]
)
def test_names_are_the_librarys(name: str, title: str) -> None:
    """Stored are the names of transformers 5.24 with # for numbers, and how many there are of each."""
    stored = KEYS.read_text(encoding="utf-8").split(f"# {title}\n")[1].split("\n# ")[0].splitlines()
    kinds = Counter(re.sub(NUMBER, "#", key) for key in to_transformers(state_of(name)))
    assert sorted(stored) == sorted(f"{count} {kind}" for kind, count in kinds.items())


def test_one_copy_of_the_shared_matrix_is_enough() -> None:
    state = state_of("sam2.1-hiera-tiny")
    theirs = to_transformers(state)
    del theirs[THEIR_PLACES[1]]  # safetensors keeps one of two tensors that share memory
    assert from_transformers(theirs).keys() == state.keys()


def test_wrong_weights_are_named() -> None:
    theirs = to_transformers(state_of("sam2.1-hiera-tiny"))
    with pytest.raises(
        CheckpointError, match=r"it looks like SAM 2\.1 tiny: use the tracker sam2\.1-hiera-tiny"
    ):
        vidseg.load("sam2.1-hiera-small", weights=theirs, device="cpu")
    theirs["mask_decoder.strange.weight"] = torch.zeros(3)
    with pytest.raises(CheckpointError, match=r"1 unknown \(first unknown: mask_decoder\.strange\.weight\)"):
        vidseg.load("sam2.1-hiera-tiny", weights=theirs, device="cpu")


def test_weights_for_pictures_alone_are_taken_for_pictures(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    memory = (
        "memory_",
        "mask_downsample",
        "object_pointer",
        "no_object",
        "temporal_",
        "occlusion_",
        "no_memory_pos",
    )
    theirs = to_transformers(state_of("sam2.1-hiera-tiny"))
    theirs = {name: value.contiguous() for name, value in theirs.items() if not name.startswith(memory)}
    theirs = {name: value.clone() for name, value in theirs.items()}
    save_file(theirs, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"vidseg\.load_image takes it"):
        vidseg.load("sam2.1-hiera-tiny", weights=tmp_path / "model.safetensors", device="cpu")
    model = vidseg.load_image("sam2.1-hiera-tiny", weights=tmp_path / "model.safetensors", device="cpu").model
    whole = vidseg.load_image("sam2.1-hiera-tiny", weights=state_of("sam2.1-hiera-tiny"), device="cpu").model
    for part in ("image_encoder", "sam_mask_decoder", "sam_prompt_encoder"):
        want = getattr(whole, part).state_dict()
        assert all(torch.equal(value, want[key]) for key, value in getattr(model, part).state_dict().items())
    with pytest.raises(CheckpointError, match=r"\d unknown"):
        vidseg.load_image("sam2.1-hiera-small", weights=tmp_path / "model.safetensors", device="cpu")


@pytest.fixture(scope="module")
def transformers() -> Any:
    declare_torchvision_operators()
    return pytest.importorskip("transformers")


def grids(size: int) -> list[list[int]]:
    return [[size // stride] * 2 for stride in (4, 8, 16)]


def their_video_model(transformers: Any, name: str) -> Any:
    common: dict[str, Any] = {
        "image_size": SIZE,
        "prompt_encoder_config": {"image_size": SIZE},
        "memory_attention_rope_feat_sizes": [SIZE // 16] * 2,
    }
    if name != "edgetam":
        vision = transformers.Sam2VisionConfig(backbone_feature_sizes=grids(SIZE))
        return transformers.Sam2VideoModel(
            transformers.Sam2VideoConfig(vision_config=vision, **common)
        ).eval()
    pytest.importorskip("timm")
    backbone = transformers.TimmWrapperConfig(
        architecture="repvit_m1",
        model_args={"features_only": True, "in_chans": 3, "out_indices": [0, 1, 2, 3]},
    )
    vision = transformers.EdgeTamVisionConfig(backbone_config=backbone, backbone_feature_sizes=grids(SIZE))
    config = transformers.EdgeTamVideoConfig(
        vision_config=vision,
        enable_occlusion_spatial_embedding=False,
        enable_temporal_pos_encoding_for_object_pointers=False,
        **(common | {"memory_attention_rope_k_sizes": [16, 16]}),
    )
    return transformers.EdgeTamVideoModel(config).eval()


@pytest.mark.parametrize("name", ["sam2.1-hiera-tiny", "edgetam"])
def test_videos_against_transformers(transformers: Any, name: str, tmp_path: Path) -> None:
    """Random weights that the library saved are loaded; a box is followed over frames by both."""
    model = their_video_model(transformers, name)
    state = weights_for(name, image_size=SIZE)
    model.load_state_dict(to_transformers(state))
    model.save_pretrained(tmp_path)
    read = read_checkpoint(tmp_path / "model.safetensors")
    held = from_transformers(model.state_dict())
    assert read.keys() == state.keys()
    assert [key for key, value in held.items() if not torch.equal(read[key], value)] == []

    inputs = moving_picture(4, SIZE)
    kind = (
        transformers.EdgeTamVideoInferenceSession
        if name == "edgetam"
        else transformers.Sam2VideoInferenceSession
    )
    session = kind(video=inputs, video_height=VIDEO_HW[0], video_width=VIDEO_HW[1], dtype=torch.float32)
    scale = torch.tensor([SIZE / VIDEO_HW[1], SIZE / VIDEO_HW[0]])
    points = torch.tensor(BOX).reshape(1, 1, 2, 2) * scale
    session.add_point_inputs(
        session.obj_id_to_idx(1), 0, {"point_coords": points, "point_labels": torch.tensor([[[2, 3]]])}
    )
    session.obj_with_new_inputs = [1]
    with torch.inference_mode():
        want = [model(session, frame_idx=t).pred_masks[0, 0].numpy() for t in range(len(inputs))]

    ours = vidseg.load(name, weights=tmp_path / "model.safetensors", image_size=SIZE, device="cpu").start(
        len(inputs)
    )
    ours.prompt(1, box=BOX)
    for t, frame in enumerate(as_frames(inputs)):
        got = ours.step(frame).low_res_logits[0]
        assert np.abs(got - want[t]).max() <= TOLERANCE * want[t].std(), f"frame {t}"


def test_pictures_against_transformers(transformers: Any, tmp_path: Path) -> None:
    vision = transformers.Sam2VisionConfig(backbone_feature_sizes=grids(SIZE))
    prompts = transformers.Sam2PromptEncoderConfig(image_size=SIZE)
    config = transformers.Sam2Config(vision_config=vision, prompt_encoder_config=prompts)
    model = transformers.Sam2Model(config).eval()
    state = weights_for("sam2.1-hiera-tiny", image_size=SIZE)
    theirs = {name: value for name, value in to_transformers(state).items() if name in model.state_dict()}
    model.load_state_dict(theirs)
    model.save_pretrained(tmp_path)
    small = tmp_path / "small.yaml"
    small.write_text(yaml.safe_dump({**read_config("sam2.1-hiera-tiny")[1], "image_size": SIZE}), "utf-8")
    segmenter = vidseg.load_image(small, weights=tmp_path / "model.safetensors", device="cpu")
    embedding = segmenter.embed(picture(1, (117, 173)))
    box = torch.tensor([[BOX]]) * torch.tensor([SIZE / 173, SIZE / 117] * 2)
    with torch.inference_mode():
        want = model(pixel_values=torch.from_numpy(embedding.model_input)[None], input_boxes=box)
    answer = embedding.candidates(box=BOX)
    logits = want.pred_masks[0, 0].numpy()
    assert np.abs(answer.low_res_logits[1:] - logits).max() <= TOLERANCE * logits.std()
    assert np.abs(answer.predicted_ious[1:] - want.iou_scores[0, 0].numpy()).max() < 1e-4
