"""Published figures to compare with: J&F in percent (G on YouTube-VOS), with where they were published.

Figures of one model differ between evaluations (weights, scoring of LVOS); each row has one source.
"""

from __future__ import annotations

from dataclasses import dataclass

SAM2_README = "facebookresearch/sam2 README"
SEC_README = "OpenIXCLab/SeC README"
EDGETAM_README = "facebookresearch/EdgeTAM README"
EFFICIENTTAM = "EfficientTAM, arXiv:2411.18933, table 1"
XMEM_RESULTS = "hkchengrex/XMem docs/RESULTS.md"
SAM2LONG_README = "Mark12Ding/SAM2Long README"


@dataclass(frozen=True)
class Anchor:
    """A published figure of one model on one data set, and its source."""

    name: str
    score: float
    source: str


ANCHORS: dict[str, list[Anchor]] = {
    "davis2016": [Anchor("XMem", 91.5, XMEM_RESULTS)],
    "davis2017": [
        Anchor("SAM2.1Long-L", 91.4, SEC_README),
        Anchor("SAM 2.1-L", 90.6, SEC_README),
        Anchor("SAM 2.1-B+", 90.2, EDGETAM_README),
        Anchor("EfficientTAM-S", 89.2, EFFICIENTTAM),
        Anchor("EfficientTAM-Ti", 89.1, EFFICIENTTAM),
        Anchor("Cutie-base+", 88.1, EDGETAM_README),
        Anchor("EdgeTAM", 87.7, EDGETAM_README),
        Anchor("XMem", 86.2, XMEM_RESULTS),
    ],
    "sav-val": [
        Anchor("SeC-4B", 82.7, SEC_README),
        Anchor("SAM2.1Long-L", 81.1, SEC_README),
        Anchor("SAMURAI-L", 79.8, SEC_README),
        Anchor("SAM 2.1-L", 78.6, SEC_README),
    ],
    "sav-test": [
        Anchor("SAM 2.1-L", 79.5, SAM2_README),
        Anchor("SAM 2.1-B+", 78.2, SAM2_README),
        Anchor("SAM 2.1-S", 76.6, SAM2_README),
        Anchor("SAM 2.1-T", 76.5, SAM2_README),
        Anchor("EfficientTAM-S", 74.5, EFFICIENTTAM),
        Anchor("EdgeTAM", 71.7, EDGETAM_README),
        Anchor("EfficientTAM-Ti", 70.7, EFFICIENTTAM),
        Anchor("Cutie-base+", 62.8, EDGETAM_README),
    ],
    "mose": [
        Anchor("SAM 2.1-L", 74.6, SAM2_README),
        Anchor("SAM 2.1-B+", 73.7, SAM2_README),
        Anchor("SAM 2.1-S", 73.5, SAM2_README),
        Anchor("SAM 2.1-T", 71.8, SAM2_README),
        Anchor("Cutie-base+", 71.7, EDGETAM_README),
        Anchor("EfficientTAM-S", 71.4, EFFICIENTTAM),
        Anchor("EdgeTAM", 70.0, EDGETAM_README),
    ],
    "mosev2": [
        Anchor("SeC-4B", 53.8, SEC_README),
        Anchor("SAM2.1Long-L", 51.5, SEC_README),
        Anchor("SAM 2.1-L", 49.5, SEC_README),
    ],
    "lvosv2": [
        Anchor("SAM2.1Long-L", 85.3, SAM2LONG_README),
        Anchor("SAM 2.1-L", 80.6, SAM2_README),
        Anchor("SAM 2.1-S", 78.3, SAM2_README),
        Anchor("SAM 2.1-B+", 78.2, SAM2_README),
        Anchor("SAM 2.1-T", 77.3, SAM2_README),
    ],
    "ytvos2018": [Anchor("XMem", 85.7, XMEM_RESULTS)],
    "ytvos2019": [
        Anchor("SAM 2.1-L", 88.7, SEC_README),
        Anchor("SAM 2.1-B+", 88.6, EDGETAM_README),
        Anchor("Cutie-base+", 87.5, EDGETAM_README),
        Anchor("EfficientTAM-S", 87.2, EFFICIENTTAM),
        Anchor("EdgeTAM", 86.2, EDGETAM_README),
        Anchor("XMem", 85.5, XMEM_RESULTS),
    ],
}
