"""One training step's forward pass: clips go through the engine that tracks; every frame's answer is judged.

The rows of a batch are clips with one object each. To the engine they are the objects of one video whose
features differ from row to row; nothing else is special to training.
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
"""How many clicks correct a frame at most, one after another."""
HARMLESS = 0.15
"""The share of correcting clicks that lie where the mask is right already: it must stay as it is there."""


class LossWeights(Strict):
    focal: float = 10.0
    dice: float = 1.0
    hardest: float = 1.0
    """Cross-entropy over the hardest pixels."""
    score: float = 0.2
    iou: float = 0.2
    read: float = 0.0
    """Space-time models are also judged by what their keys read of memory, before it is decoded."""


class UnrollSettings(Strict):
    prompts: PromptShares = PromptShares()
    losses: LossWeights = LossWeights()
    hardest_share: float = Field(default=0.15, gt=0, le=1)
    corrections: float = Field(default=0.1, ge=0, le=1)
    """How often one of a batch's frames is corrected by clicks, the first one's prompt, too."""
    forcing: float = Field(default=0.0, ge=0, le=1)
    """How often the true mask, spoilt a little, is remembered in place of the answer. A young model learns
    more from good memories than from its own."""
    heeds_score: bool = False
    """Whether an object that is called absent is remembered as absent, as while tracking; else its mask is.
    The model then learns to go on from there, too. For models whose score is worth something already."""
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
    script = draw_script(masks_btss, settings, generator)
    played = play(engine, images_bt3ss, masks_btss, script, settings, generator)
    loss, parts = judge(played.answers, masks_btss, settings)
    return Unrolled(loss, parts, played.predictions(masks_btss.shape[-1]))


@dataclass(slots=True)
class Script:
    """What users do to a batch of clips: the prompt of each row's first frame, and a later correction."""

    is_mask_b: Tensor
    """The first prompt is the mask itself; else points."""
    points_bp2: Tensor
    labels_bp: Tensor
    corrected: int
    """The frame that is corrected by clicks; -1: none."""
    num_clicks: int = 1
    gives_all_clicks: bool = False
    """Whether a click is given together with those before it; else alone."""
    clicks: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    """Points and labels, B x 1 each. They lie in errors, so whoever plays the script first settles them."""

    @property
    def asked(self) -> Tensor:
        """The rows whose first prompt has to be answered."""
        return (~self.is_mask_b).nonzero()[:, 0]


def draw_script(masks_btss: Tensor, settings: UnrollSettings, generator: torch.Generator) -> Script:
    length = masks_btss.shape[1]
    # Of a single frame with its mask given, there is nothing to judge.
    shares = settings.prompts if length > 1 else settings.prompts.model_copy(update={"mask": 0.0})
    script = Script(*sample(masks_btss[:, 0], shares, generator), corrected=-1)
    if length > 1 and float(torch.rand((), generator=generator)) < settings.corrections:
        script.corrected = int(torch.randint(length - 1, (), generator=generator))
        script.num_clicks = int(torch.randint(1, MAX_CLICKS + 1, (), generator=generator))
        script.gives_all_clicks = bool(torch.randint(2, (), generator=generator))
    return script


@dataclass(frozen=True, slots=True)
class Answer:
    """What an engine says of some rows on one frame, before absence is heeded."""

    kind: Literal["prompt", "track", "correct"]
    frame_idx: int
    rows: Tensor
    decoded: Decoded
    conditioned_rchw: Tensor | None = None
    """The features as the memory has changed them, or what was read from it."""
    read_rhw: Tensor | None = None
    """The masks that keys read of memory, from 0 to 1; None for models without such a read."""


@dataclass(frozen=True, slots=True)
class Played:
    features: Features
    """B·T rows, one for each frame of each clip."""
    answers: list[Answer]
    """All that is judged."""
    shown: list[Tensor]
    """Mask logits on the low-res grid, T times B x h x w."""

    def predictions(self, side: int) -> Tensor:
        """Mask logits B x T x side x side, detached."""
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
        # As `Engine.track`; rows of a batch remember the same frames, so that they are read together.
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
    """Frame t of every clip, out of the features of all frames of all clips."""
    return Features([x[t::length] for x in features.high_res], features.top_1chw[t::length])


def _answer_prompts(
    engine: Engine, features: Features, masks_bss: Tensor, script: Script
) -> tuple[Decoded, list[Answer]]:
    """What is remembered of each row, given masks as they are; and the answers of every pass."""
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
    """Clicks on the largest error of each row, one after another; each is answered as by `Engine.segment`."""
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
    """What is remembered: of some rows, their true masks, spoilt.

    Args:
        asked: the rows that may be drawn; None for all.
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
    """Let no gradient flow into what is remembered so far."""
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
    targets = on_grid(masks, logits.shape[-1])
    is_there = masks.flatten(1).any(dim=1)
    true = true_iou(logits.detach(), targets)
    # As in SAM 2, masks say where the object is if it is there, and the score whether it is. Held to nothing
    # where there is no object, masks would be faint wherever it may be absent: on its return.
    of_masks = {
        "focal": focal(logits, targets),
        "dice": dice(logits, targets),
        "hardest": hardest(logits, targets, settings.hardest_share),
        "iou": (ious - true).abs(),
    }
    rows = {name: row * is_there for name, row in of_masks.items()}
    rows["score"] = F.binary_cross_entropy_with_logits(scores, is_there.float(), reduction="none")
    weights = settings.losses.model_dump()
    reads = [(answer.read_rhw, answer.rows, answer.frame_idx) for answer in answers]
    known = [(read, masks_btss[of, t]) for read, of, t in reads if read is not None]
    if known:
        read = torch.cat([read for read, _ in known])
        rows["read"] = read_loss(read, on_grid(torch.cat([mask for _, mask in known]), read.shape[-1]))
    loss = torch.stack([weights[name] * row.mean() for name, row in rows.items()]).sum()
    parts = {name: float(row.detach().mean()) for name, row in rows.items()}
    kinds = [answer.kind for answer in answers for _ in answer.rows]
    rows_of_all = list(zip(true.tolist(), kinds, is_there.tolist(), strict=True))
    for kind in ("prompt", "track", "correct"):
        of_kind = [j for j, k, here in rows_of_all if k == kind and here]
        parts[f"J_{kind}"] = sum(of_kind) / len(of_kind) if of_kind else float("nan")
    return loss, parts


def on_grid(masks_rss: Tensor, side: int) -> Tensor:
    """How much of each cell of the low-res grid a mask covers: R x side x side."""
    return F.adaptive_avg_pool2d(masks_rss[:, None].float(), (side, side))[:, 0]
