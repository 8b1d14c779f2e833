"""The installed official SAM 2 predictor, run the official way on frames that are in memory already.

predictor = official_predictor("sam2.1_hiera_t", state, image_size=256)
steps = [PromptCall(0, 1, {"box": [...]}), Propagation(None, False)]
outputs = run_official(predictor, inputs, (216, 384), steps)
outputs.passes[0][3].low_res_logits      # (N, h, w) of frame 3
outputs.prompts[0].video_res_logits      # (N, H, W) that the first prompt call answered with
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from support.goldens import PromptCall, Propagation
from vidseg.trackers.contract import Prompt
from vidseg.trackers.sam2_official import add_prompt, build_predictor, start_state

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class OfficialFrame:
    """What the official predictor holds of one tracked frame; N objects in order of first prompt."""

    frame_idx: int
    obj_ids: list[int]
    video_res_logits: FloatArray
    """(N, H, W)."""
    low_res_logits: FloatArray
    """(N, h, w)."""
    object_score_logits: FloatArray
    """(N,)."""
    object_pointers: FloatArray
    """(N, C)."""
    is_conditioning: list[bool]
    memories: list[Tensor]
    """N spatial memories, float32 (64, S/16, S/16), after the rounding to bfloat16."""


@dataclass(frozen=True, eq=False)
class OfficialPrompt:
    """What a prompt call answered with, for all objects so far (-1024: no output on this frame)."""

    frame_idx: int
    obj_ids: list[int]
    video_res_logits: FloatArray
    """(N, H, W)."""


@dataclass(frozen=True, eq=False)
class OfficialOutputs:
    prompts: list[OfficialPrompt] = field(default_factory=list)
    passes: list[dict[int, OfficialFrame]] = field(default_factory=list)
    """One mapping per propagation, in the order in which frames were visited."""


def official_predictor(
    config: str,
    state: Mapping[str, Tensor] | None = None,
    image_size: int | None = None,
    **model_options: Any,
) -> Any:
    """The official `SAM2VideoPredictor` on the CPU; `model_options` are arguments of its class.

    `sam_mask_decoder_extra_args` and the other arguments of the official builder are set as it sets them.
    """
    return build_predictor(config, state, image_size=image_size, **model_options)


def official_state(predictor: Any, inputs: Tensor, size_hw: tuple[int, int]) -> dict[str, Any]:
    """The `inference_state` of a clip in memory: float32 (T, 3, S, S), normalised."""
    return start_state(predictor, inputs.to(predictor.device), size_hw, num_frames=len(inputs))


def run_official(
    predictor: Any, inputs: Tensor, size_hw: tuple[int, int], steps: Sequence[PromptCall | Propagation]
) -> OfficialOutputs:
    """Play a scenario: prompt calls and propagations, through the official methods alone."""
    state = official_state(predictor, inputs, size_hw)
    outputs = OfficialOutputs()
    for step in steps:
        if isinstance(step, PromptCall):
            masks = add_prompt(predictor, state, step.frame_idx, step.obj_id, Prompt.of(**step.prompt))
            outputs.prompts.append(
                OfficialPrompt(step.frame_idx, list(state["obj_ids"]), _array(masks[:, 0]))
            )
        else:
            visited = predictor.propagate_in_video(state, start_frame_idx=step.start, reverse=step.reverse)
            # Each frame is read as soon as it is yielded: the official state may change it later.
            outputs.passes.append({idx: _frame(state, idx, masks) for idx, _, masks in visited})
    return outputs


def _frame(state: dict[str, Any], frame_idx: int, video_res_masks: Tensor) -> OfficialFrame:
    stored = []
    is_conditioning = []
    for obj_idx in range(len(state["obj_ids"])):
        outputs = state["output_dict_per_obj"][obj_idx]
        is_conditioning.append(frame_idx in outputs["cond_frame_outputs"])
        key = "cond_frame_outputs" if is_conditioning[-1] else "non_cond_frame_outputs"
        stored.append(outputs[key][frame_idx])
    return OfficialFrame(
        frame_idx=frame_idx,
        obj_ids=list(state["obj_ids"]),
        video_res_logits=_array(video_res_masks[:, 0]),
        low_res_logits=_array(torch.cat([output["pred_masks"] for output in stored])[:, 0]),
        object_score_logits=_array(torch.cat([output["object_score_logits"] for output in stored])[:, 0]),
        object_pointers=_array(torch.cat([output["obj_ptr"] for output in stored])),
        is_conditioning=is_conditioning,
        memories=[output["maskmem_features"][0].float().cpu() for output in stored],
    )


def _array(tensor: Tensor) -> FloatArray:
    return tensor.detach().float().cpu().numpy().copy()
