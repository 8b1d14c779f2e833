"""Protocols: each is what one official scoring program computes. See docs/eval.md for where they differ."""

from __future__ import annotations

from vidseg.errors import InputError, unknown
from vidseg.eval.protocols.contract import ScoringProtocol
from vidseg.eval.protocols.davis2017 import Davis2016, Davis2017
from vidseg.eval.protocols.davis2017_unsupervised import Davis2017Unsupervised
from vidseg.eval.protocols.lvos import Lvos
from vidseg.eval.protocols.mosev2 import Mosev2
from vidseg.eval.protocols.vos_benchmark import Sav, VosBenchmark
from vidseg.eval.protocols.vost import Vost
from vidseg.eval.protocols.ytvos import YouTubeVos

PROTOCOLS: dict[str, type[ScoringProtocol]] = {
    "davis2016": Davis2016,
    "davis2017": Davis2017,
    "davis2017-unsupervised": Davis2017Unsupervised,
    "sav": Sav,
    "vos-benchmark": VosBenchmark,
    "vost": Vost,
    "lvos": Lvos,
    "mosev2": Mosev2,
    "ytvos": YouTubeVos,
}


def build_protocol(name: str, *, no_skip: bool = False) -> ScoringProtocol:
    """A protocol by its name.

    Args:
        no_skip: count the first and the last frame, too (`sav` and `vos-benchmark`).

    Raises:
        InputError: an unknown name, or a protocol that has no such choice.
    """
    if name not in PROTOCOLS:
        raise InputError(unknown("protocol", name, PROTOCOLS))
    kind = PROTOCOLS[name]
    if not no_skip:
        return kind()
    if not issubclass(kind, VosBenchmark):
        raise InputError(f"--no-skip is no choice of {name}", hint="it goes with sav and vos-benchmark")
    return kind(skips_first_and_last=False)
