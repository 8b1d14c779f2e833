"""SAM 2's family over exported graphs; see `vidseg.export.sam2` for what they take and give.

Layouts: B objects · C channels · H W the feature grid · h w the low-res grid · S side of the model's input.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vidseg.errors import ConfigError
from vidseg.memory.bank import Recall, stack_tokens
from vidseg.trackers.model import Candidates, Decoded, Features
from vidseg.trackers.onnx.exported import ExportedMemoryModel
from vidseg.trackers.onnx.graphs import OF_ONE_FRAME, Graphs
from vidseg.trackers.sam2.answers import Sam2Answers


def scales_keys_error() -> ConfigError:
    """What is wrong with a policy whose recalls have `key_scales`."""
    return ConfigError(
        "the bank's policy scales keys of memory attention, which exported graphs do not",
        hint="choose another bank policy, or the tracker that was exported",
    )


class OnnxSam2Model(ExportedMemoryModel, Sam2Answers, nn.Module):
    """A `MemoryModel` that computes in onnxruntime; it has no weights of its own."""

    takes_decoded = True
    takes_masks = True
    clicks_correct = False

    def __init__(self, graphs: Graphs) -> None:
        super().__init__()
        graphs.require("image_encoder", "memory_attention", "mask_decoder", "mask_prompt", "memory_encoder")
        facts = graphs.facts
        self._graphs = graphs
        self.image_size: int = facts["image_size"]
        self.low_res_size: int = facts["low_res"]
        self.feedback_limit: float = facts["feedback_limit"]
        self.pointer_channels: int = facts["channels"]
        self.absent_pointer_c = torch.tensor(facts["absent_pointer"])
        self._no_memory_1c11 = torch.tensor(facts["no_memory"])[None, :, None, None]
        self._finer: list[str] = facts["finer_features"]
        self.memory_slots: int = facts["memory_slots"]
        self.device = torch.device("cpu")
        self.dtype = torch.float32

    def encode(self, image_3ss: Tensor) -> Features:
        return self.encode_batch(image_3ss[None])

    def encode_batch(self, images_b3ss: Tensor) -> Features:
        top, *finer = self._graphs.run("image_encoder", image=images_b3ss)
        return Features(finer[::-1], top)

    def without_memory(self, features: Features) -> Tensor:
        return features.top_1chw + self._no_memory_1c11

    def attend(self, features: Features, recalls: Sequence[Recall], pointer_limit: int) -> Tensor:
        """Features conditioned on the memory of each object: B x C x H x W.

        Raises:
            ConfigError: the policy scales keys, which the graph does not.
        """
        if any(recall.key_scales is not None for recall in recalls):
            raise scales_keys_error()
        frames = len(recalls[0].spatial)
        back = torch.tensor([[t for t, _ in recall.pointers] for recall in recalls], dtype=torch.float32)
        slots = torch.tensor([[slot % self.memory_slots for slot, _ in recall.spatial] for recall in recalls])
        has_own_graph = frames == 1 and OF_ONE_FRAME in self._graphs.facts["parts"]
        (conditioned,) = self._graphs.run(
            OF_ONE_FRAME if has_own_graph else "memory_attention",
            features=features.top_1chw,
            memories=stack_tokens(recalls).float().unflatten(1, (frames, -1)),
            slots=slots,
            pointers=torch.stack([torch.stack([f.pointer_c for _, f in r.pointers]) for r in recalls]),
            times=back / (pointer_limit - 1),
        )
        return conditioned

    def candidates(
        self,
        features: Features,
        conditioned_bchw: Tensor,
        *,
        points_bp2: Tensor | None = None,
        labels_bp: Tensor | None = None,
        previous_logits_bhw: Tensor | None = None,
    ) -> Candidates:
        batch = conditioned_bchw.shape[0]
        if points_bp2 is None or labels_bp is None:
            points_bp2, labels_bp = torch.zeros(batch, 1, 2), -torch.ones(batch, 1, dtype=torch.int32)
        side = self.low_res_size
        earlier = torch.zeros(batch, side, side) if previous_logits_bhw is None else previous_logits_bhw
        logits, ious, pointers, scores = self._graphs.run(
            "mask_decoder",
            conditioned=conditioned_bchw,
            points=points_bp2,
            labels=labels_bp,
            earlier_logits=earlier,
            has_earlier=torch.full((batch,), previous_logits_bhw is not None),
            **self._finer_of(features),
        )
        return Candidates(logits, ious, pointers, scores, first_offer=1)

    def _pointers(self, tokens_bc: Tensor, is_present_b: Tensor) -> Tensor:
        # The decoder's graph gives pointers in place of tokens.
        return torch.where(is_present_b[:, None], tokens_bc, self.absent_pointer_c)

    def take_mask(self, features: Features, masks_bss: Tensor) -> Decoded:
        logits, pointers, scores = self._graphs.run(
            "mask_prompt", features=features.top_1chw, masks=masks_bss.float(), **self._finer_of(features)
        )
        return Decoded(logits, pointers, scores, torch.ones_like(scores))

    def remember(self, features: Features, decoded: Decoded, *, from_prompt: bool) -> Tensor:
        scores = decoded.object_score_logits_b
        (memories,) = self._graphs.run(
            "memory_encoder",
            features=features.top_1chw,
            logits=decoded.low_res_logits_bhw,
            object_scores=scores,
            from_prompt=torch.full(scores.shape, from_prompt),
        )
        return memories.to(torch.bfloat16)

    def masks_read(self, conditioned_bchw: Tensor) -> Tensor | None:
        return None

    def _finer_of(self, features: Features) -> dict[str, Tensor]:
        return dict(zip(self._finer, reversed(features.high_res), strict=True))
