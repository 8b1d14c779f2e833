"""The examples of new parts in docs/ run, keep their promises, and build a tracker that tracks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import vidseg
from support.parity import as_frames, moving_picture
from vidseg.trackers.parts import BACKBONES, BANK_POLICIES, COMPRESSORS, MEMORY_ATTENTIONS

DOCS = Path(__file__).parents[2] / "docs"
TABLES = {
    "backbones": BACKBONES,
    "bank_policies": BANK_POLICIES,
    "compressors": COMPRESSORS,
    "memory_attentions": MEMORY_ATTENTIONS,
}


def block(text: str, language: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("page", TABLES)
def test_the_example_of_a_new_part_works(page, tmp_path):
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    before = set(TABLES[page])
    try:
        exec(compile(block(text, "python"), f"docs/{page}.md", "exec"), {"__name__": "docs"})
        assert len(TABLES[page]) == len(before) + 1
        config = yaml.safe_load(block(text, "yaml")) | {"image_size": 64}
        (tmp_path / "new.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        session = vidseg.load(tmp_path / "new.yaml", allow_random_weights=True, device="cpu").start()
        session.prompt(1, box=[20.0, 10.0, 60.0, 50.0])
        for frame in as_frames(moving_picture(3, 64)):
            assert session.step(frame).obj_ids == [1]
    finally:
        for name in set(TABLES[page]) - before:
            TABLES[page].unregister(name)


@pytest.mark.parametrize("page", TABLES)
def test_every_part_is_on_its_page(page):
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    assert [name for name in TABLES[page] if f"`{name}`" not in text] == []
