"""The installed official package `segment-anything`, with a small model, for comparisons.

It needs torchvision's Python parts alone; see `support.official_image`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from support.official_image import declare_torchvision_operators
from support.seeded import seeded_weights
from vidseg.trackers.image.build import public_shapes
from vidseg.trackers.image_settings import ImageSettings

# Tests that import this module are skipped where the package is absent.
declare_torchvision_operators()
pytest.importorskip("segment_anything")

SIZE = 224
"""Side of the input: a grid of 14 patches, which windows of 5 do not divide."""
BACKBONE = {
    "name": "sam-vit",
    "channels": 48,
    "heads": 3,
    "depth": 4,
    "global_blocks": [1, 3],
    "mlp": 192,
    "window": 5,
    "grid": SIZE // 16,
}


def small_sam(folder: Path, seed: int) -> tuple[Path, dict[str, Tensor]]:
    """The YAML of a small SAM, and weights for it under the official names."""
    config = {"family": "sam", "image_size": SIZE, "backbone": BACKBONE}
    path = folder / "small-sam.yaml"
    path.write_text(yaml.safe_dump({"kind": "image", **config}), encoding="utf-8")
    return path, seeded_weights(public_shapes(ImageSettings.model_validate(config), "test"), seed)


def official_sam(state: Mapping[str, Tensor]) -> Any:
    """The official model that `small_sam` describes."""
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    grid = SIZE // 16
    model = Sam(
        image_encoder=ImageEncoderViT(
            img_size=SIZE,
            patch_size=16,
            embed_dim=BACKBONE["channels"],
            depth=BACKBONE["depth"],
            num_heads=BACKBONE["heads"],
            mlp_ratio=4,
            out_chans=256,
            qkv_bias=True,
            norm_layer=lambda width: torch.nn.LayerNorm(width, eps=1e-6),
            use_rel_pos=True,
            window_size=BACKBONE["window"],
            global_attn_indexes=BACKBONE["global_blocks"],
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=256,
            image_embedding_size=(grid, grid),
            input_image_size=(SIZE, SIZE),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
            transformer_dim=256,
        ),
    )
    model.load_state_dict(dict(state))
    return model.eval()


def official_sam_predictor(state: Mapping[str, Tensor]) -> Any:
    from segment_anything import SamPredictor

    return SamPredictor(official_sam(state))
