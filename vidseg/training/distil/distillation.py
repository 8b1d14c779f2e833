"""A training step with a teacher.

Teacher and student track the same clips with the same prompts, and losses hold the student to the answers of
the teacher.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vidseg.errors import ConfigError
from vidseg.trackers.engine import Engine
from vidseg.trackers.image_encoder import normalise
from vidseg.training.distil.losses import (
    divergence,
    feature_distance,
    hard_weight,
    mask_distance,
    to_grid,
)
from vidseg.training.distil_settings import DistilSettings
from vidseg.training.prompts import correct
from vidseg.training.unroll import (
    Answer,
    Played,
    Script,
    Unrolled,
    UnrollSettings,
    draw_script,
    judge,
    on_grid,
    play,
)


class Distillation:
    """A forward pass with a teacher, in place of `unroll`.

    `projections` are 1x1 convolutions from the student's channels to the teacher's, where these differ. They
    are trained with the student, and are no part of it.

    Args:
        teacher: see `build_teacher`.
        student: used only to find its channels; it must be in the form of evaluation.
        seed: seed of the projections' weights.
    """

    def __init__(self, settings: DistilSettings, teacher: Engine, student: Engine, seed: int) -> None:
        if settings.tokens or settings.masked:
            raise ConfigError(
                "tokens and masked patches are learned by image models alone", where="field 'distil'"
            )
        self.settings = settings
        self.teacher = teacher
        wanted = [name for name in ("embedding", "memory") if getattr(settings, name)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.projections = nn.ModuleDict(_projections(student, teacher, wanted))

    def __call__(
        self,
        engine: Engine,
        images_bt3ss: Tensor,
        masks_btss: Tensor,
        settings: UnrollSettings,
        generator: torch.Generator,
    ) -> Unrolled:
        """The losses of one batch of clips; see `unroll` for arguments and result."""
        weights = self.settings
        script = draw_script(masks_btss, settings, generator)
        student = play(engine, images_bt3ss, masks_btss, script, settings, generator)
        self.teacher.model.image_size = images_bt3ss.shape[-1]
        losses: dict[str, Tensor | None] = {}
        if weights.memory or weights.masks or weights.prompts:
            # The teacher follows its own masks, and remembers as absent what it calls absent. Its answers are
            # recorded before absence is applied, so its masks are known on those frames too.
            as_tracking = settings.model_copy(update={"forcing": 0.0, "heeds_score": True})
            with torch.no_grad():
                teacher = play(self.teacher, images_bt3ss, masks_btss, script, as_tracking, generator)
            teacher_maps = teacher.features.top_1chw
            if weights.memory:
                losses["memory"] = self._memory_loss(student, teacher)
            if weights.masks:
                losses["masks"] = _mask_loss(student, teacher, masks_btss)
            if weights.prompts:
                losses["prompts"] = self._prompt_loss(engine, student, teacher, script, generator)
        else:
            frames = normalise(images_bt3ss.flatten(0, 1))
            with torch.no_grad():
                teacher_maps = self.teacher.model.encode_batch(frames).top_1chw
        if weights.embedding:
            projected = self._project("embedding", student.features.top_1chw)
            losses["embedding"] = feature_distance(projected, teacher_maps)

        truth, parts = judge(student.answers, masks_btss, settings)
        terms = [weights.truth * truth] if weights.truth else []
        for name, loss in losses.items():
            parts[f"distil_{name}"] = math.nan if loss is None else float(loss.detach())
            if loss is not None:
                terms.append(getattr(weights, name) * loss)
        # If the only loss in use has nothing to judge in this batch, give a zero with gradients.
        total = torch.stack(terms).sum() if terms else 0.0 * truth
        return Unrolled(total, parts, student.predictions(masks_btss.shape[-1]))

    def _project(self, name: str, x_rchw: Tensor) -> Tensor:
        projected: Tensor = self.projections[name](x_rchw) if name in self.projections else x_rchw
        return projected

    def _memory_loss(self, student: Played, teacher: Played) -> Tensor | None:
        distances = [
            feature_distance(self._project("memory", ours.conditioned_rchw), theirs.conditioned_rchw)
            for ours, theirs in _pairs(student, teacher)
            if ours.conditioned_rchw is not None and theirs.conditioned_rchw is not None
        ]
        return torch.stack(distances).mean() if distances else None

    def _prompt_loss(
        self, engine: Engine, student: Played, teacher: Played, script: Script, generator: torch.Generator
    ) -> Tensor | None:
        """Prompt both again, each time with a click where they disagree; hold every answer to the teacher's.

        Source: Zhou et al., "EdgeSAM" (arXiv:2312.06660), prompt-in-the-loop knowledge distillation.
        """
        rows = script.asked
        if not len(rows):
            return None
        (first,) = (pair for pair in _pairs(student, teacher) if pair[0].kind == "prompt")
        logits, wanted = (answer.decoded.low_res_logits_bhw for answer in first)
        points, labels = script.points_bp2[rows], script.labels_bp[rows]
        distances = [mask_distance(logits, to_grid(wanted, logits.shape[-1]))]
        for _ in range(self.settings.prompt_rounds):
            teachers_masks = to_grid(wanted, engine.model.image_size) > 0
            click, label = correct(logits.detach(), teachers_masks, generator)
            points, labels = _with_click(points, labels, click, label)
            logits = _ask(engine, student, rows, points, labels, logits.detach())
            with torch.no_grad():
                wanted = _ask(self.teacher, teacher, rows, points, labels, wanted)
            distances.append(mask_distance(logits, to_grid(wanted, logits.shape[-1])))
        return torch.cat(distances).mean()


def _mask_loss(student: Played, teacher: Played, masks_btss: Tensor) -> Tensor | None:
    """Hold all that the student's decoder says to the teacher; where the object is absent, its score alone.

    A mask means nothing where there is no object.

    Source: Shu et al., "TinySAM" (arXiv:2312.13789), full-stage distillation with hard mask weighting.
    """
    distances = []
    for ours, theirs in _pairs(student, teacher):
        logits = ours.decoded.low_res_logits_bhw
        wanted = to_grid(theirs.decoded.low_res_logits_bhw, logits.shape[-1])
        masks = masks_btss[ours.rows, ours.frame_idx]
        weight = hard_weight(logits.detach(), wanted, on_grid(masks, logits.shape[-1]))
        of_iou = (ours.decoded.predicted_ious_b - theirs.decoded.predicted_ious_b).abs()
        of_score = divergence(ours.decoded.object_score_logits_b, theirs.decoded.object_score_logits_b)
        of_mask = weight * mask_distance(logits, wanted) + of_iou
        distances.append(masks.flatten(1).any(dim=1) * of_mask + of_score)
    return torch.cat(distances).mean() if distances else None


def _pairs(student: Played, teacher: Played) -> list[tuple[Answer, Answer]]:
    """The last answers of student and teacher to each question."""
    ours, theirs = (
        {(answer.kind, answer.frame_idx): answer for answer in played.answers}
        for played in (student, teacher)
    )
    return [(answer, theirs[question]) for question, answer in ours.items()]


def _ask(
    engine: Engine,
    played: Played,
    rows: Tensor,
    points_rp2: Tensor,
    labels_rp: Tensor,
    previous_logits_rhw: Tensor,
) -> Tensor:
    """Mask logits that an engine gives for prompts on the first frame, together with its previous answers."""
    length = len(played.shown)
    some = played.features.rows(rows * length)
    conditioned = engine.model.without_memory(some)
    passes = engine.model.all_passes(
        some, conditioned, points_rp2, labels_rp, previous_logits_bhw=previous_logits_rhw
    )
    return passes[-1].low_res_logits_bhw


def _with_click(
    points_rp2: Tensor, labels_rp: Tensor, click_r12: Tensor, label_r1: Tensor
) -> tuple[Tensor, Tensor]:
    """The prompts with one more click each; padding stays at the end."""
    points, labels = torch.cat((points_rp2, click_r12), dim=1), torch.cat((labels_rp, label_r1), dim=1)
    order = (labels < 0).int().argsort(dim=1, stable=True)
    return points.gather(1, order[..., None].expand(-1, -1, 2)), labels.gather(1, order)


@torch.no_grad()
def _projections(student: Engine, teacher: Engine, wanted: list[str]) -> dict[str, nn.Module]:
    ours, theirs = _widths(student), _widths(teacher)
    return {name: nn.Conv2d(ours[name], theirs[name], 1) for name in wanted if ours[name] != theirs[name]}


@torch.no_grad()
def _widths(engine: Engine) -> dict[str, int]:
    """Channels of the image embedding, and of the features that memory has conditioned."""
    model = engine.model
    features = model.encode(torch.zeros(3, model.image_size, model.image_size, device=model.device))
    return {
        "embedding": features.top_1chw.shape[1],
        "memory": model.without_memory(features).shape[1],
    }
