"""The weights that a run starts from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from vidseg.errors import CheckpointError
from vidseg.trackers.registry import TRACKERS, read_config
from vidseg.trackers.weights import find_weights, read_checkpoint


def start_weights(init: str) -> dict[str, Tensor]:
    """A state dict on the CPU, under the official names.

    Args:
        init: a checkpoint's file; or the name of a tracker or image model, which means its own weights.

    Raises:
        CheckpointError: they are missing, or the file is none.
    """
    if init in TRACKERS.known and not Path(init).exists():
        name, config = read_config(init)
        return read_checkpoint(config.get("weights") or find_weights(name))
    return read_checkpoint(init)


@contextmanager
def weights_of_field(field: str, file_field: str) -> Iterator[None]:
    """Tell of weights that are missing in words of the YAML: elsewhere an option gives their file."""
    try:
        yield
    except CheckpointError as error:
        error.hint = error.hint and re.sub("(--)?weights FILE", f"'{file_field}'", error.hint)
        raise error.at(f"field '{field}'") from None
