"""The engine: one frame's step for any number of objects. It computes; the banks remember.

Life of a frame:  encode -> recall -> attend -> decode -> remember
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vidseg.errors import InputError
from vidseg.memory.bank import (
    BankPolicy,
    DecidingPolicy,
    MemoryFrame,
    Moment,
    ObjectBank,
    Offer,
    Recall,
)
from vidseg.memory.branching import Choice, branch
from vidseg.memory.trimming import TrimmingPolicy
from vidseg.trackers.backbones.kept_windows import KeptWindows
from vidseg.trackers.closer_look import CloserLook
from vidseg.trackers.coming import ComingFrame
from vidseg.trackers.competing import without_rivals
from vidseg.trackers.contract import ABSENT_LOGIT, Frame, Prompt
from vidseg.trackers.device import Download, computes_apart, upload
from vidseg.trackers.image_encoder import normalise
from vidseg.trackers.model import (
    Candidates,
    Decoded,
    Features,
    KeepsWindows,
    LooksCloser,
    MemoryModel,
    Rows,
    cat,
    pick,
)
from vidseg.trackers.pillow_resize import can_resize, resize_bicubic
from vidseg.trackers.postprocess import fill_holes
from vidseg.trackers.view import View

EngineStage = Literal["encode", "attend", "decode", "remember"]
"""A stage of a frame in which the model computes."""
STAGES: tuple[EngineStage, ...] = get_args(EngineStage)


def unwatched(stage: EngineStage) -> AbstractContextManager[Any]:
    """The default watch of stages, which does nothing."""
    return nullcontext()


class Engine:
    """A model and the policy of its banks.

    Args:
        fill_hole_area: holes of at most this many low-res pixels in a mask are filled; 0: none.
    """

    stages = STAGES
    """What `watch` is entered around."""

    def __init__(self, model: MemoryModel, policy: BankPolicy, *, fill_hole_area: int = 0) -> None:
        self.model = model
        self.policy = policy
        self.fill_hole_area = fill_hole_area
        self.watch: Callable[[EngineStage], AbstractContextManager[Any]] = unwatched
        """Entered around each stage of a frame; benchmarks put a clock here."""

    def encode(self, frame: Frame, kept: KeptWindows | None = None) -> Features:
        """The features of a frame; called once for all objects.

        Args:
            kept: what may be kept of the video's frames before, from `start_keeping`.
        """
        with self.watch("encode"):
            if kept is None or not isinstance(self.model, KeepsWindows):
                return self.model.encode(self.model_input(frame))
            return self.model.encode_next(self.model_input(frame), kept)

    def start_keeping(self) -> KeptWindows | None:
        """What is kept of a new video's frames; None if the model encodes each of them whole."""
        return KeptWindows() if isinstance(self.model, KeepsWindows) and self.model.keeps_windows else None

    def track(self, features: Features, banks: Sequence[ObjectBank], moment: Moment) -> Decoded:
        """Decode objects on the frame from their memory, each with its best candidate."""
        return self.settle(self._read(self.model.decode, features, banks, moment))

    def advance(
        self,
        features: Features,
        banks: Sequence[ObjectBank],
        moment: Moment,
        rivals: Sequence[Sequence[int]] | None = None,
    ) -> None:
        """Track objects into the frame, and remember them there.

        Args:
            rivals: the rows with which each object competes for pixels; None: none does.
        """
        if isinstance(self.policy, DecidingPolicy):
            self._decide(self.policy, features, banks, moment)
            return
        decoded = self.track(features, banks, moment)
        if rivals is not None:
            logits = without_rivals(decoded.low_res_logits_bhw, rivals)
            decoded = replace(decoded, low_res_logits_bhw=logits)
        if isinstance(self.policy, TrimmingPolicy):
            decoded = self._trim(self.policy, decoded, banks, moment)
        remembered = self.remember(features, decoded, moment, from_prompt=False)
        for bank, memory in zip(banks, remembered, strict=True):
            bank.remember(memory)

    def settle(self, decoded: Decoded) -> Decoded:
        """Apply absence: an object with a score below 0 gets no mask, and a pointer that says so."""
        is_present = decoded.object_score_logits_b > 0
        return replace(
            decoded,
            low_res_logits_bhw=torch.where(
                is_present[:, None, None], decoded.low_res_logits_bhw, ABSENT_LOGIT
            ),
            pointers_bc=torch.where(is_present[:, None], decoded.pointers_bc, self.model.absent_pointer_c),
        )

    def note_prompt(self, bank: ObjectBank, memory: MemoryFrame) -> None:
        """Tell a bank that the answer to a prompt was put into it: rivals are dropped, and the policy takes
        note."""
        bank.end_doubt()
        if isinstance(self.policy, DecidingPolicy | TrimmingPolicy):
            self.policy.note_prompt(bank, memory)

    def segment(
        self,
        features: Features,
        bank: ObjectBank,
        moment: Moment,
        prompt: Prompt,
        frame: Frame,
        *,
        earlier: MemoryFrame | None,
        is_initial: bool,
    ) -> Decoded:
        """Answer one object's prompt, or its correction.

        Args:
            earlier: the object's memory of this frame, if any; its logits are fed back with the prompt.
            is_initial: whether the object was not tracked into this frame; it is then segmented without
                memory, as in SAM.
        """
        if prompt.mask is not None:
            return self.model.take_mask(features, self._to_model_mask(prompt))
        previous = None
        if earlier is not None and earlier.low_res_logits_hw is not None:
            limit = self.model.feedback_limit
            previous = earlier.low_res_logits_hw.clamp(-limit, limit)[None]
        points, labels = self._to_model_points(prompt, frame.size_hw)
        if is_initial:
            conditioned = self.model.without_memory(features)
        else:
            conditioned = self._attend(features, [self.policy.recall(bank, moment)], moment)
        with self.watch("decode"):
            decoded = self.model.decode(
                features, conditioned, points_bp2=points, labels_bp=labels, previous_logits_bhw=previous
            )
        if is_initial:
            decoded = self._look_closer(frame, features, prompt, decoded, previous)
        return self.settle(decoded)

    def _look_closer(
        self,
        frame: Frame,
        features: Features,
        prompt: Prompt,
        decoded: Decoded,
        previous_bhw: Tensor | None,
    ) -> Decoded:
        """Answer a prompt once more on the part of the picture around it, if the model gains by that."""
        model = self.model
        if not (isinstance(model, LooksCloser) and model.looks_closer and frame.image is not None):
            return decoded

        def shown(view: View) -> tuple[Tensor, Tensor, Tensor]:
            part = view.of(frame)
            return self.model_input(part), *self._to_model_points(view.prompt_here(prompt), part.size_hw)

        look = CloserLook(model, shown, frame.size_hw, self.watch)
        return look.answer(features, prompt, decoded, previous_bhw)

    def remember(
        self, features: Features, decoded: Decoded, moment: Moment, *, from_prompt: bool
    ) -> list[MemoryFrame]:
        """Memory frames of the objects in `decoded`, in their order.

        Holes are filled here. As in SAM 2, a prompted frame is remembered with its holes filled, a tracked
        one as it was decoded; both are shown filled.
        """
        filled = self._fill_holes(decoded)
        with self.watch("remember"):
            tokens = self.model.remember(
                features, filled if from_prompt else decoded, from_prompt=from_prompt
            )
        if computes_apart(self.model.device):
            judged = Download((decoded.object_score_logits_b, decoded.predicted_ious_b))
            logits = filled.low_res_logits_bhw
            return [
                ComingFrame(moment.frame_idx, own, decoded.pointers_bc[row], logits[row], judged, row)
                for row, own in enumerate(tokens)
            ]
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

    def _attend(self, features: Features, recalls: Sequence[Recall], moment: Moment) -> Tensor:
        with self.watch("attend"):
            return self.model.attend(features, recalls, self.policy.pointer_limit(moment))

    def _read(
        self,
        decode: Callable[[Features, Tensor], Rows],
        features: Features,
        banks: Sequence[ObjectBank],
        moment: Moment,
    ) -> Rows:
        """Read each bank and decode; objects whose banks have one shape go in one batch."""
        recalls = [self.policy.recall(bank, moment) for bank in banks]
        groups: dict[tuple[int, ...], list[int]] = {}
        for row, recall in enumerate(recalls):
            groups.setdefault(recall.shape, []).append(row)
        parts = []
        for rows in groups.values():
            conditioned = self._attend(features, [recalls[row] for row in rows], moment)
            with self.watch("decode"):
                parts.append(decode(features, conditioned))
        if len(parts) == 1:
            return parts[0]
        order = [row for rows in groups.values() for row in rows]
        return pick(cat(parts), np.argsort(order).tolist())

    def _decide(
        self, policy: DecidingPolicy, features: Features, banks: Sequence[ObjectBank], moment: Moment
    ) -> None:
        """Do what `advance` does, under a policy that chooses among candidates."""
        offered: list[Candidates] = []

        def offer(hypotheses: Sequence[ObjectBank]) -> list[Offer]:
            candidates = self._read(self.model.candidates, features, hypotheses, moment)
            offered.append(candidates)
            first = candidates.first_offer
            ious, scores = candidates.predicted_ious_bk[:, first:], candidates.object_score_logits_b
            logits = candidates.logits_bkhw[:, first:]
            return [Offer(*each) for each in zip(logits, ious.tolist(), scores.tolist(), strict=True)]

        def remember(choices: Sequence[Choice]) -> list[MemoryFrame]:
            (candidates,) = offered
            chosen = [candidate + candidates.first_offer for _, candidate in choices]
            rows = pick(candidates, [row for row, _ in choices])
            decoded = self.model.take(rows, torch.tensor(chosen, device=rows.logits_bkhw.device))
            return self.remember(features, self.settle(decoded), moment, from_prompt=False)

        branch(policy, banks, moment, offer=offer, remember=remember)

    def _trim(
        self, policy: TrimmingPolicy, decoded: Decoded, banks: Sequence[ObjectBank], moment: Moment
    ) -> Decoded:
        """The objects with what the policy leaves of their masks."""
        # A policy looks at masks on the host; all are fetched at once, so that a GPU is waited for but once.
        before = list(decoded.low_res_logits_bhw.cpu())
        after = [policy.trim(bank, moment, logits) for bank, logits in zip(banks, before, strict=True)]
        if all(new is old for new, old in zip(after, before, strict=True)):
            return decoded
        return replace(decoded, low_res_logits_bhw=upload(torch.stack(after), self.model.device))

    def _fill_holes(self, decoded: Decoded) -> Decoded:
        if not self.fill_hole_area:
            return decoded
        logits = fill_holes(decoded.low_res_logits_bhw, self.fill_hole_area)
        return replace(decoded, low_res_logits_bhw=logits)

    def model_input(self, frame: Frame) -> Tensor:
        """A frame as the model takes it: normalised, 3 x S x S."""
        size = self.model.image_size
        if frame.model_input is not None:
            image = torch.as_tensor(frame.model_input)
            if image.shape != (3, size, size):
                raise InputError(
                    f"frame {frame.index}: a model input of shape {tuple(image.shape)}",
                    hint=f"this tracker takes float32 3 x {size} x {size}",
                )
            return image.to(self.model.device)
        # Upload uint8 and normalise on the device: float32 would be four times as much to copy.
        device, is_resized = self.model.device, frame.decoded is not None and self.model.takes_decoded
        if device.type == "cuda" and frame.image is not None and not is_resized and can_resize(frame.size_hw):
            pixels = resize_bicubic(upload(frame.image, device), (size, size))
        else:
            pixels = upload(self._resized(frame, size), device)
        return normalise(pixels.permute(2, 0, 1))

    def _resized(self, frame: Frame, size: int) -> npt.NDArray[np.uint8]:
        """The picture as S x S x 3, stretched.

        As in the official loaders, frames of videos are resized by their decoder, others by Pillow.
        """
        if frame.decoded is not None and self.model.takes_decoded:
            return frame.decoded.resized(size)  # decord's way, for videos
        assert frame.image is not None
        resized = Image.fromarray(frame.image).resize((size, size), Image.Resampling.BICUBIC)
        return np.array(resized)  # Pillow's, for folders of images

    def _to_model_points(self, prompt: Prompt, size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Points in pixels of the model's input; a box becomes its two corners, before the points."""
        xy, labels = prompt.points_xy, prompt.labels
        if prompt.box is not None:
            xy = np.concatenate([prompt.box.reshape(2, 2), xy])
            labels = np.concatenate([np.array([2, 3], np.int32), labels])
        scale = torch.tensor([size_hw[1], size_hw[0]], dtype=torch.float32)
        points = torch.from_numpy(xy) / scale * self.model.image_size
        device = self.model.device
        return points[None].to(device), torch.from_numpy(labels)[None].to(device)

    def _to_model_mask(self, prompt: Prompt) -> Tensor:
        # Resized on the CPU for every device: else pixels that are covered by half fall to either side.
        mask = torch.from_numpy(prompt.mask)[None, None].float()
        size = (self.model.image_size, self.model.image_size)
        if mask.shape[-2:] != size:
            mask = F.interpolate(mask, size=size, mode="bilinear", align_corners=False, antialias=True)
        fills = mask[0] >= 0.5
        if not fills.any() and mask.any():  # the object is thinner than a pixel of the input
            fills = mask[0] >= mask.max()
        return fills.to(self.model.device)
