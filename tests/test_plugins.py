"""Names from outside: entry points and `--plugin`, in this process and in others; broken plug-ins."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.forked import run_code
from support.hard_videos import numbered
from vidseg import plugins
from vidseg.errors import ConfigError
from vidseg.registry import Registry

DISTRIBUTION = "made-up"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder on the path of modules with an installed distribution that has two plug-ins, one broken."""
    info = tmp_path / "site" / "made_up-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[vidseg]\nsound = made_up_sound\nsick = made_up_sick\n")
    (info.parent / "made_up_sound.py").write_text(
        "from vidseg.trackers.parts import Part, register_backbone\n"
        "from vidseg.validation import Strict\n"
        "register_backbone('sound', Part(Strict, lambda settings: 'built'))\n"
    )
    (info.parent / "made_up_sick.py").write_text("import a_module_that_is_not_there\n")
    return info.parent


def run(
    code: str, *paths: Path, cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """A new process, which nothing of vidseg has been imported into yet."""
    path = os.pathsep.join([*map(str, paths), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path, plugins.VARIABLE: "", **variables}
    return run_code(code, env=env, path=[*map(str, paths)], cwd=cwd)


def vidseg(
    *call: str, paths: tuple[Path, ...] = (), cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    code = f"import sys; from vidseg.cli import main; sys.exit(main({list(call)!r}))"
    return run(code, *paths, cwd=cwd)


def table() -> Registry[int]:
    return Registry("number", {"one": 1, "two": 2})


def test_a_name_is_looked_up_and_a_taken_one_refused() -> None:
    numbers = table()
    numbers.register("three", 3)
    assert numbers["three"] == 3
    assert list(numbers) == ["one", "three", "two"]
    with pytest.raises(ConfigError, match="the number 'two' is there already"):
        numbers.register("two", 3)
    numbers.unregister("three")
    assert "three" not in numbers


@pytest.mark.parametrize("name", ["thre", None, ["one"], {"one": 1}])
def test_an_unknown_name_is_told_with_the_known_ones(name: object) -> None:
    with pytest.raises(ConfigError, match=r"unknown number .*known: one, two") as told:
        table().lookup(name, where="x.yaml, field 'number'", hint="count")
    assert "at: x.yaml, field 'number'" in str(told.value)
    assert "fix: count" in str(told.value)


def test_known_names_import_no_plugin_and_unknown_ones_do(site: Path) -> None:
    code = (
        "import json, sys\n"
        "from vidseg.trackers.parts import BACKBONES, build_part\n"
        "BACKBONES['hiera']\n"
        "before = 'made_up_sound' in sys.modules\n"
        "built = build_part(BACKBONES, 'backbone', {'name': 'sound'}, '')\n"
        "print(json.dumps([before, built, list(BACKBONES)]))"
    )
    before, built, names = json.loads(run(code, site).stdout)
    assert not before
    assert built == "built"
    assert "sound" in names
    assert "hiera" in names


def test_a_package_that_is_installed_meanwhile_is_found(site: Path, tmp_path: Path) -> None:
    (tmp_path / "packages").mkdir()
    code = (
        "import json, shutil\n"
        "from vidseg.trackers.parts import BACKBONES\n"
        "before = list(BACKBONES)\n"
        f"shutil.copytree({str(site)!r}, {str(tmp_path / 'packages')!r}, dirs_exist_ok=True)\n"
        "print(json.dumps([before, list(BACKBONES)]))"
    )
    before, after = json.loads(run(code, tmp_path / "packages").stdout)
    assert "sound" not in before
    assert "sound" in after


def test_an_ordinary_run_imports_no_plugin(site: Path, tmp_path: Path) -> None:
    numbered(tmp_path / "clip.mp4", 2, (48, 64))
    (tmp_path / "box.json").write_text('{"box": [10, 10, 30, 30]}')
    call = ["track", "clip.mp4", "--prompt", "box.json", "--tracker", "flow", "--format", "png"]
    done = vidseg(*call, paths=(site,), cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""  # the broken one would be told of


def test_a_broken_plugin_is_named_where_a_name_is_missed(site: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("kind: engine\nimage_size: 64\nbackbone: {name: soun}\n")
    numbered(tmp_path / "clip.mp4", 2, (48, 64))
    call = ["track", "clip.mp4", "--box", "10,10,30,30", "--tracker", "mine.yaml"]
    done = vidseg(*call, paths=(site,), cwd=tmp_path)
    assert done.returncode == 2
    first, *rest = done.stderr.splitlines()
    assert "unknown backbone 'soun'; did you mean 'sound'?" in first
    assert rest[-1].startswith("  fix: plug-in 'sick' of made-up 1.2 cannot be loaded: ModuleNotFoundError: ")
    assert len(done.stderr.splitlines()) == 3


def test_a_broken_plugin_is_a_warning_where_names_are_listed(site: Path) -> None:
    done = vidseg("models", paths=(site,))
    assert done.returncode == 0
    assert "vidseg-nano" in done.stdout
    warning = "vidseg: warning: plug-in 'sick' of made-up 1.2 cannot be loaded: ModuleNotFoundError: "
    assert done.stderr.startswith(warning)
    assert len(done.stderr.splitlines()) == 1


def test_a_name_taken_by_another_plugin_tells_whose_it_is(site: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text((site / "made_up_sound.py").read_text())
    done = vidseg("models", "--plugin", str(tmp_path / "mine.py"), paths=(site,))
    assert done.returncode == 0
    assert (
        f"plug-in '{tmp_path / 'mine.py'}' cannot be loaded: the backbone 'sound' is there already "
        "(plug-in 'sound' of made-up 1.2 added it)"
    ) in done.stderr


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_file_adds_a_tracker_by_name(place: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("kind: flow\n")
    (tmp_path / "mine.py").write_text(
        "from pathlib import Path\n"
        "from vidseg import register_tracker_config\n"
        "register_tracker_config('mine', Path(__file__).with_name('mine.yaml'))\n"
    )
    option = ["--plugin", str(tmp_path / "mine.py")]
    call = [*option, "models", "--json"] if place == "before" else ["models", "--json", *option]
    rows = {row["name"]: row for row in json.loads(vidseg(*call).stdout)}
    assert rows["mine"]["weights"] == "none"
    assert rows["mine"]["source"] == f"plug-in '{tmp_path / 'mine.py'}'"


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("there_is_no_such_module", "there is no module 'there_is_no_such_module'"),
        ("nowhere/mine.py", "there is no plug-in file 'nowhere/mine.py'"),
        ("some/folder", "neither a module's name nor a .py file"),
    ],
)
def test_a_plugin_that_is_not_there_is_told_at_once(
    module: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from vidseg.cli import main

    assert main(["models", "--plugin", module]) == 2
    assert message in capsys.readouterr().err


def test_a_path_that_child_processes_would_read_as_two_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from vidseg.cli import main

    folder = tmp_path / f"run{os.pathsep}3"
    folder.mkdir()
    (folder / "mine.py").touch()
    assert main(["models", "--plugin", str(folder / "mine.py")]) == 2
    assert f"has a '{os.pathsep}', which stands between two paths" in capsys.readouterr().err


def test_a_protocol_of_a_file_scores_in_several_processes(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from vidseg.eval.protocols import register_protocol\n"
        "from vidseg.eval.protocols.vos_benchmark import VosBenchmark\n"
        "class Mine(VosBenchmark):\n"
        "    pass\n"
        "register_protocol('mine', lambda: Mine('mine', False))\n"
    )
    for name in ("cat", "dog"):
        (tmp_path / "masks" / name).mkdir(parents=True)
        Image.fromarray(np.eye(32, dtype=np.uint8)).save(tmp_path / "masks" / name / "0.png")
    masks = str(tmp_path / "masks")
    call = ["score", "mine", "--gt", masks, "--pred", masks, "--workers", "2", "--json", "-"]
    scores = json.loads(vidseg(*call, "--plugin", str(tmp_path / "mine.py")).stdout)
    assert scores["protocol"] == "mine"
    assert scores["global"]["J&F"] == 100


def test_help_lists_what_plugins_add(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from vidseg.eval.datasets import register_dataset\n"
        "register_dataset('my-animals', lambda root: None)\n"
    )
    plugin = ["--plugin", str(tmp_path / "mine.py")]
    assert "my-animals" in vidseg("eval", "--help", *plugin).stdout
    assert "my-animals" not in vidseg("eval", "--help").stdout
    tracker = ["--plugin", "vidseg.testing.fake_plugin"]
    assert "fake, flow" in " ".join(vidseg("track", "--help", *tracker).stdout.split())


def test_a_tracker_whose_yaml_is_broken_leaves_the_others_listed(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("kind: [")
    (tmp_path / "mine.py").write_text(
        "from pathlib import Path\n"
        "from vidseg import register_tracker_config\n"
        "register_tracker_config('mine', Path(__file__).with_suffix('.yaml'))\n"
    )
    done = vidseg("models", "--plugin", str(tmp_path / "mine.py"))
    assert done.returncode == 0
    assert "vidseg-nano" in done.stdout
    assert done.stderr.startswith("vidseg: warning: tracker 'mine' is left out: ")


def test_the_example_of_the_page_tracks(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(python|yaml|sh)\n(.*?)```", page, re.DOTALL)
    (tmp_path / "patches.py").write_text(next(text for kind, text in blocks if kind == "python"))
    (tmp_path / "patches.yaml").write_text(next(text for kind, text in blocks if kind == "yaml"))
    numbered(tmp_path / "video.mp4", 2, (48, 64))
    (tmp_path / "box.json").write_text('{"box": [10, 10, 30, 30]}')
    program, *call = next(text for kind, text in blocks if kind == "sh").split()
    assert program == "vidseg"
    done = vidseg(*call, "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/video/masks/00001.png").is_file()


def test_children_inherit_what_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(plugins.VARIABLE, "")
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("")
    plugins.use("mine.py", "json")
    plugins.use("json")
    assert plugins.named() == (str(tmp_path / "mine.py"), "json")
    done = run(
        "from vidseg import plugins; print(*plugins.named())",
        **{plugins.VARIABLE: os.environ[plugins.VARIABLE]},
    )
    assert done.stdout.split() == [str(tmp_path / "mine.py"), "json"]
