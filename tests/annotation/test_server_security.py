"""Who may speak to the server of `vidseg annotate`, and what nobody gets from it."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")

from websockets.exceptions import ConnectionClosed, InvalidStatus

from support.annotated import write_video
from support.annotation_client import Served, raw, served

SECRET = b"a secret outside of the project"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("site")
    write_video(folder / "made.mp4", 12)
    (folder / "secret.txt").write_bytes(SECRET)
    with served(folder / "made.mp4", folder / "run") as running:
        yield running


def test_only_this_machine_is_listened_to_unless_told_otherwise(site: Served) -> None:
    assert site.server._socket.getsockname()[0] == "127.0.0.1"
    own = {item[4][0] for item in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in own - {"127.0.0.1"}:
        if not address.startswith("127."):
            with pytest.raises(OSError, match=r"refused|timed out|unreachable"):
                socket.create_connection((address, site.server.port), timeout=2)


@pytest.mark.parametrize("path", ["/", "/frame/0/0.jpg", "/near/0/0.jpg", "/download/masklets.jsonl"])
def test_the_token_is_needed(site: Served, path: str) -> None:
    assert site.get(path, token=False)[0] == 403
    assert site.get(f"{path}?token=wrong", token=False)[0] == 403
    assert site.get(f"{path}?token={site.token[:-1]}", token=False)[0] == 403
    assert site.get(path)[0] in (200, 307, 404)


def test_the_page_s_address_gives_a_cookie_that_scripts_do_not_see(site: Served) -> None:
    status, headers, _ = site.get("/")
    assert status == 200
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert site.get("/frame/0/0.jpg", token=False, Cookie=cookie.partition(";")[0])[0] == 200
    name = cookie.partition("=")[0]
    assert site.get("/frame/0/0.jpg", token=False, Cookie=f"{name}=wrong")[0] == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1.evil.example:{port}", ""]
)
def test_a_name_that_was_made_to_resolve_to_this_machine_is_refused(site: Served, host: str) -> None:
    """DNS rebinding: the browser takes evil.example for the site, and sends its name as Host."""
    host = host.format(port=site.server.port)
    for path in ("/", "/page/index.html", "/frame/0/0.jpg"):
        assert site.get(path, Host=host)[0] == 421


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "https://127.0.0.1:{port}", "http://127.0.0.1:1", "null"]
)
def test_requests_of_other_sites_are_refused(site: Served, origin: str) -> None:
    origin = origin.format(port=site.server.port)
    assert site.get("/frame/0/0.jpg", Origin=origin)[0] == 403
    with pytest.raises(InvalidStatus) as refused:
        site.page(origin=origin)
    assert refused.value.response.status_code == 403
    assert site.get("/frame/0/0.jpg", Origin=f"http://{site.host}")[0] == 200


def test_sockets_are_guarded_as_pages_are(site: Served) -> None:
    address = f"ws://{site.host}/socket"
    for wrong in (address, f"{address}?token=wrong"):
        with pytest.raises(InvalidStatus):
            site.page(address=wrong)
    with pytest.raises(InvalidStatus):
        site.page(additional_headers={"Host": f"evil.example:{site.server.port}"}, origin=None)
    with site.page() as page:
        assert page.state["video"]["name"] == "made.mp4"


TRAVERSALS = [
    "/page/../secret.txt",
    "/page/../../secret.txt",
    "/page/%2e%2e/%2e%2e/secret.txt",
    "/page/..%2f..%2fsecret.txt",
    "/page/js/../../server.py",
    "/page/%2e%2e/server.py",
    "/page//etc/passwd",
    "/page/{folder}/secret.txt",
    "/download/../secret.txt",
    "/download/..%2fsecret.txt",
    "/download/%2e%2e%2f%2e%2e%2fsecret.txt",
    "/download/{folder}/secret.txt",
    "/frame/0/..%2f..%2fsecret.txt",
    "/frame/0/-1.jpg",
    "/near/0/-1.jpg",
    "/near/0/..%2f..%2fsecret.jpg",
    "/frame/0/../../secret.jpg",
    "/frame/1/0.jpg",
    "/frame/0/12.jpg",
    "/frame/0/99999999999999999999.jpg",
]


@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_path_of_a_client_leads_to_a_file(site: Served, path: str) -> None:
    path = path.format(folder=site.bench.session.folder.parent)
    status, _, data = site.get(path)
    assert status == 404
    assert SECRET not in data
    assert b"AnnotationServer" not in data


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "MADEUP"])
def test_uploads_are_refused(site: Served, method: str) -> None:
    for path in ("/", "/page/js/main.js", "/frame/0/0.jpg", "/download/x"):
        assert site.get(path, method=method, body=b"x" * 100)[0] == 405
    assert site.get("/", method="GET", body=b"x")[0] == 413


def test_endless_headers_are_refused(site: Served) -> None:
    with contextlib.suppress(OSError):  # it hangs up on what goes on after its answer
        answer = raw(
            site.server.port, b"GET / HTTP/1.1\r\nHost: " + site.host.encode() + b"\r\nX: " + b"x" * 200_000
        )
        assert answer.startswith(b"HTTP/1.1 4")
    assert site.get("/")[0] == 200


def test_messages_have_limits(site: Served) -> None:
    points = [[1.0, 1.0]] * 20_001
    stroke = {"act": "brush", "frame": 0, "object": None, "points": [[1, 1]], "radius": 3, "mode": "add"}
    wrong = [
        ({**stroke, "points": points}, "points"),
        ({**stroke, "radius": 1e9}, "radius"),
        ({"act": "look", "frame": 0, "ahead": 1000}, "ahead"),
        ({"act": "look", "frame": -1}, "frame"),
        ({"act": "look", "frame": 1.5}, "frame"),
        ({"act": "click", "frame": 0, "object": None, "x": "1", "y": 1, "on": True}, "x"),
        ({"act": "click", "frame": 0, "object": 0, "x": 1, "y": 1, "on": True}, "object"),
        ({"act": "add_object", "label": "x" * 201}, "label"),
        ({"act": "add_object", "colour": "red; background: url(//evil.example)"}, "colour"),
        ({"act": "export", "formats": ["../../x"], "frames": "some"}, "frames"),
        ({"act": "look", "frame": 0, "path": "/etc/passwd"}, "unknown key 'path'"),
    ]  # fmt: skip
    with site.page() as page:
        before = page.state["history"]
        for document, field in wrong:
            answer = page.act(**document)
            assert answer["type"] == "error"
            assert field in f"{answer['message']} {answer['where']}"
        assert page.act("look", frame=0)["type"] == "done"
        assert page.state["history"] == before
        for text in ("", "nothing", "[]", "{}", '{"n": 1}', '{"n": NaN, "act": "look"}', "[" * 100_000):
            page.socket.send(text)
            while page.receive()["type"] != "error":
                pass
        assert page.act("look", frame=0)["type"] == "done"


def test_a_message_of_more_than_a_mebibyte_ends_the_socket(site: Served) -> None:
    with site.page() as page:
        page.socket.send(json.dumps({"n": 1, "act": "look", "frame": 0, "pad": "x" * (1 << 20)}))
        with pytest.raises(ConnectionClosed) as closed:
            page.until(lambda: False)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
    assert site.get("/")[0] == 200


def test_an_export_writes_below_the_project_alone(site: Served) -> None:
    with site.page() as page:
        page.act("click", frame=0, object=None, x=30, y=30, on=True)
        page.act("export", formats=["../../evil"], frames="all")
        page.until(lambda: any(m["type"] == "error" for m in page.others))
        page.others.clear()
        page.act("export", formats=["coco", "prompts"], frames="all")
        page.until(lambda: any(m["type"] == "exported" for m in page.others))
    folder = site.bench.session.folder
    assert sorted(path.name for path in folder.parent.iterdir()) == ["made.mp4", "run", "secret.txt"]
    assert (folder / "exports" / "all" / "masklets.coco.json").is_file()


def test_a_page_that_is_told_of_an_export_s_end_may_begin_the_next_one(site: Served) -> None:
    ends: queue.Queue[tuple[str, Any]] = queue.Queue()

    def listen(event: Any) -> None:
        if isinstance(event, dict) and event["type"] in ("error", "exported"):
            ends.put((event["type"], site.bench.state()["job"]))

    remove = site.bench.listeners.add(listen)
    for formats, end in ((["evil"], "error"), (["prompts"], "exported")):
        site.bench.export(formats, reviewed_only=False)
        assert ends.get(timeout=60) == (end, None)
    remove()


def test_the_page_may_load_nothing_from_outside(site: Served) -> None:
    for path in ("/", "/page/index.html", "/frame/0/0.jpg", "/nothing"):
        policy = site.get(path)[1]["content-security-policy"]
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        assert rules["default-src"] == "'none'"
        assert rules["script-src"] == "'self'"
        assert "unsafe" not in policy
        assert rules["frame-ancestors"] == "'self' http://localhost:* http://127.0.0.1:*"
    headers = site.get("/")[1]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_another_host_is_warned_of(tmp_path: Path) -> None:
    write_video(tmp_path / "made.mp4", 12)
    command = [sys.executable, "-m", "vidseg", "annotate", "made.mp4", "--host", "0.0.0.0", "--no-browser"]
    with subprocess.Popen(
        [*command, "--tracker", "flow"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "/?token=" in process.stdout.readline()
        assert "other machines can reach this server" in process.stderr.readline()
        process.terminate()
