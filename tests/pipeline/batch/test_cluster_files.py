"""docs/clusters/: what can be checked of files for clusters without one."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from vidseg.pipeline.commands import batch

FOLDER = Path(__file__).parents[3] / "docs" / "clusters"
FILES = sorted(FOLDER.glob("*.yaml"))


def content(name: str) -> dict[str, Any]:
    document = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


def test_ray_up_fits_the_schema_of_ray() -> None:
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(content("ray-up.yaml"), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**content("ray-up.yaml"), "max_worker": 3}, schema)


def test_ray_can_run_bash_in_the_image() -> None:
    """Ray calls `docker run OPTIONS IMAGE bash`; the image by itself runs `vidseg` with what follows."""
    image = (Path(__file__).parents[3] / "docker/cuda.Dockerfile").read_text(encoding="utf-8")
    assert 'ENTRYPOINT ["vidseg"]' in image
    assert "--entrypoint=" in content("ray-up.yaml")["docker"]["run_options"]


def test_the_script_for_skypilot_is_one_of_bash() -> None:
    script = content("skypilot.yaml")["run"]
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


@pytest.mark.parametrize("name", ["rayjob.yaml", "skypilot.yaml"])
def test_the_command_is_one_that_vidseg_takes(name: str) -> None:
    """The parser refuses options that there are not."""
    (line,) = re.findall(r"vidseg batch (s3://.+)", (FOLDER / name).read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(exit_on_error=False)
    batch.add_arguments(parser)
    args = parser.parse_args(shlex.split(line))
    assert args.what == ["s3://bucket/jobs.jsonl"]
    assert args.out == "s3://bucket/today"
    assert args.ray_address


def test_the_job_and_the_cluster_that_stays_have_the_same_pods() -> None:
    job, cluster = content("rayjob.yaml")["spec"]["rayClusterSpec"], content("raycluster.yaml")["spec"]
    assert job["headGroupSpec"] == cluster["headGroupSpec"]
    assert [group["template"] for group in job["workerGroupSpecs"]] == [
        group["template"] for group in cluster["workerGroupSpecs"]
    ]
