"""recipes/score_head.py: the head that says whether the object is there, fitted to records of tracking."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

import vidseg
from vidseg.trackers.registry import read_config
from vidseg.trackers.view import View
from vidseg.trackers.weights import read_checkpoint

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "recipes" / "score_head.py"))


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made rows say plainly what is to be learned: larger steps learn it, and fewer."""
    monkeypatch.setitem(SCRIPT["fitted"].__globals__, "STEPS", 500)
    monkeypatch.setitem(SCRIPT["fitted"].__globals__, "RATE", 5e-3)


def made_rows(count: int = 2000) -> dict[str, torch.Tensor]:
    """Frames of which the third number says how well the mask fits, the fourth how much is seen."""
    given = torch.randn(count, 6, generator=torch.Generator().manual_seed(0)) * 3 + 5
    return {
        "given": given.half(),
        "area": (given[:, 3] - 5).clamp(min=0),
        "iou": torch.where(given[:, 3] > 5, ((given[:, 2] - 4.8) / 4).clamp(0, 1), 0.0),
        "added": torch.zeros(count),
        "by_sight": torch.zeros(count, dtype=torch.bool),
        "is_own": torch.arange(count) % 2 == 0,
    }


def shares_absent(rows: dict[str, torch.Tensor]) -> tuple[float, float]:
    """Of the frames on which a made mask is off its object, and well on it: in doubt it is called absent."""
    head = SCRIPT["fitted"](rows, width=16)
    with torch.no_grad():
        absent = head(rows["given"].float())[:, 0] < 0
    off, on = rows["iou"] <= 0.1, (rows["iou"] > 0.5) & (rows["area"] > 0)
    return float(absent[off].float().mean()), float(absent[on].float().mean())


def test_head_tells_masks_on_the_object_from_others() -> None:
    off, on = shares_absent(made_rows())
    assert off > 0.9
    assert on < 0.4


def test_after_an_absent_frame_it_is_held_to_what_is_seen() -> None:
    rows = made_rows()
    rows["by_sight"][:] = True
    head = SCRIPT["fitted"](rows, width=16)
    with torch.no_grad():
        absent = head(rows["given"].float())[:, 0] < 0
    seen = rows["area"] > 0.5
    lost = rows["iou"] == 0
    assert float(absent[seen & lost].float().mean()) < 0.2
    assert float(absent[rows["area"] == 0].float().mean()) > 0.9


def test_the_sum_with_what_rules_add_is_held_to_the_truth() -> None:
    """Where rules lower every score, the head itself answers higher."""
    shares_absent_by_head = []
    for added in (0.0, -4.0):
        rows = made_rows()
        rows["added"][:] = added
        head = SCRIPT["fitted"](rows, width=16)
        with torch.no_grad():
            shares_absent_by_head.append(float((head(rows["given"].float()) < 0).float().mean()))
    without, with_rules = shares_absent_by_head
    assert with_rules < without - 0.05


def test_a_mask_decoded_in_a_part_lies_there_in_the_picture() -> None:
    view = View(20, 10, 60, 50, (80, 100))
    logits = torch.full((1, 8, 8), -9.0)
    logits[:, :4, :4] = 9.0
    mask = SCRIPT["_mask_of"](logits, view)
    assert mask.shape == (80, 100)
    assert mask[10:28, 20:38].all()
    assert not mask[32:].any()
    assert not mask[:, 42:].any()
    assert not mask[:10].any()
    assert not mask[:, :20].any()


@pytest.mark.slow
def test_records_make_weights_that_load_and_differ_in_the_head_alone(tmp_path: Path) -> None:
    SCRIPT["record"](tmp_path / "a.npz", None, 2, 8, 5, None)
    with np.load(tmp_path / "a.npz") as rows:
        (count,) = {len(rows[name]) for name in rows}
        # Of the first frames, those whose mask is given are not decoded.
        assert 2 * 7 <= count <= 2 * 8
        assert (rows["area"] == 0).any()
        assert (rows["area"] > 0).any()
    SCRIPT["fit"]([tmp_path / "a.npz"], tmp_path / "new.safetensors", None)
    vidseg.load("vidseg-nano", weights=tmp_path / "new.safetensors")
    before, after = (
        read_checkpoint(read_config("vidseg-nano")[1]["weights"]),
        read_checkpoint(tmp_path / "new.safetensors"),
    )
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.startswith("decoder.score.")}
