"""A step of training changes parameters by finite gradients alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from vidseg.training.learner import Learner


def learner_of(lrs: tuple[float, float] = (0.1, 0.01)) -> Learner:
    first, second = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3))
    groups = [{"params": [each], "lr": lr} for each, lr in zip((first, second), lrs, strict=True)]
    return Learner({"first": first, "second": second}, [torch.optim.Adam(groups)])


def values(learner: Learner) -> dict[str, list[float]]:
    return {name: each.tolist() for name, each in learner.parameters.items()}


def pull(learner: Learner, by: float) -> None:
    for parameter in learner.parameters.values():
        parameter.grad = torch.full_like(parameter, by)


def test_groups_keep_their_rates_unless_one_is_given() -> None:
    learner = learner_of()
    pull(learner, 2.0)
    assert learner.step() == pytest.approx(2 * math.sqrt(5))
    first, second = values(learner).values()
    assert first == pytest.approx([-0.1] * 2)
    assert second == pytest.approx([-0.01] * 3)
    pull(learner, 2.0)
    learner.step(0.2)
    first, second = values(learner).values()
    assert first == pytest.approx([-0.3] * 2)
    assert second == pytest.approx([-0.21] * 3)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_gradients_that_are_not_finite_change_nothing(value: float) -> None:
    learner = learner_of()
    pull(learner, 1.0)
    learner.step()
    before = values(learner), {key: each.clone() for key, each in learner.moments().items()}
    pull(learner, 1.0)
    learner.parameters["second"].grad[0] = value  # type: ignore[index]
    assert not math.isfinite(learner.step())
    assert values(learner) == before[0]
    assert all(torch.equal(each, before[1][key]) for key, each in learner.moments().items())
    assert all(parameter.grad is None for parameter in learner.parameters.values())


def test_moments_are_taken_over_but_for_what_begins_anew() -> None:
    learner, again = learner_of(), learner_of()
    for by in (1.0, -3.0):
        pull(learner, by)
        learner.step()
    again.load({**learner.moments(), "gone/step": torch.tensor(1.0)}, fresh=["second"])
    assert sorted(again.moments()) == ["first/exp_avg", "first/exp_avg_sq", "first/step"]
    for name, parameter in learner.parameters.items():
        again.parameters[name].data.copy_(parameter)
    for each in (learner, again):
        pull(each, 0.5)
        each.step()
    assert values(again)["first"] == values(learner)["first"]
    assert values(again)["second"] != values(learner)["second"]
