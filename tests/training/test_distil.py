"""Distillation: nothing to learn from oneself, something from another, and no more than is switched on."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import vidseg
from support.seeded import seeded_weights
from support.training import assert_same_tensors, clips, log_rows, tracker_yaml, training_settings
from vidseg.errors import CheckpointError, ConfigError
from vidseg.trackers.contract import ABSENT_LOGIT
from vidseg.trackers.engine import Engine
from vidseg.trackers.weights import read_checkpoint
from vidseg.training.distil.distillation import Distillation, _mask_loss, _with_click
from vidseg.training.distil.losses import divergence, feature_distance, hard_weight, mask_distance
from vidseg.training.distil.teacher import build_teacher
from vidseg.training.distil_settings import DistilSettings
from vidseg.training.run import train
from vidseg.training.settings import TrainSettings
from vidseg.training.trainee import build_trainee
from vidseg.training.trainer import Trainer
from vidseg.training.training_state import read_training_state, write_tensors
from vidseg.training.unroll import UnrollSettings, draw_script, play

SWITCHES = ["embedding", "memory", "masks", "prompts"]
BOXES = UnrollSettings.model_validate({"prompts": {"mask": 0.0, "box": 1.0}, "corrections": 1.0})
WIDER: dict[str, Any] = {
    "model": {
        "name": "space-time",
        "key_channels": 24,
        "value_channels": 24,
        "context_channels": 24,
        "fine_channels": [8, 8],
        "pyramid_channels": 24,
    }
}


def teacher_file(folder: Path, *, sam2: bool = False, **changes: Any) -> dict[str, Any]:
    """`distil` settings that name a teacher with weights."""
    tracker = tracker_yaml(folder, sam2=sam2, name="teacher", **changes)
    model = build_trainee(training_settings(folder, tracker=tracker)).model
    write_tensors(folder / "teacher.safetensors", seeded_weights(model, seed=1))
    return {"teacher": tracker, "teacher_weights": str(folder / "teacher.safetensors")}


def engine_of(settings: TrainSettings) -> Engine:
    engine = build_trainee(settings)
    engine.model.load_state_dict(seeded_weights(engine.model))
    return engine


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("sam2", [False, True], ids=["space-time", "sam2.1"])
def test_there_is_nothing_to_learn_from_oneself(tmp_path: Path, sam2: bool) -> None:
    settings = training_settings(tmp_path, tracker=tracker_yaml(tmp_path, sam2=sam2))
    engine = engine_of(settings)
    itself = Engine(copy.deepcopy(engine.model).requires_grad_(False), engine.policy)
    switches = dict.fromkeys(SWITCHES, 1.0)
    distil = DistilSettings(teacher="itself", truth=0, prompt_rounds=2, **switches)
    distillation = Distillation(distil, itself, engine, 0)
    assert len(distillation.projections) == 0
    # A teacher always remembers an object that it calls absent as absent; students may, too.
    heeding = BOXES.model_copy(update={"heeds_score": True})
    with torch.no_grad():  # the teacher tracks so, with kernels that round otherwise
        result = distillation(engine, *clips(settings), heeding, generator())
    assert {name: result.parts[f"distil_{name}"] for name in SWITCHES} == dict.fromkeys(SWITCHES, 0.0)
    assert float(result.loss.detach()) == 0


def trainer_of(settings: TrainSettings) -> Trainer:
    assert settings.distil is not None
    engine = build_trainee(settings)
    teacher = build_teacher(settings.distil, settings.sizes(), "cpu")
    distillation = Distillation(settings.distil, teacher, engine, settings.seed)
    return Trainer(settings, engine, distillation, distillation.projections)


@pytest.mark.parametrize("switch", SWITCHES)
def test_each_loss_falls_alone(tmp_path: Path, switch: str) -> None:
    distil = {**teacher_file(tmp_path, **WIDER), "truth": 0.0, switch: 1.0}
    settings = training_settings(
        tmp_path,
        distil=distil,
        unroll=BOXES.model_dump(),
        lr=5e-3,
        schedule={"warm_up": 0, "shape": "constant"},
        steps=100,
    )
    trainer = trainer_of(settings)
    batch = clips(settings)
    steps = [trainer.take_step([batch])[0] for _ in range(10)]
    assert [name for name in steps[0] if name.startswith("distil_")] == [f"distil_{switch}"]
    losses = [step[f"distil_{switch}"] for step in steps]
    assert steps[0]["loss"] == pytest.approx(losses[0])
    assert sum(losses[-3:]) / 3 < 0.8 * losses[0]


def test_what_is_off_is_not_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = training_settings(tmp_path, distil={**teacher_file(tmp_path, **WIDER), "embedding": 1.0})
    assert settings.distil is not None
    engine, teacher = engine_of(settings), build_teacher(settings.distil, settings.sizes(), "cpu")
    distillation = Distillation(settings.distil, teacher, engine, 0)
    assert list(distillation.projections) == ["embedding"]

    def never(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the teacher tracked")

    for name in ("attend", "decode", "all_passes", "take_mask", "remember"):
        monkeypatch.setattr(teacher.model, name, never)
    result = distillation(engine, *clips(settings), BOXES, generator())
    assert [name for name in result.parts if name.startswith("distil_")] == ["distil_embedding"]


def test_the_embedding_teaches_the_encoder_alone(tmp_path: Path) -> None:
    distil = {**teacher_file(tmp_path), "embedding": 1.0, "truth": 0.0}
    settings = training_settings(tmp_path, distil=distil)
    trainer = trainer_of(settings)
    images, masks = clips(settings)
    trainer._unroll(trainer.engine, images, masks, BOXES, generator()).loss.backward()
    taught = {name.split(".")[0] for name, p in trainer.model.named_parameters() if p.grad is not None}
    assert taught == {"backbone", "laterals", "smooth", "to_key", "to_context"}


def test_a_teacher_stays_as_it_is(tmp_path: Path) -> None:
    distil = {**teacher_file(tmp_path), **dict.fromkeys(SWITCHES, 1.0)}
    settings = training_settings(tmp_path, distil=distil)
    trainer = trainer_of(settings)
    assert isinstance(trainer._unroll, Distillation)
    model = trainer._unroll.teacher.model
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trainer.take_step([clips(settings)])
    assert_same_tensors(model.state_dict(), before)
    assert not model.training
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("teacher", ["space-time", "sam2.1"])
def test_a_student_may_be_of_another_kind(tmp_path: Path, teacher: str) -> None:
    is_sam2 = teacher == "sam2.1"
    distil = {**teacher_file(tmp_path, sam2=is_sam2), **dict.fromkeys(SWITCHES, 1.0)}
    settings = training_settings(
        tmp_path, tracker=tracker_yaml(tmp_path, sam2=not is_sam2), distil=distil, dtype="bfloat16"
    )
    trainer = trainer_of(settings)
    assert list(trainer.projections) == ["embedding", "memory"]
    told, _ = trainer.take_step([clips(settings)])
    assert all(math.isfinite(told[f"distil_{name}"]) for name in ("embedding", "memory", "masks"))
    assert trainer.skipped == 0


def test_resuming_equals_not_stopping(tmp_path: Path) -> None:
    distil = {**teacher_file(tmp_path, **WIDER), **dict.fromkeys(SWITCHES, 1.0)}
    settings = training_settings(tmp_path, steps=4, log_every=1, distil=distil)
    train(settings, tmp_path / "whole")
    train(training_settings(tmp_path, steps=2, log_every=1, distil=distil), tmp_path / "cut")
    train(settings, tmp_path / "cut", resume=True)
    whole, cut = (read_training_state(tmp_path / run) for run in ("whole", "cut"))
    assert whole is not None
    assert cut is not None
    # The learning rate of the first two steps is that of the warm-up, however long the run.
    assert log_rows(tmp_path / "cut") == log_rows(tmp_path / "whole")
    for part in ("model", "ema", "optimiser", "projections"):
        assert_same_tensors(getattr(cut, part), getattr(whole, part))

    # Neither the teacher nor what stands between is in the weights.
    student = build_trainee(settings).model.state_dict()
    weights = read_checkpoint(tmp_path / "cut" / "weights.safetensors")
    assert set(cut.model) == set(cut.ema) == set(weights) == set(student)
    assert {name.split(".")[0] for name in cut.projections} == {"embedding", "memory"}
    vidseg.load(settings.tracker, weights=tmp_path / "cut" / "weights.safetensors", device="cpu")


def test_a_teacher_may_come_late(tmp_path: Path) -> None:
    train(training_settings(tmp_path, steps=1), tmp_path / "run")
    distil = {**teacher_file(tmp_path, **WIDER), "memory": 1.0}
    later = training_settings(tmp_path, steps=2, distil=distil)
    record = train(later, tmp_path / "run", resume=True)
    assert record["sittings"][1]["changed"]["distil"]["memory"] == 1.0
    other = {**teacher_file(tmp_path), "memory": 1.0}  # with as many channels as the student
    assert train(training_settings(tmp_path, steps=3, distil=other), tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"embedding": 0.0}, ConfigError, "nothing is learned"),
        ({"teacher": "flow"}, ConfigError, "of kind 'flow'"),
        ({"teacher": "edgetam"}, ConfigError, "image size of 64"),
        ({"teacher_weights": "nowhere.pt"}, CheckpointError, "nowhere.pt"),
        ({"teacher_weights": None}, CheckpointError, "weights"),
        ({"embeding": 1.0}, ConfigError, "'embeding'"),
    ],
)
def test_teachers_that_cannot_teach_are_refused(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], told: str
) -> None:
    distil = {**teacher_file(tmp_path), "embedding": 1.0, **changes}
    with pytest.raises(error, match=told):
        train(training_settings(tmp_path, distil=distil), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def some_logits(seed: int) -> Tensor:
    return 4 * torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_masks_are_compared_as_probabilities() -> None:
    ours, theirs = some_logits(0), some_logits(1)
    theirs[2] = -1024  # absent
    assert mask_distance(theirs, theirs).tolist() == [0, 0, 0]
    p, q = ours.double().sigmoid(), theirs.double().sigmoid()
    divergence = q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()
    divergence[2] = -(1 - p[2]).log()
    both, squares = (p * q).flatten(1).sum(dim=1), (p * p + q * q).flatten(1).sum(dim=1)
    wanted = divergence.flatten(1).mean(dim=1) + 1 - (2 * both + 1) / (squares + 1)
    torch.testing.assert_close(mask_distance(ours, theirs).double(), wanted, atol=1e-5, rtol=1e-4)


def test_scores_are_compared_as_probabilities() -> None:
    ours, theirs = some_logits(0)[0, 0], some_logits(1)[0, 0]
    p, q = ours.double().sigmoid(), theirs.double().sigmoid()
    wanted = q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()
    torch.testing.assert_close(divergence(ours, theirs).double(), wanted, atol=1e-5, rtol=1e-4)


def test_frames_without_the_object_are_judged_by_the_score_alone(tmp_path: Path) -> None:
    """A teacher's mask says nothing there; and it decodes one where it calls an object absent."""
    settings = training_settings(tmp_path, distil={**teacher_file(tmp_path, **WIDER), "masks": 1.0})
    assert settings.distil is not None
    engine, teacher = engine_of(settings), build_teacher(settings.distil, settings.sizes(), "cpu")
    images, masks = clips(settings)
    masks[:, 1:] = False
    with torch.no_grad():
        teacher.model.get_parameter("decoder.score.2.bias").sub_(100)
    script = draw_script(masks, settings.unroll, generator())
    student, theirs = (
        play(e, images, masks, script, settings.unroll, generator()) for e in (engine, teacher)
    )

    def loss_of(shift: float, score: float) -> float:
        answers = []
        for answer in theirs.answers:
            is_later = answer.frame_idx > 0
            decoded = replace(
                answer.decoded,
                low_res_logits_bhw=answer.decoded.low_res_logits_bhw + shift * is_later,
                object_score_logits_b=answer.decoded.object_score_logits_b + score * is_later,
            )
            answers.append(replace(answer, decoded=decoded))
        loss = _mask_loss(student, replace(theirs, answers=answers), masks)
        assert loss is not None
        return float(loss.detach())

    assert loss_of(5.0, 0.0) == loss_of(0.0, 0.0)
    assert loss_of(0.0, 100.0) != loss_of(0.0, 0.0)
    assert all((answer.decoded.object_score_logits_b < 0).all() for answer in theirs.answers)
    assert all((answer.decoded.low_res_logits_bhw > ABSENT_LOGIT).all() for answer in theirs.answers)


def test_hard_masks_weigh_more() -> None:
    truth = torch.zeros(1, 8, 8)
    truth[:, :4] = 1
    teacher = 10 * (2 * truth - 1)
    weights = []
    for missed in range(5):
        student = teacher.clone()
        student[:, :missed] = -10
        weights.append(float(hard_weight(student, teacher, truth)))
    assert weights == sorted(weights)
    assert weights[0] == pytest.approx(1 / (1 + math.exp(-1)), abs=1e-4)
    assert weights[4] == pytest.approx(1)
    assert float(hard_weight(teacher, -teacher, truth)) == pytest.approx(0.5)


def test_features_are_compared_on_the_students_grid() -> None:
    ours = torch.randn(2, 3, 8, 8, generator=generator())
    assert float(feature_distance(ours, ours)) == 0
    coarse = torch.nn.functional.avg_pool2d(ours, 2)
    flat = torch.nn.functional.interpolate(coarse, size=(8, 8), mode="bilinear")
    assert float(feature_distance(ours, coarse)) == pytest.approx(float((ours - flat).square().mean()))


def test_a_new_click_comes_before_the_padding() -> None:
    points = torch.arange(12.0).view(2, 3, 2)
    labels = torch.tensor([[2, 3, -1], [1, -1, -1]], dtype=torch.int32)
    click, label = torch.full((2, 1, 2), 99.0), torch.tensor([[0], [1]], dtype=torch.int32)
    points, labels = _with_click(points, labels, click, label)
    assert labels.tolist() == [[2, 3, 0, -1], [1, 1, -1, -1]]
    assert points[0, 2].tolist() == points[1, 1].tolist() == [99, 99]
    assert points[0, :2].tolist() == [[0, 1], [2, 3]]
