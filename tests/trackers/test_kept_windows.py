"""Windows of a video that keep what they were encoded to (`keep_below`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import vidseg
from support.parity import SMALL_MODEL, parity_weights
from vidseg.trackers.backbones.hiera import Hiera, HieraSettings
from vidseg.trackers.backbones.kept_windows import KeptWindows
from vidseg.trackers.contract import FrameResult
from vidseg.trackers.image_encoder import normalise
from vidseg.trackers.session import EngineSession

SIZE = 128
SMALL: dict[str, Any] = {"embed_dim": 16, "heads": 1, "stages": [1, 2, 3, 1], "global_blocks": [4]}
HALF = SIZE // 2


def encoder(keep_below: float = 4.0) -> Hiera:
    torch.manual_seed(0)
    return Hiera(HieraSettings(**SMALL, keep_below=keep_below)).eval()


def picture(*, left: int = 0, right: int = 0) -> Tensor:
    """A noisy picture whose left or right half is brighter by some levels: 1 x 3 x S x S, normalised."""
    pixels = np.random.default_rng(3).integers(60, 120, (3, SIZE, SIZE))
    pixels[..., :HALF] += left
    pixels[..., HALF:] += right
    return normalise(torch.from_numpy(pixels.astype(np.uint8)))[None]


@torch.no_grad()
def test_a_new_video_is_encoded_whole() -> None:
    hiera = encoder()
    torch.testing.assert_close(hiera.encode_next(picture(), KeptWindows()), hiera(picture()))


@torch.no_grad()
def test_a_picture_that_changed_all_over_is_encoded_whole() -> None:
    hiera, kept = encoder(), KeptWindows()
    hiera.encode_next(picture(), kept)
    changed = picture(left=30, right=50)
    torch.testing.assert_close(hiera.encode_next(changed, kept), hiera(changed))


@torch.no_grad()
def test_a_picture_that_stays_costs_no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    hiera, kept = encoder(), KeptWindows()
    want = hiera.encode_next(picture(), kept)
    encoded: list[int] = []
    monkeypatch.setattr(hiera, "_encode_windows", lambda windows: encoded.append(len(windows)) or {})
    got = hiera.encode_next(picture(), kept)
    assert encoded == [0]
    assert all(torch.equal(*pair) for pair in zip(got, want, strict=True))


@torch.no_grad()
def test_a_window_that_did_not_change_keeps_its_value() -> None:
    hiera, kept = encoder(), KeptWindows()
    before = hiera.encode_next(picture(), kept)
    changed = picture(left=2, right=40)
    after, whole = hiera.encode_next(changed, kept), hiera(changed)
    side = SIZE // 4
    # The window beside the change sees it in its first layer, and is computed anew.
    stays, moves = slice(0, side // 4), slice(side // 2, side)
    assert torch.equal(after[0][..., stays], before[0][..., stays])
    assert not torch.allclose(whole[0][..., stays], before[0][..., stays])
    torch.testing.assert_close(after[0][..., moves], whole[0][..., moves])


@torch.no_grad()
def test_slow_changes_add_up() -> None:
    hiera, kept = encoder(), KeptWindows()
    for left in range(0, 4):
        still = hiera.encode_next(picture(left=left), kept)
    assert torch.equal(still[0][..., :4], hiera(picture())[0][..., :4])
    brighter = picture(left=4)
    torch.testing.assert_close(hiera.encode_next(brighter, kept)[0], hiera(brighter)[0])


def test_without_a_limit_nothing_is_kept() -> None:
    assert encoder().keeps_windows
    assert not encoder(keep_below=0.0).keeps_windows


def moving_square(frame_idx: int) -> np.ndarray[Any, Any]:
    """A noisy picture that stays, and a square that crosses it."""
    rng = np.random.default_rng(7)
    image = rng.integers(60, 120, (SIZE, SIZE, 3)).astype(np.uint8)
    image[40:70, 6 * frame_idx : 6 * frame_idx + 30] = 230
    return image


def tracker(folder: Path) -> Any:
    fast = "fast: {backbone: {keep_below: 4.0}}\n"
    path = folder / "small.yaml"
    path.write_text(SMALL_MODEL.replace("image_size: 64", f"image_size: {SIZE}") + fast, encoding="utf-8")
    tracker = vidseg.load(path, fast=True, allow_random_weights=True, device="cpu")
    tracker.engine.model.load_state_dict(parity_weights(tracker.engine.model, seed=5))
    return tracker


def test_a_session_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    tracked = tracker(tmp_path)
    session = tracked.start()
    session.prompt(1, box=[0, 40, 30, 70])
    for frame_idx in range(4):
        session.step(moving_square(frame_idx))
    session.save(tmp_path / "state.safetensors")
    assert "windows.cells" in session.state()[0]
    restored = tracked.restore(tmp_path / "state.safetensors")
    for frame_idx in range(4, 7):
        if frame_idx == 5:
            for each in (session, restored):
                each.prompt(2, box=[60, 60, 100, 100])
        one, other = session.step(moving_square(frame_idx)), restored.step(moving_square(frame_idx))
        assert np.array_equal(one.low_res_logits, other.low_res_logits)


def masks_of(out: Path) -> list[bytes]:
    return [path.read_bytes() for path in [*sorted((out / "masks").iterdir()), out / "masklets.jsonl"]]


def test_a_run_that_was_stopped_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clip").mkdir()
    for frame_idx in range(8):
        Image.fromarray(moving_square(frame_idx)).save(tmp_path / "clip" / f"{frame_idx:05d}.png")
    prompts = {"objects": [{"id": 1, "prompts": [{"frame": 0, "box": [0, 40, 30, 70]}]}]}
    said: dict[str, Any] = {"tracker": tracker(tmp_path), "formats": ("png", "rle"), "prompts": prompts}
    said["save_every"] = 3
    vidseg.track(tmp_path / "clip", out=tmp_path / "whole", **said)
    step, steps = EngineSession.step, iter(range(100))

    def interrupted(self: EngineSession, *given: Any) -> FrameResult:
        if next(steps) == 5:
            raise KeyboardInterrupt
        return step(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(EngineSession, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            vidseg.track(tmp_path / "clip", out=tmp_path / "stopped", **said)
    vidseg.track(tmp_path / "clip", out=tmp_path / "stopped", resume=True, **said)
    assert masks_of(tmp_path / "stopped") == masks_of(tmp_path / "whole")
