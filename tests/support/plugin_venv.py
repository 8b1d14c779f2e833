"""A fresh virtual environment with the plug-in package of tests/plugin_package installed in it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "plugin_package"


def make_venv(folder: Path) -> Path:
    """Its Python; all other packages, vidseg too, are those of the running environment.

    Nothing is downloaded: pip builds the package with the hatchling that vidseg itself is built with.
    """
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ours = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    own = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
    # A path in a .pth file would do without the .pth files there, by which vidseg itself may be installed.
    lines = "".join(f"import site; site.addsitedir({path!r})\n" for path in sorted(ours))
    (Path(own) / "running_environment.pth").write_text(lines, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    install = [*pip, "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", str(PACKAGE)]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return python


def run(python: Path, *call: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A call of that Python, with no plug-ins named: those of the package are installed."""
    env = {**os.environ, "VIDSEG_PLUGINS": ""}
    return subprocess.run([str(python), *call], env=env, cwd=cwd, capture_output=True, text=True)
