"""How families name the weights of published checkpoints, where our modules name them otherwise.

One file a family has one table of pairs (official, ours), which is read in both directions: a checkpoint is
loaded by it, and `to_public` undoes that. A family without a table has our names.

    renames = renames_of("sam")
    module.load_state_dict(renames.from_public(read_checkpoint("sam_vit_b_01ec64.pth")))
    renames.to_public(module.state_dict())   # the same names and values again
"""

from __future__ import annotations

from vidseg.registry import Registry
from vidseg.trackers.weights.renames.efficient_sam import EFFICIENT_SAM
from vidseg.trackers.weights.renames.efficientvit_sam import EFFICIENTVIT_SAM
from vidseg.trackers.weights.renames.nano_sam import NANO_SAM
from vidseg.trackers.weights.renames.pico_sam2 import PICO_SAM2
from vidseg.trackers.weights.renames.repvit import EDGE_SAM, EDGE_SAM_M2, EDGE_SAM_M3, REPVIT_SAM
from vidseg.trackers.weights.renames.sam import SAM
from vidseg.trackers.weights.renames.table import OWN_NAMES, Renames
from vidseg.trackers.weights.renames.tiny_sam import MOBILE_SAM

RENAMES: Registry[Renames] = Registry(
    "table of renames",
    {
        "edge-sam": EDGE_SAM,
        "edge-sam-m2": EDGE_SAM_M2,
        "edge-sam-m3": EDGE_SAM_M3,
        "efficient-sam": EFFICIENT_SAM,
        "efficientvit-sam": EFFICIENTVIT_SAM,
        "mobile-sam": MOBILE_SAM,
        "nano-sam": NANO_SAM,
        "pico-sam2": PICO_SAM2,
        "repvit-sam": REPVIT_SAM,
        "sam": SAM,
        "slim-sam": SAM,
        "tiny-sam": MOBILE_SAM,
    },
)
"""Family -> its table."""


def register_renames(family: str, renames: Renames) -> None:
    """Make checkpoints for YAMLs with `family: FAMILY` be renamed so.

    Raises:
        ConfigError: the family has a table.
    """
    RENAMES.register(family, renames)


def renames_of(family: str) -> Renames:
    """The table of a family, or `OWN_NAMES`."""
    if family not in RENAMES:
        return OWN_NAMES
    return RENAMES[family]


__all__ = ["OWN_NAMES", "RENAMES", "Renames", "register_renames", "renames_of"]
