"""Hiera is computed in stripes on the CPU, and in blocks of keys where that is faster, to the same maps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vidseg.memory import blocked_attention
from vidseg.trackers.backbones import pieces
from vidseg.trackers.backbones.hiera import Hiera, HieraSettings


def small(**more: object) -> Hiera:
    torch.manual_seed(0)
    options = {"embed_dim": 16, "heads": 1, "stages": [1, 2, 3, 1], "global_blocks": [4], **more}
    return Hiera(HieraSettings(**options)).eval()  # type: ignore[arg-type]


def images(size: int) -> Tensor:
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("windows", [[8, 4, 14, 7], [8, 4, 16, 8]])
@pytest.mark.parametrize("size", [192, 256])
def test_stripes_of_windows_equal_the_whole_picture(
    monkeypatch: pytest.MonkeyPatch, windows: list[int], size: int
) -> None:
    """Also where windows reach over the edge."""
    model = small(windows=windows)
    with torch.enable_grad():  # nothing is cut where gradients are wanted
        whole = [x.detach() for x in model(images(size))]
    monkeypatch.setattr(pieces, "PIECE_ELEMENTS", 1000)
    with torch.inference_mode():
        for got, want in zip(model(images(size)), whole, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_blocks_of_keys_equal_the_fused_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small(heads=2).bfloat16()
    monkeypatch.setattr(blocked_attention, "MANY_ROWS", 100)
    maps = {}
    with torch.inference_mode():
        for in_blocks in (False, True):
            monkeypatch.setattr(blocked_attention, "_has_only_vectors", lambda: in_blocks)  # noqa: B023
            maps[in_blocks] = model(images(256).bfloat16())
    for got, want in zip(maps[True], maps[False], strict=True):
        assert (got.float() - want.float()).norm() < 0.02 * want.float().norm()
    assert not torch.equal(maps[True][-1], maps[False][-1])
