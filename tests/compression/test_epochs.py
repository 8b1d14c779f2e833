"""Parts learn by epochs over their calls, and go on from those that were kept."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vidseg.compression.epochs import learn
from vidseg.compression.kept import Kept
from vidseg.errors import RunError

CALLS = torch.linspace(-1, 1, 30).reshape(10, 3)


def learned(kept: Kept | None, epochs: int, *, until: int | None = None) -> tuple[nn.Module, list[str]]:
    """A layer after some epochs, in which what is drawn matters, and what people were told.

    Args:
        until: the epoch after which it is cut off.
    """
    torch.manual_seed(0)
    layer, lines = nn.Linear(3, 2), list[str]()

    def losses(done: float, chosen: Sequence[int], rng: random.Random) -> Iterator[Tensor]:
        for place in chosen:
            yield (layer(CALLS[place]) - rng.random() - done).square().sum()

    def tell(line: str) -> None:
        lines.append(line)
        if until is not None and line.startswith(f"epoch {until + 1}/"):
            raise KeyboardInterrupt

    asked = {"learning_rate": 0.3, "batch": 4, "epochs": epochs, "hint": "give less", "patience": 0}
    if until is None:
        learn(layer, len(CALLS), losses, **asked, tell=tell, kept=kept, name="it")  # type: ignore[arg-type]
    else:
        with pytest.raises(KeyboardInterrupt):
            learn(layer, len(CALLS), losses, **asked, tell=tell, kept=kept, name="it")  # type: ignore[arg-type]
    return layer, lines


@pytest.mark.parametrize("until", [1, 6, 11])
def test_epochs_that_were_cut_off_go_on_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: int
) -> None:
    monkeypatch.setattr(Kept, "is_due", True)
    whole, lines = learned(None, 12)
    losses = [float(line.split()[-1]) for line in lines]
    assert any(after >= before for before, after in pairwise(losses)), "no rate is halved"
    learned(Kept(tmp_path / "out", {}), 12, until=until)
    layer, rest = learned(Kept(tmp_path / "out", {}), 12)
    assert rest == [f"going on after epoch {until}/12", *lines[until:]]
    assert all(torch.equal(value, whole.state_dict()[key]) for key, value in layer.state_dict().items())


def test_epochs_are_kept_only_when_they_are_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kept, "is_due", False)
    kept = Kept(tmp_path / "out", {})
    learned(kept, 3)
    assert kept.read("it") is None


def test_each_gradient_is_taken_before_the_next_loss_is_asked_for() -> None:
    layer = nn.Linear(1, 1)
    sums: list[float] = []

    def losses(done: float, chosen: Sequence[int], rng: random.Random) -> Iterator[Tensor]:
        for _ in chosen:
            sums.append(0.0 if layer.bias.grad is None else float(layer.bias.grad))
            yield 4 * layer.bias.sum()

    learn(layer, 4, losses, learning_rate=0.1, batch=4, epochs=1, hint="")
    assert sums == [0.0, 1.0, 2.0, 3.0]


def test_what_diverges_is_told_with_its_remedy(tmp_path: Path) -> None:
    layer = nn.Linear(1, 1)
    kept = Kept(tmp_path / "out", {})

    def losses(done: float, chosen: Sequence[int], rng: random.Random) -> Iterator[Tensor]:
        for _ in chosen:
            yield layer.bias.sum() * (math.nan if done else 1.0)

    with pytest.raises(RunError, match="diverged in epoch 2") as caught:
        learn(layer, 4, losses, learning_rate=0.1, batch=2, epochs=3, hint="give less", kept=kept, name="it")
    assert caught.value.hint == "give less"
    assert layer.bias.isfinite().all()
