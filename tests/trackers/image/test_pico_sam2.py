"""PicoSAM2: its network beside the official one, and the squares that it cuts from pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import vidseg
from support.image_encoders import randomised, relative_error
from support.image_goldens import assert_within, golden_picture, load_image_golden
from vidseg.errors import PromptError
from vidseg.trackers.image.segmenter import ImageSegmenter
from vidseg.trackers.pico_sam2.framing import OUTSIDE_LOGIT, Square
from vidseg.trackers.pico_sam2.network import PicoNetwork
from vidseg.trackers.weights import recognise, shapes_of


def segmenter(**options: Any) -> ImageSegmenter:
    return vidseg.load_image("pico-sam2", device="cpu", **options)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (height, width, 3), np.uint8)


@pytest.mark.shared
@pytest.mark.usefixtures("shared")
def test_network_against_the_official_one() -> None:
    golden = load_image_golden("picosam2")
    assert golden.meta["crop"] == "rows 60:156, columns 140:236"
    embedding = segmenter(weights=golden.state()).embed(golden_picture())
    answer = embedding.candidates(points=[[188, 108]])
    assert_within("logits", golden.arrays["logits"], answer.low_res_logits)
    placed = answer.logits()
    assert placed.shape == (1, 216, 384)
    assert_within("placed", golden.arrays["logits"], placed[:, 60:156, 140:236])
    outside = np.ones((216, 384), bool)
    outside[60:156, 140:236] = False
    assert (placed[0, outside] == OUTSIDE_LOGIT).all()


@pytest.mark.shared
@pytest.mark.usefixtures("shared")
def test_published_size_and_layout() -> None:
    state = load_image_golden("picosam2").state()
    with torch.device("meta"):
        network = PicoNetwork()
    assert {key: value.shape for key, value in network.state_dict().items()} == {
        key: value.shape for key, value in state.items()
    }
    assert (len(state), sum(p.numel() for p in network.parameters())) == (122, 1_262_818)
    layout = recognise(shapes_of(state))
    assert layout is not None
    assert (layout.trackers, layout.num_params) == (("pico-sam2",), 1_262_818)


@torch.no_grad()
def test_fused_network_equals_the_trained_form() -> None:
    network = randomised(PicoNetwork()).double()
    crops = torch.randn(2, 3, 96, 96, dtype=torch.float64)
    trained = network(crops)
    network.fuse()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    assert relative_error(network(crops), trained) <= 1e-10


@pytest.mark.parametrize(
    ("centre_xy", "square"),
    [
        ((150.0, 100.0), Square(102, 52, 198, 148)),
        ((10.7, 20.2), Square(0, 0, 96, 96)),
        # At the right and the lower border the square is cut off, as in training.
        ((299.0, 199.0), Square(251, 151, 300, 200)),
    ],
)
def test_squares_at_borders(centre_xy: tuple[float, float], square: Square) -> None:
    assert Square.about(centre_xy, 96, (200, 300)) == square


def test_a_cut_off_square_is_enlarged_and_its_answer_lies_where_it_was_cut() -> None:
    embedding = segmenter(allow_random_weights=True).embed(noise(200, 300))
    answer = embedding.candidates(points=[[299, 199]])
    assert answer.low_res_logits.shape == (1, 96, 96)
    assert ((answer.logits() != OUTSIDE_LOGIT).nonzero()[1].min(), answer.logits().shape) == (
        151,
        (1, 200, 300),
    )


def test_a_box_is_asked_for_at_its_middle_and_clicks_at_their_mean() -> None:
    embedding = segmenter(allow_random_weights=True).embed(noise(200, 300))
    by_point = embedding.candidates(points=[[150, 100]]).logits()
    for prompt in (
        {"box": (120, 80, 180, 120)},
        {"box": (120, 80, 180, 120), "points": [[130, 90]]},
        {"points": [[140, 90], [160, 110], [20, 20]], "labels": [1, 1, 0]},
    ):
        np.testing.assert_array_equal(embedding.candidates(**prompt).logits(), by_point)


def test_prompts_in_a_batch_and_pictures_of_several_sizes_do_not_change_each_other() -> None:
    pico = segmenter(allow_random_weights=True)
    images = [noise(200, 300), noise(120, 100)]
    prompts = [{"points": [[95, 100]]}, {"points": [[60, 50]]}]
    for image, embedding in zip(images, pico.embed_batch(images), strict=True):
        assert embedding.size_hw == image.shape[:2]
        for prompt, answer in zip(prompts, embedding.candidates_batch(prompts), strict=True):
            alone = pico.embed(image).candidates(**prompt)
            np.testing.assert_allclose(answer.logits(), alone.logits(), atol=1e-5)


def test_it_answers_with_one_mask() -> None:
    embedding = segmenter(allow_random_weights=True).embed(noise(200, 300))
    (found,) = embedding.segment(points=[[150, 100]])
    assert found.mask.shape == (200, 300)
    assert embedding.candidates(points=[[150, 100]]).num_prompt_tokens == 0


def test_what_it_cannot_be_asked_is_refused() -> None:
    embedding = segmenter(allow_random_weights=True).embed(noise(200, 300))
    with pytest.raises(PromptError, match="place"):
        embedding.candidates(points=[[150, 100]], labels=[0])
    with pytest.raises(PromptError, match="takes no mask"):
        embedding.candidates(points=[[150, 100]], mask_logits=np.zeros((1, 96, 96), np.float32))
