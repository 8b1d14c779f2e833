"""What is published: wheel and sdist, images, workflows, the citation."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

import vidseg
from vidseg.opencv import OURS

ROOT = Path(__file__).parents[1]
NOT_COPIED = shutil.ignore_patterns(
    ".*_cache", ".git", ".venv", ".hypothesis", "__pycache__", "build", "dist", "runs"
)
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


def run(*command: object, cwd: Path, **variables: str) -> str:
    """Run a program that shall not see this repository; returns what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(tree: Path, out: Path, *targets: str) -> dict[str, Path]:
    """The files built of a source tree, by suffix."""
    chosen = [part for target in targets for part in ("-t", target)]
    run(
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-d",
        out,
        *chosen,
        cwd=tree,
        SOURCE_DATE_EPOCH="1750000000",
    )
    return {path.suffix: path for path in out.iterdir()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel (.whl) and the sdist (.gz) of a copy of the repository."""
    folder = tmp_path_factory.mktemp("built")
    tree = Path(shutil.copytree(ROOT, folder / "one", ignore=NOT_COPIED))
    return build(tree, folder / "dist")


@pytest.mark.slow
def test_builds_of_one_source_are_equal_to_the_byte(built: dict[str, Path], tmp_path: Path) -> None:
    """Another folder, other times and other permissions of the files change nothing."""
    tree = Path(shutil.copytree(ROOT, tmp_path / "another", ignore=NOT_COPIED))
    for path in tree.rglob("*"):
        if path.is_file():
            path.chmod(path.stat().st_mode & 0o700)  # as another umask leaves them
            os.utime(path, (1_600_000_000, 1_600_000_000))
    again = build(tree, tmp_path / "dist")
    assert again.keys() == built.keys() == {".whl", ".gz"}
    for suffix, path in built.items():
        assert again[suffix].name == path.name
        assert again[suffix].read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_the_sdist_makes_the_same_wheel(built: dict[str, Path], tmp_path: Path) -> None:
    with tarfile.open(built[".gz"]) as sdist:
        sdist.extractall(tmp_path, filter="data")
    (tree,) = tmp_path.iterdir()
    assert (tree / "constraints.txt").is_file()
    assert build(tree, tmp_path / "dist", "wheel")[".whl"].read_bytes() == built[".whl"].read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".whl", ".gz"])
def test_it_installs_and_tracks_in_a_bare_environment(
    built: dict[str, Path], suffix: str, tmp_path: Path
) -> None:
    """Nothing is fetched: the packages that it needs are those of this environment."""
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    bin_folder = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = bin_folder / "python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    # A path file in a folder that itself comes from a path file is not read: an editable vidseg stays unseen.
    Path(site, "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    run(
        python, "-m", "pip", "install", "--quiet", "--ignore-installed", *offline, built[suffix], cwd=tmp_path
    )

    place = run(python, "-c", "import vidseg; print(vidseg.__file__)", cwd=tmp_path).strip()
    assert Path(place).parent == Path(site, "vidseg")
    run(bin_folder / "vidseg", "demo", "--frames", "4", "--size", "128x72", "--out", "out", cwd=tmp_path)
    assert (tmp_path / "out" / "picture.png").stat().st_size > 0


def test_the_wheel_holds_the_package_alone(tmp_path: Path) -> None:
    wheel = build(ROOT, tmp_path, "wheel")[".whl"]
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"vidseg", f"vidseg-{vidseg.__version__}.dist-info"}
    assert "vidseg/weights/vidseg-nano.safetensors" in names
    assert [name for name in names if name.endswith((".pyc", ".pt"))] == []


def test_the_version_of_the_citation_is_ours() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == vidseg.__version__


@pytest.mark.parametrize(
    ("schema", "files"),
    [("citation-file-format", [ROOT / "CITATION.cff"]), ("github-workflows", WORKFLOWS)],
    ids=["citation", "workflows"],
)
def test_files_fit_their_published_schemas(schema: str, files: list[Path]) -> None:
    """The schemas come with check-jsonschema."""
    assert files
    run(
        Path(sys.executable).with_name("check-jsonschema"),
        "--builtin-schema",
        f"vendor.{schema}",
        *files,
        cwd=ROOT,
    )


def test_workflows_call_targets_that_make_has() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):(?! export)", makefile, re.MULTILINE))
    called = set()
    for path in WORKFLOWS:
        for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values():
            assert any(step.get("run") == "make ${{ matrix.target }}" for step in job["steps"])
            called |= set(job["strategy"]["matrix"]["target"])
    assert called >= {"check", "test", "docs", "dist"}
    assert called <= targets


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_a_dockerfile_copies_all_that_the_build_needs(path: Path, tmp_path: Path) -> None:
    """Docker sees what .dockerignore lets through; of that the package must build."""
    lines = re.sub(r"\\\n", " ", path.read_text(encoding="utf-8")).splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    let_through = re.findall(r"^!(.+)", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    copied = [source for word, rest in steps if word == "COPY" for source in rest.split()[:-1]]
    for source in copied:
        assert source in let_through
        target = tmp_path / source
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=NOT_COPIED)
        else:
            shutil.copy(ROOT / source, target)
    assert build(tmp_path, tmp_path / "dist", "wheel")[".whl"].stat().st_size > 1e6

    words = [word for word, _ in steps]
    assert words[0] == "FROM"
    assert re.fullmatch(r"[\w./-]+:\d[\w.-]+", steps[0][1])  # a release, not the latest one
    assert words[-3:] == ["USER", "WORKDIR", "ENTRYPOINT"]
    assert "root" not in steps[-3][1]


def test_the_packages_besides_opencv_are_those_of_the_page() -> None:
    """Who has another OpenCV installs vidseg by this line; see docs/install.md."""
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    (named,) = re.findall(r"^pip install (av .+)", page, re.MULTILINE)
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^dependencies = \[\n(.*?)^\]", pyproject, re.DOTALL | re.MULTILINE)
    needed = re.findall(r'"([\w-]+)', listed)
    assert [*named.split(), OURS] == sorted(needed, key=lambda name: (name == OURS, name))
