"""What `pip install vidseg` puts on a disk, without PyTorch and what PyTorch alone brings.

    python benchmarks/install_size.py

It sums the files of the installed packages, as their own records list them, in this environment. Compiled
`.pyc` files, which pip may or may not make, are left out.
"""

from __future__ import annotations

from importlib.metadata import Distribution, distribution
from pathlib import Path

import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
HEAVY = "torch"


def needed() -> set[str]:
    """Names of the packages that vidseg needs, and of what those need, without what PyTorch alone brings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: set[str] = set()
    waiting = [*project["dependencies"]]
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        is_wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if is_wanted and name != HEAVY and name not in found:
            found.add(name)
            waiting += distribution(name).requires or []
    return found


def size_bytes(package: Distribution) -> int:
    paths = [Path(str(file.locate())) for file in package.files or [] if file.suffix != ".pyc"]
    return sum(path.stat().st_size for path in paths if path.is_file())


def own_bytes() -> int:
    """Bytes of vidseg's own files, which the record of an editable install does not list."""
    return sum(
        path.stat().st_size
        for path in (ROOT / "vidseg").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    )


def main() -> None:
    sizes = {
        f"{name} {distribution(name).version}": size_bytes(distribution(name)) for name in sorted(needed())
    }
    sizes["vidseg"] = own_bytes()
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        print(f"{size / 1e6:8.1f} MB  {name}")
    print(f"{sum(sizes.values()) / 1e6:8.1f} MB  in all, without {HEAVY}")


if __name__ == "__main__":
    main()
