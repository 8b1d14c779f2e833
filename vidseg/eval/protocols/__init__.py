"""Scoring protocols: each computes what one official program does. docs/eval.md lists where they differ."""

from __future__ import annotations

from collections.abc import Callable

from vidseg.errors import InputError
from vidseg.eval.protocols.contract import ScoringProtocol
from vidseg.eval.protocols.davis2017 import Davis2016, Davis2017
from vidseg.eval.protocols.davis2017_unsupervised import Davis2017Unsupervised
from vidseg.eval.protocols.hota import Hota
from vidseg.eval.protocols.lvos import Lvos
from vidseg.eval.protocols.mosev2 import Mosev2
from vidseg.eval.protocols.vos_benchmark import Sav, VosBenchmark
from vidseg.eval.protocols.vost import Vost
from vidseg.eval.protocols.ytvis import YouTubeVis
from vidseg.eval.protocols.ytvos import YouTubeVos
from vidseg.registry import Registry

PROTOCOLS: Registry[Callable[[], ScoringProtocol]] = Registry(
    "protocol",
    {
        "davis2016": Davis2016,
        "davis2017": Davis2017,
        "davis2017-unsupervised": Davis2017Unsupervised,
        "sav": Sav,
        "vos-benchmark": VosBenchmark,
        "vost": Vost,
        "lvos": Lvos,
        "mosev2": Mosev2,
        "hota": Hota,
        "ytvis": YouTubeVis,
        "ytvos": YouTubeVos,
    },
)


def register_protocol(name: str, build: Callable[[], ScoringProtocol]) -> None:
    """Make `vidseg score NAME`, and data sets that are scored by it, use what `build` returns.

    Raises:
        ConfigError: the name is taken.
    """
    PROTOCOLS.register(name, build)


def build_protocol(name: str, *, no_skip: bool = False) -> ScoringProtocol:
    """A protocol by its name.

    Args:
        no_skip: whether the first and last frame count, too (`sav` and `vos-benchmark`).

    Raises:
        InputError: an unknown name, or a protocol that has no such choice.
    """
    protocol = PROTOCOLS[name]()
    if not no_skip:
        return protocol
    with_every_frame = protocol.with_every_frame()
    if with_every_frame is None:
        raise InputError(
            f"--no-skip is no choice of {name}", hint=f"it goes with {' and '.join(names_with_no_skip())}"
        )
    return with_every_frame


def names_with_no_skip() -> list[str]:
    """The known protocols that can count the first and the last frame."""
    return [name for name in PROTOCOLS.known if PROTOCOLS[name]().with_every_frame() is not None]
