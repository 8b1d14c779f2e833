"""Fit anew the head of vidseg-nano that says whether its object is there, on what it meets while it tracks.

    python recipes/score_head.py record OUT.npz [--weights FILE] [--clips 300] [--frames 24] [--seed 0]
                                             [--data VIDSEG_DATA] [--vos DAVIS]
    python recipes/score_head.py fit RECORD.npz ... --out WEIGHTS.safetensors [--weights FILE]

Clips of the training are too short for an object to be gone for long; here it leaves long ones. `record`
tracks them and keeps, frame by frame, what the head is given, and the truth. On some clips the head is
overruled, so that what follows its errors is seen, too. With `--vos`, a fourth of the clips are of real
sequences with masks, some with a cover laid over the object. Processes with seeds apart can record at once.

`fit` holds the score, which is the head's answer and what rules add to it, to 'the mask is on the object';
after an absent frame, where a mask grows only once it is shown, and on prompted ones to 'the object is seen'.
Nothing else of the weights changes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

import vidseg
from vidseg.eval.metrics import region_j
from vidseg.trackers.registry import read_config
from vidseg.trackers.view import View
from vidseg.trackers.weights import read_checkpoint
from vidseg.training.data import Clip, ClipMaker, ClipSettings
from vidseg.training.data.dataset import clip_seed
from vidseg.training.data.settings import ClipMix, StillFolder
from vidseg.training.prompts import prompt_of
from vidseg.training.training_state import write_tensors

TRACKER = "vidseg-nano"
SIZE, VANISH = 384, 0.95
"""Side of clips in pixels, more than the model takes, as a close-up shows more of them; and on how many of
those that are to leave the object does."""
ANSWERS = {"own": 0.5, "always there": 0.1, "true": 0.15, "wrong at times": 0.25}
"""What replaces the head's answer while clips are recorded, with the share of clips for each."""
PROMPTS = {"mask": 0.4, "box": 0.35, "click": 0.25}
"""Kinds of the first prompt of a clip, with the share of clips for each."""
CORRECTED_SHARE = 0.5
"""Share of clips that are corrected by a box or a click on a later frame."""
SPELL_FRAMES, WRONG_SHARE = 4, 0.4
"""For 'wrong at times': how many frames an answer stays right or wrong on average, and how often it is wrong.
"""
MIN_SHARE = 0.003
"""Objects that fill less than this share of the picture are not prompted."""
SURE = 9.0
ON_OBJECT_IOU = 0.1
SLIVER = 0.1
"""Frames that show less than this share of the first frame's pixels, but some, are not used: whether the
object is 'there' is unclear."""
OWN_WEIGHT = 2.0
FALSE_RETURN = 4.0
"""Cost of calling an absent object present; calling a present one absent costs 1."""
STEPS, BATCH, RATE, WEIGHT_DECAY = 3000, 256, 1e-3, 0.05
DROPOUT = 0.1, 0.3
COLUMNS = ("given", "area", "iou", "added", "by_sight", "is_own")
"""What is recorded of a frame."""


class Head(nn.Module):
    """The head, whose inputs are recorded and whose answers may be overruled."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head
        self.given = torch.empty(0)
        self.answered = 0.0
        self.overruled: bool | None = None

    def forward(self, summary_rc: Tensor) -> Tensor:
        self.given = summary_rc[0].clone()
        score: Tensor = self.head(summary_rc)
        if self.overruled is not None:
            score = torch.full_like(score, SURE if self.overruled else -SURE)
        self.answered = float(score[0])
        return score


def record(
    out: Path,
    weights: Path | None,
    clips: int,
    num_frames: int,
    seed: int,
    data: Path | None,
    vos: Path | None = None,
) -> None:
    tracker: Any = vidseg.load(TRACKER, weights=weights)
    decoder = tracker.engine.model.decoder
    decoder.score = head = Head(decoder.score)
    shown: list[Tensor] = []
    decoder.register_forward_hook(lambda _module, _given, answer: shown.append(answer.logits_rhw))
    rng = np.random.default_rng(seed)
    rows: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for clip in _clips(clips, num_frames, seed, data, vos):
        answers = rng.choice(list(ANSWERS), p=list(ANSWERS.values()))
        session = tracker.start(num_frames=len(clip.images))
        prompts = {0: rng.choice(list(PROMPTS), p=list(PROMPTS.values()))}
        if rng.random() < CORRECTED_SHARE:
            seen = np.flatnonzero([mask.mean() > MIN_SHARE for mask in clip.masks])
            for index in seen[rng.permutation(len(seen))[:1]]:
                prompts.setdefault(int(index), rng.choice(["box", "click"]))
        is_wrong, was_absent = False, False
        for index, (image, truth) in enumerate(zip(clip.images, clip.masks, strict=True)):
            if rng.random() < 1 / SPELL_FRAMES:
                is_wrong = rng.random() < WRONG_SHARE
            there = bool(truth.any())
            overruled = {"own": None, "always there": True, "true": there, "wrong at times": there ^ is_wrong}
            head.overruled = None if index in prompts else overruled[answers]
            if index in prompts:
                session.prompt(1, **prompt_of(prompts[index], truth))
            result = session.step(vidseg.Frame(index, index / 24, image))
            # Of a user's mask, and of first prompts, which another network answers, the head is not asked.
            if shown:
                mask = _mask_of(shown[-1], session.view)
                rows["given"].append(head.given.half().numpy())
                rows["area"].append(np.count_nonzero(truth) / np.count_nonzero(clip.masks[0]))
                rows["iou"].append(region_j(mask, truth) if there else 0.0)
                rows["added"].append(float(result.object_score_logits[0]) - head.answered)
                rows["by_sight"].append(was_absent or index in prompts)
                rows["is_own"].append(answers == "own")
            was_absent = result.states[0] == "absent"
            shown.clear()
    np.savez_compressed(out, **{name: np.array(values) for name, values in rows.items()})  # type: ignore[arg-type]


def _mask_of(logits_1hw: Tensor, view: View) -> NDArray[np.bool_]:
    """The mask of the whole picture that was decoded in a part of it."""
    mask = np.zeros(view.size_hw, bool)
    mask[view.pixels] = F.interpolate(logits_1hw[None], size=view.part_hw, mode="bilinear")[0, 0].numpy() > 0
    return mask


def _clips(count: int, num_frames: int, seed: int, data: Path | None, vos: Path | None) -> Iterator[Clip]:
    """Clips of four kinds in turn: the object leaves, leaves among pictures (given data), stays, is real."""
    long = ClipSettings(size=SIZE, num_frames=num_frames)
    pictures = long
    if data is not None:
        stills = [StillFolder(folder=str(data / "stills"), prefix="coco_")]
        videos = [str(data / "train_clips"), str(data / "clips")]
        pictures = long.model_copy(update={"stills": stills, "videos": videos})
    leaving = {"vanish": VANISH}
    turns = [long.model_copy(update=leaving), pictures.model_copy(update=leaving), pictures]
    if vos is not None:
        real = ClipMix(composed=0, in_place=0, whole=0, vos=1)
        turns.append(pictures.model_copy(update={**leaving, "vos": [str(vos)], "mix": real}))
    makers = [ClipMaker(settings) for settings in turns]
    index = 0
    while count:
        clip = makers[index % len(makers)].make(clip_seed(seed, index))
        index += 1
        if clip.masks[0].any():
            count -= 1
            yield clip


def fit(records: Sequence[Path], out: Path, weights: Path | None) -> None:
    loaded = [np.load(path) for path in records]
    for path, record in zip(records, loaded, strict=True):
        if set(record) != set(COLUMNS):
            sys.exit(f"{path}: a record of another version; record it anew")
    rows = {name: torch.from_numpy(np.concatenate([record[name] for record in loaded])) for name in loaded[0]}
    state = read_checkpoint(weights or read_config(TRACKER)[1]["weights"])
    head = fitted(rows, width=len(state["decoder.score.0.weight"]))
    for name, value in head.state_dict().items():
        state[f"decoder.score.{name}"] = value.to(state[f"decoder.score.{name}"].dtype)
    write_tensors(out, state, {"vidseg": vidseg.__version__, "tracker": TRACKER})


def fitted(rows: dict[str, Tensor], width: int, seed: int = 0) -> nn.Sequential:
    """A head of logistic regression with one hidden layer.

    Args:
        rows: of records, one entry a frame.
    """
    torch.manual_seed(seed)
    is_there = rows["area"] > 0
    target = torch.where(rows["by_sight"], is_there, rows["iou"] > ON_OBJECT_IOU).float()
    asked = ~is_there | (rows["area"] > SLIVER)
    given, target, added = rows["given"][asked].float(), target[asked], rows["added"][asked].float()
    mean, deviation = given.mean(dim=0), given.std(dim=0) + 1e-2
    scaled = (given - mean) / deviation
    enter, leave = nn.Linear(given.shape[1], width), nn.Linear(width, 1)
    optimiser = torch.optim.AdamW([*enter.parameters(), *leave.parameters()], RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    odds = torch.where(rows["is_own"][asked], OWN_WEIGHT, 1.0)
    for _ in range(STEPS):
        batch = torch.multinomial(odds, BATCH, replacement=True)
        hidden = F.relu(enter(F.dropout(scaled[batch], DROPOUT[0])))
        logits = leave(F.dropout(hidden, DROPOUT[1]))[:, 0] + added[batch]
        cost = torch.where(target[batch] > 0, 1.0, FALSE_RETURN)
        loss = F.binary_cross_entropy_with_logits(logits, target[batch], weight=cost)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        enter.weight.div_(deviation)
        enter.bias.sub_(enter.weight @ mean)
    return nn.Sequential(enter, nn.ReLU(), leave)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("out", type=Path)
    recording.add_argument("--clips", type=int, default=300)
    recording.add_argument("--frames", type=int, default=24, help="of a clip")
    recording.add_argument("--seed", type=int, default=0)
    recording.add_argument("--data", type=Path, help="folder with stills/, train_clips/ and clips/")
    recording.add_argument("--vos", type=Path, help="folder in DAVIS's layout")
    fitting = commands.add_parser("fit")
    fitting.add_argument("records", type=Path, nargs="+")
    fitting.add_argument("--out", type=Path, required=True)
    for command in (recording, fitting):
        command.add_argument("--weights", type=Path, help="a file; without it, those that ship")
    args = parser.parse_args()
    if args.command == "record":
        record(args.out, args.weights, args.clips, args.frames, args.seed, args.data, args.vos)
    else:
        fit(args.records, args.out, args.weights)


if __name__ == "__main__":
    main()
