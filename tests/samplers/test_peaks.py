"""The sampler `peaks`: it asks where a head says that prompts pay, and nowhere else."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import save_file

import vidseg
from support.planted import decoder
from vidseg.errors import CheckpointError, ConfigError
from vidseg.samplers import FeatureMap, Found, everything
from vidseg.samplers.picture import DecodedPicture
from vidseg.samplers.prompt_head import MODEL_KEY, PromptHead, load_head, peaks_of
from vidseg.trackers.image.embedded_picture import EmbeddedPicture
from vidseg.trackers.image.framing import Framing, LongSide, Stretch
from vidseg.trackers.model import Features
from vidseg.training.images.prompt_head import target_of

SIZE_HW, CELL = (90, 120), 5
GRID_HW = (SIZE_HW[0] // CELL, SIZE_HW[1] // CELL)
COARSE = 10
"""Cells; so far apart are the two deepest places of the third object."""
CPU = torch.device("cpu")
SHIFT = 5.0
"""Keeps what goes through the head's ReLU above 0."""


def planted() -> npt.NDArray[np.uint8]:
    """Three objects on a ground; the third is long, with a waist, and so has two deepest places."""
    labels = np.zeros(SIZE_HW, np.uint8)
    labels[5:35, 8:40] = 1
    labels[42:82, 10:50] = 2
    labels[10:40, 70:110] = 3
    labels[40:55, 80:100] = 3
    labels[55:85, 70:110] = 3
    return labels


class Planted(DecodedPicture):
    """A picture whose features are what a head should say of it."""

    def __init__(self, features: FeatureMap | None) -> None:
        super().__init__(decoder(planted(), 1024), SIZE_HW)
        self.features = features  # type: ignore[assignment]

    def in_boxes(self, boxes_xyxy: npt.NDArray[Any]) -> Any:
        centres = boxes_xyxy.reshape(-1, 2, 2).mean(1)
        logits, ious = self.at_points(centres)
        return logits[:, 1:2], ious[:, 1:2]


def said_of(labels: npt.NDArray[np.uint8], grid_hw: tuple[int, int] = GRID_HW) -> FeatureMap:
    inside, sides = target_of(labels, grid_hw)
    logits = np.log(np.maximum(sides, 0.1)) - 1 + SHIFT
    return FeatureMap(torch.from_numpy(np.concatenate((inside[None], logits))).float(), (CELL, CELL))


@pytest.fixture
def weights(tmp_path: Path) -> str:
    """A head that repeats its features: the first one is the confidence, the others are the sides."""
    head = PromptHead(5, width=5, blocks=0)
    eye = torch.eye(5)[..., None, None]
    with torch.no_grad():
        head.enter[0].weight.copy_(eye)
        head.leave.weight.copy_(eye * torch.tensor([20.0, 1, 1, 1, 1])[:, None, None, None])
        head.leave.bias.copy_(torch.tensor([-10.0] + [-SHIFT] * 4))
    path = tmp_path / "head.safetensors"
    save_file(head.state_dict(), path)
    return str(path)


def run(features: FeatureMap | None, **settings: Any) -> tuple[list[Found], int]:
    return everything(Planted(features), "peaks", settings)


@pytest.mark.parametrize("prompts", ["points", "boxes"])
def test_every_object_is_found_by_few_prompts(prompts: str, weights: str) -> None:
    features = said_of(planted())
    found, count = run(features, weights=weights, prompts=prompts, coarse_radius=COARSE)
    for label in (1, 2, 3):
        assert any(np.array_equal(one.mask, planted() == label) for one in found)
    assert count == 3
    assert len(peaks_of(features.values_chw[0], 1, 0.5)) > 3, "the third object has two, and one is covered"


def test_the_second_round_asks_what_the_first_one_left(weights: str) -> None:
    # One peak of the first round speaks for all, and no mask covers the other objects.
    found, count = run(said_of(planted()), weights=weights, coarse_radius=30, prompts_per_step=1)
    assert count == 3
    assert {planted()[int(y), int(x)] for x, y in (one.point_xy for one in found if one.point_xy)} == {
        1,
        2,
        3,
    }


def test_boxes_are_those_of_the_objects(weights: str) -> None:
    asked: list[npt.NDArray[Any]] = []

    class Listening(Planted):
        def in_boxes(self, boxes_xyxy: npt.NDArray[Any]) -> Any:
            asked.append(boxes_xyxy)
            return super().in_boxes(boxes_xyxy)

    settings = {"weights": weights, "prompts": "boxes", "coarse_radius": COARSE}
    everything(Listening(said_of(planted())), "peaks", settings)
    boxes = sorted(np.concatenate(asked).round().tolist())
    assert boxes == [[8, 5, 40, 35], [10, 42, 50, 82], [70, 10, 110, 85]]


def test_limits_hold(weights: str) -> None:
    assert run(said_of(planted()), weights=weights, max_prompts=2)[1] == 2
    assert run(said_of(np.zeros_like(planted())), weights=weights) == ([], 0)
    found, count = everything(
        Planted(said_of(planted())),
        "peaks",
        {"weights": weights, "coarse_radius": COARSE},
        skip=planted() == 2,
    )
    assert count == 2
    assert all(planted()[int(y), int(x)] != 2 for x, y in (one.point_xy for one in found if one.point_xy))


def test_padding_is_not_asked(weights: str) -> None:
    padded = np.zeros((120, 120), np.uint8)
    padded[:90] = planted()
    padded[95:115, 20:60] = 4
    assert run(said_of(padded, (24, 24)), weights=weights, coarse_radius=COARSE)[1] == 3


def test_the_strongest_peak_comes_first() -> None:
    confidence = torch.zeros(9, 9)
    confidence[1, 1], confidence[2, 2], confidence[7, 7], confidence[4, 1] = 0.5, 0.6, 0.9, 0.05
    assert peaks_of(confidence, 1, 0.1).tolist() == [[7, 7], [2, 2]]
    assert peaks_of(confidence, 0, 0.01).tolist() == [[7, 7], [2, 2], [1, 1], [4, 1]]


def test_wrong_calls_are_told(weights: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="was given no weights"):
        run(said_of(planted()))
    with pytest.raises(ConfigError, match="needs features of the whole picture"):
        run(None, weights=weights)
    with pytest.raises(CheckpointError, match="cannot be read"):
        run(said_of(planted()), weights=str(tmp_path / "missing.safetensors"))
    (tmp_path / "text.safetensors").write_text("no tensors")
    with pytest.raises(CheckpointError, match="no safetensors file"):
        run(said_of(planted()), weights=tmp_path / "text.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="no weights of a prompt head"):
        run(said_of(planted()), weights=tmp_path / "other.safetensors")
    fewer = FeatureMap(torch.zeros(3, *GRID_HW), (CELL, CELL))
    with pytest.raises(CheckpointError, match="5 channels, and the model's have 3"):
        run(fewer, weights=weights)


def test_a_head_of_other_weights_is_refused(weights: str) -> None:
    features = said_of(planted())
    ours, other = (replace(features, weights_sha256=digit * 64) for digit in "ab")
    save_file(load_head(weights, CPU).state_dict(), weights, {MODEL_KEY: "a" * 64})
    os.utime(weights, (2e9, 2e9))  # clocks of file systems are coarse
    assert run(ours, weights=weights)[1] > 0
    assert run(features, weights=weights)[1] > 0, "nobody knows whose features these are"
    with pytest.raises(
        CheckpointError, match=r"with other weights of the model \(aaaaaaaa\.\.\., .* bbbbbbbb"
    ):
        run(other, weights=weights)


def test_a_head_that_was_trained_anew_is_read_anew(weights: str) -> None:
    first = load_head(weights, CPU)
    assert load_head(weights, CPU) is first
    state = {**first.state_dict(), "leave.bias": torch.ones(5)}
    save_file(state, weights)
    os.utime(weights, (2e9, 2e9))  # clocks of file systems are coarse
    assert load_head(weights, CPU).leave.bias.tolist() == [1.0] * 5


@pytest.mark.parametrize(
    ("framing", "cell_wh"), [(LongSide(1024), (1.25, 1.25)), (Stretch(1024, "bicubic"), (1.25, 0.625))]
)
def test_cells_lie_where_the_model_sees_them(framing: Framing, cell_wh: tuple[float, float]) -> None:
    """80 x 40 pixels on 64 x 64 cells: SAM keeps the aspect and pads below, SAM 2 stretches."""
    model: Any = SimpleNamespace(image_size=1024)
    encoded = Features([], torch.zeros(1, 2, 64, 64))
    picture = EmbeddedPicture(
        model=model, framing=framing, encoded=encoded, size_hw=(40, 80), embed_crop=None
    )
    assert picture.features is not None
    assert picture.features.cell_wh == pytest.approx(cell_wh)


def test_a_model_of_cut_squares_has_no_features() -> None:
    segmenter = vidseg.load_image("pico-sam2", allow_random_weights=True, device="cpu")
    assert segmenter.embed(np.zeros((40, 60, 3), np.uint8)).prompted().features is None
