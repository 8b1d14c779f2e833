"""The spatial perceiver, and attention that reads its latents."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from support.goldens import load_manifest
from vidseg.memory.attention import MemoryTokens
from vidseg.memory.perceiver import (
    LatentCrossAttention,
    PerceiverLayer,
    SpatialPerceiver,
    rotate_window_latents,
)
from vidseg.memory.position import sine_grid
from vidseg.memory.rope import axial_rotation

MAP = 32
CELLS = MAP // 16
"""Side of a window on a 32 x 32 map."""


@pytest.fixture(scope="module")
def perceiver() -> SpatialPerceiver:
    """EdgeTAM's size, in float64, with norms away from their initial ones and zeros."""
    torch.manual_seed(0)
    module = SpatialPerceiver().double().eval()
    for parameter in module.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, parameter[0].item(), 0.1)
    return module


@pytest.fixture(scope="module")
def memory() -> Tensor:
    return torch.randn(1, 64, MAP, MAP, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def position() -> Tensor:
    return sine_grid(64, MAP, MAP).double()


def moved_latents(before: Tensor, after: Tensor) -> Tensor:
    """Which latents differ by more than rounding."""
    return ((before - after).abs() > 1e-9).any(-1)[0]


@torch.no_grad()
@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 11), (15, 15)])
def test_a_window_moves_its_own_latent_and_every_global_one(
    perceiver: SpatialPerceiver, memory: Tensor, position: Tensor, row: int, column: int
) -> None:
    changed = memory.clone()
    window = (..., slice(row * CELLS, (row + 1) * CELLS), slice(column * CELLS, (column + 1) * CELLS))
    changed[window] = memory[window].flip(1)
    is_moved = moved_latents(perceiver(memory, position)[0], perceiver(changed, position)[0])
    assert is_moved[:256].all()
    assert is_moved[256:].nonzero().flatten().tolist() == [row * 16 + column]


@torch.no_grad()
def test_position_of_the_map_moves_global_latents_alone(
    perceiver: SpatialPerceiver, memory: Tensor, position: Tensor
) -> None:
    with_position, _ = perceiver(memory, position)
    without, _ = perceiver(memory, torch.zeros_like(position))
    is_moved = moved_latents(with_position, without)
    assert is_moved[:256].all()
    assert not is_moved[256:].any()


@torch.no_grad()
def test_a_constant_added_to_all_channels_changes_nothing(
    perceiver: SpatialPerceiver, memory: Tensor, position: Tensor
) -> None:
    torch.testing.assert_close(perceiver(memory + 3.0, position)[0], perceiver(memory, position)[0])


@torch.no_grad()
def test_objects_together_equal_objects_alone(perceiver: SpatialPerceiver, position: Tensor) -> None:
    memories = torch.randn(3, 64, MAP, MAP, dtype=torch.float64)
    together, _ = perceiver(memories, position)
    alone = torch.cat([perceiver(memories[i : i + 1], position)[0] for i in range(3)])
    torch.testing.assert_close(together, alone)


@torch.no_grad()
def test_global_latents_have_no_position_and_window_latents_their_cells(
    perceiver: SpatialPerceiver, memory: Tensor, position: Tensor
) -> None:
    tokens, positions = perceiver(memory, position)
    assert tokens.shape == (1, 512, 64)
    assert positions.shape == (512, 64)
    assert not positions[:256].any()
    for row, column in [(0, 0), (2, 7), (15, 4)]:
        code = sine_grid(64, 16, 16)[:, row, column].double()
        torch.testing.assert_close(positions[256 + 16 * row + column], code)


@torch.no_grad()
def test_half_precision_gives_about_the_same(
    perceiver: SpatialPerceiver, memory: Tensor, position: Tensor
) -> None:
    half = SpatialPerceiver().bfloat16()
    half.load_state_dict(perceiver.state_dict())
    tokens, positions = half(memory.bfloat16(), position.float())
    assert tokens.dtype == positions.dtype == torch.bfloat16
    want, _ = perceiver(memory, position)
    assert (tokens.double() - want).pow(2).mean().sqrt() < 0.05 * want.std()


def attend_by_loops(q_lc: Tensor, k_nc: Tensor, v_nc: Tensor) -> Tensor:
    rows = []
    for q_c in q_lc:
        weights = torch.exp(torch.stack([(q_c * k_c).sum() / len(q_c) ** 0.5 for k_c in k_nc]))
        rows.append((weights[:, None] * v_nc).sum(0) / weights.sum())
    return torch.stack(rows)


def layer_by_loops(
    layer: PerceiverLayer, latents_lc: Tensor, tokens_nc: Tensor, position_nc: Tensor
) -> Tensor:
    """One group of latents through one layer, from the formulas."""
    read, among = layer.attn, layer.self_attn
    k, v = read.to_kv(read.norm_x(tokens_nc)).chunk(2, -1)
    q = read.to_q(read.norm_latents(latents_lc))
    latents_lc = latents_lc + read.to_out(attend_by_loops(q, k + position_nc, v + position_nc))
    latents_lc = latents_lc + layer.ff(latents_lc)
    x = among.norm(latents_lc)
    latents_lc = latents_lc + among.to_out(attend_by_loops(among.to_q(x), *among.to_kv(x).chunk(2, -1)))
    return latents_lc + layer.self_ff(latents_lc)


@torch.no_grad()
def test_perceiver_equals_its_formulas() -> None:
    torch.manual_seed(0)
    module = SpatialPerceiver(channels=8, global_latents=3, window_latents=4).double()
    memory, position = torch.randn(8, 4, 6).double(), torch.randn(8, 4, 6).double()
    global_lc = module.latents.data
    windows = [module.latents_2d.data[i : i + 1] for i in range(4)]
    for layer in module.layers:
        assert isinstance(layer, PerceiverLayer)
        global_lc = layer_by_loops(layer, global_lc, memory.flatten(1).T, position.flatten(1).T)
        for i in range(4):
            top, left = 2 * (i // 2), 3 * (i % 2)
            tokens = memory[:, top : top + 2, left : left + 3].flatten(1).T
            windows[i] = layer_by_loops(layer, windows[i], tokens, torch.zeros_like(tokens))
    want = module.norm(torch.cat([global_lc, *windows]))
    torch.testing.assert_close(module(memory[None], position)[0][0], want)


def test_size_is_edgetams() -> None:
    assert sum(p.numel() for p in SpatialPerceiver().parameters()) == 230_784


@pytest.mark.shared
@pytest.mark.usefixtures("shared")
def test_names_and_shapes_are_those_of_edgetam() -> None:
    prefix = "spatial_perceiver."
    official = {
        key.removeprefix(prefix): torch.Size(shape)
        for key, (shape, _) in load_manifest("edgetam")["state_dict"].items()
        if key.startswith(prefix)
    }
    assert {key: value.shape for key, value in SpatialPerceiver().state_dict().items()} == official


def test_window_latents_turn_by_their_row_and_column() -> None:
    channels, theta = 8, 10000.0
    keys = torch.randn(2, 3 * (5 + 9) + 4, channels, dtype=torch.float64)
    turned = rotate_window_latents(keys.float(), num_frames=3, window_latents=9, num_pointer_tokens=4)
    for frame in range(3):
        for latent in range(9):
            token = frame * 14 + 5 + latent
            for pair in range(channels // 2):
                # The first half of the pairs turns with the column, the second with the row.
                place = latent % 3 if pair < channels // 4 else latent // 3
                angle = torch.tensor(place * theta ** (-(pair % (channels // 4)) * 4 / channels)).double()
                a, b = keys[:, token, 2 * pair], keys[:, token, 2 * pair + 1]
                want = torch.stack((a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()), -1)
                got = turned[:, token, 2 * pair : 2 * pair + 2].double()
                torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_global_latents_and_pointers_do_not_turn() -> None:
    keys = torch.randn(1, 2 * (5 + 9) + 4, 8)
    turned = rotate_window_latents(keys, num_frames=2, window_latents=9, num_pointer_tokens=4)
    for still in (slice(0, 5), slice(14, 19), slice(28, 32)):
        assert torch.equal(turned[:, still], keys[:, still])


@torch.no_grad()
def test_reading_latents_does_not_depend_on_the_order_of_objects() -> None:
    torch.manual_seed(0)
    layer = LatentCrossAttention(16, 8, window_latents=4)
    tokens, positions = torch.randn(2, 3 * 6 + 2, 8), torch.randn(2, 3 * 6 + 2, 8)
    x_bnc = torch.randn(2, 25, 16)
    out = layer(x_bnc, MemoryTokens(tokens, positions, 2, 3), (5, 5))
    flipped = layer(x_bnc.flip(0), MemoryTokens(tokens.flip(0), positions.flip(0), 2, 3), (5, 5))
    torch.testing.assert_close(out, flipped.flip(0))


@torch.no_grad()
def test_queries_turn_on_the_grid_of_the_frame() -> None:
    torch.manual_seed(0)
    layer = LatentCrossAttention(16, 8, window_latents=4)
    x_bnc = torch.randn(1, 15, 16)
    q = layer.queries(x_bnc, (3, 5))
    want = torch.view_as_complex(layer.q_proj(x_bnc).unflatten(-1, (-1, 2))) * torch.view_as_complex(
        axial_rotation(16, 3, 5)
    )
    torch.testing.assert_close(torch.view_as_complex(q.unflatten(-1, (-1, 2))), want)
