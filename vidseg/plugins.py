"""Plug-ins: modules from outside that register backbones, policies, trackers, formats, data sets and more.

A package that is installed names its modules under the entry-point group `vidseg`:

    [project.entry-points.vidseg]
    mine = "my_package.my_module"

and `--plugin MODULE` (or `use`) names one that is not installed, by its dotted name or as a .py file.
vidseg only imports the module; the module itself calls the `register_*` functions.

A plug-in is imported when it is needed: when a name is in no table (see `vidseg.registry`), or when all names
are listed. One that cannot be imported takes nothing else down; `broken()` says why in one line.
"""

from __future__ import annotations

import os
import sys
import threading
from functools import lru_cache
from importlib import import_module, util
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from vidseg.errors import ConfigError, VidsegError, one_line

GROUP = "vidseg"
VARIABLE = "VIDSEG_PLUGINS"
"""The environment variable that holds the named plug-ins, so that child processes know them. Processes that
inherit no environment (Ray's on other machines) are given `named()` and call `use`."""

_FILE_MODULE = "vidseg_plugin_"
_lock = threading.RLock()
_tried: set[str] = set()
_broken: dict[str, str] = {}
_loading: str | None = None


def use(*modules: str) -> None:
    """Name plug-ins for this process and those it will start, besides the ones that are installed.

    Args:
        modules: dotted names of modules that can be imported, or paths of .py files.

    Raises:
        ConfigError: there is no such module or file, or the path of a file has the separator of paths in it.
            Whether it can be imported shows when it is needed.
    """
    names = [*named(), *map(_checked, modules)]
    os.environ[VARIABLE] = os.pathsep.join(dict.fromkeys(names))


def named() -> tuple[str, ...]:
    """The plug-ins that `use` was given: dotted names, and absolute paths of files."""
    return tuple(name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name)


def load() -> None:
    """Import every plug-in that was not tried yet, installed ones first."""
    with _lock:
        if _loading is not None:  # a plug-in may look up a name while it is imported
            return
        for entry_point in _installed(tuple((path, _changed(path)) for path in sys.path)):
            _try(_label(entry_point), entry_point.value)
        for name in named():
            _try(f"plug-in '{name}'", name)


def broken() -> list[str]:
    """One line for each plug-in that could not be imported: which one, and why."""
    return [f"{label} cannot be loaded: {reason}" for label, reason in _broken.items()]


def loading() -> str | None:
    """The plug-in that is being imported now, described for messages; None between imports."""
    return _loading


@lru_cache(maxsize=1)
def _installed(places: tuple[tuple[str, int], ...]) -> list[EntryPoint]:
    """Plug-ins of installed packages. Reading what every package says of itself takes 10 ms and tables are
    listed often, so that it is read again only where a folder of packages is another one or has changed."""
    return sorted(entry_points(group=GROUP))


def _changed(path: str) -> int:
    """When something was last put into a folder or taken out, in ns; -1 where there is none."""
    try:
        return os.stat(path or ".").st_mtime_ns
    except OSError:
        return -1


def _checked(name: str) -> str:
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise ConfigError(f"there is no plug-in file '{name}'")
        path = str(Path(name).absolute())
        if os.pathsep in path:
            raise ConfigError(
                f"the path of the plug-in '{path}' has a '{os.pathsep}', which stands between two paths",
                hint="move it, or make a link to it elsewhere",
            )
        return path
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(
            f"the plug-in '{name}' is neither a module's name nor a .py file",
            hint="--plugin package.module, or --plugin path/to/file.py",
        )
    if util.find_spec(name.partition(".")[0]) is None:
        raise ConfigError(
            f"there is no module '{name}' for a plug-in",
            hint=f"install it, or give its file: --plugin {name.replace('.', '/')}.py",
        )
    return name


def _label(entry_point: EntryPoint) -> str:
    package = f" of {entry_point.dist.name} {entry_point.dist.version}" if entry_point.dist else ""
    return f"plug-in '{entry_point.name}'{package}"


def _try(label: str, module: str) -> None:
    global _loading
    if label in _tried:
        return
    _tried.add(label)
    _loading = label
    try:
        _import_file(Path(module)) if module.endswith(".py") else import_module(module)
    except (Exception, SystemExit) as error:  # a broken plug-in must not stop the others
        told = error.message if isinstance(error, VidsegError) else f"{type(error).__name__}: {error}"
        _broken[label] = one_line(" ".join(told.split()), limit=200)
    finally:
        _loading = None


def _import_file(path: Path) -> None:
    """Import a file under a module name of its own, by which `pickle` finds the classes in it."""
    name = _FILE_MODULE + path.stem
    if name in sys.modules:
        raise ConfigError("another plug-in's file has the same name")
    spec = util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
