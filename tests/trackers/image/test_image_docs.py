"""docs/images.md runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PAGE = Path(__file__).parents[3] / "docs" / "images.md"


def test_the_examples_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 80, (120, 160, 3), np.uint8)
    image[20:90, 30:120] += np.array([150, 20, 20], np.uint8)  # something to find
    Image.fromarray(image).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    for number, text in enumerate(blocks):
        exec(compile(text, f"docs/images.md, block {number}", "exec"), names)
    assert names["found"][0].mask.shape == (120, 160)  # type: ignore[index]
    assert len(names["answers"]) == len(names["embeddings"]) == 2  # type: ignore[arg-type]
    assert names["found"], "the samplers' example is about nothing"
