"""Exported models that several modules of tests read; each is exported once a run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from support.built_once import built_once
from support.image_models import written_small
from support.parity import SMALL_MODEL, weights_for
from vidseg.export import write
from vidseg.export.parts import Part
from vidseg.export.write import export
from vidseg.trackers.options import TrackerOptions


def small_export(temporary: pytest.TempPathFactory) -> Path:
    """A folder with `SMALL_MODEL`: small.yaml, weights.pt that show objects, and the export onnx."""

    def make(folder: Path) -> None:
        (folder / "small.yaml").write_text(SMALL_MODEL, encoding="utf-8")
        torch.save(weights_for(folder / "small.yaml"), folder / "weights.pt")
        export(TrackerOptions.of(folder / "small.yaml", weights=folder / "weights.pt"), folder / "onnx")

    return built_once(temporary, "small-export", make)


def nano_export(temporary: pytest.TempPathFactory) -> Path:
    """The export of vidseg-nano."""
    return built_once(
        temporary, "nano-export", lambda folder: export(TrackerOptions.of("vidseg-nano"), folder)
    )


def image_export(temporary: pytest.TempPathFactory, name: str) -> Path:
    """A folder with a named image model in small: small.yaml, weights.pt, and the export onnx."""

    def make(folder: Path) -> None:
        path, weights = written_small(name, folder)
        export(TrackerOptions.of(path, weights=weights), folder / "onnx")

    return built_once(temporary, f"{name}-export", make)


def copy_part(name: str, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the next exports take this part from the export `made`: a test does not look at it."""
    write_part = write._write_part

    def write_or_copy(part: Part, path: Path, dtype: Any) -> None:
        if part.name == name:
            shutil.copy(made / path.name, path)
        else:
            write_part(part, path, dtype)

    monkeypatch.setattr(write, "_write_part", write_or_copy)
