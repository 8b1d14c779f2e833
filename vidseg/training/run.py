"""A training run in a folder: clips, steps, checkpoints, log and sheets; and how it is resumed.

OUT/train.json           settings, versions, machine, progress
OUT/log.csv              losses over the steps
OUT/sheets/step-*.png    predictions beside the truth
OUT/checkpoints/step-*/  where --resume goes on from
OUT/ema.safetensors      averaged weights of the newest checkpoint
OUT/weights.safetensors  the same, once the run has ended
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from vidseg.errors import ConfigError, InputError, OutputError
from vidseg.glibc import keep_freed_memory
from vidseg.pipeline.atomic import write_json
from vidseg.pipeline.machine import peak_memory_bytes, versions
from vidseg.pipeline.out_folder import OutFolder
from vidseg.pipeline.stop import Stop
from vidseg.trackers.device import pick_device
from vidseg.trackers.registry import read_config
from vidseg.trackers.weights import check_state
from vidseg.training.batches import Batches, maker_of
from vidseg.training.distil.distillation import Distillation
from vidseg.training.distil.teacher import build_teacher
from vidseg.training.log import Log
from vidseg.training.settings import TrainSettings
from vidseg.training.sheet import write_sheet
from vidseg.training.trainee import build_trainee
from vidseg.training.trainer import Clips, Trainer, Unroll
from vidseg.training.training_state import (
    FOLDER,
    TrainingState,
    read_training_state,
    write_tensors,
    write_training_state,
)
from vidseg.training.unroll import unroll
from vidseg.version import __version__

RECORD = "train.json"
WEIGHTS, AVERAGE = "weights.safetensors", "ema.safetensors"


def train(
    settings: TrainSettings,
    out: Path,
    *,
    resume: bool = False,
    stop: Stop | None = None,
    tell: Callable[[str], None] = lambda line: None,
    unroll: Unroll = unroll,
) -> dict[str, Any]:
    """Train until the last step, or until a stop is asked for.

    Args:
        resume: whether to go on from the newest checkpoint in `out`; if there is none, training starts anew.
        stop: asked after every step whether to stop.
        tell: called with lines for people to read.
        unroll: computes the loss of a batch of clips, if there is no teacher; tests put a quick one here.

    Returns:
        the contents of `train.json`; its status is 'done' or 'interrupted'.

    Raises:
        OutputError: the folder cannot be used, or holds a run and `resume` was not asked for.
        ConfigError, CheckpointError: see `build_trainee`.
        RunError: training diverged.
    """
    if not resume and ((out / FOLDER).exists() or (out / RECORD).exists()):
        raise OutputError(
            f"'{out}' holds a training run", hint="go on with it: --resume; or choose another --out"
        )
    folder = OutFolder(out)
    folder.claim()
    try:
        device = pick_device(settings.device)
        if device.type == "cpu":
            keep_freed_memory()
        with _deterministic(device):
            return _Run(settings, out, stop or Stop(), tell, unroll).go()
    except InputError:
        if not (out / RECORD).exists():
            folder.undo()
        raise
    finally:
        folder.release()
        folder.remove_state()


class _Run:
    def __init__(
        self,
        settings: TrainSettings,
        out: Path,
        stop: Stop,
        tell: Callable[[str], None],
        unroll: Unroll,
    ) -> None:
        self.settings, self.out, self.stop, self.tell = settings, out, stop, tell
        earlier = read_training_state(out)
        self.trainer = _trainer(settings, unroll)
        self.batches = _batches(settings, self.trainer.device)
        for line in (*maker_of(settings, settings.data).said, *settings.doubts()):
            tell(line)
        facts: dict[str, Any] = {"seconds": 0.0, "window": None, "sittings": []}
        now = settings.model_dump(mode="json")
        changed: dict[str, Any] = {}
        if earlier is not None:
            shapes = {key: tuple(value.shape) for key, value in self.trainer.model.state_dict().items()}
            check_state(shapes, earlier.model, where=str(out / FOLDER), tracker=settings.tracker)
            self.trainer.load(
                earlier.step, earlier.model, earlier.ema, earlier.optimiser, earlier.projections
            )
            facts = earlier.facts
            changed = {key: value for key, value in now.items() if value != facts["settings"].get(key)}
            tell(f"going on from step {earlier.step}")
            for key, value in changed.items():
                tell(f"changed: {key}, {facts['settings'].get(key)}, now {value}")
        self.seconds: float = facts["seconds"]
        self.sittings: list[dict[str, Any]] = [
            *facts["sittings"],
            {"from_step": self.trainer.step, "changed": changed, "machine": _machine(self.trainer.device)},
        ]
        self.log = Log(out, self.trainer.step, facts["window"])

    def go(self) -> dict[str, Any]:
        settings, trainer = self.settings, self.trainer
        saved_at = began = time.monotonic()
        before, first = self.seconds, trainer.step
        self._write_record("running")
        is_over = self._time_share(before) >= 1  # a run that ended by the clock has no further step
        pinned = trainer.device.type == "cuda"
        clips = () if is_over else self.batches.from_step(trainer.step, pin_memory=pinned)
        waiting_since = began
        for passes in clips:
            waited = time.monotonic() - waiting_since
            trainer.time_share = self._time_share(before + waiting_since - began)
            told, result = trainer.take_step(passes)
            step = trainer.step
            now = waiting_since = time.monotonic()
            self.seconds = before + now - began
            self.log.add({**told, "waited": waited})
            is_last = step == settings.steps or self._time_share(self.seconds) >= 1
            if step % settings.log_every == 0 or is_last:
                row = self.log.write_row(step, self.seconds, settings.clips_before(step))
                self.tell(_line(row, settings.steps, (now - began) / (step - first)))
            if step % settings.sheet_every == 0 or is_last:
                sheet = self.out / "sheets" / f"step-{step:08d}.png"
                write_sheet(sheet, *_shown(passes), result.predictions_btss)
            if self._is_due(now - saved_at) or is_last or self.stop.is_requested:
                self.save()
                saved_at = time.monotonic()
            if self.stop.is_requested:
                return self._write_record("interrupted")
            if is_last:
                break
        self._write_average(WEIGHTS, getattr(torch, settings.weights_dtype))
        return self._write_record("done")

    def _time_share(self, seconds: float) -> float:
        minutes = self.settings.minutes
        return 0.0 if minutes is None else min(1.0, seconds / (60 * minutes))

    def _is_due(self, seconds: float) -> bool:
        every = self.settings.save_every
        if every.steps is not None:
            return self.trainer.step % every.steps == 0
        return every.minutes is not None and seconds >= 60 * every.minutes

    def save(self) -> None:
        trainer = self.trainer
        state = TrainingState(
            step=trainer.step,
            model=trainer.model.state_dict(),
            ema=trainer.ema.state,
            optimiser=trainer.learner.moments(),
            projections=trainer.projections.state_dict(),
            facts={
                "seconds": self.seconds,
                "window": self.log.window,
                "sittings": self.sittings,
                "settings": self.settings.model_dump(mode="json"),
            },
        )
        write_training_state(self.out, state)
        self._write_average(AVERAGE)
        self._write_record("running")

    def _write_average(self, name: str, dtype: torch.dtype = torch.float32) -> None:
        metadata = {
            "format": "pt",
            "tracker": self.settings.tracker,
            "settings_sha256": self.settings.sha256(),
            "steps": str(self.trainer.step),
            "clips": str(self.settings.clips_before(self.trainer.step)),
            "vidseg": __version__,
            **self.trainer.metadata,
        }
        state = {
            key: value.to(dtype) if value.is_floating_point() else value
            for key, value in self.trainer.renames.to_public(self.trainer.ema.state).items()
        }
        write_tensors(self.out / name, state, metadata)

    def _write_record(self, status: str) -> dict[str, Any]:
        step = self.trainer.step
        record = {
            "status": status,
            "steps_done": step,
            "clips": self.settings.clips_before(step),
            "seconds": round(self.seconds, 2),
            "weights": str(self.out / (WEIGHTS if status == "done" else AVERAGE)),
            "parameters": sum(p.numel() for p in self.trainer.model.parameters()),
            "settings": self.settings.model_dump(mode="json"),
            "tracker": read_config(self.settings.tracker)[1],
            "sittings": self.sittings,
            "peak_memory_bytes": peak_memory_bytes(),
            "versions": versions(),
        }
        write_json(self.out / RECORD, record)
        return record


def _shown(passes: Any) -> Clips:
    """The clips of a step that a sheet shows."""
    if isinstance(passes, tuple):
        rows = passes[0] or passes[1]
        return rows["images"], rows["masks"]
    clips: Clips = passes[-1]
    return clips


def _trainer(settings: TrainSettings, unroll: Unroll) -> Trainer:
    if settings.prompt_head is not None:
        from vidseg.training.images.prompt_head import build_prompt_head

        headed, losses = build_prompt_head(settings)
        return Trainer(settings, headed, losses, metadata=headed.metadata)
    if read_config(settings.tracker)[1].get("kind") == "image":
        return _image_trainer(settings)
    engine = build_trainee(settings)
    if settings.lockstep is not None:
        from vidseg.training.lockstep.trainer import LockstepTrainer

        return LockstepTrainer(settings, engine)
    if settings.distil is None:
        return Trainer(settings, engine, unroll)
    teacher = build_teacher(settings.distil, settings.sizes(), settings.device)
    distillation = Distillation(settings.distil, teacher, engine, settings.seed)
    return Trainer(settings, engine, distillation, distillation.projections)


def _batches(settings: TrainSettings, device: torch.device) -> Any:
    if settings.lockstep is None:
        return Batches(settings)
    from vidseg.training.lockstep.batches import PooledBatches

    return PooledBatches(settings, device)


def _image_trainer(settings: TrainSettings) -> Trainer:
    from vidseg.training.images import distillation, student, teacher

    if settings.distil is None:
        raise ConfigError(
            f"the image model '{settings.tracker}' learns from a teacher", where="field 'distil'"
        )
    learner = student.build_student(settings)
    images = distillation.ImageDistillation(
        settings.distil, teacher.build_teacher(settings.distil, settings.device), learner, settings.seed
    )
    return Trainer(settings, learner, images, images.projections, learner.renames)


def _line(row: dict[str, Any], steps: int, seconds_a_step: float) -> str:
    """A row of the log as a line for people."""
    losses = "  ".join(
        f"{name} {value:.3g}" for name, value in row.items() if name not in ("step", "seconds", "clips")
    )
    left = seconds_a_step * (steps - row["step"]) / 60
    return f"step {row['step']}/{steps}  {losses}  {seconds_a_step:.2f} s a step, {left:.0f} min left"


def _machine(device: torch.device) -> dict[str, Any]:
    return {
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """Use operations that give the same bits each time, on the CPU; on other devices they cost too much."""
    if device.type != "cpu":
        yield
        return
    was_on = torch.are_deterministic_algorithms_enabled()
    # Deterministic mode fills new tensors with NaN to expose reads of uninitialised memory; training does not
    # need that, and it costs time.
    deterministic: Any = torch.utils.deterministic
    filled = deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was_on)
        deterministic.fill_uninitialized_memory = filled
