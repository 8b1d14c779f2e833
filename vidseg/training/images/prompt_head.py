"""A training step of a prompt head: where objects lie in pictures, learned from their masks.

The target of a cell is how far inside its object it lies: the distance to the object's edge, divided by the
largest one of that object. Such cells also learn the object's box.

Source: Fu et al., "Lite-SAM" (ECCV 2024, arXiv:2407.08965), distance transforms as targets of points; Tian et
al., "FCOS" (ICCV 2019, arXiv:1904.01355), boxes as distances to four sides.

Layouts: R pictures · S side of the pictures · h w the grid of the features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vidseg.errors import ConfigError
from vidseg.masks import tight_box
from vidseg.samplers.prompt_head import MODEL_KEY, PromptHead, Proposed
from vidseg.trackers.image.load import build_segmenter
from vidseg.trackers.model import module_of
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.weights import check_state, read_checkpoint, shapes_of
from vidseg.training.images.teacher import Teacher
from vidseg.training.prompt_head_settings import PromptHeadSettings
from vidseg.training.prompts import depth_inside
from vidseg.training.settings import TrainSettings
from vidseg.training.start import weights_of_field
from vidseg.training.unroll import Unrolled

LEAST_SHARE = 0.0005
"""Objects that fill less of a picture than this are no targets."""
BOX_TARGET = 0.3
"""Cells with at least this target learn boxes."""


@dataclass(frozen=True)
class Headed:
    """A head under training; it stands where trackers have their engine."""

    model: PromptHead

    @property
    def metadata(self) -> dict[str, str]:
        """What the head's file says besides its weights."""
        digest = self.model.model_weights_sha256
        return {} if digest is None else {MODEL_KEY: digest}


class PromptHeadLoss:
    """The losses of a batch, in place of `vidseg.training.unroll.unroll`.

    Args:
        encoder: the image model, which stays as it is.
    """

    def __init__(self, settings: PromptHeadSettings, encoder: Teacher) -> None:
        self.settings = settings
        self.encoder = encoder

    def __call__(self, headed: Headed, images_r13ss: Tensor, labels_r1ss: Tensor, *_unused: Any) -> Unrolled:
        """The losses of one batch of pictures.

        Args:
            images_r13ss: uint8 RGB.
            labels_r1ss: uint8; 0 is background, each other value an object.
        """
        features = self.encoder.encode(images_r13ss[:, 0]).top_1chw.float()
        targets = [target_of(labels, features.shape[-2:]) for labels in labels_r1ss[:, 0].cpu().numpy()]
        inside_rhw, sides_r4hw = (torch.from_numpy(np.stack(part)) for part in zip(*targets, strict=True))
        said = headed.model(features)
        points = point_loss(said.confidence_logits_rhw.float(), inside_rhw.to(features))
        parts = {"points": points}
        if self.settings.boxes:
            parts["boxes"] = box_loss(said, inside_rhw.to(features), sides_r4hw.to(features))
        total = torch.stack([getattr(self.settings, name) * loss for name, loss in parts.items()]).sum()
        logits = said.confidence_logits_rhw.detach().float()
        shown = F.interpolate(logits[:, None], size=images_r13ss.shape[-2:], mode="bilinear").cpu()
        return Unrolled(total, {name: float(loss.detach()) for name, loss in parts.items()}, shown)


def target_of(
    labels_ss: NDArray[np.uint8], grid_hw: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the head should say of a picture.

    Returns:
        how far inside its object a cell lies, h x w: 1 at the innermost place of each object, 0 off all
        objects; and how far the four sides of that object are from the cell's centre, in cells, 4 x h x w.
    """
    height, width = grid_hw
    cell_hw = np.array(labels_ss.shape) / grid_hw
    inside = np.zeros(grid_hw, np.float32)
    sides = np.zeros((4, *grid_hw), np.float32)
    rows, columns = np.mgrid[:height, :width] + 0.5
    for label in np.unique(labels_ss[labels_ss > 0]):
        mask = labels_ss == label
        if mask.sum() < LEAST_SHARE * mask.size:
            continue
        depth = depth_inside(mask)
        # The deepest pixel of a cell speaks for it, so that small objects have a cell, too.
        deepest = _largest_in_cells(depth / depth.max(), (height, width))
        left, top, right, bottom = tight_box(mask)
        y0, y1, x0, x1 = top / cell_hw[0], bottom / cell_hw[0], left / cell_hw[1], right / cell_hw[1]
        its_sides = np.stack((columns - x0, rows - y0, x1 - columns, y1 - rows))
        wins = deepest > inside
        inside = np.where(wins, deepest, inside)
        sides = np.where(wins, its_sides, sides)
    return inside, np.maximum(sides, 0).astype(np.float32)


def _largest_in_cells(values: NDArray[np.float32], grid_hw: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(F.adaptive_max_pool2d(torch.from_numpy(values)[None], grid_hw)[0].numpy())


def point_loss(logits_rhw: Tensor, targets_rhw: Tensor) -> Tensor:
    """Cross-entropy with soft targets, less their own entropy, so that 0 is reached; a mean over cells."""
    entropy = torch.special.entr(targets_rhw) + torch.special.entr(1 - targets_rhw)
    return F.binary_cross_entropy_with_logits(logits_rhw, targets_rhw) - entropy.mean()


def box_loss(said: Proposed, inside_rhw: Tensor, sides_r4hw: Tensor) -> Tensor:
    """1 - IoU of the boxes of cells inside objects, in which the innermost cells count most."""
    ours, theirs = said.sides_r4hw.float(), sides_r4hw
    shared = torch.minimum(ours, theirs)
    inter = (shared[:, 0] + shared[:, 2]) * (shared[:, 1] + shared[:, 3])
    areas = [(sides[:, 0] + sides[:, 2]) * (sides[:, 1] + sides[:, 3]) for sides in (ours, theirs)]
    iou = inter / (areas[0] + areas[1] - inter).clamp(min=1e-6)
    weight = inside_rhw * (inside_rhw >= BOX_TARGET)
    return (weight * (1 - iou)).sum() / weight.sum().clamp(min=1e-6)


def build_prompt_head(settings: TrainSettings) -> tuple[Headed, PromptHeadLoss]:
    """The head to train and its losses; the head's weights depend on `init`, or else on the seed alone.

    Raises:
        ConfigError: the model is unknown, segments no pictures or sees no whole picture; or the run asks for
            what heads do not have.
        CheckpointError: weights are missing or do not fit.
    """
    assert settings.prompt_head is not None
    for name in ("distil", "lockstep"):
        if getattr(settings, name) is not None:
            raise ConfigError("a prompt head learns from masks alone", where=f"field '{name}'")
    with weights_of_field("tracker", "prompt_head.weights"):
        segmenter = build_segmenter(
            TrackerOptions.of(settings.tracker, weights=settings.prompt_head.weights, device=settings.device)
        )
    module_of(segmenter.model).requires_grad_(False)
    picture = np.zeros((64, 64, 3), np.uint8)
    features = segmenter.embed(picture).prompted().features
    if features is None:
        raise ConfigError(f"the model '{segmenter.name}' sees no whole picture", where="field 'tracker'")
    head = _begun(settings, settings.prompt_head, len(features.values_chw))
    head.model_weights_sha256 = segmenter.weights_sha256
    return Headed(head), PromptHeadLoss(settings.prompt_head, Teacher(segmenter.model))


def _begun(settings: TrainSettings, wanted: PromptHeadSettings, channels: int) -> PromptHead:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        head = PromptHead(channels, wanted.width, wanted.blocks)
    if settings.init is not None:
        state = read_checkpoint(settings.init)
        shapes = shapes_of(head.state_dict())
        check_state(shapes, state, where=settings.init, tracker=f"prompt head of {settings.tracker}")
        head.load_state_dict(state)
    return head
