"""EfficientViT-SAM's checkpoints (mit-han-lab/efficientvit), which name lists and residual connections."""

from __future__ import annotations

from vidseg.trackers.weights.renames.sam import SAM_DECODER
from vidseg.trackers.weights.renames.table import Renames, within

_STAGES = within(
    "image_encoder.backbone.stages",
    "image_encoder.trunk.stages",
    [
        ("*.op_list.*.context_module.main.qkv.conv", "*.*.context_module.qkv"),
        ("*.op_list.*.context_module.main.aggreg.0", "*.*.context_module.aggreg"),
        ("*.op_list.*.context_module.main.proj", "*.*.context_module.proj"),
        ("*.op_list.*.local_module.main", "*.*.local_module"),
        # The stem alone has no residual connection.
        ("0.op_list.0", "0.0"),
        ("*.op_list.*.main", "*.*"),
    ],
)
_FUSION = within(
    "image_encoder",
    "image_encoder.trunk.fusion",
    [
        ("neck.input_ops.*.op_list.0", "inputs.*"),
        ("neck.middle.op_list.*.main", "middle.*"),
        ("neck.output_ops.0.op_list.0", "output"),
        ("norm", "norm"),
    ],
)
EFFICIENTVIT_SAM = Renames([*SAM_DECODER, *_STAGES, *_FUSION])
