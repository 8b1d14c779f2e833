"""Distillation after channels were removed: what is left learns to give what the whole model gave.

Source: Chen et al., "SlimSAM" (arXiv:2312.05284), section 3.2; constants as in github.com/czg1225/SlimSAM.
One term of its first loss there compares the student with itself; here features inside are compared with
those of the model before the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vidseg.compression.calls import Call, caught, distance, outputs_of, told_by
from vidseg.compression.kept import Kept, read_training, write_training
from vidseg.errors import RunError
from vidseg.training.distil.losses import feature_distance

LEARNING_RATE = 1e-4
ACCUMULATED = 4
"""How many calls make a step of the optimiser."""
INSIDE = 0.5
"""Weight of the features inside, in the first half of the epochs; that of the output is the rest."""
PATIENCE = 2
"""After how many epochs without a smaller loss the learning rate is halved."""


def align(
    student: nn.Module,
    teacher: nn.Module,
    before: nn.Module,
    features: Sequence[str],
    calls: Sequence[Call],
    *,
    epochs: int,
    seed: int = 0,
    tell: Callable[[str], None] = lambda line: None,
    kept: Kept | None = None,
    name: str = "",
) -> None:
    """Train a part that lost channels.

    Args:
        teacher: the whole part, whose outputs are learned.
        before: the part before this step, whose features inside are learned in the first half of the epochs.
        features: names of the modules that make those features, as wide in both.
        kept: keeps each epoch, under `name`, and has what was kept before.

    Raises:
        RunError: the loss is no longer finite.
    """
    optimiser = torch.optim.Adam(student.parameters(), LEARNING_RATE)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.5, patience=PATIENCE)
    generator = torch.Generator().manual_seed(seed)
    done = 0
    if before_stop := read_training(kept, name, student, optimiser):
        done = before_stop["epochs"]
        plateau.load_state_dict(before_stop["plateau"])
        tell(f"going on after epoch {done}/{epochs}")
    for epoch in range(epochs):
        looks_inside = 2 * epoch < epochs
        order = torch.randperm(len(calls), generator=generator).tolist()
        if epoch < done:
            continue
        losses: list[float] = []
        for start in range(0, len(order), ACCUMULATED):
            batch = order[start : start + ACCUMULATED]
            for place in batch:
                loss = _loss(student, teacher, before, features if looks_inside else (), calls[place])
                (loss / len(batch)).backward()
                losses.append(float(loss.detach()))
            optimiser.step()
            optimiser.zero_grad()
        mean = sum(losses) / len(losses)
        if not math.isfinite(mean):
            raise RunError("distillation diverged", hint="remove a smaller share")
        plateau.step(mean)
        tell(f"epoch {epoch + 1}/{epochs}: loss {mean:.4g}")
        write_training(kept, name, student, optimiser, epochs=epoch + 1, plateau=plateau.state_dict())


@torch.enable_grad()
def _loss(
    student: nn.Module, teacher: nn.Module, before: nn.Module, features: Sequence[str], call: Call
) -> Tensor:
    wanted = told_by(teacher, call)
    with caught(student, features) as ours:
        final = distance(outputs_of(student, call), wanted)
    if not features:
        return final
    with caught(before, features) as theirs:
        told_by(before, call)
    inside = torch.stack([feature_distance(ours[name], theirs[name]) for name in features]).mean()
    return (1 - INSIDE) * final + INSIDE * inside
