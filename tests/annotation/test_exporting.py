"""What an export from the page looks like, beside the formats' own tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import vidseg
from support.annotated import SIZE_HW, write_video
from vidseg.annotation.exporting import export_project
from vidseg.annotation.session import AnnotationSession

GREEN = (0, 255, 0)


def test_the_overlay_has_the_page_s_colours_and_leaves_out_what_is_hidden(tmp_path: Path) -> None:
    path = tmp_path / "made.mp4"
    write_video(path, 3)
    with AnnotationSession(path, tmp_path / "run", tracker="flow") as session:
        corners = [(10, 10), (50, 10), (50, 80), (10, 80)]
        shown = session.lasso(0, None, corners)
        hidden = session.lasso(0, None, [(x + 90, y) for x, y in corners])
        session.set_object(shown, colour="#00ff00")
        session.set_object(hidden, visible=False)
        export_project(session, ["overlay", "coco"])
        masks = {mask.obj_id: mask.pixels(SIZE_HW) for mask in session.masks(0)}
        out = session.folder / "exports" / "all"
    before, after = (
        np.asarray(next(iter(vidseg.read(video))).image, np.float32) for video in (path, out / "overlay.mp4")
    )
    inner = masks[shown].copy()
    inner[:, :20] = inner[:, 40:] = False  # away from the outline, and from the tag above
    inner[:40] = False
    towards_green = 0.55 * before[inner] + 0.45 * np.array(GREEN, np.float32)
    assert np.abs(after[inner] - towards_green).mean() < 12
    assert np.abs(after[masks[hidden]] - before[masks[hidden]]).mean() < 12
    assert np.abs(after[inner] - before[inner]).mean() > 40
    found = json.loads((out / "masklets.coco.json").read_text())["annotations"]
    assert {each["attributes"]["track_id"] for each in found} == {shown, hidden}
