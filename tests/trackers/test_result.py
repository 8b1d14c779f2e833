"""What one can do with a result: boxes, pictures, labels."""

from __future__ import annotations

import copy
import pickle
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vidseg
from support.parity import small_tracker
from vidseg.errors import InputError
from vidseg.testing import FakeTracker
from vidseg.trackers.contract import Frame, FrameResult
from vidseg.trackers.following import FollowingTracker

BOX = [20.0, 10.0, 60.0, 50.0]


def result(labels: list[str | None] | None = None) -> FrameResult:
    logits = np.full((3, 40, 60), -5.0, np.float32)
    logits[0, 5:9, 10:30] = 5
    logits[1, 0, 0] = 5
    return FrameResult(
        frame_idx=3,
        pts_seconds=0.1,
        size_hw=(40, 60),
        obj_ids=[7, 2, 9],
        low_res_logits=logits,
        object_score_logits=np.zeros(3, np.float32),
        predicted_ious=np.ones(3, np.float32),
        states=["visible", "uncertain", "absent"],
        to_video_res=lambda low_res, size_hw: low_res,
        labels=labels,
    )


def test_boxes_are_edges_of_pixels() -> None:
    assert result().boxes.tolist() == [[10, 5, 30, 9], [0, 0, 1, 1], [0, 0, 0, 0]]
    assert result().boxes.dtype == np.float32


def test_plot_paints_objects_on_a_copy() -> None:
    image = np.full((40, 60, 3), 100, np.uint8)
    painted = result(["dog", None, None]).plot(image)
    assert painted.shape == image.shape
    assert painted.dtype == np.uint8
    assert (image == 100).all()
    assert (painted[7, 20] != 100).any()
    assert (painted[36:, 50:] == 100).all()
    assert result().plot().shape == (40, 60, 3)
    with pytest.raises(InputError, match="for a frame of 60x40"):
        result().plot(np.zeros((60, 40, 3), np.uint8))


def test_notebooks_show_masks_and_a_row_for_each_object() -> None:
    html = result(["<b>dog</b>", None, None])._repr_html_()
    assert "&lt;b&gt;dog&lt;/b&gt;" in html
    assert html.count("<tr><td>") == 3
    data = html.split("base64,")[1].split('"')[0]
    assert Image.open(BytesIO(b64decode(data))).size == (60, 40)


def test_objects_of_one_label_are_of_one_class(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    module = types.ModuleType("supervision")
    module.Detections = lambda **fields: types.SimpleNamespace(**fields)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "supervision", module)
    detections = result(["dog", "dog", None]).to_supervision()
    assert detections.class_id.tolist() == [7, 7]
    assert detections.data["class_name"].tolist() == ["dog", "dog"]
    assert result().to_supervision().data["class_name"].tolist() == ["object 7", "object 2"]


@pytest.mark.parametrize("kind", ["fake", "flow", "engine", "sam2-reference"])
def test_labels_stay_with_objects(kind: str, tmp_path: Path) -> None:
    tracker: Any
    if kind == "fake":
        tracker = FakeTracker()
    elif kind == "flow":
        tracker = vidseg.load("flow")
    elif kind == "engine":
        tracker = small_tracker(tmp_path)
    else:
        pytest.importorskip("sam2")
        tracker = vidseg.load(kind, allow_random_weights=True, image_size=256, device="cpu")
    images = [np.random.default_rng(t).integers(0, 255, (60, 90, 3), np.uint8) for t in range(5)]
    session = tracker.start()
    session.prompt(1, box=BOX, label="tensor:dog")
    session.prompt(2, box=BOX)
    assert session.step(Frame(0, 0.0, images[0])).labels == ["tensor:dog", None]
    session.prompt(2, box=BOX, label="cat")
    assert session.step(Frame(1, 0.1, images[1])).labels == ["tensor:dog", "cat"]
    session.prompt(1, box=BOX)  # says nothing of its label
    session.save(tmp_path / "session")
    session = tracker.restore(tmp_path / "session")
    assert session.step(Frame(2, 0.2, images[2])).labels == ["tensor:dog", "cat"]
    session.remove(1)
    session.prompt(1, box=BOX)
    found = session.step(Frame(3, 0.3, images[3]))
    assert dict(zip(found.obj_ids, found.labels, strict=True)) == {2: "cat", 1: None}


@pytest.mark.parametrize("kind", ["vidseg-nano", "flow", "follower"])
def test_a_result_is_pickled_and_copied_without_its_session(kind: str) -> None:
    """Processes hand results to each other, and models of millions of numbers would go along."""
    follower = FollowingTracker(vidseg.load_image(device="cpu")) if kind == "follower" else None
    session = (follower or vidseg.load(kind)).start()
    session.prompt(1, mask=np.pad(np.ones((30, 40), bool), ((10, 50), (20, 60))), label="dog")
    frame = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    for result in (session.step(frame), session.step(frame)):
        pickled = pickle.dumps(result)
        assert len(pickled) < 500_000
        for other in (pickle.loads(pickled), copy.copy(result), copy.deepcopy(result)):
            assert repr(other) == repr(result)
            assert other.labels == ["dog"]
            for part in ("masks", "low_res_logits", "video_res_logits", "boxes", "scores"):
                np.testing.assert_array_equal(getattr(other, part), getattr(result, part))
            np.testing.assert_array_equal(other.label_map(), result.label_map())
            assert other.of_objects([]).masks.shape == (0, 90, 120)
