"""What `import vidseg` offers: every name with its docstring, and types that user scripts pass with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vidseg
from vidseg.errors import InputError

SCRIPT = """\
import numpy as np
import torch

import vidseg
from vidseg.compat import SAM2ImagePredictor, SAM2VideoPredictor, build_sam2

tracker = vidseg.load("sam2.1-hiera-tiny", weights={}, device="cpu")
session = tracker.start(num_frames=None)
session.prompt(1, box=np.array([1.0, 2.0, 3.0, 4.0]), label="dog")
session.prompt(obj_id=2, points=np.zeros((1, 2)), labels=np.ones(1, np.int32))
session.prompt(3, mask=np.ones((4, 4), bool))
for frame in vidseg.read("video.mp4"):
    result = session.step(frame)
    reveal_type(result.masks)
    reveal_type(result.boxes)
    reveal_type(result.plot(frame.image))
    result = session.refine(1, points=[(1, 2)], labels=[0])
predictor = SAM2VideoPredictor(vidseg.load("edgetam"))
state = predictor.init_state("video.mp4")
for frame_idx, obj_ids, masks in predictor.propagate_in_video(state):
    reveal_type(masks)
segmenter = vidseg.load_image(weights="w.pt", device="cpu")
found = segmenter.embed(np.zeros((4, 4, 3), np.uint8)).segment(box=np.array([0, 0, 2, 2]))
reveal_type(found[0].mask)
images = SAM2ImagePredictor(build_sam2("sam2.1_hiera_t"))
run = vidseg.read_run("runs/video")
reveal_type([frame.masks for frame in run])
vidseg.convert("runs/video", ["coco"])
reveal_type(vidseg.score("davis2017", gt="gt", pred="pred"))
summary = vidseg.track("video.mp4", {"box": [1, 2, 3, 4]}, out="runs/video")
"""
TORCH = """\
from typing import Any

class Tensor: ...

def __getattr__(name: str) -> Any: ...
"""
"""All that a user's script meets of torch; torch's own thousand files take mypy longer than all others."""
CHECKS = """\
[mypy]
strict = true
# Types of vidseg are followed; it is vidseg's own checks that look into it.
follow_imports = silent
mypy_path = stubs

[mypy-torch]
follow_imports = silent

# No user's script meets their types.
[mypy-torch.*,torchvision.*,starlette.*,uvicorn.*,websockets.*]
follow_imports = skip
"""


def test_all_names_are_listed_and_explained() -> None:
    assert set(vidseg.__all__) <= set(dir(vidseg))
    assert {"load_image", "read_run", "convert", "score", "compat"} <= set(vidseg.__all__)
    for name in vidseg.__all__:
        assert (getattr(vidseg, name).__doc__ or "").strip(), name


def test_user_scripts_pass_mypy(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    assert (Path(vidseg.__file__).parent / "py.typed").is_file()
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "stubs" / "torch").mkdir(parents=True)
    (tmp_path / "stubs" / "torch" / "__init__.pyi").write_text(TORCH, encoding="utf-8")
    (tmp_path / "mypy.ini").write_text(CHECKS, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), str(script)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert "error" not in done.stdout, done.stdout
    assert done.stdout.count("Revealed type") == SCRIPT.count("reveal_type")
    assert 'Revealed type is "Any"' not in done.stdout


def test_runs_come_back_as_arrays(tmp_path: Path) -> None:
    frames = [np.full((40, 60, 3), 90, np.uint8) for _ in range(3)]
    for t, frame in enumerate(frames):
        frame[10:20, 10 + 5 * t : 25 + 5 * t] = (200, 30, 30)
    prompts = {
        "objects": [{"id": 4, "label": "tile", "prompts": [{"frame": 0, "box": [10, 10, 25, 20]}]}],
    }
    vidseg.track(frames, prompts, tracker="flow", out=tmp_path / "run")
    run = vidseg.read_run(str(tmp_path / "run"))
    assert (run.obj_ids, run.labels, run.size_hw) == ([4], {4: "tile"}, (40, 60))
    assert run.record["status"] == "done"
    masklet = run.masklet(4)
    assert masklet.shape == (3, 40, 60)
    for t, frame in enumerate(run):
        assert frame.frame_idx == t
        assert np.array_equal(frame.masks[0], masklet[t])
        assert masklet[t, 12, 14 + 5 * t]
    with pytest.raises(InputError, match="no object 5"):
        run.masklet(5)
    with pytest.raises(InputError, match=r"no masklets\.jsonl"):
        vidseg.read_run(tmp_path)
    assert [path.name for path in vidseg.convert(str(tmp_path / "run"), "mot", out=tmp_path / "mot")]


def test_masks_are_scored_by_the_name_of_a_protocol(tmp_path: Path) -> None:
    for folder, shift in (("gt", 0), ("pred", 2)):
        (tmp_path / folder / "clip").mkdir(parents=True)
        for t in range(4):
            picture = np.zeros((40, 60), np.uint8)
            picture[10:20, 10 + t + shift : 20 + t + shift] = 3
            image = Image.fromarray(picture, "P")
            image.putpalette(bytes(range(256)) * 3)
            image.save(tmp_path / folder / "clip" / f"{t:05}.png")
    scores = vidseg.score("vos-benchmark", str(tmp_path / "gt"), str(tmp_path / "pred"))
    assert scores["objects"]["clip"]["3"]["J"] == pytest.approx(100 * 8 / 12, abs=0.01)
    with_ends = vidseg.score(
        "vos-benchmark", tmp_path / "gt", tmp_path / "pred", no_skip=True, per_frame=True
    )
    assert with_ends["objects"].keys() == {"clip"}
    with pytest.raises(InputError, match="unknown protocol 'davis2018'"):
        vidseg.score("davis2018", tmp_path / "gt", tmp_path / "pred")
