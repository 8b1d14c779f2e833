"""Settings of a training run: the YAML of `vidseg train`, checked when it is read."""

from __future__ import annotations

import hashlib
import json
import math
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vidseg.errors import ConfigError
from vidseg.training.data import ClipSettings
from vidseg.training.data.settings import ClipMix
from vidseg.training.distil_settings import DistilSettings
from vidseg.training.prompt_head_settings import PromptHeadSettings
from vidseg.training.settings_file import read_settings_file
from vidseg.training.unroll import UnrollSettings
from vidseg.validation import Strict, parse


class LearningRateSchedule(Strict):
    """The learning rate over the steps, as a share of `lr`."""

    warm_up: int = Field(default=200, ge=0)
    """Over this many steps the rate rises from 0 in a straight line."""
    shape: Literal["cosine", "constant"] = "cosine"
    """What follows: half a cosine down to `floor`, or a constant rate until `decay` of the run is left and
    then a straight line down to `floor`. A constant run can be made longer without changing what was done
    before its end."""
    decay: float = Field(default=0.2, ge=0, le=1)
    floor: float = Field(default=0.01, ge=0, le=1)
    """The last rate, as a share of `lr`."""


class SaveEvery(Strict):
    """How often a checkpoint is written: give one of the two."""

    steps: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one(self) -> SaveEvery:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give either steps or minutes")
        return self


class TrainingStage(Strict):
    """Settings that change from a step on; those left out stay as in the stage before."""

    from_step: int = Field(ge=1)
    num_frames: Annotated[int, Field(ge=1)] | None = None
    size: Annotated[int, Field(ge=64, multiple_of=32)] | None = None
    batch: Annotated[int, Field(ge=1)] | None = None
    first_frames: Annotated[int, Field(ge=1)] | None = None
    """How many clips of one frame a step takes, as `batch` of `FirstFrames`."""


class FirstFrames(Strict):
    """Clips of one frame that a step takes besides the others: answers to boxes and clicks are learned from
    many more pictures so, as one frame costs a fraction of a clip."""

    batch: int = Field(default=0, ge=0)
    """How many a step takes; 0: none."""
    mix: ClipMix = ClipMix()
    closer_look: float = Field(default=0.0, ge=0, le=1)
    """Probability that one shows its object and little around it; see `ClipSettings.closer_look`."""

    def clips(self, data: ClipSettings) -> ClipSettings:
        """The settings of these clips, by those of the others."""
        changes = {"num_frames": 1, "mix": self.mix, "closer_look": self.closer_look}
        return data.model_copy(update=changes)


class Lockstep(Strict):
    """How a space-time model is trained on a GPU; see `vidseg.training.lockstep`."""

    pool: int = Field(default=4096, ge=1)
    """How many clips are kept on the device to draw from, and as many of one frame."""
    draws: float = Field(default=4.0, gt=0)
    """How often a clip is drawn on average: at this pace clips come in, and steps wait for them."""
    still_share: float = Field(default=0.5, gt=0, le=1)
    """How many clips of one frame are made for each clip, as a share of what steps take."""
    stills_corrected: float = Field(default=0.25, ge=0, le=1)
    """Share of the clips of one frame that teach corrections; the others teach first answers."""
    stills_decoded: float = Field(default=0.0, ge=0, le=1)
    """Share of the first answers that are given by the decoder that follows objects, too, where a model has a
    network for prompts: points of samplers are answered by the decoder."""
    answers_corrected: bool = False
    """Whether each first answer on a clip of one frame is then corrected by a click on its own largest
    error."""
    young: float = Field(default=0.0, ge=0, le=1)
    """For this share of the run scores are not heeded, and masks are forced as often as `young_forcing`."""
    young_forcing: float = Field(default=0.5, ge=0, le=1)


class TrainSettings(Strict):
    """A training run. Paths are taken from the working directory."""

    tracker: str
    """The tracker to train: a name that `vidseg models` lists, or the path of a YAML."""
    init: str | None = None
    """Weights to start from: a file, or the name of a tracker, which means its own; None: random ones. Parts
    named in `only` of which they hold nothing start at random."""
    only: list[str] = Field(default=[])
    """Parts of the model to train, given as the first part of the names of their weights; the rest stays as
    it is. Empty: all."""
    steps: int = Field(ge=1)
    minutes: float | None = Field(default=None, gt=0)
    """The run also ends after this time, if not all `steps` are done; the schedule then follows the clock."""
    batch: int = Field(default=8, ge=0)
    """How many clips a pass takes; 0, in lockstep: none, first frames alone are learned."""
    accumulate: int = Field(default=1, ge=1)
    """How many passes a step takes; their gradients are averaged."""
    lr: float = Field(default=5e-4, gt=0)
    schedule: LearningRateSchedule = LearningRateSchedule()
    muon: list[str] = Field(default=[])
    """Parts of the model, named as in `only`, whose matrices are changed by Muon in place of AdamW: those
    that begin at random (see `vidseg.training.muon`)."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Weight decay, times the rate; norms, biases and other vectors have none."""
    clip_grad_norm: float = Field(default=1.0, gt=0)
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the moving average of the weights, which is the result of a run."""
    mean_from: int | None = Field(default=None, ge=0)
    """From this step (0-based) on the average is the plain mean of the weights of all steps since then. On
    little data it generalises better than the end of a run does. None: the average moves to the end."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 is mixed precision: the weights stay float32."""
    weights_dtype: Literal["float32", "float16"] = "float32"
    """Type of the weights in the resulting file; float16 halves it."""
    device: str = "auto"
    seed: int = Field(default=0, ge=0, lt=2**63)
    workers: int = Field(default=2, ge=0)
    """How many processes make clips; 0: the training process makes them."""
    log_every: int = Field(default=20, ge=1)
    sheet_every: int = Field(default=500, ge=1)
    save_every: SaveEvery = SaveEvery(minutes=5)
    data: ClipSettings
    first_frames: FirstFrames = FirstFrames()
    unroll: UnrollSettings = Field(default_factory=UnrollSettings)
    lockstep: Lockstep | None = None
    """Given, space-time models are trained in tensors of fixed shape, much faster on a GPU."""
    distil: DistilSettings | None = None
    """A teacher to learn from; None: training learns from true masks alone."""
    prompt_head: PromptHeadSettings | None = None
    """Given, not the tracker is trained but a head over its features, which the sampler `peaks` needs."""
    stages: list[TrainingStage] = Field(default=[])

    @model_validator(mode="after")
    def _ordered(self) -> TrainSettings:
        starts = [stage.from_step for stage in self.stages]
        if starts != sorted(set(starts)):
            raise ValueError("stages: each from_step must be greater than the one before")
        return self

    @model_validator(mode="after")
    def _takes_something(self) -> TrainSettings:
        if not self.batch and not (self.lockstep and self.first_frames.batch):
            raise ValueError("batch: 0 needs 'lockstep' and a 'batch' of 'first_frames'")
        return self

    def doubts(self) -> list[str]:
        """What is allowed, and hardly meant, in lines for people."""
        found = []
        if self.schedule.warm_up >= self.steps:
            found.append(
                f"warning: the learning rate only rises, to {self.lr_at(self.steps - 1):.2g}, as "
                f"schedule.warm_up is {self.schedule.warm_up} of {self.steps} steps"
            )
        if self.mean_from is not None and self.mean_from >= self.steps:
            found.append(
                f"warning: weights are a moving average, as the run ends before mean_from ({self.mean_from})"
            )
        return found

    def done(self, step: int, time_share: float = 0.0) -> float:
        """How much of the run is done before a step (0-based), by steps or by the clock, from 0 to 1."""
        return min(1.0, max(step / self.steps, time_share))

    def lr_at(self, step: int, time_share: float = 0.0) -> float:
        """The learning rate of a step (0-based).

        Args:
            time_share: how much of `minutes` is over, from 0 to 1.
        """
        plan = self.schedule
        if step < plan.warm_up:
            return self.lr * (step + 1) / plan.warm_up
        if plan.shape == "cosine":
            done = (step - plan.warm_up) / max(self.steps - plan.warm_up, 1)
            share = 0.5 * (1 + math.cos(math.pi * min(max(done, time_share), 1.0)))
        else:
            left = min(self.steps - step, (1 - time_share) * self.steps)
            share = min(1.0, left / max(plan.decay * self.steps, 1))
        return self.lr * (plan.floor + (1 - plan.floor) * share)

    def spans(self) -> list[StepRange]:
        """The run cut into spans of steps with clips and batches of one kind."""
        spans: list[StepRange] = []
        size, num_frames, batch = self.data.size, self.data.num_frames, self.batch
        first_frames = self.first_frames.batch
        clips = stills = 0
        starts = [0, *(s.from_step for s in self.stages)]
        for row, (first, end) in enumerate(zip(starts, [*starts[1:], self.steps], strict=True)):
            if row:
                stage = self.stages[row - 1]
                size, num_frames = stage.size or size, stage.num_frames or num_frames
                batch = stage.batch or batch
                first_frames = stage.first_frames or first_frames
            end = min(end, self.steps)
            if end > first:
                data = self.data.model_copy(update={"size": size, "num_frames": num_frames})
                span = StepRange(
                    first=first,
                    end=end,
                    batch=batch,
                    first_frames=first_frames,
                    clips_before=clips,
                    stills_before=stills,
                    data=data,
                )
                spans.append(span)
                stills += (end - first) * first_frames
                clips += (end - first) * batch * self.accumulate
        return spans

    def sizes(self) -> list[int]:
        """The sides of the run's clips, smallest first."""
        return sorted({span.data.size for span in self.spans()})

    def clips_before(self, step: int) -> int:
        """How many clips the steps before `step` (0-based) take together."""
        span = [span for span in self.spans() if span.first <= max(step - 1, 0)][-1]
        return span.clips_before + (step - span.first) * span.batch * self.accumulate

    def sha256(self) -> str:
        """A digest of all settings."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


class StepRange(Strict):
    """A span of steps, 0-based, from `first` to before `end`, with clips and batches of one kind."""

    first: int
    end: int
    batch: int
    first_frames: int
    """Clips of one frame that a step takes."""
    clips_before: int
    """Clips that the steps before `first` take."""
    stills_before: int
    """Clips of one frame that these steps take."""
    data: ClipSettings


def read_settings(path: str | PathLike[str], changes: dict[str, Any] | None = None) -> TrainSettings:
    """The settings in a YAML file.

    Args:
        changes: top-level values that replace those of the file.

    Raises:
        ConfigError: the file is missing or no YAML, or a setting is unknown or wrong.
    """
    data = read_settings_file(Path(path))
    return parse(TrainSettings, {**data, **(changes or {})}, where=str(path), error=ConfigError)


def is_within(name: str, part: str) -> bool:
    """Whether a weight of this name belongs to a part of the model, as `TrainSettings.only` names it."""
    return name == part or name.startswith(f"{part}.")
