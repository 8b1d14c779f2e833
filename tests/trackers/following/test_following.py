"""Image models that follow videos: the contract, the made video with an oracle, files, and memory."""

from __future__ import annotations

import json
import warnings
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open

import vidseg
from support.image_models import IMAGE_MODELS, in_small
from support.oracle import oracle
from vidseg.errors import ConfigError, InputError, PromptError
from vidseg.eval.metrics import region_j
from vidseg.masks import iou
from vidseg.pipeline.made_video import MadeVideo
from vidseg.trackers import check
from vidseg.trackers.backbones import efficientvit, repvit, resnet, tiny_vit
from vidseg.trackers.check_scene import scene_box, scene_frame, scene_mask
from vidseg.trackers.contract import Frame, Tracker
from vidseg.trackers.discovery.looking import look_of
from vidseg.trackers.following import FollowingTracker
from vidseg.trackers.parts import BACKBONES

RULES = ("flow-prior", "nanosam")
ON_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
SMALL_SAM = {
    "kind": "image",
    "image_size": 64,
    "backbone": {"name": "sam-vit", **BACKBONES["sam-vit"].example},
    "model": {"name": "sam"},
}
STRETCHED_SAM = {**SMALL_SAM, "framing": {"name": "stretch", "filter": "bilinear"}}
SMALL_PICO = {
    "kind": "image",
    "family": "pico-sam2",
    "image_size": 96,
    "framing": {"name": "pico-sam2"},
    "model": {"name": "pico-sam2"},
}


def loaded(folder: Path, config: dict[str, Any], **options: Any) -> Tracker:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return vidseg.load(path, device="cpu", allow_random_weights=True, **options)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 90), (90, 1), (2, 100)])
def test_frames_of_a_few_pixels_are_followed(size_hw: tuple[int, int], tmp_path: Path) -> None:
    session = loaded(tmp_path, {**SMALL_SAM, "following": {"name": "flow-prior"}}).start()
    session.prompt(1, box=(0, 0, size_hw[1], size_hw[0]))
    for index in range(2):
        result = session.step(Frame(index, 0.0, np.full((*size_hw, 3), 90, np.uint8)))
    assert result.masks.shape == (1, *size_hw)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("config", [SMALL_SAM, SMALL_PICO], ids=["sam", "pico-sam2"])
def test_an_image_model_keeps_the_contract(rule: str, config: dict[str, Any], tmp_path: Path) -> None:
    vidseg.check_tracker(loaded(tmp_path, {**config, "following": {"name": rule}}))


@pytest.fixture
def _few_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The contract asks nothing of how many blocks there are, and all of the largest take half a minute."""
    for variant, vit in list(efficientvit.VARIANTS.items()):
        depths, channels = (min(depth, 1) for depth in vit.depths), (width // 4 for width in vit.channels)
        few = replace(vit, depths=tuple(depths), channels=tuple(channels), fusion_depth=1)
        monkeypatch.setitem(efficientvit.VARIANTS, variant, few)
    for variant, net in list(repvit.VARIANTS.items()):  # every other block has weights for its channels
        monkeypatch.setitem(repvit.VARIANTS, variant, replace(net, depths=(2, 2, 2, 2)))
    for variant, (_, block) in list(resnet.VARIANTS.items()):
        monkeypatch.setitem(resnet.VARIANTS, variant, ((1, 1, 1, 1), block))
    monkeypatch.setattr(tiny_vit, "DEPTHS", (1, 1, 1, 1))


def kind_of(config: dict[str, Any]) -> str:
    """What a configuration says that the contract is about.

    An encoder is a function of pictures whose promises `check_backbone` checks, and a family says how weights
    are named.
    """
    return json.dumps({key: config[key] for key in config.keys() - {"backbone", "family"}}, sort_keys=True)


ONE_OF_EACH = {kind_of(in_small(name)): name for name in reversed(IMAGE_MODELS)}
ONE_OF_EACH.pop(kind_of(SMALL_PICO))  # see above


@pytest.mark.slow
@pytest.mark.usefixtures("_few_blocks")
@pytest.mark.parametrize("name", ONE_OF_EACH.values())
def test_a_named_image_model_keeps_the_contract(name: str, tmp_path: Path) -> None:
    vidseg.check_tracker(loaded(tmp_path, in_small(name)))


@pytest.mark.slow
@pytest.mark.usefixtures("_few_blocks")
@pytest.mark.parametrize("name", [name for name in IMAGE_MODELS if name not in ONE_OF_EACH.values()])
def test_a_named_image_model_with_another_encoder_follows_and_goes_on_where_it_was_saved(
    name: str, tmp_path: Path
) -> None:
    """Its kind keeps the contract, see above. What is left to show is that its own parts fit each other."""
    tracker = loaded(tmp_path, in_small(name))
    check.gives_whole_results(tracker)
    check.restores_sessions(tracker)


@pytest.mark.parametrize("prompts", [None, ["point"]], ids=str)
def test_an_oracle_is_asked_well(prompts: list[str] | None) -> None:
    """On the made video objects cover each other, one leaves the picture and comes back."""
    video = MadeVideo(num_frames=60, size_hw=(180, 320))
    model, segmenter = oracle()
    session = FollowingTracker(segmenter, {"name": "flow-prior", "prompts": prompts}).start()
    js = []
    for frame, truth in video:
        model.truth = truth
        if frame.index == 0:
            for obj_id in video.labels:
                session.prompt(obj_id, mask=truth == obj_id)
        result = session.step(frame)
        pairs = zip(video.labels, result.masks, strict=True)
        js.append([region_j(mask, truth == obj_id) for obj_id, mask in pairs])
    assert np.mean(js[1:-1], axis=0).min() >= 0.9
    # One run of the decoder for all objects that are followed, and one for all that are searched.
    assert model.batches.count(3) >= 20
    assert len(model.batches) <= 2 * video.num_frames


@pytest.mark.parametrize("rule", RULES)
def test_a_session_does_not_grow(rule: str, tmp_path: Path) -> None:
    model, segmenter = oracle()
    tracker = FollowingTracker(segmenter, {"name": rule})
    session = tracker.start()
    for obj_id in (1, 2):
        session.prompt(obj_id, box=scene_box(obj_id, 0))
    sizes = []
    for index in range(180):  # the scene is over after 24 frames, and begins anew
        frame = scene_frame(index)
        model.truth = sum(obj_id * scene_mask(obj_id, index).astype(np.uint8) for obj_id in (1, 2))
        session.step(frame)
        if index in (60, 179):
            session.save(tmp_path / "state")
            with safe_open(tmp_path / "state", framework="np") as file:
                sizes.append({name: file.get_tensor(name).nbytes for name in file.keys()})  # noqa: SIM118
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("rule", RULES)
def test_a_restored_session_goes_on_with_the_same_bits(rule: str, tmp_path: Path) -> None:
    tracker = FollowingTracker(vidseg.load_image("vidseg-nano", device="cpu"), {"name": rule})
    session = tracker.start()
    session.prompt(1, box=scene_box(1, 0), label="tile")
    session.prompt(2, mask=scene_frame(0).image[..., 2] > 180)  # type: ignore[index]
    for index in range(3):
        session.step(scene_frame(index))
    session.prompt(3, points=[[90, 60]])
    session.condition(scene_frame(5))
    session.save(tmp_path / "state")
    restored = tracker.restore(tmp_path / "state")
    for index in range(3, 8):
        wanted, got = session.step(scene_frame(index)), restored.step(scene_frame(index))
        assert np.array_equal(wanted.low_res_logits, got.low_res_logits)
        assert (wanted.states, wanted.labels) == (got.states, got.labels)


@pytest.mark.parametrize(
    ("device", "dtype"),
    [
        ("cpu", "bfloat16"),
        pytest.param("cuda", "float32", marks=ON_A_GPU),
        pytest.param("cuda", "bfloat16", marks=ON_A_GPU),
    ],
)
@pytest.mark.parametrize("rule", RULES)
def test_other_devices_and_types_follow_as_float32_on_the_cpu(rule: str, device: str, dtype: Any) -> None:
    masks = []
    for on, of in (("cpu", "float32"), (device, dtype)):
        segmenter = vidseg.load_image("vidseg-nano", device=on, dtype=of)
        session = FollowingTracker(segmenter, {"name": rule}).start()
        session.prompt(1, mask=scene_mask(1, 0))
        masks.append([session.step(scene_frame(index)).masks[0] for index in range(3)])
    assert min(iou(*pair) for pair in zip(*masks, strict=True)) > 0.9


def test_a_prompt_is_answered_as_on_a_picture() -> None:
    segmenter = vidseg.load_image("vidseg-nano", device="cpu")
    frame = scene_frame(0)
    session = FollowingTracker(segmenter).start()
    session.prompt(1, box=scene_box(1, 0))
    (found,) = segmenter.embed(frame.image).segment(box=scene_box(1, 0), multimask=False)  # type: ignore[arg-type]
    assert np.array_equal(session.step(frame).masks[0], found.mask)


def test_a_rule_may_be_named_alone(tmp_path: Path) -> None:
    tracker = loaded(tmp_path, {**SMALL_SAM, "following": "nanosam"})
    assert tracker.describe()["config"]["following"] == {"name": "nanosam"}
    assert FollowingTracker(oracle()[1], "nanosam").following == {"name": "nanosam"}


def test_options_of_results_are_honoured(tmp_path: Path) -> None:
    config = {**SMALL_SAM, "following": {"name": "nanosam"}}
    shapes = scene_frame(0).image[..., 0] > 128  # type: ignore[index]
    results = []
    for options in ({}, {"non_overlap_masks": True, "remove_speck_area": 5, "fill_hole_area": 5}):
        session = loaded(tmp_path, config, **options).start()
        session.prompt(1, mask=shapes)
        session.prompt(2, mask=np.ones_like(shapes))
        results.append(session.step(scene_frame(0)).masks)
    assert results[0].all(0).any()
    assert not results[1].all(0).any()


@pytest.mark.parametrize("config", [STRETCHED_SAM, SMALL_PICO], ids=["sam", "pico-sam2"])
def test_a_picture_may_be_read_only(config: dict[str, Any], tmp_path: Path) -> None:
    session = loaded(tmp_path, config).start()
    picture = scene_frame(0).image.copy()  # type: ignore[union-attr]
    picture.flags.writeable = False  # as `np.asarray` makes it of a picture of Pillow
    torch.set_warn_always(True)  # else it warns of such an array once in a program
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            session.step(picture)
    finally:
        torch.set_warn_always(False)


def test_a_prompt_that_the_model_cannot_answer_changes_nothing_else(tmp_path: Path) -> None:
    """PicoSAM2 needs a place to look at, and a point off the object is none."""
    sessions = [loaded(tmp_path, SMALL_PICO).start() for _ in range(2)]
    for session in sessions:
        session.prompt(1, box=scene_box(1, 0))
        session.step(scene_frame(0))
        session.prompt(2, box=scene_box(2, 1))
    refused = sessions[0]
    refused.prompt(1, points=[[5, 5]], labels=[0])
    with pytest.raises(PromptError, match=r"without a place\n  at: object 1, frame 1"):
        refused.step(scene_frame(1))
    want, got = (session.step(scene_frame(1)) for session in reversed(sessions))
    assert got.obj_ids == want.obj_ids
    assert np.array_equal(got.low_res_logits, want.low_res_logits)

    refused.prompt(3, points=[[5, 5]], labels=[0])
    refused.prompt(4, box=scene_box(2, 4))
    with pytest.raises(PromptError, match="object 3, frame 4"):
        refused.condition(scene_frame(4))
    assert refused.obj_ids == [1, 2, 4]
    assert refused.condition(scene_frame(4)).obj_ids == [4]


def test_stages_can_be_watched_by_whoever_comes_later() -> None:
    model, segmenter = oracle()
    tracker = FollowingTracker(segmenter)
    session = tracker.start()
    seen: list[str] = []

    def watch(stage: str) -> nullcontext[None]:
        seen.append(stage)
        return nullcontext()

    tracker.watch = watch
    session.prompt(1, box=scene_box(1, 0))
    model.truth = scene_mask(1, 0).astype(np.uint8)
    session.step(scene_frame(0))
    assert seen[:2] == list(tracker.stages)


def test_discovery_looks_at_what_was_encoded_for_following() -> None:
    tracker = FollowingTracker(oracle()[1])
    session, frame = tracker.start(), scene_frame(0)
    session.step(frame)
    looked = look_of(tracker, None, "cpu").at(session, frame)
    assert session.embedding is not None
    assert torch.equal(looked.features.values_chw, session.embedding.encoded.top_1chw[0])


def test_a_frame_without_a_picture_is_an_error() -> None:
    frame = Frame(0, 0.0, model_input=np.zeros((3, 64, 64), np.float32), size_hw=(64, 64))
    with pytest.raises(InputError, match="works on pixels"):
        FollowingTracker(oracle()[1]).start().step(frame)


@pytest.mark.parametrize(
    ("following", "message"),
    [({"name": "flow-priro"}, "flow-prior"), ({"name": "nanosam", "ridge": 1}, "ridge")],
)
def test_a_wrong_rule_is_an_error(following: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FollowingTracker(oracle()[1], following)


def test_an_option_for_memories_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no memory"):
        loaded(tmp_path, SMALL_SAM, max_conditioning=4)
