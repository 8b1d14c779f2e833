"""Exported image models: the graphs answer and follow as the model does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vidseg
from support.image_goldens import assert_within, golden_picture, image_golden_models, load_image_golden
from support.image_models import written_small
from support.ready_exports import image_export
from vidseg import cli
from vidseg.errors import CheckpointError, ConfigError, PromptError
from vidseg.export.write import export
from vidseg.trackers.backbones import repvit
from vidseg.trackers.check_scene import scene_box, scene_frame
from vidseg.trackers.onnx.graphs import read_facts
from vidseg.trackers.options import TrackerOptions

pytest.importorskip("onnxscript", reason="the packages of the extra 'onnx' are not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

PICTURES = np.random.default_rng(0).integers(0, 255, (2, 40, 60, 3)).astype(np.uint8)
PROMPTS: list[dict[str, Any]] = [
    {"points": [(20, 10)]},
    {"points": [(20, 10), (50, 30)], "labels": [1, 0]},
    {"box": (5, 5, 30, 30)},
    {"box": (5, 5, 30, 30), "points": [(9, 9)], "labels": [0]},
]


@pytest.fixture(scope="module", autouse=True)
def _few_blocks() -> Iterator[None]:
    """An exporter goes through each block anew; a stage's first two have all that the others have."""
    with pytest.MonkeyPatch.context() as patch:
        for variant, net in list(repvit.VARIANTS.items()):
            patch.setitem(repvit.VARIANTS, variant, replace(net, depths=(2, 2, 2, 2)))
        yield


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path, Path]]:
    """Makes a small model, once: its YAML, its weights, and the YAML beside its graphs."""

    def make(name: str) -> tuple[Path, Path, Path]:
        folder = image_export(tmp_path_factory, name)
        return folder / "small.yaml", folder / "weights.pt", folder / "onnx/tracker.yaml"

    return make


def assert_same_answer(mine: Any, theirs: Any, share: float = 1e-4) -> None:
    apart = np.abs(mine.low_res_logits - theirs.low_res_logits).max()
    assert apart <= share * theirs.low_res_logits.std()
    np.testing.assert_allclose(mine.predicted_ious, theirs.predicted_ious, atol=share)
    for multimask in (True, False):
        assert mine.best_first(multimask=multimask) == theirs.best_first(multimask=multimask)
    assert mine.num_prompt_tokens == theirs.num_prompt_tokens


@pytest.mark.slow
@pytest.mark.parametrize("name", ["slim-sam-77", "efficient-sam-ti", "edge-sam", "pico-sam2"])
def test_graphs_answer_as_the_model_does(name: str, exported: Any) -> None:
    path, weights, graphs = exported(name)
    ours = vidseg.load_image(path, weights=weights, device="cpu").embed_batch(list(PICTURES))
    theirs = vidseg.load_image(graphs).embed_batch(list(PICTURES))
    for want, got in zip(ours, theirs, strict=True):
        for prompt in PROMPTS:
            assert_same_answer(got.candidates(**prompt), want.candidates(**prompt))
    if name == "efficient-sam-ti":
        with pytest.raises(PromptError, match="7 points"):
            theirs[0].candidates(points=[(x, 5) for x in range(7)])
    if ours[0]._model.takes_masks:
        earlier = ours[0].candidates(**PROMPTS[0]).low_res_logits[1:2]
        for more in ({}, PROMPTS[0]):
            got, want = (each.candidates(**more, mask_logits=earlier) for each in (theirs[0], ours[0]))
            assert_same_answer(got, want)


@pytest.mark.slow
def test_graphs_follow_a_video_and_go_on_where_they_were_saved(exported: Any, tmp_path: Path) -> None:
    path, weights, graphs = exported("slim-sam-77")
    results = []
    for tracker in (vidseg.load(path, weights=weights, device="cpu"), vidseg.load(graphs)):
        session = tracker.start()
        session.prompt(1, box=scene_box(1, 0))
        session.prompt(2, points=[[90, 60]])
        results.append([session.step(scene_frame(index)).low_res_logits for index in range(3)])
    for want, got in zip(*results, strict=True):
        assert np.abs(got - want).max() <= 1e-3 * want.std()
    session.save(tmp_path / "state")
    restored = tracker.restore(tmp_path / "state")
    again = [one.step(scene_frame(3)).low_res_logits for one in (session, restored)]
    np.testing.assert_array_equal(*again)
    with pytest.raises(ConfigError, match="has no memory that conditions"):
        vidseg.load(graphs, max_conditioning=3)
    with pytest.raises(ConfigError, match="exported graphs"):
        vidseg.load(graphs, image_size=64)


@pytest.mark.slow
def test_a_model_that_is_not_known_is_refused(exported: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported("pico-sam2")[2].parent, tmp_path / "onnx"))
    facts = folder / "facts.json"
    facts.write_text(
        facts.read_text(encoding="utf-8").replace('"pico-sam2"', '"pico-sam3"'), encoding="utf-8"
    )
    with pytest.raises(CheckpointError, match=r"pico-sam3.*pico-sam2"):
        vidseg.load(folder / "tracker.yaml")


@pytest.mark.slow
def test_graphs_of_half_precision_are_close(tmp_path: Path) -> None:
    path, weights = written_small("pico-sam2", tmp_path)  # which is exported in a moment
    call = ["export", str(path), "--weights", str(weights), "--out", str(tmp_path / "onnx")]
    assert cli.main([*call, "--dtype", "float16"]) == 0
    assert read_facts(tmp_path / "onnx")["dtype"] == "float16"
    graphs = tmp_path / "onnx/tracker.yaml"
    want = vidseg.load_image(path, weights=weights, device="cpu").embed(PICTURES[0]).candidates(**PROMPTS[2])
    got = vidseg.load_image(graphs).embed(PICTURES[0]).candidates(**PROMPTS[2])
    assert np.abs(got.low_res_logits - want.low_res_logits).max() <= 1e-2 * want.low_res_logits.std()


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "share"), [("float32", 1e-3), ("float16", 1e-2)])
@pytest.mark.parametrize(
    "official", [p for p in image_golden_models() if p.values[0] in ("mobile_sam", "absent")]
)
def test_graphs_equal_the_official_code(official: str, dtype: Any, share: float, tmp_path: Path) -> None:
    golden = load_image_golden(official)
    export(TrackerOptions.of("mobile-sam", weights=golden.state()), tmp_path / "onnx", dtype=dtype)
    embedding = vidseg.load_image(tmp_path / "onnx/tracker.yaml").embed(golden_picture())
    for prompt, given in golden.prompts.items():
        answer = embedding.candidates(**given)
        assert_within(
            f"{prompt}_low", golden.arrays[f"{prompt}_low"], answer.low_res_logits[:, ::4, ::4], share
        )
        logits = answer.logits()[:, ::4, ::4]
        assert_within(f"{prompt}_full_sub", golden.arrays[f"{prompt}_full_sub"], logits, share)
