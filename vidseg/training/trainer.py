"""One step of training: clips -> unroll -> backward -> clip gradients -> optimiser -> average.

Everything random in a step depends on the seed and the step's number alone. So a run that is stopped and
resumed equals a run that is not, to the last bit (on the CPU, with the same number of threads).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from vidseg.errors import ConfigError, RunError
from vidseg.trackers.device import pick_device
from vidseg.trackers.model import module_of
from vidseg.trackers.weights.renames import OWN_NAMES, Renames
from vidseg.training.ema import Ema
from vidseg.training.learner import Learner
from vidseg.training.muon import Muon, takes
from vidseg.training.seeds import step_seed
from vidseg.training.settings import TrainSettings, is_within
from vidseg.training.unroll import Unrolled

Clips = tuple[Tensor, Tensor]
"""Images, uint8 B x T x 3 x S x S, and masks, bool B x T x S x S."""


class Trained(Protocol):
    """What has a model to train: an `Engine`, or an image model's `Student`."""

    @property
    def model(self) -> Any: ...


Unroll = Callable[[Any, Tensor, Tensor, Any, torch.Generator], Unrolled]

MAX_SKIPPED = 50
"""After this many steps in a row without a finite gradient a run is given up."""


class Trainer:
    """The model under training with its optimiser and its moving average; `step` counts the steps done.

    Args:
        engine: see `build_trainee`; it is moved to the device.
        unroll: `vidseg.training.unroll.unroll`, or a `Distillation`.
        projections: layers that a loss needs; they are trained with the model, and are no part of it.
        renames: how the weights are named in the resulting file.
        metadata: what the resulting file says besides what all such files say.
    """

    def __init__(
        self,
        settings: TrainSettings,
        engine: Trained,
        unroll: Unroll,
        projections: torch.nn.Module | None = None,
        renames: Renames = OWN_NAMES,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.settings = settings
        self.engine = engine
        self.renames = renames
        self.metadata = dict(metadata or {})
        self.device = pick_device(settings.device)
        # Channels-last layout halves the time of a step on CPUs.
        self.model = module_of(engine.model).to(self.device)
        _choose(self.model, settings.only)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.projections = (projections or torch.nn.Module()).to(self.device)
        self.ema = Ema(self.model, settings.ema_decay, settings.mean_from)
        trained = {
            **{name: p for name, p in self.model.named_parameters() if p.requires_grad},
            **{f"projections/{name}": p for name, p in self.projections.named_parameters()},
        }
        self.learner = Learner(trained, _optimisers(trained, settings), settings.clip_grad_norm)
        self.step = 0
        self.time_share = 0.0
        """How much of the time of a run that ends by the clock is over, from 0 to 1."""
        self.skipped = 0
        """How many steps in a row, up to the last, had no finite gradient and changed nothing."""
        self._unroll = unroll

    def take_step(self, passes: list[Clips]) -> tuple[dict[str, float], Unrolled]:
        """One optimiser step.

        Args:
            passes: `accumulate` batches.

        Returns:
            values for the log (means over the passes that have them), and the result of the last pass.

        Raises:
            RunError: there was no finite gradient for many steps.
        """
        torch.manual_seed(step_seed(self.settings.seed, self.step, "global"))
        generator = torch.Generator().manual_seed(step_seed(self.settings.seed, self.step, "unroll"))
        told: dict[str, list[float]] = {}
        for images, masks in passes:
            self.engine.model.image_size = images.shape[-1]
            with self._precision():
                result = self._unroll(
                    self.engine,
                    images.to(self.device, non_blocking=True),
                    masks.to(self.device, non_blocking=True),
                    self.settings.unroll,
                    generator,
                )
            (result.loss / len(passes)).backward()
            for name, value in {"loss": float(result.loss.detach()), **result.parts}.items():
                told.setdefault(name, []).append(value)
        lr = self.settings.lr_at(self.step, self.time_share)
        norm = self._finish(lr)
        means = {name: _mean(values) for name, values in told.items()}
        return {"lr": lr, **means, "grad_norm": norm}, result

    def _finish(self, lr: float) -> float:
        """Change the weights by their gradients, unless these are not finite; returns the gradients' norm."""
        norm = self.learner.step(lr)
        if math.isfinite(norm):
            self.ema.update(self.model, self.step)
            self.skipped = 0
        else:
            self._skip()
        self.step += 1
        return norm

    def _skip(self) -> None:
        self.skipped += 1
        # The running statistics of norms took in the NaN of this step, and would never lose it.
        for name, buffer in self.model.named_buffers():
            if name in self.ema.state and buffer.is_floating_point() and not buffer.isfinite().all():
                buffer.copy_(self.ema.state[name])
        if self.skipped >= MAX_SKIPPED:
            raise RunError(
                f"no finite gradient in {MAX_SKIPPED} steps, the last one step {self.step}",
                hint="resume from an earlier checkpoint with a lower lr",
            )

    @contextmanager
    def _precision(self) -> Iterator[None]:
        with torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.settings.dtype == "bfloat16"
        ):
            yield

    def load(
        self,
        step: int,
        model: dict[str, Tensor],
        ema: dict[str, Tensor],
        moments: dict[str, Tensor],
        projections: dict[str, Tensor],
    ) -> None:
        """Go on from the tensors of a checkpoint.

        Projections for another teacher, or none, are left at their start.
        """
        self.step = step
        self.model.load_state_dict(model)
        for key, value in self.ema.state.items():
            value.copy_(ema[key])
        fresh = set()
        for key, value in self.projections.state_dict().items():
            if key in projections and projections[key].shape == value.shape:
                value.copy_(projections[key])
            else:
                fresh.add(f"projections/{key}")
        self.learner.load(moments, fresh)


def _choose(model: torch.nn.Module, only: list[str]) -> None:
    """Mark the parts that are trained; the rest keeps its weights, and norms in it their statistics.

    Raises:
        ConfigError: one of `only` is no part of the model.
    """
    if not only:
        model.train()
        return
    _require_parts(only, dict(model.named_parameters()), "only")

    def is_chosen(name: str) -> bool:
        return any(is_within(name, part) for part in only)

    for name, module in model.eval().named_modules():
        if is_chosen(name):
            module.train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_chosen(name))


def _require_parts(parts: Collection[str], names: Collection[str], field: str) -> None:
    """Refuse parts that no weight belongs to.

    Raises:
        ConfigError: there is such a part.
    """
    heads = sorted({name.split(".")[0] for name in names})
    for part in parts:
        if not any(is_within(name, part) for name in names):
            raise ConfigError(
                f"the model has no part '{part}'",
                where=f"field '{field}'",
                hint="names begin with one of: " + ", ".join(heads),
            )


def _optimisers(
    parameters: Mapping[str, torch.nn.Parameter], settings: TrainSettings
) -> list[torch.optim.Optimizer]:
    """The optimisers of the run; each parameter belongs to one of them.

    Raises:
        ConfigError: one of the parts in `muon` is no trained part of the model.
    """
    _require_parts(settings.muon, parameters, "muon")
    chosen = {name for name in parameters if any(is_within(name, part) for part in settings.muon)}
    matrices = [p for name, p in parameters.items() if name in chosen and takes(p)]
    others = [p for name, p in parameters.items() if name not in chosen or not takes(p)]
    groups = [
        {"params": [p for p in others if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in others if p.dim() <= 1], "weight_decay": 0.0},
    ]
    fused = all(p.device.type in ("cpu", "cuda") for p in others)
    optimisers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=settings.lr, fused=fused)]
    if matrices:
        optimisers.append(Muon(matrices, settings.lr, settings.weight_decay))
    return optimisers


def _mean(values: list[float]) -> float:
    """The mean of the finite values; NaN if there are none."""
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan
