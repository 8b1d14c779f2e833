"""Weights are read without running code, recognised, downloaded whole, and checked ever after."""

from __future__ import annotations

import errno
import hashlib
import http.client
import io
import json
import multiprocessing
import os
import pickle
import shutil
import threading
import zipfile
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import vidseg
from support.file_server import serve
from support.shared import shared_folder
from vidseg.cli import main
from vidseg.errors import CheckpointError, OutputError, RunError
from vidseg.trackers import weights
from vidseg.trackers.build import build_model
from vidseg.trackers.model import module_of
from vidseg.trackers.registry import read_config
from vidseg.trackers.settings import EngineSettings
from vidseg.trackers.weights import (
    LAYOUTS,
    PUBLISHED,
    check_state,
    check_values,
    downloads,
    find_weights,
    layout_of,
    read_checkpoint,
    recognise,
    shapes_of,
    tracker_of,
)
from vidseg.trackers.weights.cache import record_digest, recorded_digest, sha256_of, verify
from vidseg.trackers.weights.downloads import fetch
from vidseg.trackers.weights.published import Published


@pytest.fixture
def state():
    return {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2), "n": torch.tensor(3)}


def assert_equal(got, want):
    assert got.keys() == want.keys()
    assert all(torch.equal(got[name], want[name]) for name in want)


# Reading


def test_official_releases_keep_the_state_under_model(state, tmp_path):
    torch.save({"model": state}, tmp_path / "a.pt")
    assert_equal(read_checkpoint(tmp_path / "a.pt"), state)


def test_a_checkpoint_in_a_zip_archive_is_read(state, tmp_path):
    torch.save({"model": state}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "a.pt", "../../a.pt")
        archive.writestr("__MACOSX/._a.pt", b"of macOS")
    assert_equal(read_checkpoint(tmp_path / "a.pt.zip"), state)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt", "a.pt.zip"]


def test_an_archive_that_claims_far_more_than_it_holds_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.pt", bytes(1 << 20))
    with pytest.raises(CheckpointError, match="claims 1,048,576 bytes"):
        read_checkpoint(tmp_path / "a.pt.zip")


def test_bare_states_are_read_whatever_the_suffix(state, tmp_path):
    torch.save(state, tmp_path / "a.pth")
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "b.bin")
    for name in ("a.pth", "old.pt", "b.bin"):
        assert_equal(read_checkpoint(str(tmp_path / name)), state)


@pytest.mark.parametrize("key", ["model", "state_dict"])
def test_states_under_a_key_are_read(key, state, tmp_path):
    torch.save({key: state, "epoch": 3}, tmp_path / "a.pt")
    assert_equal(read_checkpoint(tmp_path / "a.pt"), state)


def test_a_state_dict_is_taken_as_it_is(state):
    assert_equal(read_checkpoint(state), state)


class Malice:
    def __reduce__(self):
        return os.mkdir, ("malice",)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_nothing_in_a_file_is_run(suffix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Malice()}, tmp_path / f"zip{suffix}")
    (tmp_path / f"bare{suffix}").write_bytes(pickle.dumps(Malice(), protocol=2))
    for name in ("zip", "bare"):
        with pytest.raises(CheckpointError):
            read_checkpoint(tmp_path / f"{name}{suffix}")
    assert not (tmp_path / "malice").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>not found</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS pointer"),
        (b"once upon a time, in a land far away", "not a checkpoint"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{}", "damaged or cut short"),
        (b"\x80\x02nonsense", "damaged or cut short|more than tensors"),
    ],
)
def test_what_is_no_checkpoint_is_named(content, message, tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as error:
        read_checkpoint(path)
    assert str(path) in str(error.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        read_checkpoint(tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match="a folder is not"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("kind", ["torch", "safetensors"])
def test_a_file_cut_short_anywhere_is_an_error(kind, tmp_path):
    state = {"w": torch.randn(40, 5), "b": torch.randn(40)}
    whole = tmp_path / "whole"
    if kind == "torch":
        torch.save({"model": state}, whole)
    else:
        save_file(state, whole)
    content = whole.read_bytes()
    cut = tmp_path / "cut"
    for length in range(0, len(content), max(1, len(content) // 40)):
        cut.write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            read_checkpoint(cut)


@settings(max_examples=60)
@given(
    noise=st.binary(max_size=200),
    head=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x08" + b"\0" * 7 + b"{"]),
)
def test_arbitrary_bytes_give_an_error_of_ours(noise, head, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "noise.pt"
    path.write_bytes(head + noise)
    with pytest.raises(CheckpointError):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "no weights"),
        ([torch.zeros(1)], "no weights"),
        ({"model": {"epoch": 3}}, "'epoch' is not a weight but a value of type int"),
    ],
)
def test_a_file_without_weights_is_named(content, message, tmp_path):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "a.pt")


# Recognising


def manifests():
    paths = sorted((shared_folder() / "goldens").glob("manifest_*.json"))
    if not paths:
        return [
            pytest.param(None, marks=pytest.mark.skip(reason="needs the development data (VIDSEG_SHARED)"))
        ]
    return [pytest.param(path, id=path.stem.removeprefix("manifest_")) for path in paths]


@pytest.mark.parametrize("path", manifests())
def test_every_official_model_is_recognised(path):
    manifest = json.loads(path.read_text())
    shapes = {name: tuple(shape) for name, (shape, _) in manifest["state_dict"].items()}
    layout = recognise(shapes)
    assert layout is not None
    tracker = tracker_of(manifest["name"])
    assert tracker in layout.trackers
    assert layout is layout_of(tracker)
    assert layout.num_params == manifest["num_params"]
    assert PUBLISHED[tracker].image_size == manifest["image_size"]


@pytest.mark.parametrize("tracker", ["vidseg-nano", "sam2.1-hiera-tiny", "edgetam", "efficienttam-ti"])
def test_parameters_are_told_as_the_model_has_them(tracker):
    _, config = read_config(tracker)
    settings = EngineSettings.model_validate({key: value for key, value in config.items() if key != "kind"})
    with torch.device("meta"):
        model, _ = build_model(settings, tracker)
    assert layout_of(tracker).num_params == sum(each.numel() for each in module_of(model).parameters())


def test_every_published_file_has_one_layout():
    for name in PUBLISHED:
        assert sum(name in layout.trackers for layout in LAYOUTS) == 1


def test_strangers_are_not_recognised(state):
    assert recognise({name: tuple(value.shape) for name, value in state.items()}) is None


def shapes_with(title):
    """A state that has the marks of a layout."""
    layout = next(layout for layout in LAYOUTS if layout.title == title)
    return {name: torch.zeros(shape or (1,)) for name, shape in layout.marks.items()}


@pytest.mark.parametrize(
    ("title", "advice"),
    [
        ("SAM 2.1 tiny", "it looks like SAM 2.1 tiny: use the tracker sam2.1-hiera-tiny"),
        ("SAM 2 small", "sam2-hiera-small or surgical-sam2 or surgical-sam2-512"),
        ("SAM ViT-B (the first, for pictures)", "use the tracker sam-vit-b"),
    ],
)
def test_a_misfit_says_what_it_looks_like(title, advice):
    with pytest.raises(CheckpointError) as error:
        check_state({"w": (1,)}, shapes_with(title), where="some.pt", tracker="mine")
    assert advice in str(error.value)
    assert "some.pt" in str(error.value)


def test_a_misfit_names_the_first_keys(state):
    expected = {"a.weight": (2, 4), "a.bias": (2,), "x1": (1,), "x2": (1,), "last": (1,), "later": (1,)}
    with pytest.raises(CheckpointError) as error:
        check_state(expected, state)
    message = str(error.value)
    assert "of 6, 4 missing, 1 unknown, 1 of another shape" in message
    assert "missing: x1, x2; unknown: n; shape: a.weight is 2x3, not 2x4" in message
    assert "last" not in message
    assert len(message.splitlines()) <= 3


@pytest.mark.parametrize("wrapper", ["module.", "model."])
def test_names_behind_a_wrapper_are_told(state, wrapper):
    wrapped = {wrapper + name: value for name, value in state.items()}
    with pytest.raises(CheckpointError) as error:
        check_state(shapes_of(state), wrapped)
    assert f"all names in it begin with '{wrapper}'" in error.value.hint


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (torch.ones(2, 3, dtype=torch.int8), "int8"),
        (torch.ones(2, 3, dtype=torch.complex64), "complex64"),
        (torch.ones(2, 3).to_sparse(), "sparse_coo"),
        (torch.ones(2, 3, device="meta"), "without values"),
    ],
)
def test_values_that_pytorch_would_cast_in_silence_are_refused(value, kind):
    model = {"a": torch.ones(2, 3), "n": torch.tensor(1)}
    check_values(model, {"a": torch.ones(2, 3, dtype=torch.float16), "n": torch.tensor(5)})
    with pytest.raises(CheckpointError, match=f"'a' is {kind}, and the model needs float32"):
        check_values(model, model | {"a": value})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e5])
def test_weights_of_a_model_that_diverged_are_refused(value):
    model = {"a": torch.ones(2, 3, dtype=torch.float16)}
    with pytest.raises(CheckpointError, match="'a' holds values that are infinite or no numbers"):
        check_values(model, {"a": torch.tensor([[1.0, value, 1.0]] * 2)})


def test_a_fit_is_silent(state):
    check_state({name: tuple(value.shape) for name, value in state.items()}, state)


# Downloading


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


@pytest.fixture(scope="module")
def content():
    """A checkpoint, large enough to break in the middle."""
    buffer = io.BytesIO()
    torch.save({"model": {"w": torch.randn(100_000)}}, buffer)
    return buffer.getvalue()


@pytest.fixture
def server(content, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serve(content) as server:
        yield server


def wanted(server, **facts):
    return Published(
        official_config="mine",
        file_name="weights.pt",
        url=server.url,
        page="http://page",
        licence="MIT",
        image_size=64,
        **facts,
    )


@pytest.fixture
def get(server, tmp_path):
    """Download from the server into a folder, without pauses."""

    def get(folder=tmp_path, **facts):
        return fetch(wanted(server, **facts), folder / "weights.pt", first_pause_s=0.0)

    return get


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir() if ".part" in path.name)


def test_a_download_has_the_right_content_and_its_digest_is_recorded(get, content):
    path = get()
    assert path.read_bytes() == content
    assert recorded_digest(path) == hashlib.sha256(content).hexdigest()
    assert (path.parent / "weights.pt.sha256").read_text().endswith("  weights.pt\n")
    assert leftovers(path.parent) == []


def test_a_second_call_downloads_nothing(get, server):
    get()
    get()
    assert server.num_requests == 1


def test_a_broken_connection_is_resumed(get, server, content):
    server.breaks = [100_000, 50_000]
    assert get().read_bytes() == content
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-"]


def test_a_network_that_goes_down_is_no_failure_of_the_disk(get, server, content, monkeypatch):
    read, calls = http.client.HTTPResponse.read, []

    def read_without_network(response, *args):
        calls.append(response)
        if len(calls) == 2:
            raise OSError(errno.EHOSTUNREACH, "No route to host")
        return read(response, *args)

    monkeypatch.setattr(http.client.HTTPResponse, "read", read_without_network)
    assert get().read_bytes() == content
    assert server.num_requests == 2


def test_many_breaks_are_borne_as_long_as_bytes_arrive(get, server, content):
    server.breaks = [20_000] * 15
    assert get().read_bytes() == content
    assert server.num_requests == 16


def test_a_killed_download_goes_on_in_the_next_call(get, server, content, tmp_path, monkeypatch):
    server.breaks = [100_000] + [0] * 9
    with pytest.raises(
        RunError, match=r"5 attempts in a row failed.*connection broke after 100,000 of"
    ) as error:
        get()
    assert "it goes on after the 100,000 bytes" in str(error.value)
    assert not (tmp_path / "weights.pt").exists()
    server.breaks = []
    assert get().read_bytes() == content
    assert server.ranges[-1] == "bytes=100000-"


def test_a_server_without_ranges_starts_again(get, server, content):
    server.has_ranges = False
    server.breaks = [100_000]
    assert get().read_bytes() == content
    assert server.num_requests == 2


def test_without_a_validator_nothing_is_spliced(get, server, content):
    server.etag = None
    server.breaks = [100_000]
    assert get().read_bytes() == content
    assert server.ranges == [None, None]


@pytest.mark.parametrize("ignores_if_range", [False, True])
def test_a_file_that_changed_between_two_attempts_is_fetched_anew(get, server, content, ignores_if_range):
    server.breaks = [100_000] + [0] * 9
    with pytest.raises(RunError):
        get()
    newer = content[:1000] + bytes(1000) + content[2000:]
    server.content, server.etag, server.breaks = newer, '"v2"', []
    server.ignores_if_range = ignores_if_range
    assert get().read_bytes() == newer


def test_a_file_that_became_shorter_is_fetched_anew(get, server, content):
    server.breaks = [100_000] + [0] * 9
    with pytest.raises(RunError):
        get()
    shorter = io.BytesIO()
    torch.save({"w": torch.zeros(1000)}, shorter)
    server.content, server.etag, server.breaks = shorter.getvalue(), '"v2"', []
    server.ignores_if_range = True
    assert get().read_bytes() == shorter.getvalue()


def test_an_unknown_length_is_downloaded_to_the_end(get, server, content):
    server.says_length = False
    assert get().read_bytes() == content


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_failing_server_is_asked_again(get, server, content, status):
    server.failures = [status, status]
    assert get().read_bytes() == content
    assert server.num_requests == 3


@pytest.mark.parametrize(("status", "reason"), [(404, "Not Found"), (403, "Forbidden")])
def test_a_missing_file_is_not_asked_for_again(get, server, status, reason):
    server.failures = [status]
    with pytest.raises(CheckpointError, match=f"{status} {reason}") as error:
        get()
    assert server.url in str(error.value)
    assert "http://page" in str(error.value)
    assert server.num_requests == 1


def test_a_server_that_keeps_failing_is_given_up(get, server):
    server.failures = [500] * 20
    with pytest.raises(RunError, match=r"5 attempts in a row failed.*500"):
        get()
    assert server.num_requests == 5


def test_no_server_at_all_is_an_error_that_names_the_way_out(server, tmp_path):
    nowhere = replace(wanted(server), url="http://127.0.0.1:9/weights.pt")
    with pytest.raises(RunError, match="no connection") as error:
        fetch(nowhere, tmp_path / "weights.pt", first_pause_s=0.0)
    assert "--weights FILE" in str(error.value)


def test_offline_is_told_at_once(server, tmp_path):
    waits = []
    nowhere = replace(wanted(server), url="http://no-such-host.invalid/weights.pt")
    with pytest.raises(RunError, match="no connection"):
        fetch(nowhere, tmp_path / "weights.pt", on_wait=waits.append)
    assert waits == []


def test_a_published_digest_is_always_checked(get, tmp_path):
    with pytest.raises(CheckpointError, match="not what was published: SHA-256") as error:
        get(sha256="0" * 64)
    assert "it was deleted" in str(error.value)
    assert not (tmp_path / "weights.pt").exists()
    assert not (tmp_path / "weights.pt.sha256").exists()
    assert leftovers(tmp_path) == []


def test_a_right_published_digest_passes(get, content):
    assert get(sha256=hashlib.sha256(content).hexdigest()).read_bytes() == content


def test_the_git_object_name_is_a_published_digest(get, content, tmp_path):
    right = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    with pytest.raises(CheckpointError, match="not the published ones"):
        get(git_blob="1" * 40)
    assert not (tmp_path / "weights.pt").exists()
    assert get(git_blob=right).read_bytes() == content


def test_the_first_digits_of_a_digest_are_checked_too(get, content, tmp_path):
    with pytest.raises(CheckpointError, match="does not start with 000000"):
        get(sha256_start="000000")
    assert not (tmp_path / "weights.pt").exists()
    assert get(sha256_start=hashlib.sha256(content).hexdigest()[:6]).read_bytes() == content


def test_the_recorded_digest_is_checked_ever_after(get, server, content, tmp_path):
    path = get()
    path.unlink()
    server.content, server.etag = content[:-1] + b"!", '"v2"'
    with pytest.raises(CheckpointError, match=r"not what was recorded in weights.pt.sha256 at the first"):
        get()
    assert not path.exists()
    assert leftovers(tmp_path) == []


def test_a_web_page_instead_of_weights_is_not_recorded(get, server, tmp_path):
    server.content = b"<html>please log in</html>"
    with pytest.raises(CheckpointError, match="web page") as error:
        get()
    assert server.url in str(error.value)
    assert not (tmp_path / "weights.pt").exists()
    assert not (tmp_path / "weights.pt.sha256").exists()


def test_a_server_that_breaks_off_without_a_word_about_the_length_is_noticed(get, server, content, tmp_path):
    server.says_length = False
    server.content = content[: len(content) // 2]
    with pytest.raises(CheckpointError, match="cut short"):
        get()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["weights.pt.lock"]
    server.content = content
    assert get().read_bytes() == content


def test_redirects_are_followed(get, server, content):
    server.redirect = server.url + "2"
    assert get().read_bytes() == content


def test_a_redirect_from_https_to_http_is_refused():
    request = downloads.urllib.request.Request("https://example.org/a")
    with pytest.raises(CheckpointError, match="insecure"):
        downloads._SafeRedirects().redirect_request(request, None, 302, "Found", {}, "http://example.org/a")


def test_a_full_disk_is_told_before_the_download(get, monkeypatch, tmp_path):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda path: usage._replace(free=10))
    with pytest.raises(RunError, match=r"the disk is full .*bytes are needed, 10 are free"):
        get()


def test_a_folder_that_cannot_be_made_is_named(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be made"):
        weights.download("edgetam", tmp_path / "file" / "sub")


def test_progress_rises_to_the_whole(server, content, tmp_path):
    seen = []
    server.breaks = [100_000]
    fetch(
        wanted(server),
        tmp_path / "weights.pt",
        first_pause_s=0.0,
        on_progress=lambda here, whole: seen.append((here, whole)),
    )
    assert seen[0] == (0, len(content))
    assert seen[-1] == (len(content), len(content))
    assert seen == sorted(seen)


def _fetch_in_process(facts, target, results):
    results.put(sha256_of(fetch(facts, target, first_pause_s=0.0)))


def test_two_processes_share_one_download(server, content, tmp_path):
    server.breaks = [100_000]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    arguments = (wanted(server), tmp_path / "weights.pt", results)
    processes = [context.Process(target=_fetch_in_process, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    digests = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert digests == [hashlib.sha256(content).hexdigest()] * 2
    assert server.num_requests == 2  # one that broke, one that went on; the other process waited


def test_many_threads_share_one_download(server, content, tmp_path):
    paths = []
    threads = [
        threading.Thread(target=lambda: paths.append(fetch(wanted(server), tmp_path / "weights.pt")))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 6
    assert server.num_requests == 1
    assert paths[0].read_bytes() == content


# The cache


def save_small(path):
    torch.save({"w": torch.zeros(3)}, path)


def test_missing_weights_say_how_to_get_them(cache):
    with pytest.raises(CheckpointError, match=r"vidseg weights get sam2.1-hiera-tiny"):
        find_weights("sam2.1-hiera-tiny")
    with pytest.raises(CheckpointError, match=r"in a browser from https://drive.google.com"):
        find_weights("surgical-sam2")
    with pytest.raises(CheckpointError, match="'mine' has no published weights"):
        find_weights("mine")


def test_a_file_put_there_by_hand_is_checked_against_the_published_digest(cache):
    cache.mkdir(parents=True)
    save_small(cache / "edgetam.pt")
    with pytest.raises(CheckpointError, match="not the published ones"):
        find_weights("edgetam")


def test_found_weights_are_checked_without_reading_them_again(cache, monkeypatch):
    cache.mkdir(parents=True)
    path = cache / "edgetam.pt"
    save_small(path)
    monkeypatch.setitem(PUBLISHED, "edgetam", replace(PUBLISHED["edgetam"], git_blob=None))
    assert find_weights("edgetam") == path
    reads = []
    monkeypatch.setattr("vidseg.trackers.weights.cache.sha256_of", lambda path: reads.append(path) or "?")
    assert find_weights("edgetam") == path
    assert reads == []


def test_weights_that_changed_on_disk_are_refused(cache, monkeypatch):
    cache.mkdir(parents=True)
    path = cache / "sam2.1_hiera_tiny.pt"
    save_small(path)
    find_weights("sam2.1-hiera-tiny")
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(CheckpointError, match="not those that were recorded"):
        find_weights("sam2.1-hiera-tiny")


def test_a_full_check_finds_what_size_and_time_hide(cache):
    cache.mkdir(parents=True)
    path = cache / "sam2.1_hiera_tiny.pt"
    save_small(path)
    find_weights("sam2.1-hiera-tiny")
    facts = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    with pytest.raises(CheckpointError, match="not those that were recorded"):
        verify(path, in_full=True)


@pytest.mark.parametrize("save", [torch.save, save_file])
def test_half_a_file_put_there_by_hand_is_not_recorded(cache, save):
    cache.mkdir(parents=True)
    path = cache / "sam2.1_hiera_tiny.pt"
    save({"w": torch.zeros(1000)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="cut short") as error:
        find_weights("sam2.1-hiera-tiny")
    assert "delete the file and download it again" in str(error.value)
    path.write_bytes(whole)
    assert find_weights("sam2.1-hiera-tiny") == path


def test_a_broken_record_is_named(cache):
    cache.mkdir(parents=True)
    path = cache / "a.pt"
    path.write_bytes(b"PK")
    record_digest(path, "0" * 64)
    (cache / "a.pt.sha256").write_text("nonsense")
    with pytest.raises(CheckpointError, match="recorded digest cannot be read"):
        verify(path)


def test_the_cache_follows_the_variable_and_else_the_platform(monkeypatch, tmp_path):
    monkeypatch.setenv("VIDSEG_CACHE", str(tmp_path))
    assert weights.cache_folder() == tmp_path / "weights"
    monkeypatch.delenv("VIDSEG_CACHE")
    from platformdirs import user_cache_path

    assert weights.cache_folder() == user_cache_path("vidseg", appauthor=False) / "weights"


# The commands


@pytest.fixture
def one_published(server, monkeypatch, cache):
    monkeypatch.setitem(PUBLISHED, "edgetam", wanted(server))
    return "edgetam"


def test_get_then_path_then_verify(one_published, server, cache, content, capsys):
    assert main(["weights", "get", one_published]) == 0
    out = capsys.readouterr().out
    assert str(cache / "weights.pt") in out
    assert hashlib.sha256(content).hexdigest() in out
    assert main(["weights", "path", one_published]) == 0
    assert capsys.readouterr().out.strip() == str(cache / "weights.pt")
    assert main(["weights", "verify"]) == 0
    assert "ok    weights.pt" in capsys.readouterr().out
    (cache / "weights.pt").write_bytes(content[:-1] + b"!")
    assert main(["weights", "verify", one_published]) == 1
    assert "WRONG weights.pt" in capsys.readouterr().out


def test_weights_in_the_package_need_no_download(capsys):
    assert main(["weights", "path", "vidseg-nano"]) == 0
    path = capsys.readouterr().out.strip()
    assert main(["weights", "get", "vidseg-nano", "--json"]) == 0
    told = capsys.readouterr()
    assert "nothing to download" in told.err
    row = {"name": "vidseg-nano", "path": path, "licence": "Apache-2.0", "sha256": sha256_of(path)}
    assert json.loads(told.out) == [row]


def test_models_tell_the_checksum_of_the_file_that_is_here_or_the_published_one(
    one_published, content, capsys
):
    def checksums():
        assert main(["models", "--json"]) == 0
        return {row["name"]: row["checksum"] for row in json.loads(capsys.readouterr().out)}

    before = checksums()
    assert before["vidseg-nano"] == f"sha256:{sha256_of(find_own_weights())}"
    assert before["sam-vit-b"] == "sha256:01ec64..."
    assert before["flow"] is None
    assert main(["weights", "get", one_published]) == 0
    capsys.readouterr()
    assert checksums()[one_published] == f"sha256:{hashlib.sha256(content).hexdigest()}"


def find_own_weights():
    return read_config("vidseg-nano")[1]["weights"]


def test_get_takes_another_folder(one_published, tmp_path, content):
    assert main(["weights", "get", one_published, "--to", str(tmp_path / "mine")]) == 0
    assert (tmp_path / "mine" / "weights.pt").read_bytes() == content


@pytest.mark.parametrize(
    ("name", "told"),
    [("edgetamm", "did you mean 'edgetam'?"), ("flow", "there are no weights of 'flow' to download")],
)
def test_what_cannot_be_had_is_told_before_any_download(one_published, server, capsys, name, told):
    assert main(["weights", "get", one_published, name]) == 2
    assert told in capsys.readouterr().err
    assert server.num_requests == 0


def test_what_a_licence_forbids_is_said_before_the_download(server, monkeypatch, cache, capsys):
    monkeypatch.setitem(PUBLISHED, "edgetam", replace(wanted(server), forbidden="commercial use"))
    order = []
    monkeypatch.setattr(
        "vidseg.pipeline.commands.weights.download",
        lambda *_, **__: order.append(capsys.readouterr().err) or (cache / "weights.pt"),
    )
    monkeypatch.setattr("vidseg.pipeline.commands.weights.verify", lambda *_, **__: "0" * 64)
    assert main(["weights", "get", "edgetam"]) == 0
    (said,) = order
    assert "the licence of weights.pt forbids commercial use: MIT, see" in said


def test_what_a_licence_forbids_is_said_when_weights_are_read_from_a_file(tmp_path):
    path = tmp_path / "edge_sam.pth"
    torch.save({"a": torch.zeros(1)}, path)
    with (
        pytest.warns(UserWarning, match=r"edge_sam_3x.pth forbids commercial use"),
        pytest.raises(CheckpointError),
    ):
        vidseg.load_image("edge-sam", weights=path, device="cpu")


def test_debug_is_taken_after_an_action(cache):
    with pytest.raises(CheckpointError, match="did you mean 'edgetam'"):
        main(["weights", "get", "edgetamm", "--debug"])


def test_weights_by_hand_say_so(cache, capsys):
    assert main(["weights", "get", "surgical-sam2"]) == 2
    assert "in a browser from https://drive.google.com" in capsys.readouterr().err


def test_the_list_is_json_on_demand(one_published, cache, capsys):
    assert main(["weights", "list", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["folder"] == str(cache)
    assert {row["name"] for row in facts["weights"]} == set(PUBLISHED)
    assert all(row["url"] or row["by_hand"] for row in facts["weights"])


def test_models_show_what_is_here(one_published, cache, capsys):
    from vidseg.trackers.registry import tracker_names

    assert main(["models", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == set(tracker_names())
    assert rows["flow"]["weights"] == "none"
    assert rows["sam2.1-hiera-tiny"] == {
        "name": "sam2.1-hiera-tiny",
        "kind": "engine",
        "family": "SAM 2.1",
        "parameters": 38_962_498,
        "image_size": 1024,
        "weights": "missing",
        "checksum": None,
        "licence": "Apache-2.0",
        "source": "https://github.com/facebookresearch/sam2",
    }
    cache.mkdir(parents=True)
    (cache / "sam2.1_hiera_tiny.pt").write_bytes(b"PK")
    assert main(["models"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("sam2.1-hiera-tiny"))
    assert line.split()[:7] == ["sam2.1-hiera-tiny", "SAM", "2.1", "39.0", "M", "1024", "px"]
    assert " here " in line
