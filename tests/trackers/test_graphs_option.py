"""The option `graphs`, where there is no GPU."""

from __future__ import annotations

import pytest

import vidseg
from vidseg.errors import ConfigError


def test_graphs_are_refused_where_there_are_none() -> None:
    with pytest.raises(ConfigError, match="CUDA graphs on the device 'cpu'"):
        vidseg.load("vidseg-nano", device="cpu", graphs=True)
