"""One training step's forward pass: clips go through the engine that tracks; every frame's answer is judged.

The rows of a batch are clips with one object each. To the engine they are the objects of one video whose
features differ from row to row; nothing else is special to training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from vidseg.memory.bank import MemoryFrame, Moment, ObjectBank
from vidseg.trackers.engine import Engine
from vidseg.trackers.image_encoder import normalise
from vidseg.trackers.model import Decoded, Features, VideoModel
from vidseg.trackers.space_time.model import SpaceTimeModel
from vidseg.training.losses import dice, focal, hardest, true_iou
from vidseg.training.prompts import PromptShares, correct, sample
from vidseg.validation import Strict


class LossWeights(Strict):
    focal: float = 10.0
    dice: float = 1.0
    hardest: float = 1.0
    """Cross-entropy over the hardest pixels."""
    score: float = 0.2
    iou: float = 0.2


class UnrollSettings(Strict):
    prompts: PromptShares = PromptShares()
    losses: LossWeights = LossWeights()
    hardest_share: float = Field(default=0.15, gt=0, le=1)
    corrections: float = Field(default=0.1, ge=0, le=1)
    """How often one of a batch's later frames is corrected by clicks."""
    truncate: int = Field(default=4, ge=1)
    """Gradients flow through at most this many frames' memories."""


@dataclass(frozen=True, slots=True)
class Unrolled:
    loss: Tensor
    """To be minimised; a scalar."""
    parts: dict[str, float]
    """Its parts before their weights, and the mean J, for the log."""
    predictions_btss: Tensor
    """Mask logits, detached."""


def unroll(
    engine: Engine,
    images_bt3ss: Tensor,
    masks_btss: Tensor,
    settings: UnrollSettings,
    generator: torch.Generator,
) -> Unrolled:
    """Track every clip from a prompt on its first frame, and sum the losses of all frames.

    Args:
        images_bt3ss: uint8 RGB.
        masks_btss: bool; on the first frame every object has pixels.
        generator: draws prompts; on the CPU.
    """
    batch, length = masks_btss.shape[:2]
    model = engine.model
    every = model.encode_batch(normalise(images_bt3ss.flatten(0, 1)))
    features = [_frame(every, t, length) for t in range(length)]
    banks = [ObjectBank() for _ in range(batch)]
    judged: list[tuple[Decoded, Tensor, str]] = []
    shown = []

    answers = _answer_prompts(model, features[0], masks_btss[:, 0], settings, generator)
    judged += [(answer, masks_btss[rows, 0], "prompt") for rows, answer in answers.judged]
    _remember(engine, features[0], answers.taken, banks, 0, from_prompt=True)
    shown.append(answers.taken.low_res_logits_bhw)

    corrected = -1
    if length > 2 and float(torch.rand((), generator=generator)) < settings.corrections:
        corrected = int(torch.randint(1, length - 1, (), generator=generator))
    for t in range(1, length):
        if t % settings.truncate == 0:
            _cut(banks)
        moment = Moment(t)
        decoded = engine.track(features[t], banks, moment)
        judged.append((decoded, masks_btss[:, t], "track"))
        if t == corrected:
            decoded = _correct(engine, features[t], banks, moment, decoded, masks_btss[:, t], generator)
            judged.append((decoded, masks_btss[:, t], "correct"))
        _remember(engine, features[t], decoded, banks, t, from_prompt=t == corrected)
        for bank in banks:
            engine.policy.evict(bank, moment)
        shown.append(decoded.low_res_logits_bhw)

    loss, parts = _judge(judged, settings)
    predictions = torch.stack([logits.detach() for logits in shown], dim=1)
    return Unrolled(
        loss, parts, F.interpolate(predictions.float(), size=masks_btss.shape[-2:], mode="bilinear")
    )


def _frame(features: Features, t: int, length: int) -> Features:
    """Frame t of every clip, out of the features of all frames of all clips."""
    return Features([x[t::length] for x in features.high_res], features.top_1chw[t::length])


def _rows(features: Features, rows: Tensor) -> Features:
    return Features([x[rows] for x in features.high_res], features.top_1chw[rows])


@dataclass(frozen=True, slots=True)
class _Answers:
    taken: Decoded
    """What is remembered of each row."""
    judged: list[tuple[Tensor, Decoded]]
    """(rows, answer) of every pass."""


def _answer_prompts(
    model: VideoModel | SpaceTimeModel,
    features: Features,
    masks_bss: Tensor,
    settings: UnrollSettings,
    generator: torch.Generator,
) -> _Answers:
    """Give each row a mask, or a box or clicks, as drawn."""
    is_mask, points, labels = sample(masks_bss, settings.prompts, generator)
    given, drawn = is_mask.nonzero()[:, 0], (~is_mask).nonzero()[:, 0]
    taken, judged = [], []
    if len(given):
        taken.append(model.take_mask(_rows(features, given), masks_bss[given]))
    if len(drawn):
        some = _rows(features, drawn)
        passes = model.all_passes(some, model.attend(some, None, 1), points[drawn], labels[drawn])
        judged += [(drawn, answer) for answer in passes]
        taken.append(passes[-1])
    order = torch.cat((given, drawn)).argsort()
    return _Answers(Decoded.cat(taken).rows(order.tolist()), judged)


def _correct(
    engine: Engine,
    features: Features,
    banks: Sequence[ObjectBank],
    moment: Moment,
    decoded: Decoded,
    masks_bss: Tensor,
    generator: torch.Generator,
) -> Decoded:
    """A click on the largest error of each row, answered with memory, as `Engine.segment` does."""
    points, labels = correct(decoded.low_res_logits_bhw.detach(), masks_bss, generator)
    recalls = [engine.policy.recall(bank, moment) for bank in banks]
    conditioned = engine.model.attend(features, recalls, engine.policy.pointer_limit(moment))
    return engine.model.decode(
        features,
        conditioned,
        points_bp2=points,
        labels_bp=labels,
        previous_logits_bhw=decoded.low_res_logits_bhw.detach(),
    )


def _remember(
    engine: Engine,
    features: Features,
    decoded: Decoded,
    banks: Sequence[ObjectBank],
    t: int,
    *,
    from_prompt: bool,
) -> None:
    memories = engine.remember(features, decoded, Moment(t), from_prompt=from_prompt)
    for bank, memory in zip(banks, memories, strict=True):
        (bank.conditioning if t == 0 else bank.tracked)[t] = memory


def _cut(banks: Sequence[ObjectBank]) -> None:
    """Let no gradient flow into what is remembered so far."""

    def cut(memory: MemoryFrame) -> None:
        memory.tokens_nc = None if memory.tokens_nc is None else memory.tokens_nc.detach()
        memory.pointer_c = memory.pointer_c.detach()

    for bank in banks:
        for memory in (*bank.conditioning.values(), *bank.tracked.values()):
            cut(memory)


def _judge(
    judged: Sequence[tuple[Decoded, Tensor, str]], settings: UnrollSettings
) -> tuple[Tensor, dict[str, float]]:
    logits = torch.cat([decoded.low_res_logits_bhw for decoded, _, _ in judged])
    scores = torch.cat([decoded.object_score_logits_b for decoded, _, _ in judged])
    ious = torch.cat([decoded.predicted_ious_b for decoded, _, _ in judged])
    masks = torch.cat([mask for _, mask, _ in judged])
    side = logits.shape[-1]
    targets = F.adaptive_avg_pool2d(masks[:, None].float(), (side, side))[:, 0]
    is_there = masks.flatten(1).any(dim=1)
    true = true_iou(logits.detach(), targets)
    rows = {
        "focal": focal(logits, targets),
        "dice": dice(logits, targets),
        "hardest": hardest(logits, targets, settings.hardest_share),
        "score": F.binary_cross_entropy_with_logits(scores, is_there.float(), reduction="none"),
        "iou": (ious - true).abs(),
    }
    weights = settings.losses.model_dump()
    loss = torch.stack([weights[name] * row.mean() for name, row in rows.items()]).sum()
    parts = {name: float(row.detach().mean()) for name, row in rows.items()}
    kinds = [kind for decoded, _, kind in judged for _ in range(len(decoded.object_score_logits_b))]
    for kind in ("prompt", "track"):
        of_kind = [float(j) for j, k, here in zip(true, kinds, is_there, strict=True) if k == kind and here]
        parts[f"J_{kind}"] = sum(of_kind) / len(of_kind) if of_kind else float("nan")
    return loss, parts
