"""Image models over exported graphs; see `vidseg.export.sam` for what these take and give.

Layouts: B objects · Q points · S side of the model's input.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vidseg.errors import PromptError
from vidseg.trackers.model import Candidates, Features
from vidseg.trackers.onnx.exported import ExportedModel
from vidseg.trackers.onnx.graphs import Graphs
from vidseg.trackers.pico_sam2.answers import PicoAnswers
from vidseg.trackers.sam.answers import SamAnswers
from vidseg.trackers.sam2.mask_decoder import VISIBLE
from vidseg.trackers.sam2.prompt_encoder import have_boxes


class OnnxImageModel(ExportedModel, nn.Module):
    """What image models have in common that compute in onnxruntime; they have no weights of their own."""

    def __init__(self, graphs: Graphs) -> None:
        super().__init__()
        self._graphs = graphs
        self.image_size: int = graphs.facts["image_size"]
        self.device = torch.device("cpu")
        self.dtype = torch.float32


class OnnxSamModel(SamAnswers, OnnxImageModel):
    """An `ImageModel` of the first SAM's kind."""

    def __init__(self, graphs: Graphs) -> None:
        super().__init__(graphs)
        graphs.require("image_encoder", "mask_decoder")
        facts = graphs.facts
        self.low_res_size: int = facts["low_res"]
        self.takes_masks = facts["takes_masks"]
        self.choice = facts["choice"]
        self.ranks = facts["ranks"]
        self.single_mask = facts["single_mask"]
        self._num_points: int | None = facts["num_points"]

    def encode(self, image_3ss: Tensor) -> Features:
        return self.encode_batch(image_3ss[None])

    def encode_batch(self, images_b3ss: Tensor) -> Features:
        (features,) = self._graphs.run("image_encoder", image=images_b3ss)
        return Features([], features)

    def candidates(
        self,
        features: Features,
        conditioned_bchw: Tensor,
        *,
        points_bp2: Tensor | None = None,
        labels_bp: Tensor | None = None,
        previous_logits_bhw: Tensor | None = None,
    ) -> Candidates:
        """Four candidates; see `vidseg.trackers.sam.image_model.SamImageModel.candidates`."""
        batch = len(conditioned_bchw)
        if points_bp2 is None or labels_bp is None:
            points_bp2, labels_bp = torch.zeros(batch, 0, 2), torch.zeros(batch, 0, dtype=torch.int32)
        missing = self.num_prompt_tokens(labels_bp) - labels_bp.shape[1]
        if missing < 0:
            raise PromptError(
                f"a prompt of {labels_bp.shape[1]} points (a box counts as two)",
                hint=f"this model takes {self._num_points} at most",
            )
        earlier = {}
        if self.takes_masks:
            side = self.low_res_size
            given = previous_logits_bhw
            earlier = {
                "earlier_logits": torch.zeros(batch, side, side) if given is None else given,
                "has_earlier": torch.full((batch,), given is not None),
            }
        logits, ious = self._graphs.run(
            "mask_decoder",
            features=conditioned_bchw,
            points=torch.cat((points_bp2, torch.full((batch, missing, 2), -1.0)), dim=1),
            labels=torch.cat((labels_bp, labels_bp.new_full((batch, missing), -1)), dim=1),
            **earlier,
        )
        # Output tokens, which only training reads, do not leave the graph.
        return Candidates(logits, ious, torch.zeros(batch, 0, 0), torch.full((batch,), VISIBLE))

    def num_prompt_tokens(self, labels_bp: Tensor) -> int:
        if self._num_points is not None:
            return self._num_points
        count = labels_bp.shape[1]
        # SAM pads prompts that have points and no box.
        return count + int(count > 0 and not have_boxes(labels_bp))


class OnnxPicoModel(PicoAnswers, OnnxImageModel):
    """PicoSAM2 as an `ImageModel`."""

    def segment_squares(self, squares_b3ss: Tensor) -> Tensor:
        (logits,) = self._graphs.run("network", squares=squares_b3ss)
        return logits
