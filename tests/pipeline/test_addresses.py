"""Addresses with a password or a signature: the run is named by the file, and the secret is nowhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import vidseg
from support.file_server import FileServer, serve
from support.hard_videos import numbered
from vidseg.cli import main
from vidseg.errors import SourceError
from vidseg.pipeline.addresses import name_of, shown, without_secrets
from vidseg.pipeline.batch import stores
from vidseg.pipeline.plan import default_out

SECRET = "S3cr3t"
QUERY = f"?X-Amz-Signature={SECRET}&path=/a/b.mov#{SECRET}"
NUM_FRAMES = 3


@pytest.mark.parametrize(
    ("address", "plain", "name"),
    [
        (f"https://h/a/dog.mp4{QUERY}", "https://h/a/dog.mp4", "dog.mp4"),
        (f"https://h/a/my%20dog.mp4{QUERY}", "https://h/a/my%20dog.mp4", "my dog.mp4"),
        (f"https://h/%2e%2e%2fdog.mp4?{SECRET}", "https://h/%2e%2e%2fdog.mp4", ".._dog.mp4"),
        (f"https://h/%2e%2e?{SECRET}", "https://h/%2e%2e", ""),
        (f"https://h?{SECRET}", "https://h", ""),
        (f"rtsp://user:{SECRET}@cam:554/live/1", "rtsp://cam:554/live/1", "1"),
        (f"http://user:{SECRET}@h/dog.mp4?{SECRET}@x", "http://h/dog.mp4", "dog.mp4"),
        (f"http://[::1/{QUERY}", "http://[::1/", ""),
        ("s3://bucket/a/dog.mp4", "s3://bucket/a/dog.mp4", "dog.mp4"),
    ],
)
def test_an_address_is_shown_without_its_secrets(address: str, plain: str, name: str) -> None:
    assert shown(address) == plain
    assert name_of(address) == name
    assert SECRET not in without_secrets(f"403, message='Forbidden', url='{address}' (see {address})")


@pytest.mark.parametrize("path", ["a?b#c.mp4", "/x/y@z.mp4", "file:///a%20b?.mp4"])
def test_paths_are_shown_as_they_are(path: str) -> None:
    assert shown(path) == path


@pytest.mark.parametrize(
    ("source", "folder"),
    [
        (f"https://h/a/my%20dog.mp4{QUERY}", "my_dog"),
        ("https://h/%2e%2e%2f%2e%2e%2fdog.mp4", "dog"),
        (f"https://h:8000/?{SECRET}", "h_8000"),
        ("udp://127.0.0.1:5000", "127.0.0.1_5000"),
        ("rtsp://u:p@cam:554/live", "live"),
        ("file:///videos/a%20dog.mp4", "a dog"),
    ],
)
def test_the_folder_is_named_by_the_last_part_of_the_path(source: str, folder: str) -> None:
    assert default_out(source) == Path("runs") / folder


def test_a_table_or_a_folder_at_a_signed_address() -> None:
    assert stores.name_of(f"https://h/p/t.CSV{QUERY}") == "t.CSV"
    assert stores.parent(f"https://h/p/t.csv{QUERY}") == "https://h/p"
    assert stores.name_of("memory://a.png") == "a.png"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    data = numbered(tmp_path / "served.mkv", num_frames=NUM_FRAMES).read_bytes()
    with serve(data) as server:
        yield server


def everything_in(folder: Path) -> str:
    return "".join(path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file())


def test_a_run_over_a_signed_address_keeps_no_secret(
    tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "box.json").write_text('{"box": [10, 10, 60, 50]}')
    address = server.url.replace("weights.pt", f"my%20dog.mkv{QUERY}")
    assert main(["track", address, "--prompt", "box.json", "--tracker", "flow"]) == 0
    record = json.loads((tmp_path / "runs/my_dog/run.json").read_text())
    assert record["source"]["name"] == server.url.replace("weights.pt", "my%20dog.mkv")
    printed = capsys.readouterr()
    assert "runs/my_dog/masks/" in printed.out
    assert SECRET not in printed.out + printed.err + everything_in(tmp_path / "runs")


@pytest.mark.parametrize("more", [{}, {"reverse": True}, {"start": 100}])
def test_no_error_of_reading_tells_the_secret(server: FileServer, more: dict[str, object]) -> None:
    if not more:
        server.failures += [403] * 20
    with pytest.raises(SourceError) as caught:
        list(vidseg.read(server.url + QUERY, **more))
    assert "weights.pt" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("failing", [False, True])
def test_a_batch_over_signed_addresses_keeps_no_secret(
    tmp_path: Path, server: FileServer, capsys: pytest.CaptureFixture[str], failing: bool
) -> None:
    pytest.importorskip("aiohttp", reason="fsspec opens http:// with it")
    address = server.url.replace("weights.pt", f"dog.mkv{QUERY.partition('#')[0]}")
    if failing:
        server.failures += [403] * 100
    job = {"id": "a", "video": address, "prompt": {"box": [10, 10, 60, 50]}}
    (tmp_path / "jobs.jsonl").write_text(json.dumps(job))
    out = tmp_path / "out"
    call = ["batch", str(tmp_path / "jobs.jsonl"), "--out", str(out), "--workers", "0", "--retries", "0"]
    assert main([*call, "--tracker", "flow"]) == (3 if failing else 0)
    printed = capsys.readouterr()
    assert SECRET not in printed.out + printed.err + everything_in(out)
    if not failing:
        record = json.loads((out / "a/run.json").read_text())
        assert record["job"]["video"] == server.url.replace("weights.pt", "dog.mkv")
        assert record["source"]["name"] == "dog.mkv"
