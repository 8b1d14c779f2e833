"""Training of the head that the sampler `peaks` needs: targets, losses, runs, and what a short run learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import vidseg
from support.training import SIZE, log_rows, tracker_yaml, training_settings
from vidseg.cli import main
from vidseg.errors import CheckpointError, ConfigError
from vidseg.samplers.prompt_head import Proposed, load_head, peaks_of
from vidseg.trackers.build import build_model
from vidseg.trackers.configs import read_config
from vidseg.trackers.model import module_of
from vidseg.trackers.settings import EngineSettings
from vidseg.training.data import ClipSettings, StillMaker
from vidseg.training.data.settings import StillFolder
from vidseg.training.images.prompt_head import box_loss, point_loss, target_of
from vidseg.training.run import train
from vidseg.training.settings import TrainSettings

PICTURES = 8


def pictures(folder: Path) -> str:
    """Stills with two rectangles each, one red and one blue, on grey."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        image = rng.integers(90, 110, (96, 96, 3)).astype(np.uint8)
        labels = np.zeros((96, 96), np.uint8)
        for label, (colour, left) in enumerate((((40, 40, 220), 6), ((220, 60, 40), 52)), start=1):
            y, x = int(rng.integers(5, 55)), left + int(rng.integers(8))
            image[y : y + 34, x : x + 28] = colour
            labels[y : y + 34, x : x + 28] = label
        cv2.imwrite(str(folder / "images" / f"{number}.png"), image)
        cv2.imwrite(str(folder / "masks" / f"{number}.png"), labels)
    return str(folder)


@pytest.fixture
def settings(tmp_path: Path) -> TrainSettings:
    """A run over the features of a tracker with random weights."""
    tracker = tracker_yaml(tmp_path)
    config = {key: value for key, value in read_config(tracker)[1].items() if key != "kind"}
    torch.manual_seed(0)
    model, _ = build_model(EngineSettings.model_validate(config), "test")
    save_file(module_of(model).state_dict(), tmp_path / "model.safetensors")
    stills = [{"folder": pictures(tmp_path / "stills")}]
    return training_settings(
        tmp_path,
        steps=40,
        batch=4,
        lr=1e-2,
        log_every=1,
        data={"size": SIZE, "stills": stills},
        unroll={},
        prompt_head={"weights": str(tmp_path / "model.safetensors"), "width": 12, "blocks": 2},
    )


def test_a_short_run_learns_where_objects_are(settings: TrainSettings, tmp_path: Path) -> None:
    assert train(settings, tmp_path / "run")["status"] == "done"
    rows = log_rows(tmp_path / "run")
    for part in ("points", "boxes"):
        values = [float(row[part]) for row in rows]
        assert np.mean(values[-5:]) < 0.7 * np.mean(values[:5]), part
    weights = tmp_path / "run" / "weights.safetensors"
    assert settings.prompt_head is not None
    segmenter = vidseg.load_image(settings.tracker, weights=settings.prompt_head.weights, device="cpu")
    head = load_head(weights, torch.device("cpu"))
    for number in range(PICTURES):
        labels = cv2.imread(str(tmp_path / "stills" / "masks" / f"{number}.png"), cv2.IMREAD_UNCHANGED)
        image = cv2.imread(str(tmp_path / "stills" / "images" / f"{number}.png"))[..., ::-1].copy()
        embedding = segmenter.embed(image)
        features = embedding.prompted().features
        assert features is not None
        confidence = head(features.values_chw[None]).confidence_logits_rhw[0].sigmoid()
        cells = peaks_of(confidence, 2, 0.3).numpy()
        x, y = ((cells[:, ::-1] + 0.5) * features.cell_wh).astype(int).T
        assert set(labels[y, x].tolist()) == {1, 2}, "a peak in each object, and none outside"
    _, count = embedding.everything_asked("peaks", weights=str(weights), pred_iou_thresh=0.0)
    assert 2 <= count <= 20
    other = vidseg.load_image(settings.tracker, weights=changed_weights(settings, tmp_path), device="cpu")
    embedding = other.embed(image)
    with pytest.raises(CheckpointError, match="trained with other weights of the model"):
        embedding.everything("peaks", weights=str(weights))


def changed_weights(settings: TrainSettings, folder: Path) -> str:
    """A file of weights for the same model, of which one value differs."""
    assert settings.prompt_head is not None
    assert settings.prompt_head.weights is not None
    state = load_file(settings.prompt_head.weights)
    state[min(state)] += 0.1
    save_file(state, folder / "changed.safetensors")
    return str(folder / "changed.safetensors")


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(settings: TrainSettings, tmp_path: Path) -> None:
    full = settings.model_copy(
        update={
            "steps": 4,
            "schedule": settings.schedule.model_copy(update={"shape": "constant", "decay": 0.0}),
        }
    )
    train(full.model_copy(update={"steps": 2}), tmp_path / "half")
    train(full, tmp_path / "half", resume=True)
    train(full, tmp_path / "full")
    first, second = (load_file(tmp_path / run / "weights.safetensors") for run in ("half", "full"))
    assert all(torch.equal(first[name], second[name]) for name in second)
    begun = full.model_copy(update={"steps": 1, "init": str(tmp_path / "full/weights.safetensors")})
    assert train(begun, tmp_path / "begun")["status"] == "done"


def test_the_pictures_can_be_looked_at(settings: TrainSettings, tmp_path: Path) -> None:
    said = settings.model_dump(mode="json", exclude_defaults=True)
    (tmp_path / "head.yaml").write_text(yaml.safe_dump(said))
    call = ["train", str(tmp_path / "head.yaml"), "--show-data", "--out", str(tmp_path / "shown")]
    assert main(call) == 0
    assert cv2.imread(str(tmp_path / "shown" / "data-from-step-0.png")).std() > 0


def test_what_cannot_be_learned_is_told(settings: TrainSettings, tmp_path: Path) -> None:
    without = settings.model_copy(update={"data": ClipSettings(size=SIZE)})
    with pytest.raises(ConfigError, match="learns from pictures with masks"):
        train(without, tmp_path / "run")
    from vidseg.training.distil_settings import DistilSettings

    taught = settings.model_copy(update={"distil": DistilSettings(teacher="vidseg-nano", masks=1.0)})
    with pytest.raises(ConfigError, match="from masks alone"):
        train(taught, tmp_path / "run")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="prompt head"):
        train(settings.model_copy(update={"init": str(tmp_path / "other.safetensors")}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_target_is_the_distance_to_the_edge() -> None:
    labels = np.zeros((24, 30), np.uint8)
    labels[2:19, 0:21] = 1
    labels[6:9, 4:11] = 0
    framed = np.pad(labels, 1)
    outside = np.argwhere(framed == 0)
    slow = [np.hypot(*(outside - at).T).min() for at in np.argwhere(np.ones_like(framed))]
    want = np.array(slow).reshape(framed.shape)[1:-1, 1:-1]
    inside, _ = target_of(labels, (24, 30))
    # OpenCV walks by steps to neighbours, whose lengths are up to a tenth off.
    np.testing.assert_allclose(inside, want / want.max(), atol=0.1)


def test_targets_are_highest_inside_and_know_the_box() -> None:
    labels = np.zeros((64, 64), np.uint8)
    labels[8:40, 16:56] = 3
    labels[50:54, 4:9] = 7
    inside, sides = target_of(labels, (8, 8))
    assert inside[0].max() == inside[:, 1].max() * 0 == 0
    assert inside[1:5, 2:7].min() > 0
    assert inside[6].max() == 1.0, "a small object has a cell, too"
    at = np.unravel_index(inside[:5].argmax(), (5, 8))
    box = (
        at[1] + 0.5 - sides[0][at],
        at[0] + 0.5 - sides[1][at],
        at[1] + 0.5 + sides[2][at],
        at[0] + 0.5 + sides[3][at],
    )
    assert box == pytest.approx((2, 1, 7, 5))


def test_losses_are_nothing_where_all_is_right() -> None:
    inside, sides = (torch.from_numpy(part)[None] for part in target_of(square(), (8, 8)))
    right = Proposed(inside.clamp(1e-4, 1 - 1e-4).logit(), sides)
    assert float(point_loss(right.confidence_logits_rhw, inside)) == pytest.approx(0, abs=1e-4)
    assert float(box_loss(right, inside, sides)) == pytest.approx(0, abs=1e-5)
    shifted = sides + torch.tensor([1.0, 0, -1, 0])[None, :, None, None]
    assert float(box_loss(Proposed(inside, shifted), inside, sides)) > 0.2
    assert float(point_loss(-right.confidence_logits_rhw, inside)) > 0.2


def square() -> npt.NDArray[np.uint8]:
    labels = np.zeros((64, 64), np.uint8)
    labels[16:48, 8:40] = 1
    return labels


def test_pictures_depend_on_the_seed_alone(tmp_path: Path) -> None:
    made = ClipSettings(size=SIZE, stills=[StillFolder(folder=pictures(tmp_path / "stills"))])
    one, other = StillMaker(made).make(5), StillMaker(made).make(5)
    assert np.array_equal(one.images, other.images)
    assert np.array_equal(one.masks, other.masks)
    assert one.images.shape == (1, SIZE, SIZE, 3)
    assert any(not np.array_equal(one.images, StillMaker(made).make(seed).images) for seed in (6, 7))


def test_labels_stay_on_their_objects(tmp_path: Path) -> None:
    maker = StillMaker(ClipSettings(size=SIZE, stills=[StillFolder(folder=pictures(tmp_path / "stills"))]))
    seen: list[Any] = []
    for seed in range(12):
        still = maker.make(seed)
        for label, channel in ((1, 0), (2, 2)):
            inner = cv2.erode((still.masks[0] == label).astype(np.uint8), np.ones((5, 5)), borderValue=1) > 0
            if inner.any():
                seen.append(still.images[0][inner].mean(0).argmax() == channel)
    assert len(seen) > 12
    assert all(seen)
