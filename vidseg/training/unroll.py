"""The forward pass of a training step: the engine tracks clips, and the answer on every frame is judged.

Rows of a batch are clips with one object each. The engine takes them for objects of one video whose features
differ from row to row; nothing else is special to training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from vidseg.memory.bank import Moment, ObjectBank
from vidseg.trackers.engine import Engine
from vidseg.trackers.image_encoder import normalise
from vidseg.trackers.model import Decoded, Features, cat, pick
from vidseg.training.losses import dice, focal, hardest, read_loss, true_iou
from vidseg.training.prompts import PromptShares, correct, sample
from vidseg.training.spoil import spoil
from vidseg.validation import Strict

MAX_CLICKS = 3
"""How many clicks a simulated user spends on correcting one frame, at most."""
HARMLESS = 0.15
"""Share of correcting clicks that lie where the mask is right already, and must stay as it is."""


class LossWeights(Strict):
    """The weight of each loss."""

    focal: float = Field(default=10.0, ge=0)
    dice: float = Field(default=1.0, ge=0)
    hardest: float = Field(default=1.0, ge=0)
    """Cross-entropy over the hardest pixels."""
    score: float = Field(default=0.2, ge=0)
    iou: float = Field(default=0.2, ge=0)
    read: float = Field(default=0.0, ge=0)
    """Cross-entropy of what keys read from memory, before it is decoded; space-time models alone have it."""


class UnrollSettings(Strict):
    """How clips are prompted, corrected and remembered in training, and how answers are judged."""

    prompts: PromptShares = PromptShares()
    losses: LossWeights = LossWeights()
    hardest_share: float = Field(default=0.15, gt=0, le=1)
    corrections: float = Field(default=0.1, ge=0, le=1)
    """How often one frame of a batch is corrected by clicks; this may be the first one, after its prompt."""
    forcing: float = Field(default=0.0, ge=0, le=1)
    """How often the true mask, slightly spoilt, is remembered in place of the answer. A young model learns
    more from good memories than from its own."""
    heeds_score: bool = False
    """Whether an object that the model calls absent is remembered as absent, as in tracking; else its mask is
    remembered. The model then also learns to go on from such memories. Only for models whose score can be
    trusted already."""
    truncate: int = Field(default=4, ge=1)
    """Gradients flow back through the memories of at most this many frames."""


@dataclass(frozen=True, slots=True)
class Unrolled:
    """The result of a forward pass."""

    loss: Tensor
    """The scalar to minimise."""
    parts: dict[str, float]
    """Parts of the loss before they are weighted, and the mean J; for the log."""
    predictions_btss: Tensor
    """Mask logits, detached from the graph."""


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
        generator: draws prompts; it is on the CPU.
    """
    script = draw_script(masks_btss, settings, generator)
    played = play(engine, images_bt3ss, masks_btss, script, settings, generator)
    loss, parts = judge(played.answers, masks_btss, settings)
    return Unrolled(loss, parts, played.predictions(masks_btss.shape[-1]))


@dataclass(slots=True)
class Script:
    """What simulated users do to a batch of clips: a prompt on the first frame, and a later correction."""

    is_mask_b: Tensor
    """Whether the first prompt is the mask itself; else it is points."""
    points_bp2: Tensor
    labels_bp: Tensor
    corrected: int
    """The frame that is corrected by clicks; -1: none is."""
    num_clicks: int = 1
    gives_all_clicks: bool = False
    """Whether each click is given together with those before it; else it is given alone."""
    clicks: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    """Points B x 1 x 2 and labels B x 1 of each click. They lie in errors of an answer, so the first engine
    that plays the script settles them."""

    @property
    def asked(self) -> Tensor:
        """Rows whose first prompt the model has to answer."""
        return (~self.is_mask_b).nonzero()[:, 0]


def draw_script(masks_btss: Tensor, settings: UnrollSettings, generator: torch.Generator) -> Script:
    """A random script for a batch of clips."""
    length = masks_btss.shape[1]
    # On a clip of one frame whose mask is given there would be nothing to judge.
    shares = settings.prompts if length > 1 else settings.prompts.model_copy(update={"mask": 0.0})
    script = Script(*sample(masks_btss[:, 0], shares, generator), corrected=-1)
    if length > 1 and float(torch.rand((), generator=generator)) < settings.corrections:
        script.corrected = int(torch.randint(length - 1, (), generator=generator))
        script.num_clicks = int(torch.randint(1, MAX_CLICKS + 1, (), generator=generator))
        script.gives_all_clicks = bool(torch.randint(2, (), generator=generator))
    return script


@dataclass(frozen=True, slots=True)
class Answer:
    """Answers of an engine for some rows on one frame, before absence is applied."""

    kind: Literal["prompt", "track", "correct"]
    frame_idx: int
    rows: Tensor
    decoded: Decoded
    conditioned_rchw: Tensor | None = None
    """Features that memory has conditioned, or what was read from it."""
    read_rhw: Tensor | None = None
    """Masks that keys read from memory, from 0 to 1; None for models without such a read."""


@dataclass(frozen=True, slots=True)
class Played:
    """What an engine did with a batch of clips and a script."""

    features: Features
    """Features of B·T rows, one for each frame of each clip."""
    answers: list[Answer]
    """All answers that are judged."""
    shown: list[Tensor]
    """Mask logits of each frame on the low-res grid: T times B x h x w."""

    def predictions(self, side: int) -> Tensor:
        """The shown mask logits on a grid of `side`: B x T x side x side, detached."""
        logits = torch.stack([logits.detach() for logits in self.shown], dim=1)
        return F.interpolate(logits.float(), size=(side, side), mode="bilinear")


def play(
    engine: Engine,
    images_bt3ss: Tensor,
    masks_btss: Tensor,
    script: Script,
    settings: UnrollSettings,
    generator: torch.Generator,
) -> Played:
    """Track every clip as the script says, frame after frame."""
    batch, length = masks_btss.shape[:2]
    model = engine.model
    every = model.encode_batch(normalise(images_bt3ss.flatten(0, 1)))
    features = [_frame(every, t, length) for t in range(length)]
    banks = [ObjectBank() for _ in range(batch)]
    all_rows = torch.arange(batch, device=masks_btss.device)

    def shown_at(t: int) -> tuple[Tensor, Tensor]:
        return masks_btss[:, t], images_bt3ss[:, t]

    taken, answers = _answer_prompts(engine, features[0], masks_btss[:, 0], script)

    def corrected_at(t: int, conditioned_bchw: Tensor, decoded: Decoded) -> Decoded:
        given = _correct(engine, features[t], conditioned_bchw, decoded, masks_btss[:, t], script, generator)
        answers.extend(Answer("correct", t, all_rows, each) for each in given)
        return given[-1]

    if script.corrected == 0:
        taken = corrected_at(0, model.without_memory(features[0]), taken)
    kept = _forced(taken, *shown_at(0), settings.forcing, generator, asked=script.asked)
    _remember(engine, features[0], kept, banks, 0, from_prompt=True)
    shown = [taken.low_res_logits_bhw]
    for t in range(1, length):
        if t % settings.truncate == 0:
            _cut(banks)
        moment = Moment(t)
        # This follows `Engine.track`. Rows of a batch remember the same frames, so one read serves all.
        recalls = [engine.policy.recall(bank, moment) for bank in banks]
        conditioned = model.attend(features[t], recalls, engine.policy.pointer_limit(moment))
        decoded = model.all_passes(features[t], conditioned)[-1]
        answers.append(Answer("track", t, all_rows, decoded, conditioned, model.masks_read(conditioned)))
        if t == script.corrected:
            decoded = corrected_at(t, conditioned, decoded)
        kept = engine.settle(decoded) if settings.heeds_score else decoded
        kept = _forced(kept, *shown_at(t), settings.forcing, generator)
        _remember(engine, features[t], kept, banks, t, from_prompt=t == script.corrected)
        for bank in banks:
            engine.policy.evict(bank, moment)
        shown.append(decoded.low_res_logits_bhw)
    return Played(every, answers, shown)


def _frame(features: Features, t: int, length: int) -> Features:
    """The features of frame t of every clip, out of those of all frames."""
    return Features([x[t::length] for x in features.high_res], features.top_1chw[t::length])


def _answer_prompts(
    engine: Engine, features: Features, masks_bss: Tensor, script: Script
) -> tuple[Decoded, list[Answer]]:
    """What is remembered of each first frame (given masks as they are), and the answers of every pass."""
    model = engine.model
    given, asked = script.is_mask_b.nonzero()[:, 0], script.asked
    taken, answers = [], []
    if len(given):
        taken.append(model.take_mask(features.rows(given), masks_bss[given]))
    if len(asked):
        some = features.rows(asked)
        conditioned = model.without_memory(some)
        passes = model.all_passes(some, conditioned, script.points_bp2[asked], script.labels_bp[asked])
        answers = [Answer("prompt", 0, asked, decoded) for decoded in passes]
        taken.append(passes[-1])
    order = torch.cat((given, asked)).argsort()
    return pick(cat(taken), order.tolist()), answers


def _correct(
    engine: Engine,
    features: Features,
    conditioned_bchw: Tensor,
    decoded: Decoded,
    masks_bss: Tensor,
    script: Script,
    generator: torch.Generator,
) -> list[Decoded]:
    """Correct a frame by clicks on the largest error of each row, one after another, each answered by
    `Engine.segment`."""
    given: list[Decoded] = []
    for number in range(script.num_clicks):
        logits = decoded.low_res_logits_bhw.detach()
        if number == len(script.clicks):
            script.clicks.append(correct(logits, masks_bss, generator, harmless=HARMLESS))
        shown = script.clicks[0 if script.gives_all_clicks else number : number + 1]
        points, labels = (torch.cat(parts, dim=1) for parts in zip(*shown, strict=True))
        passes = engine.model.all_passes(
            features, conditioned_bchw, points, labels, previous_logits_bhw=logits
        )
        decoded = passes[-1]
        given.append(decoded)
    return given


def _forced(
    decoded: Decoded,
    masks_bss: Tensor,
    images_b3ss: Tensor,
    share: float,
    generator: torch.Generator,
    *,
    asked: Tensor | None = None,
) -> Decoded:
    """The decoded masks that are remembered: in some rows they are replaced by spoilt true masks.

    Args:
        share: how many of the rows, at random.
        asked: rows that may be drawn; None: all.
    """
    if not share:
        return decoded
    is_forced = (torch.rand(len(masks_bss), generator=generator) < share).to(masks_bss.device)
    if asked is not None:
        is_asked = torch.zeros_like(is_forced)
        is_asked[asked] = True
        is_forced &= is_asked
    logits = decoded.low_res_logits_bhw
    side = logits.shape[-1]
    pixels = F.adaptive_avg_pool2d(images_b3ss.float() / 255, (side, side))
    spoilt = spoil(on_grid(masks_bss, side), pixels, generator)
    return replace(decoded, low_res_logits_bhw=torch.where(is_forced[:, None, None], spoilt, logits))


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
        bank.remember(memory, as_conditioning=t == 0)


def _cut(banks: Sequence[ObjectBank]) -> None:
    """Let no gradient flow into what has been remembered so far."""
    for memory in (memory for bank in banks for memory in bank.frames):
        memory.tokens_nc = None if memory.tokens_nc is None else memory.tokens_nc.detach()
        memory.pointer_c = memory.pointer_c.detach()


def judge(
    answers: Sequence[Answer], masks_btss: Tensor, settings: UnrollSettings
) -> tuple[Tensor, dict[str, float]]:
    """The loss of answers against true masks, and its parts."""
    logits = torch.cat([answer.decoded.low_res_logits_bhw for answer in answers])
    scores = torch.cat([answer.decoded.object_score_logits_b for answer in answers])
    ious = torch.cat([answer.decoded.predicted_ious_b for answer in answers])
    masks = torch.cat([masks_btss[answer.rows, answer.frame_idx] for answer in answers])
    rows, true, is_there = judge_rows(logits, scores, ious, masks, settings)
    reads = [(answer.read_rhw, answer.rows, answer.frame_idx) for answer in answers]
    known = [(read, masks_btss[of, t]) for read, of, t in reads if read is not None]
    if known:
        read = torch.cat([read for read, _ in known])
        rows["read"] = read_loss(read, on_grid(torch.cat([mask for _, mask in known]), read.shape[-1]))
    loss = total(rows, settings)
    parts = {name: float(row.detach().mean()) for name, row in rows.items()}
    kinds = [answer.kind for answer in answers for _ in answer.rows]
    rows_of_all = list(zip(true.tolist(), kinds, is_there.tolist(), strict=True))
    for kind in ("prompt", "track", "correct"):
        of_kind = [j for j, k, here in rows_of_all if k == kind and here]
        parts[f"J_{kind}"] = sum(of_kind) / len(of_kind) if of_kind else float("nan")
    return loss, parts


def judge_rows(
    logits_rhw: Tensor, scores_r: Tensor, ious_r: Tensor, masks_rss: Tensor, settings: UnrollSettings
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Losses of each answer by name, the true IoU of its mask, and whether the object is there at all."""
    targets = on_grid(masks_rss, logits_rhw.shape[-1])
    is_there = masks_rss.flatten(1).any(dim=1)
    true = true_iou(logits_rhw.detach(), targets)
    # As in SAM 2, the mask says where the object is if it is there, and the score says whether it is. Masks
    # are not judged where there is no object: they would grow faint wherever it may be absent, and so also
    # when it returns.
    of_masks = {
        "focal": focal(logits_rhw, targets),
        "dice": dice(logits_rhw, targets),
        "hardest": hardest(logits_rhw, targets, settings.hardest_share),
        "iou": (ious_r - true).abs(),
    }
    rows = {name: row * is_there for name, row in of_masks.items()}
    rows["score"] = F.binary_cross_entropy_with_logits(scores_r, is_there.float(), reduction="none")
    return rows, true, is_there


def total(rows: dict[str, Tensor], settings: UnrollSettings) -> Tensor:
    """The weighted sum of the mean of each loss."""
    weights = settings.losses.model_dump()
    return torch.stack([weights[name] * row.mean() for name, row in rows.items()]).sum()


def on_grid(masks_rss: Tensor, side: int) -> Tensor:
    """How much of each cell of the low-res grid a mask covers: R x side x side."""
    return F.adaptive_avg_pool2d(masks_rss[:, None].float(), (side, side))[:, 0]
