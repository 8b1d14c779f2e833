"""The interfaces of the official packages `sam2` and `segment_anything` over vidseg.

A script changes its imports:

    from vidseg.compat import SAM2ImagePredictor, build_sam2, build_sam2_video_predictor

    predictor = build_sam2_video_predictor("configs/sam2.1/sam2.1_hiera_t.yaml", "sam2.1_hiera_tiny.pt")
    state = predictor.init_state("video.mp4")
    predictor.add_new_points_or_box(state, frame_idx=0, obj_id=1, box=[x0, y0, x1, y1])
    for frame_idx, obj_ids, video_res_masks in predictor.propagate_in_video(state): ...

    from vidseg.compat import SamPredictor, sam_model_registry

    predictor = SamPredictor(sam_model_registry["vit_b"](checkpoint="sam_vit_b_01ec64.pth"))

Names, arguments, returns and the order of things are those of release 1.1 of
https://github.com/facebookresearch/sam2 and release 1.0 of
https://github.com/facebookresearch/segment-anything; docs/compat.md lists what differs. As there, all outputs
of a video are kept, so memory grows with it; that of `tracker.start()` does not.
"""

from __future__ import annotations

from vidseg.compat.build import (
    build_sam2,
    build_sam2_hf,
    build_sam2_video_predictor,
    build_sam2_video_predictor_hf,
)
from vidseg.compat.calls import CallError
from vidseg.compat.image_predictor import SAM2ImagePredictor
from vidseg.compat.longest_side import ResizeLongestSide
from vidseg.compat.model import SAM2Base
from vidseg.compat.sam_model import Sam, sam_model_registry
from vidseg.compat.sam_predictor import SamPredictor
from vidseg.compat.state import InferenceState
from vidseg.compat.video_predictor import SAM2VideoPredictor

__all__ = [
    "CallError",
    "InferenceState",
    "ResizeLongestSide",
    "SAM2Base",
    "SAM2ImagePredictor",
    "SAM2VideoPredictor",
    "Sam",
    "SamPredictor",
    "build_sam2",
    "build_sam2_hf",
    "build_sam2_video_predictor",
    "build_sam2_video_predictor_hf",
    "sam_model_registry",
]
