"""The official SAM 2 video predictor behind our tracker contract: the yardstick of parity tests and benchmarks.

Needs the extra `sam2` (the package `sam2` on PyPI, an upload of https://github.com/facebookresearch/sam2).
Every number is the official code's own; this module feeds it frame by frame and collects what it says.
As in the official package, memory grows with the video: all outputs are kept, and all frames unless
`keep_frames: false`.

Where we had to choose:

- A frame's image is resized as the official loader does it for a folder of JPEGs (Pillow's `resize`, bicubic).
- The official loop takes a whole clip and skips frame 0 in reverse; here each step does what one turn of that
  loop does, so frames may come from a stream, and frame 0 is tracked in reverse too.
- A float32 run of the official code fails where an object has a memory but no pointer (frames before its first
  prompt): nothing lifts the bfloat16 memory to float32. Memories of conditioning frames are therefore kept as
  float32 after the rounding to bfloat16; the values are the same.
- Hole filling needs the official CUDA extension. Without it the official code leaves masks as they are, with a
  warning on each call; we switch the option off instead.
"""

from __future__ import annotations

import contextlib
import sys
from collections import OrderedDict
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from vidseg.errors import MissingExtraError
from vidseg.trackers.contract import Prompt
from vidseg.validation import Strict

if TYPE_CHECKING:
    from sam2.sam2_video_predictor import SAM2VideoPredictor


OfficialConfig = Literal[
    "sam2_hiera_t",
    "sam2_hiera_s",
    "sam2_hiera_b+",
    "sam2_hiera_l",
    "sam2.1_hiera_t",
    "sam2.1_hiera_s",
    "sam2.1_hiera_b+",
    "sam2.1_hiera_l",
]

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
POINTER_HORIZON = 16
"""No frame further back than this is read by the memory attention, conditioning frames aside."""
LIVE_STREAM_LENGTH = 1 << 30
"""The official code needs a number of frames; any number from 16 on has the same effect."""


class Sam2ReferenceConfig(Strict):
    """What the YAML and the caller's extra options may say."""

    config: OfficialConfig
    image_size: int | None = None
    keep_frames: bool = True
    """False drops a frame once it has been stepped through, which the official code never does."""
    non_overlap_masks: bool = False
    add_all_frames_to_correct_as_cond: bool = False
    fill_hole_area: int = 8


def build_predictor(
    config: str,
    state: Mapping[str, Tensor] | None = None,
    *,
    image_size: int | None = None,
    device: str | torch.device = "cpu",
    compile: bool = False,
    **model_options: Any,
) -> SAM2VideoPredictor:
    """The official predictor in evaluation mode, with the official video settings.

    Args:
        config: an official configuration's name, e.g. 'sam2.1_hiera_t'.
        state: weights under the official names; None leaves the official initialisation, seeded with 0.
        image_size: side of the square model input, a multiple of 32; None for 1024.
        compile: the official compiled variant (`vos_optimized`).
        **model_options: arguments of the official class (`non_overlap_masks=True`, ...).

    Raises:
        MissingExtraError: the package `sam2` is not installed.
        CheckpointError: the weights do not fit.
    """
    if find_spec("sam2") is None:
        raise MissingExtraError("sam2", "sam2", needed_for="the tracker 'sam2-reference'")
    from importlib.resources import files

    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    # The official builder composes the same file through Hydra's process-wide state, which a caller may be using.
    folder = "sam2.1" if config.startswith("sam2.1") else "sam2"
    text = files("sam2").joinpath("configs", folder, f"{config}.yaml").read_text(encoding="utf-8")
    model: Any = OmegaConf.to_container(OmegaConf.create(text), resolve=True)["model"]  # type: ignore[call-overload, index]
    variant = "SAM2VideoPredictorVOS" if compile else "SAM2VideoPredictor"
    model["_target_"] = f"sam2.sam2_video_predictor.{variant}"
    # What `build_sam2_video_predictor(apply_postprocessing=True)` adds.
    model["sam_mask_decoder_extra_args"] = {
        "dynamic_multimask_via_stability": True,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
    }
    model["binarize_mask_from_pts_for_mem_enc"] = True
    model["fill_hole_area"] = 8
    model["compile_image_encoder"] = compile
    if image_size is not None:
        model["image_size"] = image_size
        grid = [image_size // 16, image_size // 16]
        model["memory_attention"]["layer"]["self_attention"]["feat_sizes"] = grid
        model["memory_attention"]["layer"]["cross_attention"]["feat_sizes"] = grid
    model.update(model_options)
    if find_spec("sam2._C") is None:
        model["fill_hole_area"] = 0
    # The compiled variant prints to stdout, which belongs to the commands' own output.
    with torch.random.fork_rng(devices=[]), contextlib.redirect_stdout(sys.stderr):
        torch.manual_seed(0)
        predictor = instantiate(model, _recursive_=True)
    if state is not None:
        from vidseg.trackers.weights import check_state

        check_state({name: tuple(value.shape) for name, value in predictor.state_dict().items()}, state)
        predictor.load_state_dict(state)
    return predictor.to(device).eval()


def start_state(
    predictor: SAM2VideoPredictor, images: Any, size_hw: tuple[int, int], num_frames: int
) -> dict[str, Any]:
    """What the official `init_state` returns, without its video loader.

    Args:
        images: anything that gives a normalised float32 (3, S, S) tensor for a frame number.
        size_hw: the video's height and width.
    """
    return {
        "images": images,
        "num_frames": num_frames,
        "video_height": size_hw[0],
        "video_width": size_hw[1],
        "device": predictor.device,
        "storage_device": predictor.device,
        "offload_video_to_cpu": False,
        "offload_state_to_cpu": False,
        "cached_features": {},
        "constants": {},
        "obj_id_to_idx": OrderedDict(),
        "obj_idx_to_id": OrderedDict(),
        "obj_ids": [],
        "point_inputs_per_obj": {},
        "mask_inputs_per_obj": {},
        "output_dict_per_obj": {},
        "temp_output_dict_per_obj": {},
        "frames_tracked_per_obj": {},
    }


def add_prompt(
    predictor: SAM2VideoPredictor, state: dict[str, Any], frame_idx: int, obj_id: int, prompt: Prompt
) -> Tensor:
    """Hand one prompt to the official predictor; returns the masks it answers with, (N, 1, H, W) logits."""
    if prompt.mask is not None:
        _, _, masks = predictor.add_new_mask(state, frame_idx, obj_id, torch.from_numpy(prompt.mask))
    else:
        points = prompt.points_xy if len(prompt.points_xy) else None
        labels = prompt.labels if len(prompt.points_xy) else None
        _, _, masks = predictor.add_new_points_or_box(
            state, frame_idx, obj_id, points=points, labels=labels, box=prompt.box
        )
    return masks
