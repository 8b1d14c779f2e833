"""One step of training in lockstep: the recorded pass -> clip gradients -> optimiser -> average."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F

from vidseg.errors import ConfigError
from vidseg.trackers.engine import Engine
from vidseg.trackers.space_time.video_model import SpaceTimeModel
from vidseg.training.lockstep.graph import Recorded
from vidseg.training.lockstep.prepared import Rows
from vidseg.training.lockstep.unroll import Dials, Shares, Told, unroll
from vidseg.training.seeds import step_seed
from vidseg.training.settings import TrainSettings
from vidseg.training.trainer import Trainer
from vidseg.training.unroll import Unrolled


class LockstepTrainer(Trainer):
    """A `Trainer` that takes batches of prepared rows.

    Raises:
        ConfigError: the tracker is of another model than `space-time`, or steps take no clips of one frame.
    """

    def __init__(self, settings: TrainSettings, engine: Engine) -> None:
        if not isinstance(engine.model, SpaceTimeModel):
            raise ConfigError(
                f"the model of '{settings.tracker}' cannot be trained in lockstep",
                where="field 'lockstep'",
                hint="leave it out, or name a tracker with `model: {name: space-time}`",
            )
        if not settings.first_frames.batch:
            raise ConfigError(
                "lockstep takes clips of one frame in every step",
                where="field 'first_frames.batch'",
                hint="give 1 or more",
            )
        super().__init__(settings, engine, _not_used)
        self._space_time = engine.model
        assert settings.lockstep is not None
        self._plan = settings.lockstep
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # shapes are fixed: the fastest kernels are sought once
        one = torch.zeros((), device=self.device)
        self._dials = Dials(one.clone(), one.bool())
        self._recorded = Recorded(self._gradients, list(self.learner.parameters.values()), self.device)

    def take_step(self, passes: Any) -> tuple[dict[str, float], Unrolled]:
        clips, stills = passes
        if self.device.type == "cpu":  # a GPU goes on from where a recorded pass left its generator
            torch.manual_seed(step_seed(self.settings.seed, self.step, "global"))
        self._turn_dials()
        self.engine.model.image_size = side = (clips or stills)["images"].shape[-1]
        told = self._recorded(clips, stills)
        lr = self.settings.lr_at(self.step, self.time_share)
        norm = self._finish(lr)
        # One copy for all values: each would make the processor wait for the device.
        values = torch.stack([told.loss, *told.parts.values()]).tolist()
        parts = dict(zip(("loss", *told.parts), values, strict=True))
        shown = F.interpolate(told.shown_bthw.float(), size=(side, side), mode="bilinear")
        return {"lr": lr, **parts, "grad_norm": norm}, Unrolled(told.loss, parts, shown)

    def _turn_dials(self) -> None:
        plan, of_run = self._plan, self.settings.unroll
        is_young = self.settings.done(self.step, self.time_share) < plan.young
        self._dials.forcing.fill_(plan.young_forcing if is_young else of_run.forcing)
        self._dials.heeds_score.fill_(of_run.heeds_score and not is_young)

    def _gradients(self, clips: Rows, stills: Rows) -> Told:
        plan, of_run = self._plan, self.settings.unroll
        batch, num_stills = (len(rows["masks"]) if rows else 0 for rows in (clips, stills))
        shares = Shares(
            given=round(of_run.prompts.mask * batch),
            corrected=round(of_run.corrections * batch),
            stills_corrected=round(plan.stills_corrected * num_stills),
            stills_decoded=round(plan.stills_decoded * (1 - plan.stills_corrected) * num_stills),
            answers_corrected=plan.answers_corrected,
        )
        with self._precision():
            told = unroll(self._space_time, clips, stills, shares, self._dials, of_run)
        told.loss.backward()
        return replace(told, loss=told.loss.detach())


def _not_used(*_: Any) -> Unrolled:
    raise AssertionError
