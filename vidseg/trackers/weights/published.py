"""Where published weights come from, and under which licence.

Addresses are those that the authors give (README or download script of their repositories, at the commits
named below). The authors publish no SHA-256, so the digest of the first download is recorded and checked from
then on. EdgeTAM's file lies in its Git repository, where its object name is a digest, too.
"""

from __future__ import annotations

from dataclasses import dataclass

from vidseg.errors import CheckpointError, unknown


@dataclass(frozen=True, kw_only=True)
class Published:
    """One published file of weights."""

    official_config: str
    """Name of the configuration that it belongs to, as its authors call it."""
    file_name: str
    page: str
    """Page on which its authors describe it."""
    licence: str
    image_size: int
    """Side of the square input that it was trained for."""
    url: str | None = None
    """Address of the file; None if no program can download it."""
    by_hand: str | None = None
    """What a person has to do to get it, if no program can."""
    sha256: str | None = None
    """SHA-256 published by its authors."""
    sha256_start: str | None = None
    """The first digits of the SHA-256, where its authors publish no more (as in `sam_vit_b_01ec64.pth`)."""
    forbidden: str | None = None
    """What its licence forbids ('commercial use'), to be said before the file is downloaded or used."""
    git_blob: str | None = None
    """Its object name in the authors' Git repository: SHA-1 of 'blob <size>', a zero byte, and the content.
    """

    @property
    def checksum(self) -> str | None:
        """What its authors publish to check it by, and of which kind; None: nothing."""
        if self.sha256 is not None:
            return f"sha256:{self.sha256}"
        if self.sha256_start is not None:
            return f"sha256:{self.sha256_start}..."
        return None if self.git_blob is None else f"git:{self.git_blob}"

    @property
    def restriction(self) -> str | None:
        """A sentence about what the licence forbids."""
        if self.forbidden is None:
            return None
        return f"the licence of {self.file_name} forbids {self.forbidden}: {self.licence}, see {self.page}"


# facebookresearch/sam2 at 2b90b9f5ceec907a1c18123530e92e794ad901a4
_SAM2_PAGE = "https://github.com/facebookresearch/sam2"
_SAM2_FILES = "https://dl.fbaipublicfiles.com/segment_anything_2"


def _sam2(release: str, official_config: str, file_name: str) -> Published:
    return Published(
        official_config=official_config,
        file_name=file_name,
        url=f"{_SAM2_FILES}/{release}/{file_name}",
        page=_SAM2_PAGE,
        licence="Apache-2.0",
        image_size=1024,
    )


# yformer/EfficientTAM at abcd061ebd3cc6e7527d152d75b890126aaa53f6
def _efficienttam(official_config: str, image_size: int = 1024) -> Published:
    file_name = f"{official_config}.pt"
    return Published(
        official_config=official_config,
        file_name=file_name,
        url=f"https://huggingface.co/yunyangx/efficient-track-anything/resolve/main/{file_name}",
        page="https://github.com/yformer/EfficientTAM",
        licence="Apache-2.0",
        image_size=image_size,
    )


# facebookresearch/EdgeTAM at 9cc44bfe9e16cc374242917b91283c718410ea87
_EDGETAM = Published(
    official_config="edgetam",
    file_name="edgetam.pt",
    url="https://github.com/facebookresearch/EdgeTAM/raw/9cc44bfe9e16cc374242917b91283c718410ea87/checkpoints/edgetam.pt",
    page="https://github.com/facebookresearch/EdgeTAM",
    licence="Apache-2.0",
    image_size=1024,
    git_blob="abd54d22bbd22ba3e53cf59a307e59e0f3701be6",
)


# jinlab-imvr/Surgical-SAM-2 at 1b6ca9fd100ad6c87f6d31d55d194de90cd841e1
def _surgical(official_config: str, image_size: int) -> Published:
    return Published(
        official_config=official_config,
        file_name="sam2_hiera_s_endo18.pth",
        page="https://github.com/jinlab-imvr/Surgical-SAM-2",
        licence="not stated by its authors; ask them before you use it",
        image_size=image_size,
        by_hand="https://drive.google.com/file/d/102AsbwpntPfUV96ANO2AWe7L6feskYnM/view",
    )


# facebookresearch/segment-anything at dca509fe793f601edb92606367a655c15ac00fdf
def _sam(size: str, sha256_start: str) -> Published:
    file_name = f"sam_vit_{size}_{sha256_start}.pth"
    return Published(
        official_config=f"sam_vit_{size}",
        file_name=file_name,
        url=f"https://dl.fbaipublicfiles.com/segment_anything/{file_name}",
        page="https://github.com/facebookresearch/segment-anything",
        licence="Apache-2.0",
        image_size=1024,
        sha256_start=sha256_start,
    )


# czg1225/SlimSAM at 08ca583041afaa3f114c1372b07e97cc5ab440f8. Those pruned alike in all blocks ("uniform")
# are state dicts; the others are pickled modules, which vidseg does not read.
def _slim_sam(percent: int, file_id: str) -> Published:
    return Published(
        official_config=f"slimsam_vit_p{percent}",
        file_name=f"SlimSAM-{percent}-uniform.pth",
        page="https://github.com/czg1225/SlimSAM",
        licence="Apache-2.0",
        image_size=1024,
        by_hand=f"https://drive.google.com/file/d/{file_id}/view",
    )


# THU-MIG/RepViT at 298f420
_REPVIT_SAM = Published(
    official_config="repvit_sam",
    file_name="repvit_sam.pt",
    url="https://github.com/THU-MIG/RepViT/releases/download/v1.0/repvit_sam.pt",
    page="https://github.com/THU-MIG/RepViT/tree/main/sam",
    licence="Apache-2.0",
    image_size=1024,
)

# chongzhou96/EdgeSAM at b53372c
_EDGE_SAM = Published(
    official_config="edgesam_m1",
    file_name="edge_sam_3x.pth",
    url="https://huggingface.co/spaces/chongzhou/EdgeSAM/resolve/main/weights/edge_sam_3x.pth",
    page="https://github.com/chongzhou96/EdgeSAM",
    licence="NTU S-Lab License 1.0 (non-commercial)",
    forbidden="commercial use",
    image_size=1024,
)


# mit-han-lab/efficientvit at de7d773
def _efficientvit_sam(size: str, image_size: int) -> Published:
    file_name = f"efficientvit_sam_{size}.pt"
    return Published(
        official_config=f"efficientvit_sam_{size}",
        file_name=file_name,
        url=f"https://huggingface.co/mit-han-lab/efficientvit-sam/resolve/main/{file_name}",
        page="https://github.com/mit-han-lab/efficientvit",
        licence="Apache-2.0",
        image_size=image_size,
    )


# NVIDIA-AI-IOT/nanosam at 6536336. Its authors publish ONNX files alone.
_NANO_SAM = Published(
    official_config="nanosam_resnet18",
    file_name="nanosam_resnet18.pth",
    page="https://github.com/NVIDIA-AI-IOT/nanosam",
    licence="Apache-2.0",
    image_size=1024,
    by_hand="https://github.com/NVIDIA-AI-IOT/nanosam#training, whose training writes it as checkpoint.pth",
)

# pbonazzi/picosam2 at ec75a5d
_PICO_SAM2 = Published(
    official_config="picosam2",
    file_name="PicoSAM2_student_epoch1.pt",
    page="https://github.com/pbonazzi/picosam2",
    licence="Apache-2.0",
    image_size=96,
    by_hand="https://zenodo.org/records/15728470",
)


# ChaoningZhang/MobileSAM at 34bbbfdface3c18e5221aa7de6032d7220c6c6a1
_MOBILE_SAM = Published(
    official_config="mobile_sam",
    file_name="mobile_sam.pt",
    url="https://github.com/ChaoningZhang/MobileSAM/raw/34bbbfdface3c18e5221aa7de6032d7220c6c6a1/weights/mobile_sam.pt",
    page="https://github.com/ChaoningZhang/MobileSAM",
    licence="Apache-2.0",
    image_size=1024,
    git_blob="7ef2d090979fd9853adf17b7a99c8b94a1c5a6a7",
)

# xinghaochen/TinySAM at 11589bc1d98c16cff046c31d5ad4cd90a30f0897
_TINY_SAM = Published(
    official_config="tinysam",
    file_name="tinysam_42.3.pth",
    url="https://github.com/xinghaochen/TinySAM/releases/download/3.0/tinysam_42.3.pth",
    page="https://github.com/xinghaochen/TinySAM",
    licence="Apache-2.0",
    image_size=1024,
)


# yformer/EfficientSAM at d525f622e6f640acf5a0fc37c7ca1f243da5bde0
def _efficient_sam(official_config: str, file_name: str, git_blob: str) -> Published:
    return Published(
        official_config=official_config,
        file_name=file_name,
        url="https://github.com/yformer/EfficientSAM/raw/d525f622e6f640acf5a0fc37c7ca1f243da5bde0/weights/"
        + file_name,
        page="https://github.com/yformer/EfficientSAM",
        licence="Apache-2.0",
        image_size=1024,
        git_blob=git_blob,
    )


PUBLISHED: dict[str, Published] = {
    "sam2-hiera-tiny": _sam2("072824", "sam2_hiera_t", "sam2_hiera_tiny.pt"),
    "sam2-hiera-small": _sam2("072824", "sam2_hiera_s", "sam2_hiera_small.pt"),
    "sam2-hiera-base-plus": _sam2("072824", "sam2_hiera_b+", "sam2_hiera_base_plus.pt"),
    "sam2-hiera-large": _sam2("072824", "sam2_hiera_l", "sam2_hiera_large.pt"),
    "sam2.1-hiera-tiny": _sam2("092824", "sam2.1_hiera_t", "sam2.1_hiera_tiny.pt"),
    "sam2.1-hiera-small": _sam2("092824", "sam2.1_hiera_s", "sam2.1_hiera_small.pt"),
    "sam2.1-hiera-base-plus": _sam2("092824", "sam2.1_hiera_b+", "sam2.1_hiera_base_plus.pt"),
    "sam2.1-hiera-large": _sam2("092824", "sam2.1_hiera_l", "sam2.1_hiera_large.pt"),
    "edgetam": _EDGETAM,
    "efficienttam-s": _efficienttam("efficienttam_s"),
    "efficienttam-s-1": _efficienttam("efficienttam_s_1"),
    "efficienttam-s-2": _efficienttam("efficienttam_s_2"),
    "efficienttam-s-512": _efficienttam("efficienttam_s_512x512", 512),
    "efficienttam-ti": _efficienttam("efficienttam_ti"),
    "efficienttam-ti-1": _efficienttam("efficienttam_ti_1"),
    "efficienttam-ti-2": _efficienttam("efficienttam_ti_2"),
    "efficienttam-ti-512": _efficienttam("efficienttam_ti_512x512", 512),
    "surgical-sam2": _surgical("surgical_sam2_hiera_s", 1024),
    "surgical-sam2-512": _surgical("surgical_sam2_hiera_s_512", 512),
    "mobile-sam": _MOBILE_SAM,
    "tiny-sam": _TINY_SAM,
    "efficient-sam-ti": _efficient_sam(
        "efficientsam_ti", "efficient_sam_vitt.pt", "af883c49e33c68f01107be52df0ecad26a48355f"
    ),
    # Too large for its repository as it is, so it lies there in a zip archive, which `read_checkpoint` opens.
    "efficient-sam-s": _efficient_sam(
        "efficientsam_s", "efficient_sam_vits.pt.zip", "fa4e9f05f753e109dbde052f97d37903b833cf53"
    ),
    "sam-vit-b": _sam("b", "01ec64"),
    "sam-vit-l": _sam("l", "0b3195"),
    "sam-vit-h": _sam("h", "4b8939"),
    "slim-sam-50": _slim_sam(50, "1Ld7Q2LY8H2nu4zB6VxwwA5npS5A9OHFq"),
    "slim-sam-77": _slim_sam(77, "1OeWpfk5WhdlMz5VvYmb9gaE6suzHB0sp"),
    "repvit-sam": _REPVIT_SAM,
    "edge-sam": _EDGE_SAM,
    "efficientvit-sam-l0": _efficientvit_sam("l0", 512),
    "efficientvit-sam-l1": _efficientvit_sam("l1", 512),
    "efficientvit-sam-l2": _efficientvit_sam("l2", 512),
    "efficientvit-sam-xl0": _efficientvit_sam("xl0", 1024),
    "efficientvit-sam-xl1": _efficientvit_sam("xl1", 1024),
    "nano-sam": _NANO_SAM,
    "pico-sam2": _PICO_SAM2,
}
"""Name of a tracker -> its file; two trackers may share one."""


def published(name: str) -> Published:
    """The weights of a tracker.

    Raises:
        CheckpointError: no weights are published under this name.
    """
    if name not in PUBLISHED:
        raise CheckpointError(unknown("weights", name, PUBLISHED), hint="vidseg weights list")
    return PUBLISHED[name]


def tracker_of(official_config: str) -> str:
    """The name of the tracker that is built like an official configuration, e.g. 'sam2.1_hiera_t'."""
    return next(name for name, wanted in PUBLISHED.items() if wanted.official_config == official_config)
