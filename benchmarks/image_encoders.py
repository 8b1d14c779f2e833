"""Image encoders beside the official modules: same weights, same picture, in turns in one run.

    python benchmarks/image_encoders.py mobile-sam sam-vit-b [--official efficient-sam-ti=CHECKOUT]
        [--dtypes float32 bfloat16] [--repeats 5] [--threads 1]

Our encoder is in the form that it answers with (fused), the official one in evaluation mode. Weights are
random and shared. Times are medians of CPU seconds, all threads together, as other programs disturb them less
than the clock. The last column says how far the two outputs are apart, as a share of their deviation.

The packages segment-anything, mobilesam-mirror, efficientsam (which is EfficientViT-SAM) and timm take part
where they are installed; other official code does from a CHECKOUT of the authors' repository.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from this_machine import described
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.official_image import declare_torchvision_operators
from vidseg.errors import ConfigError
from vidseg.trackers.image.build import build_image_model
from vidseg.trackers.image_settings import ImageSettings
from vidseg.trackers.load_weights import HEADS
from vidseg.trackers.model import module_of
from vidseg.trackers.registry import read_config
from vidseg.trackers.weights.renames import renames_of

PREFIX = "image_encoder."
Encoder = Callable[[Tensor], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="names of image models")
    parser.add_argument("--official", nargs="*", default=[], metavar="MODEL=CHECKOUT")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    declare_torchvision_operators()
    checkouts = dict(pair.split("=", 1) for pair in options.official)

    print(f"{described(options.threads)}, CPU seconds a picture\n")
    print("| model | parameters | side | type | official | vidseg | ratio | differ by |")
    print("|---|---|---|---|---|---|---|---|")
    for name in options.models:
        subject = Subject.of(name, checkouts.get(name))
        for dtype in options.dtypes:
            print(subject.row(getattr(torch, dtype), options.repeats), flush=True)


@dataclass
class Subject:
    """One model's encoder, ours and the official one."""

    name: str
    ours: nn.Module
    official: nn.Module | None
    image_size: int
    num_params: int

    @classmethod
    def of(cls, name: str, checkout: str | None) -> Subject:
        config = read_config(name)[1]
        if config.pop("kind", None) != "image":
            raise ConfigError(f"'{name}' is no image model")
        settings = ImageSettings.model_validate(config)
        torch.manual_seed(0)
        model, _ = build_image_model(settings, name)
        module = module_of(model)
        public = renames_of(settings.family).to_public(module.state_dict())
        official = official_encoder(name, checkout)
        if official is not None:
            # NanoSAM's checkpoints name the encoder's weights without a prefix.
            state = {key.removeprefix(PREFIX): v for key, v in public.items() if not key.startswith(HEADS)}
            official.load_state_dict(state)
            official.eval()
        encoder = module.get_submodule("image_encoder")
        num_params = sum(p.numel() for p in encoder.parameters())
        model.fuse()
        return cls(name, module.get_submodule("image_encoder"), official, settings.image_size, num_params)

    @torch.inference_mode()
    def row(self, dtype: torch.dtype, repeats: int) -> str:
        """A row of the table; the first turn, which warms up, does not count."""
        image = torch.randn(
            1, 3, self.image_size, self.image_size, generator=torch.Generator().manual_seed(0)
        )
        official = None if self.official is None else self.official.to(dtype)
        if official is not None and not runs(official, image.to(dtype)):
            official = None
        subjects = [m for m in (official, self.ours.to(dtype)) if m is not None]
        seconds: list[list[float]] = [[] for _ in subjects]
        outputs: list[Tensor] = []
        for _ in range(repeats + 1):
            outputs = []
            for subject, spent in zip(subjects, seconds, strict=True):
                began = time.process_time()
                outputs.append(only(subject(image.to(dtype))).float())
                spent.append(time.process_time() - began)
        *theirs, ours = (statistics.median(spent[1:]) for spent in seconds)
        cells = [self.name, f"{self.num_params:,}", f"{self.image_size}", str(dtype).removeprefix("torch.")]
        if theirs:
            apart = float((outputs[0] - outputs[1]).abs().max() / outputs[0].std())
            cells += [f"{theirs[0]:.3f}", f"{ours:.3f}", f"{theirs[0] / ours:.2f}", f"{apart:.1e}"]
        else:
            cells += ["", f"{ours:.3f}", "", ""]
        return f"| {' | '.join(cells)} |"


def runs(encoder: nn.Module, image: Tensor) -> bool:
    """Whether an encoder works in this type; EfficientViT-SAM's official one mixes float32 into bfloat16."""
    try:
        encoder(image)
    except RuntimeError:
        return False
    return True


def only(output: Any) -> Tensor:
    """The embedding; some encoders give it alone, some in a list."""
    return output if isinstance(output, Tensor) else output[-1]


def official_encoder(name: str, checkout: str | None) -> nn.Module | None:
    """The official encoder of a model; None where its code is not at hand."""
    if checkout is not None:
        sys.path.insert(0, str(Path(checkout).resolve()))
    for prefix, (needs, build) in OFFICIAL.items():
        if name.startswith(prefix):
            try:
                return build(name)
            except ImportError as error:
                print(f"{name}: no official code ({error}); {needs}", file=sys.stderr)
    return None


def _sam(name: str) -> nn.Module:
    from segment_anything import sam_model_registry

    return sam_model_registry[name.removeprefix("sam-").replace("-", "_")]().image_encoder


def _mobile_sam(name: str) -> nn.Module:
    from mobile_sam import sam_model_registry

    return sam_model_registry["vit_t"]().image_encoder


def _efficientvit_sam(name: str) -> nn.Module:
    from efficientsam.sam_model_zoo import create_efficientvit_sam_model

    return create_efficientvit_sam_model(name, pretrained=False).image_encoder


def _efficient_sam(name: str) -> nn.Module:
    from efficient_sam.efficient_sam import build_efficient_sam

    width, heads = {"efficient-sam-ti": (192, 3), "efficient-sam-s": (384, 6)}[name]
    return build_efficient_sam(width, heads).image_encoder


def _repvit_sam(name: str) -> nn.Module:
    from repvit_sam import sam_model_registry

    return sam_model_registry["repvit"]().image_encoder


def _edge_sam(name: str) -> nn.Module:
    from edge_sam.modeling.rep_vit import RepViT

    return RepViT("m1", fuse=True)


def _nano_sam(name: str) -> nn.Module:
    from nanosam.models.timm_image_encoder import TimmImageEncoder

    return TimmImageEncoder("resnet" + {"nano-sam": "18"}.get(name, name.removeprefix("nano-sam-")))


OFFICIAL: dict[str, tuple[str, Callable[[str], nn.Module]]] = {
    "sam-vit-": ("pip install segment-anything", _sam),
    "mobile-sam": ("pip install mobilesam-mirror", _mobile_sam),
    "tiny-sam": ("pip install mobilesam-mirror", _mobile_sam),
    "efficientvit-sam-": ("pip install efficientsam", _efficientvit_sam),
    "repvit-sam": ("--official repvit-sam=CHECKOUT/sam of THU-MIG/RepViT", _repvit_sam),
    "edge-sam": ("--official edge-sam=CHECKOUT of chongzhou96/EdgeSAM, which needs mmdet", _edge_sam),
    "nano-sam": ("--official nano-sam=CHECKOUT of NVIDIA-AI-IOT/nanosam", _nano_sam),
    "efficient-sam-": ("--official MODEL=CHECKOUT of yformer/EfficientSAM", _efficient_sam),
}
"""Beginning of a model's name -> what is needed for its official code, and what builds its image encoder."""


if __name__ == "__main__":
    main()
