"""Golden outputs of the official predictors: inputs, seeded weights, prompts, and the comparison.

The files and their tolerances are described in `goldens/README.md` of the development data. The rule for the
weights and the comparison are read from the scripts that lie beside the files, so that they have one home.

    golden = load_golden("sam2.1_hiera_t_A")
    tracker = golden_tracker(golden)
    for frame in frames(golden): ...
    assert_golden(golden, {"pass0_low": low, "pass0_obj": scores})
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

import vidseg
from support.shared import shared_folder
from vidseg.trackers.contract import Frame
from vidseg.trackers.weights import tracker_of

VIDEO_SIZE_HW = (216, 384)
FRAME_RATE = 10.0
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class PromptCall:
    """One prompt of a scenario, as `Session.prompt` takes it."""

    frame_idx: int
    obj_id: int
    prompt: Mapping[str, Any]
    """Keyword arguments: box=, points= with labels=, or mask=."""


@dataclass(frozen=True)
class Propagation:
    """Track from `start` (None: the earliest conditioning frame) to the end, or to frame 0 in reverse."""

    start: int | None
    reverse: bool


@dataclass(frozen=True, eq=False)
class Golden:
    """One scenario on one model."""

    name: str
    """`<model>_<scenario>`, e.g. 'sam2.1_hiera_t_A'."""
    arrays: Mapping[str, npt.NDArray[Any]]
    meta: Mapping[str, Any]

    @property
    def model(self) -> str:
        """The official configuration's name."""
        return str(self.meta["model"])

    @property
    def tracker(self) -> str:
        """Our name of the tracker that is built like this model."""
        return tracker_of(self.model)

    @property
    def scenario(self) -> str:
        return str(self.meta["scenario"])

    @property
    def image_size(self) -> int:
        return int(self.meta["image_size"])

    @property
    def num_frames(self) -> int:
        return int(self.meta["frames"]["count"])

    @property
    def steps(self) -> list[PromptCall | Propagation]:
        """The scenario, in order; frame numbers are resolved (-1 is the last frame)."""
        steps: list[PromptCall | Propagation] = []
        for kind, *rest in self.meta["prompts"]:
            if kind == "prop":
                steps.append(Propagation(start=rest[0], reverse=rest[1]))
                continue
            frame_idx = rest[0] % self.num_frames
            if kind == "mask":
                prompt: dict[str, Any] = {"mask": _script("check_golden").prompt_mask(*VIDEO_SIZE_HW)}
            else:
                points, labels, box = rest[2:5]
                prompt = {"points": points, "labels": labels, "box": box}
                prompt = {key: value for key, value in prompt.items() if value is not None}
            steps.append(PromptCall(frame_idx, rest[1], prompt))
        return steps


def goldens_folder() -> Path:
    return shared_folder() / "goldens"


@cache
def _script(name: str) -> ModuleType:
    """A script that comes with the golden files."""
    path = goldens_folder() / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"goldens_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def golden_names(pattern: str = "*") -> list[Any]:
    """Names of the golden files whose `<model>_<scenario>` matches, as parameters of a test.

    Without the development data there is one parameter, which is skipped with the reason.
    Goldens at the official full resolution (scenario G) are marked slow.
    """
    folder = goldens_folder()
    if not folder.is_dir():
        reason = f"needs the golden files, which are not at {folder} (set VIDSEG_SHARED)"
        return [pytest.param("absent", marks=pytest.mark.skip(reason=reason))]
    names = sorted(path.stem.removeprefix("golden_") for path in folder.glob(f"golden_{pattern}.npz"))
    return [
        pytest.param(name, marks=[pytest.mark.slow] if name.endswith("_G") else [])
        for name in names
        if name != "postprocess"
    ]


def load_golden(name: str) -> Golden:
    """The golden `<model>_<scenario>`."""
    arrays, meta = _script("check_golden").load(goldens_folder() / f"golden_{name}.npz")
    return Golden(name, arrays, meta)


def load_manifest(model: str) -> dict[str, Any]:
    """What is known of an official model: `state_dict` (key -> [shape, dtype]), `config`, `num_params`..."""
    manifest: dict[str, Any] = json.loads((goldens_folder() / f"manifest_{model}.json").read_text("utf-8"))
    return manifest


def seeded_state(golden: Golden) -> dict[str, Tensor]:
    """The weights that the golden was made with, under the official names."""
    weights = golden.meta["weights"]
    return manifest_state(golden.model, weights["seed"], weights["overrides"])


def manifest_state(model: str, seed: int, overrides: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
    """Seeded weights for any official model; `overrides` as in the goldens (pattern -> scale, add)."""
    return seeded(load_manifest(model), seed, overrides)


def seeded(
    manifest: Mapping[str, Any], seed: int, overrides: Mapping[str, Any] | None = None
) -> dict[str, Tensor]:
    """Seeded weights for the keys and shapes of a manifest."""
    state = _script("seeded_weights").build_state(manifest, seed, dict(overrides or {}))
    return {key: torch.from_numpy(np.array(value)) for key, value in state.items()}


def video_frames(golden: Golden) -> npt.NDArray[np.uint8]:
    """uint8 (T, 216, 384, 3), RGB: the scenario's video."""
    frames: npt.NDArray[np.uint8] = np.load(goldens_folder() / "frames.npz", allow_pickle=False)["frames"]
    index = golden.meta["frames"].get("index")
    return frames[index] if index is not None else frames[: golden.num_frames]


def normalised(images: npt.NDArray[np.uint8], image_size: int) -> Tensor:
    """float32 (T, 3, S, S): the goldens' own resizing (bilinear, antialiased), then mean and deviation."""
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    resized = torch.nn.functional.interpolate(
        pixels, size=(image_size, image_size), mode="bilinear", align_corners=False, antialias=True
    )
    return (resized - torch.tensor(IMAGE_MEAN)[:, None, None]) / torch.tensor(IMAGE_STD)[:, None, None]


def model_inputs(golden: Golden) -> Tensor:
    """float32 (T, 3, S, S): what the official model was given."""
    return normalised(video_frames(golden), golden.image_size)


def frames(golden: Golden) -> list[Frame]:
    """The scenario's video as frames that carry their model input, so that nothing is resized again.

    A tracker encodes each picture once for all scenarios of its model that follow one another.
    """
    kept = _kept_of(golden)
    pictures = golden.meta["frames"].get("index") or range(golden.num_frames)
    return [
        Frame(
            index,
            index / FRAME_RATE,
            model_input=model_input,
            size_hw=VIDEO_SIZE_HW,
            kept=kept.setdefault(picture, {}),
        )
        for index, (picture, model_input) in enumerate(zip(pictures, model_inputs(golden), strict=True))
    ]


def golden_tracker(golden: Golden) -> Any:
    """Our tracker with the golden's weights, the same one for the next scenario of these weights."""
    weights = json.dumps(golden.meta["weights"], sort_keys=True)
    tracker = _tracker(golden.model, golden.image_size, weights)
    for features in _kept_of(golden).values():
        if features:
            features.setdefault(tracker.engine, next(iter(features.values())))
    return tracker


@lru_cache(maxsize=1)
def _tracker(model: str, image_size: int, weights: str) -> Any:
    drawn = json.loads(weights)
    state = manifest_state(model, drawn["seed"], drawn["overrides"])
    return vidseg.load(tracker_of(model), weights=state, image_size=image_size, device="cpu")


def _kept_of(golden: Golden) -> dict[int, dict[Any, Any]]:
    """The number of a picture -> what trackers computed of it with the golden's encoder.

    Scenarios of a model differ in weights, but mostly in those that read features.
    """
    weights, keys = golden.meta["weights"], load_manifest(golden.model)["state_dict"]
    encoder = [key for key in keys if key.startswith(("image_encoder.", "sam_mask_decoder.conv_s"))]
    changed = {
        pattern: change
        for pattern, change in weights["overrides"].items()
        if any(re.fullmatch(pattern, key) for key in encoder)
    }
    return _kept(golden.model, golden.image_size, json.dumps([weights["seed"], changed], sort_keys=True))


@lru_cache(maxsize=1)
def _kept(model: str, image_size: int, encoder: str) -> dict[int, dict[Any, Any]]:
    return {}


def assert_close(name: str, want: npt.NDArray[Any], got: Any) -> None:
    """Fail unless `got` equals the golden array within the tolerance that belongs to `name`."""
    array = got.detach().float().cpu().numpy() if isinstance(got, Tensor) else np.asarray(got)
    is_equal, message = _script("check_golden").compare(name, want, array)
    assert is_equal, f"{name}: {message}"


def assert_golden(golden: Golden, got: Mapping[str, Any]) -> None:
    """Fail unless every array of `got` equals the golden's of that name; all that differ are listed."""
    strangers = sorted(set(got) - set(golden.arrays))
    assert not strangers, f"{golden.name} has no arrays {strangers}"
    failures = []
    for name, value in got.items():
        try:
            assert_close(name, golden.arrays[name], value)
        except AssertionError as failure:
            failures.append(str(failure).splitlines()[0])
    assert not failures, f"{golden.name}:\n  " + "\n  ".join(failures)


def video_sub(video_res_logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(..., 54, 96): every 4th row and column of (..., 216, 384), as `*_video_sub` holds them."""
    return video_res_logits[..., ::4, ::4]


def video_bits(video_res_logits: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """(..., 216, 48): the masks packed along x, as `*_video_bits` holds them."""
    return np.packbits(video_res_logits > 0, axis=-1)


def memory_stats(memory: Tensor) -> npt.NDArray[np.float64]:
    """(4,): mean, biased deviation, minimum, maximum of a spatial memory, as `*_mem_stats` holds them."""
    values = memory.detach().float().cpu().numpy()
    return np.array([values.mean(), values.std(), values.min(), values.max()])
