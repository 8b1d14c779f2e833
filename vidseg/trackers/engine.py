"""The engine: one frame's step for any number of objects. It computes; the banks remember.

Life of a frame:  encode -> recall -> attend -> decode -> remember
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vidseg.errors import InputError
from vidseg.memory.bank import (
    BankPolicy,
    Branch,
    DecidingPolicy,
    MemoryFrame,
    Moment,
    ObjectBank,
    Offer,
)
from vidseg.trackers.contract import Frame, Prompt
from vidseg.trackers.image_encoder import normalise
from vidseg.trackers.mask_decoder import Candidates
from vidseg.trackers.model import Decoded, Features, VideoModel
from vidseg.trackers.postprocess import fill_holes
from vidseg.trackers.space_time.model import SpaceTimeModel

PREVIOUS_LOGITS_LIMIT = 32.0
"""Earlier logits are clamped before they are fed back with a correction (SAM 2, `add_new_points_or_box`)."""

T = TypeVar("T")


class Engine:
    """A model and the policy of its banks.

    Args:
        fill_hole_area: holes of at most this many low-res pixels in a mask are filled; 0: none.
    """

    def __init__(
        self, model: VideoModel | SpaceTimeModel, policy: BankPolicy, *, fill_hole_area: int = 0
    ) -> None:
        self.model = model
        self.policy = policy
        self.fill_hole_area = fill_hole_area

    def encode(self, frame: Frame) -> Features:
        """Once a frame, for all objects."""
        return self.model.encode(self._model_input(frame))

    def track(self, features: Features, banks: Sequence[ObjectBank], moment: Moment) -> Decoded:
        """Carry objects into the frame, each with its best candidate."""
        parts, order = self._in_batches(self.model.decode, features, banks, moment)
        return Decoded.cat(parts).rows(order)

    def advance(self, features: Features, banks: Sequence[ObjectBank], moment: Moment) -> None:
        """Carry objects into the frame, and remember them there."""
        if isinstance(self.policy, DecidingPolicy):
            self._decide(self.policy, features, banks, moment)
            return
        remembered = self.remember(features, self.track(features, banks, moment), moment, from_prompt=False)
        for bank, memory in zip(banks, remembered, strict=True):
            bank.tracked[moment.frame_idx] = memory

    def note_prompt(self, bank: ObjectBank, memory: MemoryFrame) -> None:
        """An answer to a prompt was put into the bank: that is what is believed now."""
        bank.rivals.clear()
        if isinstance(self.policy, DecidingPolicy):
            self.policy.note_prompt(bank, memory)

    def segment(
        self,
        features: Features,
        bank: ObjectBank,
        moment: Moment,
        prompt: Prompt,
        size_hw: tuple[int, int],
        *,
        earlier: MemoryFrame | None,
        is_initial: bool,
    ) -> Decoded:
        """Answer one object's prompt, or its correction.

        Args:
            earlier: what the object was on this frame before; its logits are fed back with the prompt.
            is_initial: the object was not tracked into this frame; it is segmented without memory, as in SAM.
        """
        if prompt.mask is not None:
            return self.model.take_mask(features, self._to_model_mask(prompt))
        previous = None
        if earlier is not None and earlier.low_res_logits_hw is not None:
            previous = earlier.low_res_logits_hw.clamp(-PREVIOUS_LOGITS_LIMIT, PREVIOUS_LOGITS_LIMIT)[None]
        points, labels = self._to_model_points(prompt, size_hw)
        recalls = None if is_initial else [self.policy.recall(bank, moment)]
        conditioned = self.model.attend(features, recalls, self.policy.pointer_limit(moment))
        return self.model.decode(
            features, conditioned, points_bp2=points, labels_bp=labels, previous_logits_bhw=previous
        )

    def remember(
        self, features: Features, decoded: Decoded, moment: Moment, *, from_prompt: bool
    ) -> list[MemoryFrame]:
        """Memory frames of the objects in `decoded`, in their order.

        Holes are filled here. As in SAM 2, a prompted frame is remembered with its holes filled, a tracked
        one as it was decoded; both are shown filled.
        """
        filled = self._fill_holes(decoded)
        tokens = self.model.remember(features, filled if from_prompt else decoded, from_prompt=from_prompt)
        scores = decoded.object_score_logits_b.tolist()
        ious = decoded.predicted_ious_b.tolist()
        return [
            MemoryFrame(
                moment.frame_idx,
                tokens[row],
                decoded.pointers_bc[row],
                scores[row],
                ious[row],
                filled.low_res_logits_bhw[row],
            )
            for row in range(len(scores))
        ]

    def _in_batches(
        self,
        decode: Callable[[Features, Tensor], T],
        features: Features,
        banks: Sequence[ObjectBank],
        moment: Moment,
    ) -> tuple[list[T], list[int]]:
        """Read and decode, in one batch those whose banks have one shape; and which row each bank came to."""
        recalls = [self.policy.recall(bank, moment) for bank in banks]
        groups: dict[tuple[int, ...], list[int]] = {}
        for row, recall in enumerate(recalls):
            groups.setdefault(recall.shape, []).append(row)
        limit = self.policy.pointer_limit(moment)
        parts = [
            decode(features, self.model.attend(features, [recalls[row] for row in rows], limit))
            for rows in groups.values()
        ]
        order = [row for rows in groups.values() for row in rows]
        return parts, np.argsort(order).tolist()

    def _decide(
        self, policy: DecidingPolicy, features: Features, banks: Sequence[ObjectBank], moment: Moment
    ) -> None:
        """Carry every hypothesis into the frame, and keep the branches that the policy wants."""
        different, rows = _different([h for bank in banks for h in bank.hypotheses])
        parts, order = self._in_batches(self.model.candidates, features, different, moment)
        candidates = Candidates.cat(parts).rows(order)
        # The first candidate is for prompts that leave no doubt; tracking chooses among the others.
        ious, scores = candidates.predicted_ious_bk[:, 1:].tolist(), candidates.object_score_logits_b.tolist()
        logits = candidates.logits_bkhw[:, 1:]
        waiting = iter(rows)
        plans: list[tuple[ObjectBank, list[tuple[ObjectBank, Branch, tuple[int, int]]]]] = []
        for bank in banks:
            own = [next(waiting) for _ in bank.hypotheses]
            branches = policy.decide(bank, moment, [Offer(logits[r], ious[r], scores[r]) for r in own])
            plans.append(
                (
                    bank,
                    [(bank.hypotheses[b.hypothesis], b, (own[b.hypothesis], b.candidate)) for b in branches],
                )
            )
        # Branches that agree share one memory.
        wanted = list(dict.fromkeys(key for _, plan in plans for *_, key in plan))
        chosen = torch.tensor([candidate + 1 for _, candidate in wanted], device=logits.device)
        decoded = self.model.take(candidates.rows([row for row, _ in wanted]), chosen, chosen)
        memories = dict(zip(wanted, self.remember(features, decoded, moment, from_prompt=False), strict=True))
        for bank, plan in plans:
            grown = [
                ObjectBank(bank.conditioning, {**old.tracked, moment.frame_idx: memories[key]}, branch.notes)
                for old, branch, key in plan
            ]
            bank.tracked, bank.notes, bank.rivals = grown[0].tracked, grown[0].notes, grown[1:]

    def _fill_holes(self, decoded: Decoded) -> Decoded:
        if not self.fill_hole_area:
            return decoded
        logits = fill_holes(decoded.low_res_logits_bhw, self.fill_hole_area)
        return Decoded(logits, decoded.pointers_bc, decoded.object_score_logits_b, decoded.predicted_ious_b)

    def _model_input(self, frame: Frame) -> Tensor:
        size = self.model.image_size
        if frame.model_input is not None:
            image = torch.as_tensor(frame.model_input)
            if image.shape != (3, size, size):
                raise InputError(
                    f"frame {frame.index}: a model input of shape {tuple(image.shape)}",
                    hint=f"this tracker takes float32 3 x {size} x {size}",
                )
            return image.to(self.model.device)
        # A quarter of the bytes goes to a GPU when it does the rest.
        return normalise(torch.from_numpy(self._resized(frame, size)).to(self.model.device).permute(2, 0, 1))

    def _resized(self, frame: Frame, size: int) -> npt.NDArray[np.uint8]:
        """S x S x 3; the aspect ratio is not kept. The official loaders have two ways, and so do we."""
        if frame.decoded is not None and self.model.takes_decoded:
            return frame.decoded.resized(size)  # decord's way, for videos
        assert frame.image is not None
        resized = Image.fromarray(frame.image).resize((size, size), Image.Resampling.BICUBIC)
        return np.array(resized)  # Pillow's, for folders of images

    def _to_model_points(self, prompt: Prompt, size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Points in pixels of the model's input; a box is its corners, put before the points."""
        xy, labels = prompt.points_xy, prompt.labels
        if prompt.box is not None:
            xy = np.concatenate([prompt.box.reshape(2, 2), xy])
            labels = np.concatenate([np.array([2, 3], np.int32), labels])
        scale = torch.tensor([size_hw[1], size_hw[0]], dtype=torch.float32)
        points = torch.from_numpy(xy) / scale * self.model.image_size
        device = self.model.device
        return points[None].to(device), torch.from_numpy(labels)[None].to(device)

    def _to_model_mask(self, prompt: Prompt) -> Tensor:
        mask = torch.from_numpy(prompt.mask)[None, None].float().to(self.model.device)
        size = (self.model.image_size, self.model.image_size)
        if mask.shape[-2:] != size:
            mask = F.interpolate(mask, size=size, mode="bilinear", align_corners=False, antialias=True)
        return mask[0] >= 0.5


def _different(hypotheses: Sequence[ObjectBank]) -> tuple[list[ObjectBank], list[int]]:
    """The hypotheses that differ in what they remember, and for each given one the place of its like."""
    places: dict[tuple[int, ...], int] = {}
    different: list[ObjectBank] = []
    rows = []
    for bank in hypotheses:
        key = (*map(id, bank.conditioning.values()), -1, *map(id, bank.tracked.values()))
        if key not in places:
            places[key] = len(different)
            different.append(bank)
        rows.append(places[key])
    return different, rows
