"""How many operations a frame is, as a GPU would launch them; the host's share of a frame grows with them.

They are counted on a CPU whose own kernels are off. Counts may fall, and then the numbers here should follow.
"""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vidseg
from support.launches import Launches
from support.parity import as_frames, moving_picture, small_tracker
from vidseg.memory.cpu_kernels import without_cpu_kernels
from vidseg.trackers import engine, session
from vidseg.trackers.contract import Frame
from vidseg.trackers.device import use_channels_last
from vidseg.trackers.model import module_of

SIZE_HW = (48, 64)
IMAGE_SIZE = 256
MOST = {
    "sam2.1-hiera-tiny": {"encode": 166, "attend": 150, "decode": 126, "remember": 38, "rest": 14},
    "edgetam": {"encode": 207, "attend": 80, "decode": 126, "remember": 126, "rest": 14},
    "efficienttam-ti": {"encode": 164, "attend": 144, "decode": 124, "remember": 35, "rest": 14},
    "vidseg-nano": {"encode": 117, "attend": 227, "decode": 138, "remember": 11, "rest": 22},
}
"""Operations of a frame with one object and a full bank: tracker -> stage -> how many at most."""


class NotWaitedFor:
    """Results that stay on the device."""

    def __init__(self, tensors: Any) -> None:
        self._kinds = [(tuple(t.shape), np.uint8 if t.dtype == torch.uint8 else np.float32) for t in tensors]

    def tensors(self) -> list[torch.Tensor]:
        return [torch.from_numpy(np.ones(*kind)) for kind in self._kinds]  # by no operation of torch


@pytest.fixture
def _like_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (engine, session):
        monkeypatch.setattr(module, "computes_apart", lambda device: True)
        monkeypatch.setattr(module, "Download", NotWaitedFor)


def full_session(tracker: Any) -> Any:
    """A session with one object and a full bank."""
    following = tracker.start()
    following.prompt(1, mask=np.ones(SIZE_HW, bool))
    following.step(frame(0))
    for bank in following.banks.values():
        for index in range(1, 16):
            memory = copy(bank.conditioning[0])
            memory.frame_idx, memory.is_initial = index, False
            bank.remember(memory)
    following.step(frame(16))  # what is computed once is there from now on
    return following


def frame(index: int) -> Frame:
    return Frame(index, index / 30, image=np.full((*SIZE_HW, 3), index, np.uint8))


@pytest.mark.usefixtures("_like_a_gpu")
@pytest.mark.parametrize("name", MOST)
def test_a_frame_takes_no_more_operations(name: str) -> None:
    options = {"image_size": IMAGE_SIZE, "dtype": "bfloat16", "device": "cpu"}
    tracker: Any = vidseg.load(name, allow_random_weights=True, **options)
    use_channels_last(module_of(tracker.engine.model))
    launches = Launches()
    launches.watch(tracker.engine)
    with without_cpu_kernels():
        following = full_session(tracker)
        with launches:
            following.step(frame(17))
    for stage, most in MOST[name].items():
        assert launches.by_stage[stage] <= most, (stage, launches.by_name)
    # The first map of the memory encoder, made of masks of one channel, has the layout of these.
    assert launches.strided_norms <= 1


@pytest.mark.usefixtures("_like_a_gpu")
@pytest.mark.parametrize("name", ["sam2.1-hiera-tiny", "edgetam", "efficienttam-ti"])
def test_a_frame_makes_no_round_trip_to_the_host(name: str) -> None:
    """Tensors of the device 'meta' have no values, so whoever asks for one fails."""
    tracker: Any = vidseg.load(name, allow_random_weights=True, image_size=IMAGE_SIZE, device="cpu")
    module_of(tracker.engine.model).to("meta")
    following = full_session(tracker)
    following.step(frame(17))
    assert following.banks[1].at(17).tokens_nc.is_meta


def test_channels_last_changes_no_mask(tmp_path: Path) -> None:
    """It is a matter of layout alone; sums of floats may come in another order."""
    results = []
    for is_last in (False, True):
        tracker = small_tracker(tmp_path)
        if is_last:
            use_channels_last(module_of(tracker.engine.model))
        following = tracker.start()
        following.prompt(1, points=[[30, 20]], labels=[1])
        frames = as_frames(moving_picture(3, tracker.engine.model.image_size))
        results.append([following.step(one).low_res_logits for one in frames])
    np.testing.assert_allclose(results[1], results[0], atol=1e-3, rtol=1e-4)
