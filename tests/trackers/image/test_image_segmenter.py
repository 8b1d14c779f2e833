"""Image segmenters by themselves: the default model, every family, laws, and wrong calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import yaml

import vidseg
from support.parity import SMALL_MODEL, parity_weights
from vidseg.errors import CheckpointError, ConfigError, InputError, PromptError
from vidseg.masks import box_xywh, iou, tight_box
from vidseg.trackers.image.framing import LongSide, Stretch
from vidseg.trackers.registry import read_config

BOX = [30.0, 20.0, 120.0, 90.0]


def picture(seed: int = 0, size_hw: tuple[int, int] = (96, 150)) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, (*size_hw, 3), np.uint8)


def disk(size_hw: tuple[int, int] = (120, 160)) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """A red disk on a grey ground, and its mask."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    mask = (x - 90) ** 2 + (y - 60) ** 2 < 30**2
    image = np.full((*size_hw, 3), 120, np.uint8)
    image[mask] = (200, 30, 40)
    return image, mask


@pytest.fixture(scope="module")
def nano() -> Any:
    return vidseg.load_image(device="cpu")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """SAM 2.1 in small, with weights whose choices are clear."""
    path = tmp_path_factory.mktemp("small") / "small.yaml"
    path.write_text(SMALL_MODEL, encoding="utf-8")
    segmenter = vidseg.load_image(path, allow_random_weights=True, device="cpu")
    segmenter.model.load_state_dict(parity_weights(segmenter.model, seed=5))
    return segmenter


def test_default_model_finds_a_disk(nano: Any) -> None:
    image, mask = disk()
    (found,) = nano.embed(image).segment(box=(60, 30, 121, 91))
    assert (found.mask & mask).sum() / (found.mask | mask).sum() > 0.9
    assert found.box_xywh == pytest.approx([61, 31, 58, 58], abs=3)
    assert found.point_xy is None
    assert 0 <= found.stability <= 1


def test_default_model_improves_on_a_mask_fed_back(nano: Any) -> None:
    image, _ = disk()
    embedding = nano.embed(image)
    (first,) = embedding.segment(points=[(90, 60)], labels=[1])
    assert first.point_xy == (90, 60)
    (again,) = embedding.segment(mask_logits=first.low_res_logits)
    assert (again.mask & first.mask).sum() > 0.8 * (again.mask | first.mask).sum()


@pytest.mark.parametrize("name", ["vidseg-nano", "small"])
def test_answer_is_what_the_first_frame_of_a_video_gives(
    name: str, small: Any, nano: Any, tmp_path: Path
) -> None:
    image, _ = disk()
    if name == "small":
        (tmp_path / "small.yaml").write_text(SMALL_MODEL, encoding="utf-8")
        tracker = vidseg.load(tmp_path / "small.yaml", allow_random_weights=True, device="cpu")
        tracker.engine.model.load_state_dict(small.model.state_dict())  # type: ignore[attr-defined]
    else:
        tracker = vidseg.load(name, device="cpu")
    session = tracker.start()
    session.prompt(1, box=BOX)
    result = session.step(vidseg.Frame(0, 0.0, image))
    answer = (nano if name == "vidseg-nano" else small).embed(image).candidates(box=BOX)
    best = answer.best_first(multimask=False)[0]
    assert result.masks[0].sum() > 0.1 * result.masks[0].size
    assert np.array_equal(answer.low_res_logits[best], result.low_res_logits[0])
    assert np.array_equal(answer.logits()[best], result.video_res_logits[0])
    assert answer.predicted_ious[best] == result.predicted_ious[0]


@pytest.mark.parametrize("name", ["edgetam", "efficienttam-ti-512", "surgical-sam2", "sam2-hiera-small"])
def test_every_family_answers(name: str, tmp_path: Path) -> None:
    config = read_config(name)[1] | {"image_size": 256}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    segmenter = vidseg.load_image(tmp_path / "small.yaml", allow_random_weights=True, device="cpu")
    embedding = segmenter.embed(picture())
    assert embedding.model_input.shape == (3, 256, 256)
    assert embedding.features.shape == (256, 16, 16)
    answer = embedding.candidates(points=[(20, 30)], labels=[1])
    assert answer.low_res_logits.shape == (4, 64, 64)
    assert answer.logits().shape == (4, 96, 150)
    assert answer.num_prompt_tokens == 2
    found = embedding.segment(points=[(20, 30)], labels=[1])
    assert len(found) == 3
    ious = [each.predicted_iou for each in found]
    assert ious == sorted(ious, reverse=True)
    assert len(embedding.segment(box=BOX, multimask=False)) == 1


def test_batches_are_what_one_by_one_gives(small: Any) -> None:
    pictures = [picture(1), picture(2, (64, 64)), picture(3, (33, 90))]
    together = small.embed_batch(pictures)
    prompts = [
        {"box": [3, 3, 30, 30]},
        {"points": [[5, 5], [20, 20]], "labels": [1, 0]},
        {"points": [[9, 8]]},
    ]
    for image, embedding in zip(pictures, together, strict=True):
        alone = small.embed(image)
        assert np.array_equal(embedding.model_input, alone.model_input)
        answers = embedding.candidates_batch(prompts)
        for prompt, answer in zip(prompts, answers, strict=True):
            want = alone.candidates(**prompt)
            spread = want.low_res_logits.std()
            assert np.abs(answer.low_res_logits - want.low_res_logits).max() < 5e-4 * spread
            assert answer.num_prompt_tokens == want.num_prompt_tokens


def test_encoder_runs_once_a_picture(small: Any) -> None:
    runs: list[int] = []
    handle = small.model.image_encoder.trunk.register_forward_hook(lambda *_: runs.append(1))
    embedding = small.embed(picture())
    for _ in range(3):
        embedding.segment(box=BOX)
    handle.remove()
    assert len(runs) == 1


def test_alternatives_come_best_first_and_the_stable_single_mask_alone(small: Any) -> None:
    model = small.model
    ious = torch.tensor([0.9, 0.2, 0.7, 0.5])
    steep = torch.full((4, 8, 8), 9.0)
    assert model.best_first(steep, ious, multimask=True) == [2, 3, 1]
    assert model.best_first(steep, ious, multimask=False) == [0]
    unstable = steep.clone()
    unstable[0, :4] = 0.01
    assert model.best_first(unstable, ious, multimask=False) == [2]


def test_box_of_a_mask() -> None:
    mask = np.zeros((20, 30), bool)
    assert box_xywh(mask).tolist() == [0, 0, 0, 0]
    mask[4:9, 7:19] = True
    assert box_xywh(mask).tolist() == [7, 4, 11, 4]  # SAM's generator: the last pixel less the first
    assert tight_box(mask) == (7, 4, 19, 9)


def test_an_empty_mask_has_no_tight_box() -> None:
    with pytest.raises(ValueError, match="empty mask"):
        tight_box(np.zeros((20, 30), bool))


def test_framing_maps_corners_to_corners() -> None:
    framing = Stretch(64, "bilinear")
    corners = framing.to_model_points(torch.tensor([[0.0, 0.0], [150.0, 96.0], [75.0, 24.0]]), (96, 150))
    assert corners.tolist() == [[0, 0], [64, 64], [32, 16]]
    assert framing.to_picture(torch.zeros(2, 16, 16), (96, 150)).shape == (2, 96, 150)


@pytest.mark.parametrize("size_hw", [(1, 3000), (3000, 1)])
def test_pictures_of_one_row_or_column_are_framed(size_hw: tuple[int, int]) -> None:
    """Where the long side becomes the input's, the short one would be rounded to no pixel at all."""
    framing = LongSide(64)
    assert framing.model_input(picture(size_hw=size_hw), torch.device("cpu")).shape == (3, 64, 64)
    corner = framing.to_model_points(torch.tensor([[size_hw[1], size_hw[0]]]), size_hw)
    assert corner.max() == 64
    assert corner.min() == 1
    assert framing.to_picture(torch.ones(2, 16, 16), size_hw).shape == (2, *size_hw)


def test_bgr_views_are_taken(small: Any) -> None:
    image = picture()
    assert np.array_equal(
        small.embed(image[..., ::-1]).model_input, small.embed(image[..., ::-1].copy()).model_input
    )


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({}, "an empty prompt"),
        ({"labels": [1], "mask_logits": np.zeros((1, 16, 16), np.float32)}, "labels without points"),
        ({"box": [50, 50, 40, 60]}, "has no area"),
        ({"points": [[500, 5]], "labels": [1]}, "outside the frame"),
        ({"points": [[5, 5]], "labels": [1, 0]}, "1 points but 2 labels"),
        ({"mask_logits": np.zeros((1, 7, 7), np.float32)}, r"mask_logits of shape \(1, 7, 7\)"),
        ({"mask_logits": np.full((1, 16, 16), np.nan, np.float32)}, "not finite"),
    ],
)
def test_wrong_prompts_say_what_is_wrong(small: Any, prompt: dict[str, Any], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        small.embed(picture()).candidates(**prompt)


def test_wrong_prompt_in_a_batch_says_which(small: Any) -> None:
    with pytest.raises(PromptError, match=r"(?s)unknown key 'bocks'.*prompt 1"):
        small.embed(picture()).candidates_batch([{"box": BOX}, {"bocks": BOX}])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4), np.uint8), r"uint8 of shape \(4, 4\)"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
        ("photo.jpg", "the picture is a str"),
    ],
)
def test_wrong_pictures_say_what_is_wrong(small: Any, image: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        small.embed(image)


def test_what_is_no_image_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="'flow' is no image model"):
        vidseg.load_image("flow")
    with pytest.raises(ConfigError, match=r"unknown tracker 'sam2\.1'"):
        vidseg.load_image("sam2.1")


def test_weights_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDSEG_WEIGHTS", str(tmp_path))
    with pytest.raises(CheckpointError):
        vidseg.load_image("edgetam")


def test_the_picture_may_be_another_one_by_the_next_prompt(nano: Any) -> None:
    """vidseg-nano looks at it once more, closer, when it is asked."""
    image, _ = disk()
    want = nano.embed(image.copy()).segment(box=(60, 30, 121, 91))[0]
    embedding = nano.embed(image)
    image[:] = 0
    np.testing.assert_array_equal(embedding.segment(box=(60, 30, 121, 91))[0].mask, want.mask)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mask_logits": "abc"}, "mask_logits of str"),
        ({"mask_logits": [None]}, "mask_logits of list"),
        ({"mask_logits": np.zeros((1, 2, 2)), "labels": 3}, "labels without points"),
    ],
)
def test_what_is_no_mask_is_refused(small: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        small.embed(picture()).segment(**given)


def test_a_prompt_of_a_batch_is_a_mapping(small: Any) -> None:
    with pytest.raises(PromptError, match="a prompt of NoneType"):
        small.embed(picture()).candidates_batch([None])


@pytest.fixture(scope="module")
def everything(nano: Any) -> tuple[Any, list[Any], list[int]]:
    """The embedding of a disk, all that was found there, and of how many pictures each encoder run was."""
    runs: list[int] = []
    encode = nano.model.encode_batch
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(nano.model, "encode_batch", lambda x: runs.append(len(x)) or encode(x))
        embedding = nano.embed(disk()[0])
        return embedding, embedding.everything(points_per_side=6), runs


def test_everything_runs_the_encoder_once(
    nano: Any, everything: tuple[Any, list[Any], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (embedding, found, runs), mask = everything, disk()[1]
    assert runs == [1]
    assert max(iou(one.mask, mask) for one in found) > 0.9
    best = max(found, key=lambda one: iou(one.mask, mask))
    runs_of_crops: list[int] = []
    encode = nano.model.encode_batch
    monkeypatch.setattr(nano.model, "encode_batch", lambda x: runs_of_crops.append(len(x)) or encode(x))
    embedding.everything(points_per_side=4, crop_n_layers=1)
    assert runs_of_crops == [1, 1, 1, 1], "every crop is encoded"
    assert iou(embedding.segment(points=[best.point_xy])[0].mask, mask) > 0.9, "a click there finds it, too"


def test_everything_takes_the_models_own_thresholds(
    nano: Any, everything: tuple[Any, list[Any], list[int]]
) -> None:
    embedding, own, _ = everything
    assert min(one.predicted_iou for one in own) > nano.sampling["pred_iou_thresh"]
    assert embedding.everything(points_per_side=6, pred_iou_thresh=0.99) == []


def test_everything_in_boxes(nano: Any) -> None:
    image, mask = disk()
    (found,) = nano.embed(image).everything("boxes", boxes=[(60, 30, 121, 91)])
    assert iou(found.mask, mask) > 0.9


def test_everything_of_several_candidates(small: Any) -> None:
    """SAM 2's decoder offers three masks a point; the single mask is not among them."""
    embedding = small.embed(picture())
    found = embedding.everything(
        points_per_side=2, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0
    )
    assert len(found) == 12
    answer = embedding.candidates(points=[found[0].point_xy])
    assert any(np.allclose(found[0].low_res_logits, one, atol=0.02) for one in answer.low_res_logits[1:])
