"""What a training step sees is what tracking does; what is judged, and how far gradients flow."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import vidseg
from support.seeded import seeded_weights
from support.training import SIZE, clips, tracker_yaml, training_settings
from vidseg.memory.bank import MemoryFrame
from vidseg.memory.position import sine_grid
from vidseg.memory.rope import axial_rotation
from vidseg.trackers.contract import ABSENT_LOGIT, Frame
from vidseg.trackers.engine import Engine
from vidseg.trackers.image_encoder import normalise
from vidseg.trackers.model import Decoded
from vidseg.training.losses import dice, focal, true_iou
from vidseg.training.prompts import sample
from vidseg.training.spoil import spoil
from vidseg.training.trainee import build_trainee
from vidseg.training.unroll import UnrollSettings, draw_script, play, unroll

KINDS = {"mask": (1.0, 0.0), "box": (0.0, 1.0), "clicks": (0.0, 0.0)}


def engine_of(folder: Path, *, sam2: bool) -> Engine:
    engine = build_trainee(training_settings(folder, tracker=tracker_yaml(folder, sam2=sam2)))
    engine.model.load_state_dict(seeded_weights(engine.model))
    return engine


def add_to_score(engine: Engine, logit: float) -> None:
    """Make every object seem to be there, or gone."""
    model = engine.model
    is_sam2 = hasattr(model, "sam_mask_decoder")
    head = model.sam_mask_decoder.pred_obj_score_head.layers if is_sam2 else model.decoder.score
    with torch.no_grad():
        head[-1].bias += logit


@pytest.mark.parametrize("sam2", [False, True], ids=["space-time", "sam2.1"])
def test_answers_do_not_depend_on_whether_gradients_are_recorded(tmp_path: Path, sam2: bool) -> None:
    settings = training_settings(tmp_path, data={"size": SIZE, "num_frames": 3, "vanish": 0.0})
    images, masks = clips(settings, count=2)
    engine = engine_of(tmp_path, sam2=sam2)
    for logit in (0, -100):
        add_to_score(engine, logit)
        shown = []
        for mode in (torch.enable_grad, torch.no_grad):
            script = draw_script(masks, only("box", corrections=1.0), generator())
            with mode():
                played = play(engine, images, masks, script, UnrollSettings(), generator())
            shown.append(torch.stack([logits.detach() for logits in played.shown]))
        # Kernels of the two modes add up in another order.
        torch.testing.assert_close(shown[0], shown[1], atol=2e-2, rtol=1e-3)


def only(kind: str, **changes: Any) -> UnrollSettings:
    mask, box = KINDS[kind]
    return UnrollSettings.model_validate(
        {"prompts": {"mask": mask, "box": box, "box_jitter": 0.0}, "corrections": 0.0, **changes}
    )


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def watched_memories(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[Decoded]:
    """Filled with all that is remembered from now on."""
    kept: list[Decoded] = []
    remember = engine.remember

    def watched(features: Any, decoded: Decoded, *args: Any, **kwargs: Any) -> list[MemoryFrame]:
        kept.append(decoded)
        return remember(features, decoded, *args, **kwargs)

    monkeypatch.setattr(engine, "remember", watched)
    return kept


def tracked(tracker: Any, images_t3ss: Tensor, **prompt: Any) -> Tensor:
    session = tracker.start()
    session.prompt(1, **prompt)
    results = [
        session.step(Frame(t, t / 10, model_input=image, size_hw=(SIZE, SIZE)))
        for t, image in enumerate(normalise(images_t3ss))
    ]
    return torch.stack([torch.from_numpy(result.low_res_logits[0]) for result in results])


@pytest.fixture
def _raw_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracking as training sees it: the decoder's answers without the rules that need no training."""
    monkeypatch.setattr("vidseg.trackers.space_time.answer.Answer.settled", lambda answer, *_, **__: answer)


@pytest.mark.usefixtures("_raw_answers")
@pytest.mark.parametrize("sam2", [False, True], ids=["space-time", "sam2.1"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_is_followed_as_in_tracking(tmp_path: Path, kind: str, sam2: bool) -> None:
    settings = training_settings(tmp_path, data={"size": SIZE, "num_frames": 4, "vanish": 0.0})
    images, masks = clips(settings, count=3)
    engine = engine_of(tmp_path, sam2=sam2)
    add_to_score(engine, 100)
    with torch.no_grad():
        seen = unroll(engine, images, masks, only(kind), generator()).predictions_btss

    _, points, labels = sample(masks[:, 0], only(kind).prompts, generator())
    weights = engine.model.state_dict()
    tracker = vidseg.load(tracker_yaml(tmp_path, sam2=sam2), weights=weights, device="cpu")
    for row in range(len(images)):
        prompt: dict[str, Any] = {"mask": masks[row, 0].numpy()}
        if kind != "mask":
            is_box, is_point = labels[row] >= 2, (labels[row] == 0) | (labels[row] == 1)
            prompt = {"points": points[row, is_point].numpy(), "labels": labels[row, is_point].numpy()}
            if kind == "box":
                prompt |= {"box": points[row, is_box].flatten().numpy()}
                prompt = prompt if is_point.any() else {"box": prompt["box"]}
        wanted = tracked(tracker, images[row], **prompt)
        wanted = torch.nn.functional.interpolate(wanted[None], size=(SIZE, SIZE), mode="bilinear")[0]
        torch.testing.assert_close(seen[row], wanted, atol=2e-2, rtol=1e-3)


@pytest.mark.usefixtures("_raw_answers")
@pytest.mark.parametrize("sam2", [False, True], ids=["space-time", "sam2.1"])
@pytest.mark.parametrize(("corrected", "gives_all"), [(0, True), (2, False), (3, True)])
def test_corrections_are_answered_as_in_tracking(
    tmp_path: Path, corrected: int, gives_all: bool, sam2: bool
) -> None:
    settings = training_settings(tmp_path, data={"size": SIZE, "num_frames": 5, "vanish": 0.0})
    images, masks = clips(settings, count=3)
    engine = engine_of(tmp_path, sam2=sam2)
    add_to_score(engine, 100)
    script = draw_script(masks, only("mask", corrections=1.0), generator())
    script.corrected, script.num_clicks, script.gives_all_clicks = corrected, 3, gives_all
    with torch.no_grad():
        shown = play(engine, images, masks, script, UnrollSettings(), generator()).shown
    assert len(script.clicks) == 3

    weights = engine.model.state_dict()
    tracker = vidseg.load(tracker_yaml(tmp_path, sam2=sam2), weights=weights, device="cpu")
    for row in range(len(masks)):
        session = tracker.start()
        session.prompt(1, mask=masks[row, 0].numpy())
        for t, image in enumerate(normalise(images[row])):
            result = session.step(Frame(t, t / 10, model_input=image, size_hw=(SIZE, SIZE)))
            if t == script.corrected:
                for number in range(3):
                    clicks = script.clicks[0 if gives_all else number : number + 1]
                    points = [points[row, 0].tolist() for points, _ in clicks]
                    labels = [int(labels[row, 0]) for _, labels in clicks]
                    result = session.refine(1, points=points, labels=labels)
            wanted = torch.from_numpy(result.low_res_logits[0])
            torch.testing.assert_close(shown[t][row], wanted, atol=2e-2, rtol=1e-3)


@pytest.mark.parametrize("sam2", [False, True], ids=["space-time", "sam2.1"])
def test_every_weight_that_tracks_gets_a_gradient(tmp_path: Path, sam2: bool) -> None:
    settings = training_settings(tmp_path, data={"size": SIZE, "num_frames": 4})
    images, masks = clips(settings, count=6)
    engine = engine_of(tmp_path, sam2=sam2)
    engine.model.train()
    shares = {"mask": 0.3, "box": 0.3}
    unroll(
        engine,
        images,
        masks,
        UnrollSettings.model_validate({"prompts": shares, "corrections": 1.0}),
        generator(),
    ).loss.backward()
    without = {name for name, p in engine.model.named_parameters() if p.grad is None or not p.grad.any()}
    # SAM 2 never reads the one, and the other only where its own decoder calls a given mask's object present.
    unread = {"no_mem_pos_enc", "mask_downsample.weight", "mask_downsample.bias"} if sam2 else set()
    assert without <= unread


def test_losses_are_weighed_and_told(tmp_path: Path) -> None:
    settings = training_settings(tmp_path)
    images, masks = clips(settings)
    engine = engine_of(tmp_path, sam2=False)
    some = only("box", losses={"focal": 2.0, "dice": 3.0, "hardest": 0.0, "score": 0.5, "iou": 0.25})
    result = unroll(engine, images, masks, some, generator())
    parts = result.parts
    wanted = 2 * parts["focal"] + 3 * parts["dice"] + 0.5 * parts["score"] + 0.25 * parts["iou"]
    assert result.loss.item() == pytest.approx(wanted, rel=1e-5)


def test_a_frame_is_judged_by_its_own_mask_and_without_the_object_by_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = training_settings(tmp_path)
    images, masks = clips(settings)
    masks[0, -1] = False
    engine = engine_of(tmp_path, sam2=False)
    answers: list[Decoded] = []
    ask = engine.model.all_passes
    monkeypatch.setattr(engine.model, "all_passes", lambda *args: answers.extend(ask(*args)) or answers)
    parts = unroll(engine, images, masks, only("mask"), generator()).parts
    # Prompts that are masks are not judged: what is left are the later frames.
    logits = torch.cat([answer.low_res_logits_bhw.detach() for answer in answers])
    targets = torch.nn.functional.avg_pool2d(masks[:, 1:].transpose(0, 1).float(), 2).flatten(0, 1)
    is_there = masks[:, 1:].transpose(0, 1).flatten(2).any(dim=2).flatten()
    assert not is_there.all()
    assert parts["focal"] == pytest.approx(float((focal(logits, targets) * is_there).mean()))
    assert parts["dice"] == pytest.approx(float((dice(logits, targets) * is_there).mean()))
    assert math.isnan(parts["J_prompt"])
    assert parts["J_track"] == pytest.approx(float(true_iou(logits, targets)[is_there].mean()))


def test_gradients_are_cut_where_truncation_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = training_settings(tmp_path, data={"size": SIZE, "num_frames": 5})
    images, masks = clips(settings)

    def reached(truncate: int) -> list[bool]:
        """Whether a later frame's loss reaches the memory of each frame."""
        engine = engine_of(tmp_path, sam2=False)
        kept: list[list[Tensor]] = []
        original = engine.remember

        def remember(*args: Any, **kwargs: Any) -> list[MemoryFrame]:
            memories = original(*args, **kwargs)
            tokens = [memory.tokens_nc for memory in memories if memory.tokens_nc is not None]
            for token in tokens:
                token.retain_grad()
            kept.append(tokens)
            return memories

        monkeypatch.setattr(engine, "remember", remember)
        unroll(engine, images, masks, only("mask", truncate=truncate), generator()).loss.backward()
        return [any(t.grad is not None and bool(t.grad.any()) for t in tokens) for tokens in kept]

    assert reached(8) == [True, True, True, True, False]
    assert reached(2) == [True, False, True, False, False]
    assert reached(1) == [False] * 5


def test_what_tracking_kept_serves_training() -> None:
    """Rotations and positions are kept by grid, whoever asks first; tracking runs in inference mode."""
    height, width = 3, 7  # a grid that no other test asks for, so that nothing of it is kept yet
    with torch.inference_mode():
        kept = axial_rotation(8, height, width), sine_grid(8, height, width)
    assert not any(tensor.is_inference() for tensor in kept)
    weight = torch.ones(height * width, 4, 2, requires_grad=True)
    (weight * kept[0]).abs().sum().backward()


def test_true_masks_are_remembered_as_often_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = training_settings(tmp_path, batch=8, data={"size": SIZE, "num_frames": 4, "vanish": 0.0})
    images, masks = clips(settings, count=8)
    engine = engine_of(tmp_path, sam2=False)
    kept = watched_memories(engine, monkeypatch)

    def ious(forcing: float) -> Tensor:
        kept.clear()
        unroll(engine, images, masks, only("box", forcing=forcing), generator())
        targets = torch.nn.functional.avg_pool2d(masks.transpose(0, 1).float().flatten(0, 1), 2)
        return true_iou(torch.cat([decoded.low_res_logits_bhw.detach() for decoded in kept]), targets)

    own, forced = ious(0.0), ious(1.0)
    assert own.mean() < 0.3  # seeded weights know nothing
    assert 0.5 < forced.mean() < 0.99
    half = ious(0.5)
    assert own.mean() + 0.1 < half.mean() < forced.mean() - 0.1


@pytest.mark.parametrize("sam2", [False, True], ids=["space-time", "sam2.1"])
def test_what_is_called_absent_is_remembered_so_where_that_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sam2: bool
) -> None:
    settings = training_settings(tmp_path, data={"size": SIZE, "num_frames": 3, "vanish": 0.0})
    images, masks = clips(settings, count=2)
    engine = engine_of(tmp_path, sam2=sam2)
    add_to_score(engine, -100)
    kept = watched_memories(engine, monkeypatch)

    def remembered(heeds_score: bool) -> list[Decoded]:
        kept.clear()
        unroll(engine, images, masks, only("mask", heeds_score=heeds_score), generator()).loss.backward()
        return kept[1:]

    for decoded in remembered(True):
        assert bool((decoded.low_res_logits_bhw == ABSENT_LOGIT).all())
        assert torch.equal(decoded.pointers_bc, engine.model.absent_pointer_c.expand(2, -1))
    assert all(bool((decoded.low_res_logits_bhw > ABSENT_LOGIT).all()) for decoded in remembered(False))


def test_spoilt_masks_are_near_true_ones_and_empty_ones_stay_empty() -> None:
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    disks = torch.stack([((x - 32) ** 2 + (y - 32) ** 2 < r**2).float() for r in range(6, 26)])
    pixels = torch.rand(len(disks), 3, 64, 64, generator=generator())
    spoilt = spoil(disks, pixels, generator())
    js = true_iou(spoilt, disks)
    assert 0.6 < js.mean() < 0.97
    assert js.min() < 0.8
    assert torch.equal(spoilt, spoil(disks, pixels, generator()))
    assert spoil(torch.zeros(3, 64, 64), pixels[:3], generator()).max() < 0
