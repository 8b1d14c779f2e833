"""Every model of the table keeps the model contract, and the check finds one that does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import yaml

from support.parity import SMALL_MODEL
from support.seeded import seeded_weights
from support.training import SPACE_TIME
from vidseg.errors import ContractError
from vidseg.trackers.build import MODELS, build_model
from vidseg.trackers.check_model import check_memory_model
from vidseg.trackers.contract import ABSENT_LOGIT
from vidseg.trackers.settings import EngineSettings

SMALL = {"sam2": yaml.safe_load(SMALL_MODEL), "space-time": SPACE_TIME}


def model_of(name: str) -> Any:
    config = {key: value for key, value in SMALL[name].items() if key != "kind"} | {"image_size": 128}
    model: Any = build_model(EngineSettings.model_validate(config), "test")[0]
    model.load_state_dict(seeded_weights(model))
    return model


@pytest.mark.parametrize("name", MODELS.known)
def test_every_model_keeps_the_contract(name: str) -> None:
    check_memory_model(model_of(name))


def empties_masks(model: Any) -> None:
    decode = model.decode

    def emptied(*args: Any, **kwargs: Any) -> Any:
        answer = decode(*args, **kwargs)
        return replace(answer, low_res_logits_bhw=torch.full_like(answer.low_res_logits_bhw, ABSENT_LOGIT))

    model.decode = emptied


def hears_gradients(model: Any) -> None:
    decode = model.decode

    def heard(*args: Any, **kwargs: Any) -> Any:
        answer = decode(*args, **kwargs)
        return replace(answer, low_res_logits_bhw=answer.low_res_logits_bhw * (1 + torch.is_grad_enabled()))

    model.decode = heard


def forgets_memories(model: Any) -> None:
    model.attend = lambda features, recalls, limit: model.without_memory(features).expand(
        len(recalls), -1, -1, -1
    )


def mixes_prompts(model: Any) -> None:
    candidates = model.candidates

    def mixed(*args: Any, **kwargs: Any) -> Any:
        answer = candidates(*args, **kwargs)
        return replace(answer, logits_bkhw=answer.logits_bkhw + answer.logits_bkhw.mean())

    model.candidates = mixed


@pytest.mark.parametrize(
    ("breaks", "message"),
    [
        (empties_masks, "empties masks of absent objects"),
        (hears_gradients, "whether gradients are recorded"),
        (forgets_memories, "another memory reads the same"),
        (mixes_prompts, "change each other"),
    ],
)
def test_a_broken_model_is_found(breaks: Any, message: str) -> None:
    model = model_of("sam2")
    breaks(model)
    with pytest.raises(ContractError, match=message):
        check_memory_model(model)
