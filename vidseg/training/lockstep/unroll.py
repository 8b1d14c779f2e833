"""The forward pass of a space-time model over a batch, in tensors of fixed shape; compare `training.unroll`.

It computes what the engine does on clips with one object, row by row the same. But a row's place in the batch
says what it is asked, and no value is looked at, so that the pass can be recorded as a CUDA graph.

Layouts: B clips · T frames · F clips of one frame · R rows · H W the key grid · h w the low-res grid · S the
side of a clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from vidseg.trackers.contract import ABSENT_LOGIT
from vidseg.trackers.image_encoder import normalise
from vidseg.trackers.model import Decoded, Features, cat
from vidseg.trackers.space_time import prompt_maps
from vidseg.trackers.space_time.answer import KNOWN, Answer
from vidseg.trackers.space_time.grids import LOW_RES_STRIDE, PATCH, STRIDE
from vidseg.trackers.space_time.video_model import SpaceTimeModel
from vidseg.training.lockstep.prepared import Rows
from vidseg.training.losses import read_loss
from vidseg.training.spoil import spoil
from vidseg.training.unroll import UnrollSettings, judge_rows, on_grid, total

WINDOWS = (3, 7, 15, 31, 63)
"""Sides of the windows, in low-res pixels, by which `deepest_errors` tells how deep a pixel lies."""
POINTERS = 3
"""How many tracked frames' pointers are read, as the bank of vidseg-nano keeps them."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Which rows of a batch are asked what, by their place."""

    given: int
    """So many clips, the first ones, begin with their true mask; the others with a box or clicks."""
    corrected: int
    """So many clips, the last ones, are corrected on their last frame."""
    stills_corrected: int
    """So many rows of one frame, the last ones, are corrections; the others are first answers."""
    stills_decoded: int = 0
    """So many of these first answers are given by the decoder, too."""
    answers_corrected: bool = False
    """Whether these first answers are corrected, too, by a click on what is wrong with each."""


@dataclass(frozen=True, slots=True)
class Dials:
    """What changes in a run, in tensors of one value, which a recorded graph reads anew each time."""

    forcing: Tensor
    """How often a spoilt true mask is remembered in place of the answer."""
    heeds_score: Tensor
    """Bool: whether objects that are called absent are remembered so."""


@dataclass(frozen=True, slots=True)
class Told:
    """Result of a pass: the loss, values for the log (each a scalar), and mask logits B x T x h x w."""

    loss: Tensor
    parts: dict[str, Tensor]
    shown_bthw: Tensor


@dataclass(frozen=True, slots=True)
class _Judged:
    kind: str
    decoded: Decoded
    masks_rss: Tensor


@dataclass(slots=True)
class _Memory:
    """What is remembered of each row: the first frame, the latest one, and pointers."""

    first_rnc: Tensor
    latest_rnc: Tensor
    is_latest_read_r: Tensor
    first_pointer_rc: Tensor
    pointers: list[Tensor]

    def pointers_r2c(self) -> Tensor:
        new = torch.stack(self.pointers).mean(dim=0) if self.pointers else self.first_pointer_rc
        return torch.stack((self.first_pointer_rc, new), dim=1)

    def cut(self) -> None:
        """Let no gradient flow into what has been remembered so far."""
        self.first_rnc, self.latest_rnc = self.first_rnc.detach(), self.latest_rnc.detach()
        self.first_pointer_rc = self.first_pointer_rc.detach()
        self.pointers = [pointer.detach() for pointer in self.pointers]


def unroll(
    model: SpaceTimeModel, clips: Rows, stills: Rows, shares: Shares, dials: Dials, settings: UnrollSettings
) -> Told:
    """Track all clips, if there are any, answer all prompts, and judge every answer."""
    if not clips:
        every = model.encode_batch(normalise(stills["images"].flatten(0, 1)))
        of_stills = _answer_stills(model, every, stills, shares)
        loss, parts = _judge(of_stills, settings)
        return Told(
            loss, {name: value.detach() for name, value in parts.items()}, _shown_of(of_stills, shares)
        )
    batch, length = clips["masks"].shape[:2]
    images = torch.cat((clips["images"].flatten(0, 1), stills["images"].flatten(0, 1)))
    frames, of_one = _frames(model.encode_batch(normalise(images)), batch, length)
    judged, reads, shown = _track(model, frames, clips, shares, dials, settings)
    of_stills = _answer_stills(model, of_one, stills, shares)
    loss, parts = _judge(judged, settings)
    read = read_loss(torch.cat(reads), _grids(clips["masks"][:, 1:], reads[0].shape[-1]))
    still_loss, still_parts = _judge(of_stills, settings)
    parts = {**parts, **{f"{name}_stills": value for name, value in still_parts.items()}, "read": read.mean()}
    loss = loss + settings.losses.read * read.mean() + still_loss
    return Told(
        loss, {name: value.detach() for name, value in parts.items()}, torch.stack(shown, dim=1).detach()
    )


def _track(
    model: SpaceTimeModel,
    frames: Sequence[Features],
    clips: Rows,
    shares: Shares,
    dials: Dials,
    settings: UnrollSettings,
) -> tuple[list[_Judged], list[Tensor], list[Tensor]]:
    """The answers on clips, the masks that keys read on each frame after the first, and all mask logits."""
    masks = clips["masks"]
    length, given = masks.shape[1], shares.given
    places = places_of(clips["flows"])
    pixels = F.avg_pool2d(clips["images"].flatten(0, 1).float() / 255, LOW_RES_STRIDE).unflatten(
        0, (-1, length)
    )
    taken, judged = [], []
    if given:
        taken.append(model.take_mask(_rows(frames[0], slice(given)), masks[:given, 0]))
    if given < len(masks):
        asked = _rows(frames[0], slice(given, None))
        passes = _answers(model, asked, clips["drawn"][given:], clips["guess"][given:])
        judged = [_Judged("prompt", answer, masks[given:, 0]) for answer in passes]
        taken.append(passes[-1])
    first = cat(taken)
    is_asked = torch.arange(len(masks), device=masks.device) >= given
    memory = _begin(model, frames[0], _forced(first, masks[:, 0], pixels[:, 0], dials, is_asked))
    shown, reads = [first.low_res_logits_bhw], []
    for t in range(1, length):
        if t % settings.truncate == 0:
            memory.cut()
        conditioned = model.attend_rows(
            frames[t],
            memory.first_rnc,
            memory.latest_rnc,
            memory.is_latest_read_r,
            memory.pointers_r2c(),
            places[:, t - 1],
        )
        decoded = model.all_passes(frames[t], conditioned)[-1]
        judged.append(_Judged("track", decoded, masks[:, t]))
        reads.append(model.masks_read(conditioned))
        shown.append(decoded.low_res_logits_bhw)
        if t == length - 1:
            judged += _corrections(model, frames[t], conditioned, clips, len(masks) - shares.corrected)
            break
        kept = _settled(decoded, model.absent_pointer_c, dials)
        _go_on(memory, model, frames[t], _forced(kept, masks[:, t], pixels[:, t], dials))
    return judged, reads, shown


def _corrections(
    model: SpaceTimeModel, features: Features, conditioned_bchw: Tensor, clips: Rows, first: int
) -> list[_Judged]:
    """Answers to clicks on the last frame, of the rows from `first` on."""
    masks = clips["masks"][first:, -1]
    if not len(masks):
        return []
    features = _rows(features, slice(first, None))
    answer = _correction(
        model,
        features,
        conditioned_bchw[first:],
        clips["click"][first:],
        clips["so_far"][first:],
        is_first=False,
    )
    return [_Judged("correct", answer, masks)]


def _answer_stills(model: SpaceTimeModel, features: Features, stills: Rows, shares: Shares) -> list[_Judged]:
    masks = stills["masks"][:, 0]
    first = len(masks) - shares.stills_corrected
    judged = []
    if first:
        asked = _rows(features, slice(first))
        for answer in _answers(model, asked, stills["drawn"][:first], stills["guess"][:first]):
            judged.append(_Judged("prompt", answer, masks[:first]))
        if part := min(shares.stills_decoded, first):
            some, drawn, guess = _rows(features, slice(part)), stills["drawn"][:part], stills["guess"][:part]
            for answer in _answers(model, some, drawn, guess, by_decoder=True):
                judged.append(_Judged("decode", answer, masks[:part]))
        if shares.answers_corrected:
            so_far = judged[model.prompt_passes - 1].decoded.low_res_logits_bhw.detach()
            points, labels = deepest_errors(so_far, on_grid(masks[:first], so_far.shape[-1]))
            key_grid = (so_far.shape[-2] // PATCH, so_far.shape[-1] // PATCH)
            drawn = prompt_maps.draw(points, labels, key_grid, STRIDE)
            conditioned = model.without_memory(asked)
            answer = _correction(model, asked, conditioned, drawn, so_far.sigmoid(), is_first=True)
            judged.append(_Judged("correct", answer, masks[:first]))
    if shares.stills_corrected:
        some = _rows(features, slice(first, None))
        conditioned = model.without_memory(some)
        click, so_far = stills["click"][first:], stills["so_far"][first:]
        answer = _correction(model, some, conditioned, click, so_far, is_first=True)
        judged.append(_Judged("correct", answer, masks[first:]))
    return judged


def deepest_errors(logits_rhw: Tensor, truth_rhw: Tensor) -> tuple[Tensor, Tensor]:
    """One click deep inside each row's largest error: points R x 1 x 2 in pixels of the model's input, and
    labels R x 1, as of `training.prompts.correct`. No value is looked at.

    Args:
        truth_rhw: how much of each cell of the low-res grid the object covers.
    """
    taken, truth = logits_rhw > 0, truth_rhw > 0.5
    missed, excess = truth & ~taken, taken & ~truth
    is_missed = missed.flatten(1).sum(dim=1) >= excess.flatten(1).sum(dim=1)
    error = torch.where(is_missed[:, None, None], missed, excess)
    # How full ever larger windows are is highest deep inside.
    depth = torch.stack([_share_around(error[:, None].float(), k) for k in WINDOWS]).sum(dim=0)
    place = torch.where(error[:, None], depth, -1.0).flatten(1).argmax(dim=1)
    width = logits_rhw.shape[-1]
    points = torch.stack((place % width, place // width), dim=1)[:, None] + 0.5
    labels = torch.where(error.flatten(1).any(dim=1), is_missed.int(), -1)
    return points * LOW_RES_STRIDE, labels[:, None]


def _share_around(map_r1hw: Tensor, side: int) -> Tensor:
    """The mean of the square window around each cell; a row's and then a column's, as a square is slow."""
    of_rows = F.avg_pool2d(map_r1hw, (1, side), 1, (0, side // 2))
    return F.avg_pool2d(of_rows, (side, 1), 1, (side // 2, 0))


def _shown_of(judged: Sequence[_Judged], shares: Shares) -> Tensor:
    """The last answer to each first prompt, then to each correction of a spoilt mask: F x 1 x h x w."""
    shown = [each for each in judged if each.kind == "prompt"][-1:]
    if shares.stills_corrected:
        shown.append(judged[-1])
    return torch.cat([each.decoded.low_res_logits_bhw for each in shown])[:, None].detach()


def _answers(
    model: SpaceTimeModel, features: Features, drawn: Tensor, guess: Tensor, *, by_decoder: bool = False
) -> list[Decoded]:
    """The answers to first prompts in all passes."""
    conditioned, mask = model.without_memory(features), guess.float()
    answers: list[Answer] = []
    for _ in range(model.prompt_passes):
        answer = model.answer_prompt(features, conditioned, drawn.float(), mask, is_first=not by_decoder)
        answers.append(answer)
        mask = answer.logits_rhw.detach().sigmoid()
    return [model.decoded(features, answer) for answer in answers]


def _correction(
    model: SpaceTimeModel,
    features: Features,
    conditioned: Tensor,
    drawn: Tensor,
    so_far: Tensor,
    *,
    is_first: bool,
) -> Decoded:
    """The answer to a click that corrects a mask, on a frame without memory (`is_first`) or with it."""
    mask = so_far.float()
    known = KNOWN * (mask - 0.5)
    answer = model.answer_prompt(features, conditioned, drawn.float(), mask, known, is_first=is_first)
    return model.decoded(features, answer)


def _begin(model: SpaceTimeModel, features: Features, decoded: Decoded) -> _Memory:
    tokens = model.remember(features, decoded, from_prompt=True)
    is_read = torch.zeros(
        len(tokens), dtype=torch.bool, device=tokens.device
    )  # it is read as the first frame
    return _Memory(tokens, tokens, is_read, decoded.pointers_bc, [])


def _go_on(memory: _Memory, model: SpaceTimeModel, features: Features, decoded: Decoded) -> None:
    memory.latest_rnc = model.remember(features, decoded, from_prompt=False)
    memory.is_latest_read_r = decoded.object_score_logits_b.detach() > 0
    memory.pointers = [decoded.pointers_bc, *memory.pointers[: POINTERS - 1]]


def _settled(decoded: Decoded, absent_c: Tensor, dials: Dials) -> Decoded:
    """Absence applied as by `Engine.settle`, if scores are heeded."""
    is_present = (decoded.object_score_logits_b > 0) | ~dials.heeds_score
    return replace(
        decoded,
        low_res_logits_bhw=torch.where(is_present[:, None, None], decoded.low_res_logits_bhw, ABSENT_LOGIT),
        pointers_bc=torch.where(is_present[:, None], decoded.pointers_bc, absent_c),
    )


def _forced(
    decoded: Decoded,
    masks_bss: Tensor,
    pixels_b3hw: Tensor,
    dials: Dials,
    may_force_b: Tensor | None = None,
) -> Decoded:
    """What is remembered: in some rows (of `may_force_b`; None: of all) spoilt true masks in place of the
    answers."""
    logits = decoded.low_res_logits_bhw
    with torch.no_grad():
        is_forced = torch.rand(len(logits), device=logits.device) < dials.forcing
        if may_force_b is not None:
            is_forced &= may_force_b
        spoilt = spoil(on_grid(masks_bss, logits.shape[-1]), pixels_b3hw, None)
    return replace(decoded, low_res_logits_bhw=torch.where(is_forced[:, None, None], spoilt, logits))


def _judge(judged: Sequence[_Judged], settings: UnrollSettings) -> tuple[Tensor, dict[str, Tensor]]:
    answers = [each.decoded for each in judged]
    rows, true, is_there = judge_rows(
        torch.cat([answer.low_res_logits_bhw for answer in answers]),
        torch.cat([answer.object_score_logits_b for answer in answers]),
        torch.cat([answer.predicted_ious_b for answer in answers]),
        torch.cat([each.masks_rss for each in judged]),
        settings,
    )
    parts = {name: row.mean() for name, row in rows.items()}
    start = 0
    totals: dict[str, tuple[Tensor, Tensor]] = {}
    for each in judged:
        part = slice(start, start := start + len(each.masks_rss))
        sums = (true[part] * is_there[part]).sum(), is_there[part].sum()
        before = totals.get(each.kind)
        totals[each.kind] = sums if before is None else (before[0] + sums[0], before[1] + sums[1])
    parts.update({f"J_{kind}": found / count for kind, (found, count) in totals.items()})
    return total(rows, settings), parts


def places_of(flows_bt2hw: Tensor) -> Tensor:
    """Where pixels were in the frame before, as `pixel_reading.follow` says: B x T x h x w x 2."""
    height, width = flows_bt2hw.shape[-2:]
    x = torch.arange(width, device=flows_bt2hw.device) + flows_bt2hw[:, :, 0].float()
    y = torch.arange(height, device=flows_bt2hw.device)[:, None] + flows_bt2hw[:, :, 1].float()
    return torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)


def _grids(masks_btss: Tensor, side: int) -> Tensor:
    """True coverage of all frames, those of the first time step first."""
    return on_grid(masks_btss.transpose(0, 1).flatten(0, 1), side)


def _frames(every: Features, batch: int, length: int) -> tuple[list[Features], Features]:
    """The features of each frame of the clips, and those of the clips of one frame.

    All are taken in one operation: the gradient of a slice is as large as what it was cut from, zeros but for
    the slice, so that many slices would take many times the memory traffic.
    """
    clips, rest = [], []
    for maps in (*every.high_res, every.top_1chw):
        of_clips, of_one = maps.tensor_split((batch * length,))
        clips.append(of_clips.unflatten(0, (batch, length)).unbind(1))
        rest.append(of_one)
    frames = [Features([*maps[:-1]], maps[-1]) for maps in zip(*clips, strict=True)]
    return frames, Features(rest[:-1], rest[-1])


def _rows(features: Features, part: slice) -> Features:
    return Features([x[part] for x in features.high_res], features.top_1chw[part])
