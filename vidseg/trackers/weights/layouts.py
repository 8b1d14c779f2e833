"""Recognises checkpoints: a few names and shapes tell family and size.

Names and shapes are those of the official releases; only the built model knows the whole layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A set of names and shapes, shared by all trackers that read it."""

    title: str
    """Name for messages: 'SAM 2.1 tiny'."""
    family: str
    marks: Mapping[str, Shape | None]
    """Names that must be there, with their shapes (None: any shape)."""
    absent: tuple[str, ...] = ()
    """Names that must not be there."""
    trackers: tuple[str, ...] = ()
    num_params: int | None = None
    """Number of learned parameters, without buffers."""


_PATCHES = "image_encoder.trunk.patch_embed.proj.weight"


def _hiera(
    family: str, size: str, width: int, blocks: int, num_params: int, trackers: tuple[str, ...]
) -> Layout:
    is_21 = family == "SAM 2.1"
    # SAM 2.1 added a code for absent objects and a projection of pointer times (sam2/modeling/sam2_base.py).
    only_in_21 = ("no_obj_embed_spatial", "obj_ptr_tpos_proj.weight")
    marks: dict[str, Shape | None] = {
        _PATCHES: (width, 3, 7, 7),
        f"image_encoder.trunk.blocks.{blocks - 1}.norm1.weight": None,
        "memory_attention.layers.3.norm1.weight": None,
    }
    past_the_end = f"image_encoder.trunk.blocks.{blocks}.norm1.weight"
    return Layout(
        title=f"{family} {size}",
        family=family,
        marks=marks | dict.fromkeys(only_in_21) if is_21 else marks,
        absent=(past_the_end,) if is_21 else (past_the_end, *only_in_21),
        trackers=trackers,
        num_params=num_params,
    )


def _plain_vit(size: str, short: str, width: int, num_params: int) -> Layout:
    return Layout(
        title=f"EfficientTAM {size}",
        family="EfficientTAM",
        marks={_PATCHES: (width, 3, 16, 16), "memory_attention.layers.3.norm1.weight": None},
        # Pooling of the memory has no weights, so the variants share one layout.
        trackers=tuple(f"efficienttam-{short}{variant}" for variant in ("", "-1", "-2", "-512")),
        num_params=num_params,
    )


def _sam_vit(title: str, family: str, tracker: str, width: int, blocks: int, num_params: int) -> Layout:
    return Layout(
        title=title,
        family=family,
        marks={
            "image_encoder.patch_embed.proj.weight": (width, 3, 16, 16),
            f"image_encoder.blocks.{blocks - 1}.attn.rel_pos_h": None,
            "mask_decoder.iou_token.weight": None,
        },
        trackers=(tracker,),
        num_params=num_params,
    )


def _sam(short: str, width: int, blocks: int, num_params: int) -> Layout:
    title = f"SAM ViT-{short.upper()} (the first, for pictures)"
    return _sam_vit(title, "SAM", f"sam-vit-{short}", width, blocks, num_params)


def _slim_sam(percent: int, width: int, num_params: int) -> Layout:
    return _sam_vit(f"SlimSAM-{percent}", "SlimSAM", f"slim-sam-{percent}", width, 12, num_params)


def _efficientvit(size: str, stage: int, depth: int, num_params: int) -> Layout:
    """`stage` and `depth`: number of the last stage, and of the attention blocks in it."""
    stages, mark = "image_encoder.backbone.stages", "context_module.main.proj.conv.weight"
    further_block = f"{stages}.{stage}.op_list.{depth + 1}.{mark}"
    further_stage = f"{stages}.{stage + 1}.op_list.0.main.point_conv.conv.weight"
    return Layout(
        title=f"EfficientViT-SAM {size}",
        family="EfficientViT-SAM",
        marks={f"{stages}.{stage}.op_list.{depth}.{mark}": None},
        absent=(further_block, further_stage),
        trackers=(f"efficientvit-sam-{size.lower()}",),
        num_params=num_params,
    )


def _nano_sam(resnet: str, short: str, last_block: str, absent: str, num_params: int) -> Layout:
    return Layout(
        title=f"NanoSAM's encoder {resnet}",
        family="NanoSAM",
        marks={"up_1.6.weight": (256, 256, 3, 3), f"backbone.{last_block}.weight": None},
        absent=(f"backbone.{absent}.weight",),
        trackers=(f"nano-sam{short}",),
        # With MobileSAM's heads, which no file of the encoder has.
        num_params=num_params + 4_064_560,
    )


def _efficient_sam(size: str, short: str, width: int, num_params: int) -> Layout:
    return Layout(
        title=f"EfficientSAM {size}",
        family="EfficientSAM",
        marks={
            "image_encoder.patch_embed.proj.weight": (width, 3, 16, 16),
            "prompt_encoder.bbox_top_left_embeddings.weight": None,
        },
        trackers=(f"efficient-sam-{short}",),
        num_params=num_params,
    )


_SURGICAL = ("surgical-sam2", "surgical-sam2-512")

IMAGE_HALF = Layout(
    title="SAM 2 for pictures, without its memory (vidseg.load_image takes it)",
    family="SAM 2",
    marks={_PATCHES: None, "sam_mask_decoder.obj_score_token.weight": None},
    absent=("memory_attention.layers.0.norm1.weight",),
)

LAYOUTS: tuple[Layout, ...] = (
    _hiera("SAM 2", "tiny", 96, 12, 38_945_986, ("sam2-hiera-tiny",)),
    # Surgical SAM 2 prunes frames, which has no weights: its checkpoint cannot be told from SAM 2 small's.
    _hiera("SAM 2", "small", 96, 16, 46_043_842, ("sam2-hiera-small", *_SURGICAL)),
    _hiera("SAM 2", "base-plus", 112, 24, 80_833_666, ("sam2-hiera-base-plus",)),
    _hiera("SAM 2", "large", 144, 48, 224_430_130, ("sam2-hiera-large",)),
    _hiera("SAM 2.1", "tiny", 96, 12, 38_962_498, ("sam2.1-hiera-tiny",)),
    _hiera("SAM 2.1", "small", 96, 16, 46_060_354, ("sam2.1-hiera-small",)),
    _hiera("SAM 2.1", "base-plus", 112, 24, 80_850_178, ("sam2.1-hiera-base-plus",)),
    _hiera("SAM 2.1", "large", 144, 48, 224_446_642, ("sam2.1-hiera-large",)),
    Layout(
        title="EdgeTAM",
        family="EdgeTAM",
        marks={"image_encoder.trunk.body.stem.conv1.c.weight": None, "spatial_perceiver.latents": (256, 64)},
        trackers=("edgetam",),
        num_params=13_895_794,
    ),
    _plain_vit("small", "s", 384, 34_055_842),
    _plain_vit("tiny", "ti", 192, 17_866_018),
    Layout(
        title="vidseg nano",
        family="vidseg",
        marks={"reading.log_sharpness": (), "to_key.weight": (64, 96, 1, 1)},
        trackers=("vidseg-nano",),
        num_params=4_853_157,
    ),
    _sam("b", 768, 12, 93_735_472),
    _sam("l", 1024, 24, 312_342_832),
    _sam("h", 1280, 32, 641_090_608),
    _slim_sam(50, 384, 27_961_776),
    _slim_sam(77, 168, 9_723_528),
    Layout(
        title="RepViT-SAM",
        family="RepViT-SAM",
        marks={"image_encoder.features.54.token_mixer.0.conv1.weight": (640, 1, 1, 1)},
        trackers=("repvit-sam",),
        num_params=27_223_480,
    ),
    Layout(
        title="EdgeSAM",
        family="EdgeSAM",
        marks={"image_encoder.fuse_stage2.weight": (256, 192, 1, 1)},
        trackers=("edge-sam",),
        num_params=9_582_112,
    ),
    _efficientvit("L0", 4, 4, 34_792_784),
    _efficientvit("L1", 4, 6, 47_650_128),
    _efficientvit("L2", 4, 8, 61_328_592),
    _efficientvit("XL0", 5, 3, 116_957_904),
    _efficientvit("XL1", 5, 6, 203_346_128),
    _nano_sam("ResNet-18", "", "layer3.1.conv2", "layer3.2.conv2", 15_831_104),
    _nano_sam("ResNet-34", "-34", "layer3.5.conv2", "layer3.0.conv3", 25_939_264),
    _nano_sam("ResNet-50", "-50", "layer3.5.conv3", "layer3.6.conv3", 31_701_568),
    Layout(
        title="PicoSAM2",
        family="PicoSAM2",
        marks={"encoder_stage1.0.weight": (3, 1, 3, 3), "output_head.weight": (1, 40, 1, 1)},
        trackers=("pico-sam2",),
        num_params=1_262_818,
    ),
    Layout(
        # The two differ in how they were trained, and in their rules, and not in their weights' names.
        title="MobileSAM or TinySAM",
        family="MobileSAM",
        marks={
            "image_encoder.patch_embed.seq.0.c.weight": (32, 3, 3, 3),
            "image_encoder.layers.3.blocks.1.attn.attention_biases": (10, 49),
            "mask_decoder.iou_token.weight": None,
        },
        trackers=("mobile-sam", "tiny-sam"),
        num_params=10_130_092,
    ),
    _efficient_sam("tiny", "ti", 192, 10_223_204),
    _efficient_sam("small", "s", 384, 26_413_028),
    IMAGE_HALF,
)


def recognise(shapes: Mapping[str, Shape]) -> Layout | None:
    """The layout of a state dict, by its names and shapes; None if it is unknown."""
    for layout in LAYOUTS:
        has_marks = all(
            name in shapes and (shape is None or tuple(shapes[name]) == shape)
            for name, shape in layout.marks.items()
        )
        if has_marks and not any(name in shapes for name in layout.absent):
            return layout
    return None


def layout_of(tracker: str) -> Layout | None:
    """The layout that a tracker reads."""
    return next((layout for layout in LAYOUTS if tracker in layout.trackers), None)
