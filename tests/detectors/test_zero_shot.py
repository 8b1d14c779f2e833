"""Detectors that look for a text, with small random networks of the transformers library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support.official_image import declare_torchvision_operators
from vidseg import Frame
from vidseg.detectors import open_detector
from vidseg.errors import InputError

pytest.importorskip("transformers", reason="transformers is not installed")

WORDS = ["red", "cup", "dog", "a", "."]


@pytest.fixture(scope="module", autouse=True)
def _torchvision() -> None:
    declare_torchvision_operators()


@pytest.fixture(scope="module")
def owlv2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random OWLv2 of two small layers, saved as its users have theirs."""
    from transformers import CLIPTokenizer, Owlv2Config, Owlv2ForObjectDetection, Owlv2Processor
    from transformers.models.owlv2.image_processing_owlv2 import Owlv2ImageProcessor

    folder = tmp_path_factory.mktemp("owlv2")
    tokens = ["!", "<|startoftext|>", "<|endoftext|>", *(f"{word}</w>" for word in WORDS)]
    letters = sorted({letter for word in WORDS for letter in word})
    tokens += letters + [f"{letter}</w>" for letter in letters if f"{letter}</w>" not in tokens]
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"),
        str(folder / "merges.txt"),
        pad_token="<|endoftext|>",
        model_max_length=16,
    )
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Owlv2Config(
        text_config={
            **small,
            "vocab_size": len(tokens),
            "max_position_embeddings": 16,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        vision_config={**small, "image_size": 64, "patch_size": 16},
        projection_dim=32,
    )
    torch.manual_seed(0)
    model = Owlv2ForObjectDetection(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    model.save_pretrained(folder)
    processor = Owlv2Processor(Owlv2ImageProcessor(size={"height": 64, "width": 64}), tokenizer)
    processor.save_pretrained(folder)
    return folder


def picture() -> Frame:
    rng = np.random.default_rng(0)
    return Frame(0, 0.0, rng.integers(0, 255, (60, 90, 3)).astype(np.uint8))


def test_owlv2_answers_in_the_frame_and_in_the_words_asked(owlv2: Path) -> None:
    detector = open_detector(f"owlv2:{owlv2}", "red cup, dog", threshold=0.0)
    found = detector.detect(picture())
    assert 0 < len(found) <= 16
    assert {d.label for d in found} <= {"red cup", "dog"}
    for d in found:
        x0, y0, x1, y1 = d.box_xyxy
        assert 0 <= x0 < x1 <= 90
        assert 0 <= y0 < y1 <= 60
    assert detector.detect(picture()) == found
    assert open_detector(f"owlv2:{owlv2}", "dog", threshold=1.0).detect(picture()) == []


def test_grounding_dinos_phrases_are_told_as_the_texts_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    from vidseg.detectors.zero_shot import ZeroShotDetector

    class Model:
        device = torch.device("cpu")

        class config:  # noqa: N801  # as the library has it
            model_type = "grounding-dino"

        def __call__(self, **inputs: Any) -> Any:
            return inputs

    class Inputs(dict[str, Any]):
        def to(self, device: Any) -> Inputs:
            return self

    class Processor:
        def __call__(self, *, images: Any, text: Any, return_tensors: str) -> Inputs:
            assert text == [["red cup", "small dog"]]
            return Inputs(input_ids=torch.zeros(1, 3))

        def post_process_grounded_object_detection(
            self, outputs: Any, **options: Any
        ) -> list[dict[str, Any]]:
            assert options["target_sizes"] == [(60, 90)]
            assert "input_ids" in options
            boxes = torch.tensor([[1.0, 2, 30, 40], [-9, -9, 200, 200]])
            return [{"boxes": boxes, "text_labels": ["cup", "dog"], "scores": torch.tensor([0.5, 0.75])}]

    detector = ZeroShotDetector("tiny", Model(), Processor(), ("red cup", "small dog"), None)
    assert [(d.label, d.score) for d in detector.detect(picture())] == [("small dog", 0.75), ("red cup", 0.5)]
    assert detector.detect(picture())[0].box_xyxy == (0.0, 0.0, 90.0, 60.0)


def test_what_is_missing_is_told(owlv2: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="looks for a text"):
        open_detector(f"owlv2:{owlv2}")
    with pytest.raises(InputError, match="cannot be opened") as error:
        open_detector(f"grounding-dino:{tmp_path / 'nowhere'}", "dog")
    assert "nowhere" in str(error.value)
