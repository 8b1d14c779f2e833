"""A training step of an image model: teacher and student answer the same prompts on the same pictures.

Layouts: R pictures with one object each · P points · K candidates · C channels · h w the student's low-res
grid · S side of the pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidseg.errors import ConfigError
from vidseg.trackers.image_encoder import normalise
from vidseg.trackers.model import Candidates, Features, ImageModel
from vidseg.training.distil.losses import hard_weight, to_grid
from vidseg.training.distil_settings import DistilSettings
from vidseg.training.images.masked import MaskedReconstruction
from vidseg.training.images.student import Student
from vidseg.training.images.teacher import Teacher
from vidseg.training.losses import dice, true_iou
from vidseg.training.prompts import PromptShares, correct, sample
from vidseg.training.unroll import Unrolled, UnrollSettings

EDGE_SAM_WEIGHT = 2.5
"""(5 · cross-entropy + 5 · Dice) / 2 of every answer."""


class ImageDistillation:
    """A forward pass with a teacher, in place of `vidseg.training.unroll.unroll`.

    Args:
        seed: of the weights of layers that the losses need; they are trained with the student, and are no
            part of it.

    Raises:
        ConfigError: a loss that image models do not have.
    """

    def __init__(self, settings: DistilSettings, teacher: Teacher, student: Student, seed: int) -> None:
        if settings.memory:
            raise ConfigError("an image model has no memory to learn", where="field 'distil.memory'")
        self.settings = settings
        self.teacher = teacher
        wanted, ours = _channels(teacher.model), _channels(student.model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.projections = nn.ModuleDict()
            if settings.embedding and ours != wanted:
                self.projections["embedding"] = nn.Conv2d(ours, wanted, 1)
            self._reconstruct: MaskedReconstruction | None = None
            if settings.masked:
                self._reconstruct = MaskedReconstruction(student.model, wanted)
                self.projections["masked"] = self._reconstruct

    def __call__(
        self,
        engine: Student,
        images_bt3ss: Tensor,
        masks_btss: Tensor,
        settings: UnrollSettings,
        generator: torch.Generator,
    ) -> Unrolled:
        """The losses of one batch; see `unroll` for arguments and result. Every frame is a picture."""
        weights, model = self.settings, engine.model
        pictures, masks = images_bt3ss.flatten(0, 1), masks_btss.flatten(0, 1)
        theirs = self.teacher.encode(pictures)
        inputs = normalise(pictures)
        losses: dict[str, Tensor] = {}
        predictions = torch.full(masks.shape, -10.0)
        if self._reconstruct is not None:
            wanted = theirs.top_1chw
            losses["masked"] = self._reconstruct(model, inputs, wanted, weights.masked_share, generator)
        if weights.embedding or weights.masks or weights.tokens or weights.prompts or weights.truth:
            ours = model.encode_batch(inputs)
        if weights.embedding:
            losses["embedding"] = self._embedding_loss(ours.top_1chw, theirs.top_1chw)
        rows = masks.flatten(1).any(dim=1).nonzero()[:, 0]
        if len(rows) and (weights.masks or weights.tokens or weights.prompts or weights.truth):
            answers = self._answers(
                model, ours.rows(rows), theirs.rows(rows), masks[rows], settings, generator
            )
            losses |= self._answer_losses(answers, masks[rows])
            predictions[rows] = to_grid(answers[-1].ours.detach(), masks.shape[-1]).float().cpu()
        total = torch.stack([getattr(weights, name) * loss for name, loss in losses.items()]).sum()
        parts = {f"distil_{name}": float(loss.detach()) for name, loss in losses.items()}
        if len(rows):
            truth = to_grid(masks[rows].float(), predictions.shape[-1])
            parts["j"] = float(true_iou(predictions[rows].to(truth), truth).mean())
        return Unrolled(total, parts, predictions.unflatten(0, masks_btss.shape[:2]))

    def _embedding_loss(self, ours_rchw: Tensor, theirs_rchw: Tensor) -> Tensor:
        """Distance of the embeddings.

        Source: MobileSAM (arXiv:2306.14289), squares; TinySAM (arXiv:2312.13789), absolutes; NanoSAM
        (NVIDIA-AI-IOT/nanosam), Huber's.
        """
        if "embedding" in self.projections:
            ours_rchw = self.projections["embedding"](ours_rchw)
        if theirs_rchw.shape[-2:] != ours_rchw.shape[-2:]:
            theirs_rchw = F.interpolate(theirs_rchw, size=ours_rchw.shape[-2:], mode="bilinear")
        return DISTANCES[self.settings.embedding_distance](ours_rchw.float(), theirs_rchw.float())

    def _answers(
        self,
        model: ImageModel,
        ours: Features,
        theirs: Features,
        masks_rss: Tensor,
        settings: UnrollSettings,
        generator: torch.Generator,
    ) -> list[_Round]:
        """The answers of both to a first prompt, and to a click more in each round where they disagree.

        A batch starts from boxes or from single points, as a decoder takes prompts of one shape.

        Source: Zhou et al., "EdgeSAM" (arXiv:2312.06660), prompt-in-the-loop distillation.
        """
        starts_from_box = bool(torch.rand((), generator=generator) < 0.5)
        shares = PromptShares(
            mask=0.0, box=float(starts_from_box), single_click=1.0, box_jitter=settings.prompts.box_jitter
        )
        _, points, labels = sample(masks_rss, shares, generator)
        count = 2 if starts_from_box else 1
        points, labels = points[:, :count], labels[:, :count]
        side = masks_rss.shape[-1]
        rounds: list[_Round] = []
        for number in range(1 + (self.settings.prompt_rounds if self.settings.prompts else 0)):
            if number:
                wanted = to_grid(rounds[-1].theirs, side) > 0
                click, label = correct(rounds[-1].ours.detach(), wanted, generator)
                # Where both agree, a click on what they agree about keeps the prompts of one shape.
                agreed, on = correct(torch.full_like(rounds[-1].ours, -1.0), wanted, generator)
                nothing_wrong = label < 0
                click = torch.where(nothing_wrong[..., None], agreed, click)
                label = torch.where(nothing_wrong, on.clamp(min=0), label)
                points, labels = torch.cat((points, click), dim=1), torch.cat((labels, label), dim=1)
            told = self.teacher.answer(theirs, points, labels, None, side)
            said = model.candidates(ours, model.without_memory(ours), points_bp2=points, labels_bp=labels)
            rounds.append(_Round(said, told))
        return rounds

    def _answer_losses(self, rounds: Sequence[_Round], masks_rss: Tensor) -> dict[str, Tensor]:
        weights, first = self.settings, rounds[0]
        truth = to_grid(masks_rss.float(), first.ours.shape[-1])
        losses: dict[str, Tensor] = {}
        if weights.tokens or weights.masks:
            # Hard mask weighting (TinySAM): what the student does worse than the teacher counts more.
            hard = hard_weight(first.ours.detach(), first.theirs, truth)
        if weights.masks:
            apart = (first.ours - first.theirs).abs().flatten(1).mean(dim=1)
            losses["masks"] = (hard * apart).mean()
        if weights.tokens:
            losses["tokens"] = F.l1_loss(first.our_tokens.float(), first.their_tokens.float())
        if weights.prompts:
            each = [_edge_sam_loss(one.ours, (one.theirs > 0).float()) for one in rounds]
            losses["prompts"] = torch.stack(each).mean()
        if weights.truth:
            losses["truth"] = _edge_sam_loss(first.ours, truth)
        return losses


class _Round:
    """The answers of student and teacher to one prompt: the candidate that the teacher rates best."""

    def __init__(self, said: Candidates, told: Candidates) -> None:
        first = min(1, told.predicted_ious_bk.shape[1] - 1)
        best = told.predicted_ious_bk[:, first:].argmax(dim=1) + first
        row = torch.arange(len(best), device=best.device)
        same = best.clamp(max=said.logits_bkhw.shape[1] - 1)
        self.ours = said.logits_bkhw[row, same]
        self.theirs = to_grid(told.logits_bkhw[row, best], self.ours.shape[-1])
        self.our_tokens, self.their_tokens = said.tokens_bkc, told.tokens_bkc


def _edge_sam_loss(logits_rhw: Tensor, wanted_rhw: Tensor) -> Tensor:
    entropy = F.binary_cross_entropy_with_logits(logits_rhw, wanted_rhw)
    return 2 * EDGE_SAM_WEIGHT * (entropy + dice(logits_rhw, wanted_rhw).mean()) / 2


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "squared": F.mse_loss,
    "absolute": F.l1_loss,
    "huber": F.huber_loss,
}


@torch.no_grad()
def _channels(model: ImageModel) -> int:
    size = model.image_size
    return int(model.encode_batch(torch.zeros(1, 3, size, size, device=model.device)).top_1chw.shape[1])
