"""Builds and feeds the official SAM 2 video predictor without its file loaders. Needs the extra `sam2`.

The package `sam2` on PyPI is an upload of https://github.com/facebookresearch/sam2.
"""

from __future__ import annotations

import contextlib
import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vidseg.errors import InputError, MissingExtraError
from vidseg.trackers.contract import Frame, Prompt
from vidseg.trackers.image_encoder import IMAGE_MEAN, IMAGE_STD
from vidseg.trackers.weights import check_state, shapes_of

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
        config: name of an official configuration, e.g. 'sam2.1_hiera_t'.
        state: weights under the official names; None leaves the official initialisation, seeded with 0.
        image_size: side of the square model input, a multiple of 32; None for 1024.
        compile: whether to build the official compiled variant (`vos_optimized`).
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

    # The official builder uses Hydra's process-wide state, which a caller may use as well; this does not.
    folder = "sam2.1" if config.startswith("sam2.1") else "sam2"
    text = files("sam2").joinpath("configs", folder, f"{config}.yaml").read_text(encoding="utf-8")
    model: Any = OmegaConf.to_container(OmegaConf.create(text), resolve=True)["model"]  # type: ignore[call-overload, index]
    variant = "SAM2VideoPredictorVOS" if compile else "SAM2VideoPredictor"
    model["_target_"] = f"sam2.sam2_video_predictor.{variant}"
    # Settings that `build_sam2_video_predictor(apply_postprocessing=True)` adds.
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
    # The compiled variant prints to stdout, which is reserved for the output of commands.
    with torch.random.fork_rng(devices=[]), contextlib.redirect_stdout(sys.stderr):
        torch.manual_seed(0)
        predictor = instantiate(model, _recursive_=True)
    if state is not None:
        check_state(shapes_of(predictor.state_dict()), state, tracker="sam2-reference")
        predictor.load_state_dict(state)
    return predictor.to(device).eval()


def start_state(
    predictor: SAM2VideoPredictor, images: Any, size_hw: tuple[int, int], num_frames: int
) -> dict[str, Any]:
    """The state that the official `init_state` returns, made without its video loader.

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
    """Pass one prompt to the official predictor.

    Returns:
        mask logits of its answer, (N, 1, H, W).
    """
    if prompt.mask is not None:
        _, _, masks = predictor.add_new_mask(state, frame_idx, obj_id, torch.from_numpy(prompt.mask))
    else:
        points = prompt.points_xy if len(prompt.points_xy) else None
        labels = prompt.labels if len(prompt.points_xy) else None
        _, _, masks = predictor.add_new_points_or_box(
            state, frame_idx, obj_id, points=points, labels=labels, box=prompt.box
        )
    return masks


def model_input(frame: Frame, image_size: int) -> Tensor:
    """The frame as the official loaders of videos and of JPEG folders prepare it: float32 (3, S, S).

    Raises:
        InputError: the frame carries a model input of another size.
    """
    if frame.image is None:
        given = torch.as_tensor(frame.model_input)
        if given.shape != (3, image_size, image_size):
            raise InputError(
                f"frame {frame.index}: the model input is {tuple(given.shape)}, "
                f"not {(3, image_size, image_size)}"
            )
        return given.float()
    if frame.decoded is not None:
        resized = frame.decoded.resized(image_size)
    else:
        resized = np.asarray(Image.fromarray(frame.image).resize((image_size, image_size)))
    # Like the official loader: divide in float64, round to float32, then normalise.
    pixels = torch.from_numpy(resized / 255.0).permute(2, 0, 1).float()
    return (pixels - torch.tensor(IMAGE_MEAN)[:, None, None]) / torch.tensor(IMAGE_STD)[:, None, None]


@contextlib.contextmanager
def predicted_ious(predictor: SAM2VideoPredictor) -> Iterator[list[float]]:
    """Collects the predicted IoU of each mask that the decoder chooses; the official state drops them."""
    found: list[float] = []

    def keep(_module: Any, _inputs: Any, outputs: Any) -> None:
        # Outputs are (masks, predicted IoUs, tokens, object score); the best candidate is chosen.
        found.append(float(outputs[1][0].max()))

    handle = predictor.sam_mask_decoder.register_forward_hook(keep)
    try:
        yield found
    finally:
        handle.remove()
