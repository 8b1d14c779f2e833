"""Checks that the parts of an engine tracker keep their promises, for the authors of plug-ins.

    check_backbone(MyBackbone())            # silent, or a ContractError that says which promise is broken

They ask for shapes and behaviour, not for good masks, and run in seconds on the CPU.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vidseg.errors import ContractError
from vidseg.memory.attention import MemoryAttention, MemoryTokens
from vidseg.memory.bank import (
    CONDITIONING_SLOT,
    BankPolicy,
    DecidingPolicy,
    MemoryFrame,
    Moment,
    ObjectBank,
    Offer,
    Recall,
)
from vidseg.memory.branching import Choice, branch
from vidseg.memory.compressor import Compressor, is_square
from vidseg.memory.position import sine_grid
from vidseg.memory.trimming import TrimmingPolicy
from vidseg.memory.widths import CHANNELS, MEMORY_CHANNELS
from vidseg.trackers.image_encoder import STRIDES

NOISE = 1e-4
"""How far equal results may differ, as a share of their deviation: batches of another size are added up in
another order."""
GRID = 8
LONG = 90
"""Number of frames of a made video: many times what any bank reads."""


@torch.inference_mode()
def check_backbone(backbone: Any, image_size: int = 128) -> None:
    """Check a backbone in evaluation mode; see `vidseg.trackers.image_encoder.Backbone`.

    Raises:
        ContractError: names the broken promise; the other checks raise it as well.
    """
    what = f"the backbone {type(backbone).__name__}"
    require(isinstance(backbone, nn.Module), f"{what} is not a torch module")
    mode = str(getattr(backbone, "mode", None))
    require(mode in STRIDES, f"{what} has the mode {mode!r}, not one of {', '.join(STRIDES)}")
    require(backbone.strides == STRIDES[mode], f"{what} has strides {backbone.strides}, not {STRIDES[mode]}")
    require(
        len(backbone.channels) == len(backbone.strides), f"{what} publishes {len(backbone.channels)} channels"
    )
    backbone.eval()
    for size in (image_size, image_size + 64):
        images = noise(2, 3, size, size)
        maps = backbone(images)
        want = [
            (2, c, size // s, size // s) for c, s in zip(backbone.channels, backbone.strides, strict=True)
        ]
        require(
            [tuple(m.shape) for m in maps] == want,
            f"{what} makes {[tuple(m.shape) for m in maps]}, not {want}",
        )
    alone = backbone(images[:1])
    for both, one in zip(maps, alone, strict=True):
        near(both[:1], one, f"{what}: what is seen in an image depends on the other images of the batch")
    if callable(getattr(backbone, "fuse", None)):
        for before, after in zip(alone, backbone.fuse()(images[:1]), strict=True):
            near(before, after, f"{what}: the fused form gives something else")


@torch.inference_mode()
def check_compressor(compressor: Compressor) -> None:
    """Check a compressor; see `vidseg.memory.compressor.Compressor`."""
    what = f"the compressor {type(compressor).__name__}"
    latents, multiple = compressor.window_latents, compressor.grid_multiple
    require(latents >= 0 and is_square(latents), f"{what}: window_latents {latents} is not a square number")
    require(multiple >= 1, f"{what}: grid_multiple {multiple}")
    for side in (2 * multiple, 4 * multiple):
        memory = noise(2, MEMORY_CHANNELS, side, side)
        place = sine_grid(MEMORY_CHANNELS, side, side)
        tokens, positions = compressor(memory, place)
        count = tokens.shape[1]
        require(tokens.shape == (2, count, MEMORY_CHANNELS), f"{what} makes tokens {tuple(tokens.shape)}")
        require(positions.shape == (count, MEMORY_CHANNELS), f"{what}: positions {tuple(positions.shape)}")
        require(count >= latents, f"{what} makes {count} tokens, fewer than its window latents")
        known = compressor.token_positions(memory.device)
        require(bool(known.shape == positions.shape), f"{what}: token_positions() has another shape")
        near(positions, known, f"{what}: token_positions() are others than those it gives")
        near(tokens[:1], compressor(memory[:1], place)[0], f"{what}: objects of a batch change each other")
        changed, _ = compressor(memory.roll(1, dims=-1), place)
        require(not torch.equal(changed, tokens), f"{what}: another memory gives the same tokens")


@torch.inference_mode()
def check_memory_attention(attention: MemoryAttention, global_latents: int = 3) -> None:
    """Check memory attention; see `vidseg.memory.attention.MemoryAttention`.

    Args:
        global_latents: how many tokens of the made memories have no place, if it reads latents.
    """
    what = f"the memory attention {type(attention).__name__}"
    latents = attention.window_latents
    attention.eval()
    per_frame = GRID * GRID if latents is None else global_latents + latents
    features, place = noise(1, CHANNELS, GRID, GRID), sine_grid(CHANNELS, GRID, GRID)
    for num_frames, num_pointers in ((1, 4), (3, 8), (3, 0)):
        count = num_frames * per_frame + num_pointers
        memory = MemoryTokens(
            noise(2, count, MEMORY_CHANNELS),
            noise(2, count, MEMORY_CHANNELS, seed=1),
            num_pointers,
            num_frames,
        )
        out = attention(features, place, memory)
        want = (2, CHANNELS, GRID, GRID)
        require(tuple(out.shape) == want, f"{what} makes {tuple(out.shape)}, not {want}")
        one = replace(memory, tokens_bmc=memory.tokens_bmc[:1], positions_bmc=memory.positions_bmc[:1])
        near(out[:1], attention(features, place, one), f"{what}: objects of a batch change each other")
        require(not torch.equal(out[0], out[1]), f"{what}: another memory gives the same features")


def check_bank_policy(policy: BankPolicy) -> None:
    """Check a bank policy on made videos; see `vidseg.memory.bank.BankPolicy`."""
    for reverse in (False, True):
        for seed in range(3):
            _check_trace(policy, reverse, seed)


def _check_trace(policy: BankPolicy, reverse: bool, seed: int) -> None:
    """Compare a bank that forgets with one that keeps all: both must be read alike, and the first stop
    growing."""
    what = f"the bank policy {type(policy).__name__}"
    whole, bounded = ObjectBank(), ObjectBank()
    order = range(LONG - 1, -1, -1) if reverse else range(LONG)
    sizes = []
    for count, frame_idx in enumerate(order):
        moment = Moment(frame_idx, reverse, None)
        if count == 0:
            for bank in (whole, bounded):
                memory = _made_memory(frame_idx, 8.0, 0.9)
                bank.remember(memory, as_conditioning=True)
                _note_prompt(policy, bank, memory)
        else:
            reads = [[_read(policy.recall(h, moment)) for h in b.hypotheses] for b in (whole, bounded)]
            require(reads[0] == reads[1], f"{what} forgets what frame {frame_idx} reads", f"{reads}")
            for hypothesis in bounded.hypotheses:
                _check_recall(policy, policy.recall(hypothesis, moment), moment, what)
            for bank in (whole, bounded):
                made_step(policy, bank, moment, seed)
            again = [[_read(policy.recall(h, moment)) for h in b.hypotheses] for b in (whole, bounded)]
            require(again[0] == again[1], f"{what} reads otherwise when frame {frame_idx} is corrected")
        policy.evict(bounded, moment)
        sizes.append(bounded.num_bytes())
        kept = json.loads(json.dumps(bounded.notes, allow_nan=False))
        require(kept == bounded.notes, f"{what} takes notes that are not plain JSON values: {bounded.notes}")
    require(
        max(sizes[LONG // 2 :]) <= max(sizes[: LONG // 2]) * 1.5, f"{what}: the bank grows with the video"
    )
    near = order[-2]
    policy.forget_around(bounded, near)
    require(near in bounded.tracked, f"{what}: forget_around() drops the corrected frame itself")


def made_step(policy: BankPolicy, bank: ObjectBank, moment: Moment, seed: int = 0) -> None:
    """Carry a made object into a frame, as the engine does: it is visible, then lost, then found again."""
    is_lost = moment.frame_idx % 40 in range(20, 30)
    if isinstance(policy, TrimmingPolicy):
        _check_trimmed(policy, bank, moment, is_lost)
    if not isinstance(policy, DecidingPolicy):
        bank.remember(_made_memory(moment.frame_idx, -3.0 if is_lost else 5.0, 0.8))
        return

    def offers(hypotheses: Sequence[ObjectBank]) -> list[Offer]:
        return [_made_offer(policy.recall(h, moment), moment, is_lost, seed) for h in hypotheses]

    take_offers(policy, bank, moment, offers)


def _check_trimmed(policy: TrimmingPolicy, bank: ObjectBank, moment: Moment, is_lost: bool) -> None:
    logits = torch.full((24, 24), -1.0)
    if not is_lost:
        left = moment.frame_idx % 12
        logits[6:14, left : left + 10] = 1.0
    got = policy.trim(bank, moment, logits)
    what = f"the bank policy {type(policy).__name__}"
    require(got.shape == logits.shape, f"{what}: trim() makes {tuple(got.shape)} of {tuple(logits.shape)}")
    require(not bool(((got > 0) & (logits <= 0)).any()), f"{what}: trim() adds to the mask")


def take_offers(
    policy: DecidingPolicy,
    bank: ObjectBank,
    moment: Moment,
    offers: Callable[[Sequence[ObjectBank]], Sequence[Offer]],
) -> None:
    """Carry an object into a frame as the engine does (`branch`), with made offers and memories."""
    made: list[Offer] = []

    def offer(hypotheses: Sequence[ObjectBank]) -> Sequence[Offer]:
        made.extend(offers(hypotheses))
        return made

    def remember(choices: Sequence[Choice]) -> list[MemoryFrame]:
        taken = [(made[number], candidate) for number, candidate in choices]
        return [
            _made_memory(moment.frame_idx, o.object_score_logit, o.predicted_ious[candidate])
            for o, candidate in taken
        ]

    branch(policy, [bank], moment, offer=offer, remember=remember)


def _made_offer(recall: Recall, moment: Moment, is_lost: bool, seed: int) -> Offer:
    """A made offer; hypotheses that read the same memories get the same one."""
    read = [(slot, f.frame_idx, f.predicted_iou) for slot, f in recall.spatial]
    mark = zlib.crc32(repr((read, moment.frame_idx, seed)).encode())
    generator = torch.Generator().manual_seed(mark)
    logits = torch.full((3, 24, 24), -1.0)
    for k in range(3):
        x, y = torch.randint(0, 12, (2,), generator=generator).tolist()
        logits[k, y : y + 10, x : x + 8] = 1.0
    ious = (0.3 + 0.7 * torch.rand(3, generator=generator)).tolist()
    sureness = 4 * torch.rand(1, generator=generator).item()
    return Offer(logits, ious, -sureness if is_lost else sureness)


def _made_memory(frame_idx: int, object_score_logit: float, predicted_iou: float) -> MemoryFrame:
    tokens = noise(4, MEMORY_CHANNELS, seed=frame_idx).bfloat16()
    return MemoryFrame(frame_idx, tokens, torch.zeros(8), object_score_logit, predicted_iou, None)


def _note_prompt(policy: BankPolicy, bank: ObjectBank, memory: MemoryFrame) -> None:
    if isinstance(policy, DecidingPolicy | TrimmingPolicy):
        policy.note_prompt(bank, memory)


def _check_recall(policy: BankPolicy, recall: Recall, moment: Moment, what: str) -> None:
    require(bool(recall.spatial), f"{what} reads nothing on frame {moment.frame_idx}")
    for slot, frame in recall.spatial:
        is_known = slot == CONDITIONING_SLOT or 0 <= slot < policy.recent_frames
        require(is_known, f"{what} uses slot {slot}, and has recent_frames {policy.recent_frames}")
        require(frame.tokens_nc is not None, f"{what} reads frame {frame.frame_idx}, which it has freed")
    for back, frame in recall.pointers:
        require(back == moment.frames_back(frame.frame_idx), f"{what} gives a pointer a wrong time")
    if recall.key_scales is not None:
        counts = [len(part) for part in recall.key_scales]
        require(counts == [len(recall.spatial), len(recall.pointers)], f"{what}: not a scale for each memory")


def _read(recall: Recall) -> tuple[Any, ...]:
    spatial = sorted((slot, frame.frame_idx) for slot, frame in recall.spatial)
    return spatial, sorted((back, frame.frame_idx) for back, frame in recall.pointers), recall.key_scales


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def require(kept: bool, message: str, hint: str | None = None) -> None:
    if not kept:
        raise ContractError(message, hint=hint)


def near(want: Tensor, got: Tensor, message: str) -> None:
    scale = max(float(want.std()), 1e-6)
    error = float((want - got).abs().max()) / scale if want.numel() else 0.0
    require(error <= NOISE, message, f"they differ by {error:.1e} of the deviation")


CHECKS: dict[str, Callable[[Any], None]] = {
    "backbone": check_backbone,
    "compressor": check_compressor,
    "memory_attention": check_memory_attention,
    "bank": check_bank_policy,
}
"""Key of a tracker's YAML -> check of that part."""
