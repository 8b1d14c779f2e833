"""Tiny data sets in the official layouts: two squares that wander over noise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from vidseg.pipeline.writers.png import write_label_png

SIZE_HW = (48, 64)


def label_map(index: int, ids: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    picture = np.zeros(SIZE_HW, np.uint8)
    for row, obj_id in enumerate(ids):
        top, left = 4 + 20 * row, 5 + index
        picture[top : top + 14, left : left + 16] = obj_id
    return picture


def write_frames(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    for index, name in enumerate(names):
        noise = np.random.default_rng(index).integers(0, 256, (*SIZE_HW, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{name}.jpg")


def write_masks(
    folder: Path, names: list[str], ids: tuple[int, ...], *, first: int = 0, step: int = 1
) -> None:
    for place, name in enumerate(names):
        write_label_png(folder / f"{name}.png", label_map(first + place * step, ids))


def names_of(count: int, *, width: int = 5, start: int = 0, step: int = 1, prefix: str = "") -> list[str]:
    return [f"{prefix}{start + i * step:0{width}d}" for i in range(count)]


def make_davis(root: Path, year: int = 2017, sequences: tuple[str, ...] = ("ants", "bees")) -> Path:
    for place, name in enumerate(sequences):
        frames = names_of(6)
        write_frames(root / "JPEGImages/480p" / name, frames)
        write_masks(root / "Annotations/480p" / name, frames, (1, 2) if place == 0 else (1,))
    (root / f"ImageSets/{year}").mkdir(parents=True, exist_ok=True)
    (root / f"ImageSets/{year}/val.txt").write_text("\n".join(sequences) + "\n")
    return root


def make_davis_test_dev(root: Path) -> Path:
    """First masks alone; the sequences of val lie in the same folder."""
    make_davis(root)
    frames = names_of(6)
    write_frames(root / "JPEGImages/480p/cows", frames)
    write_masks(root / "Annotations/480p/cows", frames[:1], (1, 2))
    (root / "ImageSets/2017/test-dev.txt").write_text("cows\n")
    return root


def make_sav(root: Path) -> Path:
    """24 frames a second; one frame in four annotated; object 001 comes on the second annotated frame."""
    frames = names_of(9)
    write_frames(root / "JPEGImages_24fps/sav_000001", frames)
    for obj in ("000", "001"):
        for place, name in enumerate(frames[::4]):
            mask = label_map(4 * place, (1,) if obj == "000" else (0, 1))
            if obj == "001" and place == 0:
                mask[:] = 0
            write_label_png(root / f"Annotations_6fps/sav_000001/{obj}/{name}.png", mask)
    (root / "sav_val.txt").write_text("sav_000001\n")
    return root


def make_youtube_vos(root: Path, *, with_truth: bool = True) -> Path:
    """Every fifth frame is there; object 4 starts on the second of them."""
    valid = root / "valid"
    frames = names_of(5, step=5)
    write_frames(valid / "JPEGImages/0a49f5265b", frames)
    for index, name in enumerate(frames):
        if with_truth or index < 2:
            mask = label_map(index, (2, 4) if index else (2,))
            write_label_png(valid / f"Annotations/0a49f5265b/{name}.png", mask)
    objects = {
        "2": {"category": "earless_seal", "frames": frames},
        "4": {"category": "bee", "frames": frames[1:]},
    }
    (valid / "meta.json").write_text(json.dumps({"videos": {"0a49f5265b": {"objects": objects}}}))
    return root


def make_mose(root: Path, *, version: int = 1, with_truth: bool = False) -> Path:
    valid = root / "valid"
    frames = names_of(6)
    write_frames(valid / "JPEGImages/0e8a6b63", frames)
    write_masks(valid / "Annotations/0e8a6b63", frames if with_truth else frames[:1], (1, 2))
    if version == 2:
        about = {"length": 6, "height": SIZE_HW[0], "width": SIZE_HW[1], "objects": ["1", "2"]}
        (valid / "meta.json").write_text(json.dumps({"videos": {"0e8a6b63": about}}))
    return root


def make_lvos(root: Path) -> Path:
    """8-digit names from 1 in steps of five; object 2 starts on the second frame."""
    valid = root / "valid"
    frames = names_of(7, width=8, start=1, step=5)
    videos = {}
    for name in ("aaSeen", "bbUnseen"):
        write_frames(valid / "JPEGImages" / name, frames)
        for index, frame in enumerate(frames):
            mask = label_map(index, (1, 2) if index else (1,))
            write_label_png(valid / "Annotations" / name / f"{frame}.png", mask)
        ranges = {"1": (1, 32, 7), "2": (6, 32, 6)}
        videos[name] = {
            "objects": {
                obj: {"frame_range": {"start": str(a), "end": str(b), "frame_nums": str(n)}}
                for obj, (a, b, n) in ranges.items()
            }
        }
    (valid / "valid_meta.json").write_text(json.dumps({"videos": videos}))
    (valid / "unseen_videos.txt").write_text("bbUnseen\n")
    return root


def make_vost(root: Path) -> Path:
    frames = names_of(6, start=12, step=12, prefix="frame")
    write_frames(root / "JPEGImages/555_tear_aluminium_foil", frames)
    write_masks(root / "Annotations/555_tear_aluminium_foil", frames, (1,))
    (root / "ImageSets").mkdir()
    (root / "ImageSets/val.txt").write_text("555_tear_aluminium_foil\n")
    return root
