"""Training runs: the same to the last bit when repeated or resumed, and what they leave behind."""

from __future__ import annotations

import csv
import errno
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import vidseg
from support.parity import as_frames, moving_picture
from support.training import (
    assert_same_tensors,
    clips,
    log_rows,
    tracker_yaml,
    training_settings,
)
from vidseg.errors import CheckpointError, ConfigError, OutputError, RunError
from vidseg.pipeline.stop import Stop
from vidseg.trackers.weights import read_checkpoint
from vidseg.training import trainer as trainer_module
from vidseg.training import training_state
from vidseg.training.batches import Batches
from vidseg.training.log import Log
from vidseg.training.run import train
from vidseg.training.settings import TrainSettings
from vidseg.training.trainee import build_trainee
from vidseg.training.trainer import Trainer
from vidseg.training.training_state import read_training_state, write_tensors
from vidseg.training.unroll import Unrolled, unroll


def train_until(step: int, settings: TrainSettings, out: Path, **options: Any) -> dict[str, Any]:
    """Train, and ask for a stop during step `step` (1-based)."""
    stop = Stop()
    done = 0

    def unroll_and_stop(*args: Any) -> Unrolled:
        nonlocal done
        done += 1
        if first + done == step * settings.accumulate:
            stop.is_requested = True
        return unroll(*args)

    earlier = read_training_state(out)
    first = 0 if earlier is None else earlier.step * settings.accumulate
    return train(settings, out, stop=stop, unroll=unroll_and_stop, **options)


def test_twenty_steps_are_the_same_in_two_runs(tmp_path: Path) -> None:
    settings = training_settings(tmp_path, steps=20, batch=1, log_every=1)
    for run in ("a", "b"):
        assert train(settings, tmp_path / run)["status"] == "done"
    rows = log_rows(tmp_path / "a")
    assert rows == log_rows(tmp_path / "b")
    assert len({row["loss"] for row in rows}) == 20
    assert_same_tensors(*(read_checkpoint(tmp_path / run / "weights.safetensors") for run in ("a", "b")))


@pytest.mark.parametrize("muon", [[], ["decoder", "backbone"]])
def test_resuming_equals_not_stopping(tmp_path: Path, muon: list[str]) -> None:
    at = 3  # half-way between two rows of the log
    settings = training_settings(
        tmp_path,
        muon=muon,
        accumulate=2,
        stages=[{"from_step": 4, "num_frames": 2, "batch": 1, "size": 96}],
    )
    train(settings, tmp_path / "whole")
    assert train_until(at, settings, tmp_path / "cut")["status"] == "interrupted"
    record = train(settings, tmp_path / "cut", resume=True)
    assert record["status"] == "done"
    assert [sitting["from_step"] for sitting in record["sittings"]] == [0, at]

    assert log_rows(tmp_path / "cut") == log_rows(tmp_path / "whole")
    whole, cut = (read_training_state(tmp_path / run) for run in ("whole", "cut"))
    assert whole is not None
    assert cut is not None
    assert whole.step == cut.step == 6
    for part in ("model", "ema", "optimiser"):
        assert_same_tensors(getattr(cut, part), getattr(whole, part))


def test_a_part_alone_is_trained(tmp_path: Path) -> None:
    settings = training_settings(tmp_path, only=["decoder.score"])
    before = build_trainee(settings).model.state_dict()
    train(settings, tmp_path / "whole")
    after = read_checkpoint(tmp_path / "whole" / "weights.safetensors")
    changed = {key for key, value in after.items() if not torch.equal(value, before[key])}
    # Statistics of norms stay, too.
    assert changed == {key for key in before if key.startswith("decoder.score.")}

    train_until(3, settings, tmp_path / "cut")
    train(settings, tmp_path / "cut", resume=True)
    assert_same_tensors(read_checkpoint(tmp_path / "cut" / "weights.safetensors"), after)


@pytest.mark.parametrize("field", ["only", "muon"])
def test_a_part_to_train_must_be_there(tmp_path: Path, field: str) -> None:
    with pytest.raises(ConfigError, match=r"no part 'decoder\.sco'") as error:
        train(training_settings(tmp_path, **{field: ["decoder.sco"]}), tmp_path / "run")
    assert "decoder" in str(error.value.hint)
    assert field in str(error.value.where)
    assert not (tmp_path / "run").exists()


def test_workers_make_the_same_clips(tmp_path: Path) -> None:
    for workers in (0, 2):
        train(training_settings(tmp_path, steps=2, log_every=1, workers=workers), tmp_path / str(workers))
    assert log_rows(tmp_path / "0") == log_rows(tmp_path / "2")


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    settings = training_settings(tmp_path, log_every=1, save_every={"steps": 2})
    train(settings, tmp_path / "whole")

    def die(*args: Any) -> Unrolled:
        if len(log_rows(tmp_path / "cut") if (tmp_path / "cut" / "log.csv").exists() else []) == 3:
            raise KeyboardInterrupt
        return unroll(*args)

    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "cut", unroll=die)
    assert len(log_rows(tmp_path / "cut")) == 3  # one more than what is kept
    told: list[str] = []
    train(settings, tmp_path / "cut", resume=True, tell=told.append)
    assert told[0] == "going on from step 2"
    assert log_rows(tmp_path / "cut") == log_rows(tmp_path / "whole")
    assert_same_tensors(
        *(read_checkpoint(tmp_path / run / "weights.safetensors") for run in ("whole", "cut"))
    )


def test_a_checkpoint_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = training_settings(tmp_path)
    train_until(2, settings, tmp_path / "run")

    def write_and_fail(path: Path, *args: Any) -> None:
        if path.name == "optimiser.safetensors":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write_tensors(path, *args)

    with monkeypatch.context() as patched:
        patched.setattr(training_state, "write_tensors", write_and_fail)
        with pytest.raises(OSError, match="No space left"):
            train_until(3, settings, tmp_path / "run", resume=True)
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000002"]
    assert train(settings, tmp_path / "run", resume=True)["status"] == "done"


def test_a_run_that_ended_by_the_clock_stays_as_it_is(tmp_path: Path) -> None:
    settings = training_settings(tmp_path, minutes=1e-5)
    assert train(settings, tmp_path / "run")["steps_done"] == 1
    before = read_checkpoint(tmp_path / "run" / "weights.safetensors")
    again = train(settings, tmp_path / "run", resume=True)
    assert (again["status"], again["steps_done"]) == ("done", 1)
    assert_same_tensors(read_checkpoint(tmp_path / "run" / "weights.safetensors"), before)


def test_an_interrupt_leaves_what_can_be_tracked_with(tmp_path: Path) -> None:
    settings = training_settings(tmp_path)
    record = train_until(3, settings, tmp_path / "run")
    assert record["status"] == "interrupted"
    assert record["steps_done"] == 3
    assert record["clips"] == 6
    assert json.loads((tmp_path / "run" / "train.json").read_text()) == record
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    assert_tracks(settings.tracker, Path(record["weights"]))


def test_the_weights_of_a_run_track(tmp_path: Path) -> None:
    settings = training_settings(tmp_path)
    record = train(settings, tmp_path / "run")
    weights = Path(record["weights"])
    assert weights == tmp_path / "run" / "weights.safetensors"
    assert_tracks(settings.tracker, weights)
    newest = read_training_state(tmp_path / "run")
    assert newest is not None
    assert_same_tensors(read_checkpoint(weights), newest.ema)
    assert [path.name for path in (tmp_path / "run" / "sheets").iterdir()] == ["step-00000006.png"]


def assert_tracks(tracker: str, weights: Path) -> None:
    session = vidseg.load(tracker, weights=weights, device="cpu").start()
    session.prompt(1, box=[20.0, 10.0, 60.0, 50.0])
    for frame in as_frames(moving_picture(3, 64)):
        result = session.step(frame)
    assert np.isfinite(result.low_res_logits).all()


def test_changed_settings_are_told(tmp_path: Path) -> None:
    train_until(2, training_settings(tmp_path), tmp_path / "run")
    told: list[str] = []
    changed = training_settings(tmp_path, lr=5e-4)
    record = train(changed, tmp_path / "run", resume=True, tell=told.append)
    assert told[:2] == ["going on from step 2", "changed: lr, 0.001, now 0.0005"]
    assert [sitting["changed"] for sitting in record["sittings"]] == [{}, {"lr": 0.0005}]


def test_a_run_goes_on_with_the_other_optimiser(tmp_path: Path) -> None:
    for name, first, then in (("to", [], ["decoder"]), ("from", ["decoder"], [])):
        train_until(2, training_settings(tmp_path, muon=first), tmp_path / name)
        settings = training_settings(tmp_path, muon=then)
        assert train(settings, tmp_path / name, resume=True)["status"] == "done"
        state = read_training_state(tmp_path / name)
        assert state is not None
        kept = {key.rsplit("/", 1)[1] for key in state.optimiser if key.startswith("decoder.enter.")}
        assert ("momentum" in kept) == bool(then)


def test_other_weights_are_not_resumed(tmp_path: Path) -> None:
    train_until(2, training_settings(tmp_path), tmp_path / "run")
    other = training_settings(tmp_path, tracker=tracker_yaml(tmp_path, sam2=True))
    with pytest.raises(CheckpointError, match="do not fit"):
        train(other, tmp_path / "run", resume=True)


def test_a_folder_with_a_run_is_not_written_over(tmp_path: Path) -> None:
    settings = training_settings(tmp_path, steps=1)
    train(settings, tmp_path / "run")
    with pytest.raises(OutputError, match="holds a training run"):
        train(settings, tmp_path / "run")


def test_what_cannot_be_trained_leaves_no_folder(tmp_path: Path) -> None:
    settings = training_settings(tmp_path, tracker="flow")
    with pytest.raises(ConfigError, match="nothing to train"):
        train(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_starts_from_given_weights(tmp_path: Path) -> None:
    settings = training_settings(tmp_path, steps=1)
    train(settings, tmp_path / "first")
    given = str(tmp_path / "first" / "weights.safetensors")
    engine = build_trainee(training_settings(tmp_path, init=given))
    assert_same_tensors(engine.model.state_dict(), read_checkpoint(given))


def test_the_name_of_a_tracker_starts_from_its_own_weights(tmp_path: Path) -> None:
    named = training_settings(tmp_path, tracker="vidseg-nano", init="vidseg-nano")
    begun = build_trainee(named).model.state_dict()
    own = read_checkpoint(Path(vidseg.__file__).parent / "weights" / "vidseg-nano.safetensors")
    assert_same_tensors({name: begun[name].to(value.dtype) for name, value in own.items()}, own)


def test_fresh_weights_are_a_function_of_the_seed(tmp_path: Path) -> None:
    torch.manual_seed(1)
    one, again, other = (
        build_trainee(training_settings(tmp_path, seed=seed)).model.state_dict() for seed in (0, 0, 1)
    )
    assert_same_tensors(one, again)
    assert not torch.equal(one["to_key.0.weight"], other["to_key.0.weight"])


def trainer_of(
    folder: Path, change: Callable[[Tensor], Tensor] = lambda loss: loss, **changes: Any
) -> Trainer:
    """A trainer whose loss is changed before its gradient is taken."""

    def changed(*args: Any) -> Unrolled:
        result = unroll(*args)
        return Unrolled(change(result.loss), result.parts, result.predictions_btss)

    settings = training_settings(folder, **changes)
    return Trainer(settings, build_trainee(settings), changed)


STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def copies(trainer: Trainer) -> dict[str, Tensor]:
    both = {**trainer.model.state_dict(), **{f"ema {k}": v for k, v in trainer.ema.state.items()}}
    # Statistics of batch norms take in every batch that is seen, as they do in training anyway.
    return {key: value.clone() for key, value in both.items() if not key.endswith(STATISTICS)}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_step_without_a_finite_gradient_changes_nothing(tmp_path: Path, value: float) -> None:
    trainer = trainer_of(tmp_path, lambda loss: loss * value)
    before = copies(trainer)
    trainer.take_step([clips(trainer.settings)])
    assert trainer.step == trainer.skipped == 1
    assert_same_tensors(copies(trainer), before)
    trainer._unroll = unroll
    trainer.take_step([clips(trainer.settings)])
    assert trainer.skipped == 0
    assert not torch.equal(copies(trainer)["to_key.0.weight"], before["to_key.0.weight"])


def test_a_frame_of_nan_does_not_stay_in_the_statistics(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path)
    images, masks = clips(trainer.settings)
    trainer.take_step([(images * math.nan, masks)])
    assert trainer.skipped == 1
    trainer.take_step([(images, masks)])
    for state in (trainer.model.state_dict(), trainer.ema.state):
        assert all(bool(value.isfinite().all()) for value in state.values())


def test_many_such_steps_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_module, "MAX_SKIPPED", 3)
    trainer = trainer_of(tmp_path, lambda loss: loss * math.nan)
    batch = clips(trainer.settings)
    for _ in range(2):
        trainer.take_step([batch])
    with pytest.raises(RunError, match="no finite gradient in 3 steps, the last one step 2"):
        trainer.take_step([batch])


def test_accumulating_averages_gradients(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path)
    batch = clips(trainer.settings)
    norms = []
    for passes in ([batch], [batch, batch]):
        fresh = trainer_of(tmp_path, unroll={"prompts": {"mask": 1.0, "box": 0.0}, "corrections": 0.0})
        norms.append(fresh.take_step(passes)[0]["grad_norm"])
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


@pytest.mark.parametrize(
    ("sam2", "dtype"),
    [(False, "float32"), (False, "bfloat16"), (True, "bfloat16")],
    ids=["space-time", "space-time-bfloat16", "sam2.1-bfloat16"],
)
def test_steps_on_the_same_clips_lower_the_loss(tmp_path: Path, sam2: bool, dtype: str) -> None:
    trainer = trainer_of(
        tmp_path,
        tracker=tracker_yaml(tmp_path, sam2=sam2),
        dtype=dtype,
        steps=100,
        schedule={"warm_up": 0, "shape": "constant"},
        unroll={"corrections": 0.0, "prompts": {"mask": 0.0, "box": 1.0}},  # as hard in every step
    )
    batch = clips(trainer.settings)
    losses = [trainer.take_step([batch])[0]["loss"] for _ in range(5 if sam2 else 10)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-2:]) < 0.85 * losses[0]
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}


def test_the_average_follows_the_weights(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path)
    wanted = trainer.model.state_dict()["to_key.0.weight"].clone()
    for step in range(3):
        trainer.take_step([clips(trainer.settings)])
        share = 1 - min(0.9, (1 + step) / (10 + step))
        wanted += share * (trainer.model.state_dict()["to_key.0.weight"] - wanted)
    torch.testing.assert_close(trainer.ema.state["to_key.0.weight"], wanted)


def test_the_average_is_the_plain_mean_from_a_step_on(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, mean_from=2)
    weights = []
    for _ in range(5):
        trainer.take_step([clips(trainer.settings)])
        weights.append(trainer.model.state_dict()["to_key.0.weight"].clone())
    torch.testing.assert_close(trainer.ema.state["to_key.0.weight"], torch.stack(weights[2:]).mean(dim=0))


def test_the_log_is_a_table_of_numbers(tmp_path: Path) -> None:
    train(training_settings(tmp_path, steps=5), tmp_path / "run")
    with open(tmp_path / "run" / "log.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4", "5"]
    assert [row["clips"] for row in rows] == ["4", "8", "10"]
    assert all(math.isfinite(float(value)) for row in rows for value in row.values() if value)


def test_the_log_leaves_empty_what_no_step_has(tmp_path: Path) -> None:
    log = Log(tmp_path, 0)
    for step, told in ((1, {"loss": 1.0, "J_correct": math.nan}), (2, {"loss": 2.0, "J_correct": 0.5})):
        log.add(told)
        log.write_row(step, 0.0, step)
    log.add({"loss": 3.0, "J_correct": math.nan})
    log.write_row(3, 0.0, 3)
    assert [row["J_correct"] for row in log_rows(tmp_path)] == ["", "0.5", ""]
    assert [row["loss"] for row in log_rows(tmp_path)] == ["1.0", "2.0", "3.0"]


def test_the_learning_rate_warms_up_and_falls(tmp_path: Path) -> None:
    cosine = training_settings(tmp_path, steps=100, lr=1.0, schedule={"warm_up": 10, "floor": 0.1})
    assert [cosine.lr_at(step) for step in (0, 4, 9, 10)] == pytest.approx([0.1, 0.5, 1.0, 1.0])
    assert cosine.lr_at(55) == pytest.approx(0.55)
    assert cosine.lr_at(99) == pytest.approx(0.1, abs=1e-3)
    plan = {"warm_up": 0, "shape": "constant", "decay": 0.2, "floor": 0.0}
    constant = training_settings(tmp_path, steps=100, lr=1.0, schedule=plan)
    assert [constant.lr_at(step) for step in (0, 80, 90, 99)] == pytest.approx([1.0, 1.0, 0.5, 0.05])


def test_a_step_takes_clips_of_one_frame_besides(tmp_path: Path) -> None:
    stages = [{"from_step": 4, "first_frames": 1}]
    settings = training_settings(tmp_path, first_frames={"batch": 3}, stages=stages)
    steps = list(Batches(settings).from_step(0))
    shapes = [[tuple(masks.shape[:2]) for _, masks in passes] for passes in steps]
    of_clips = (settings.batch, settings.data.num_frames)
    assert shapes == [[(3, 1), of_clips]] * 4 + [[(1, 1), of_clips]] * (settings.steps - 4)
    of_one_frame = [image.numpy().tobytes() for passes in steps for image in passes[0][0]]
    assert len(set(of_one_frame)) == 4 * 3 + settings.steps - 4
    for step in (2, 5):
        later = next(Batches(settings).from_step(step))
        assert all(torch.equal(a[0], b[0]) for a, b in zip(later, steps[step], strict=True))
    plain = next(Batches(training_settings(tmp_path)).from_step(0))
    assert torch.equal(plain[0][0], steps[0][1][0])


def test_each_clip_is_used_once(tmp_path: Path) -> None:
    stages = [{"from_step": 2, "batch": 3}, {"from_step": 4, "num_frames": 2}]
    settings = training_settings(tmp_path, accumulate=2, stages=stages)
    assert [settings.clips_before(step) for step in range(7)] == [0, 4, 8, 14, 20, 26, 32]
    assert [(s.first, s.end, s.batch, s.data.num_frames) for s in settings.spans()] == [
        (0, 2, 2, 3),
        (2, 4, 3, 3),
        (4, 6, 3, 2),
    ]
