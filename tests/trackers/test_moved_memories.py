"""Memories that are moved to another view, where remembering the frame from there would cost an encoding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from support.training import space_time_tracker
from vidseg.memory.bank import MemoryFrame
from vidseg.trackers.close_up.memories import move_to
from vidseg.trackers.contract import Frame
from vidseg.trackers.model import Decoded
from vidseg.trackers.space_time.grids import PATCH
from vidseg.trackers.space_time.video_model import OF_MASKS, OF_PIXELS
from vidseg.trackers.view import View

SIZE_HW = (240, 400)
CELL = 10
"""Side of a cell of keys, in pixels of the picture."""
CELLS_RIGHT = 2
ALMOST = 0.02
"""Tokens are bfloat16."""


@torch.inference_mode()
def test_a_memory_that_is_moved_by_whole_cells_is_that_of_the_cells_before(tmp_path: Path) -> None:
    """Masks and pixels are those that are seen from the new view."""
    engine = space_time_tracker(tmp_path, close_up=True).engine
    side = engine.model.low_res_size // PATCH
    noise = np.random.default_rng(0).integers(0, 255, (*SIZE_HW, 3), np.uint8)
    frame = Frame(0, 0.0, noise)
    seen, view = (
        View(x, 60, x + CELL * side, 60 + CELL * side, SIZE_HW) for x in (120, 120 + CELLS_RIGHT * CELL)
    )

    def remembered(of: View) -> MemoryFrame:
        cells = (torch.arange(engine.model.low_res_size) + 0.5) * CELL / PATCH
        x, y = of.left + cells[None] - 210, of.top + cells[:, None] - 120
        mask = (40 - (x**2 + y**2).sqrt()).clamp(-8, 8)  # a disk
        nothing = torch.zeros(1)
        decoded = Decoded(mask[None], torch.zeros(1, engine.model.pointer_channels), nothing, nothing)
        (tokens,) = engine.model.remember(engine.encode(of.of(frame)), decoded, from_prompt=False)
        return MemoryFrame(0, tokens, decoded.pointers_bc[0], 1.0, 1.0, mask)

    def on_grid(memory: MemoryFrame) -> torch.Tensor:
        assert memory.tokens_nc is not None
        return memory.tokens_nc.float().unflatten(0, (side, side))

    memory, wanted = remembered(seen), on_grid(remembered(view))
    before = on_grid(memory)
    move_to(engine, view, frame, [memory], seen)
    moved = on_grid(memory)
    learned, still_seen = slice(0, OF_MASKS.start), slice(None, -CELLS_RIGHT)
    torch.testing.assert_close(
        moved[:, still_seen, learned], before[:, CELLS_RIGHT:, learned], atol=ALMOST, rtol=ALMOST
    )
    torch.testing.assert_close(moved[..., OF_PIXELS], wanted[..., OF_PIXELS])
    torch.testing.assert_close(
        moved[:, still_seen, OF_MASKS], wanted[:, still_seen, OF_MASKS], atol=ALMOST, rtol=ALMOST
    )
    assert 0.1 < moved[..., OF_MASKS].mean() < 0.9
    assert not torch.allclose(before[..., OF_MASKS], moved[..., OF_MASKS], atol=0.5)
