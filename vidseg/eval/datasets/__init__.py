"""A table of data sets by name; each is opened from its folder as downloaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vidseg.errors import InputError
from vidseg.eval.datasets.contract import DataSet
from vidseg.eval.datasets.davis import (
    open_davis2016,
    open_davis2017,
    open_davis2017_test_dev,
    open_davis2017_unsupervised,
)
from vidseg.eval.datasets.folder import open_folder, open_vos_benchmark
from vidseg.eval.datasets.lvos import open_lvosv1, open_lvosv2
from vidseg.eval.datasets.mose import open_mosev1, open_mosev2
from vidseg.eval.datasets.sav import open_sav
from vidseg.eval.datasets.vost import open_vost
from vidseg.eval.datasets.youtube_vos import open_ytvos, open_ytvos2018, open_ytvos2019
from vidseg.registry import Registry

DATASETS: Registry[Callable[[Path], DataSet]] = Registry(
    "data set",
    {
        "davis2016": open_davis2016,
        "davis2017": open_davis2017,
        "davis2017-test-dev": open_davis2017_test_dev,
        "davis2017-unsupervised": open_davis2017_unsupervised,
        "sav": open_sav,
        "ytvos": open_ytvos,
        "ytvos2018": open_ytvos2018,
        "ytvos2019": open_ytvos2019,
        "mose": open_mosev1,
        "mosev2": open_mosev2,
        "lvos": open_lvosv1,
        "lvosv2": open_lvosv2,
        "vost": open_vost,
        "vos-benchmark": open_vos_benchmark,
        "folder": open_folder,
    },
)


def register_dataset(name: str, opener: Callable[[Path], DataSet]) -> None:
    """Make `vidseg eval NAME --root DIR` track what `opener` makes of the folder DIR.

    Raises:
        ConfigError: the name is taken.
    """
    DATASETS.register(name, opener)


def open_dataset(name: str, root: Path) -> DataSet:
    """The data set in a folder.

    Raises:
        InputError: the name is unknown, or the folder is not this data set or is incomplete.
    """
    data = DATASETS[name](root)
    if not data.sequences:
        raise InputError(f"'{root}' holds no sequences of {name}")
    return data
