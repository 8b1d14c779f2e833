"""A web server for one file, on this machine, that misbehaves as told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """What is served, and how; may be changed between requests."""

    content: bytes
    etag: str | None = '"v1"'
    has_ranges: bool = True
    ignores_if_range: bool = False
    says_length: bool = True
    failures: list[int] = field(default_factory=list)
    """Status codes of the next answers."""
    breaks: list[int] = field(default_factory=list)
    """After how many bytes of the body the next answers break off."""
    redirect: str | None = None
    ranges: list[str | None] = field(default_factory=list)
    """The Range header of each request so far."""
    url: str = ""

    @property
    def num_requests(self) -> int:
        return len(self.ranges)


@contextmanager
def serve(content: bytes) -> Iterator[FileServer]:
    """Serve until the block ends."""
    server = FileServer(content)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            _answer(self, server)

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{httpd.server_address[1]}/weights.pt"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def _answer(request: BaseHTTPRequestHandler, server: FileServer) -> None:
    asked = request.headers.get("Range")
    server.ranges.append(asked)
    if server.failures:
        request.send_error(server.failures.pop(0))
        return
    if server.redirect and request.path == "/weights.pt":
        request.send_response(302)
        request.send_header("Location", server.redirect)
        request.end_headers()
        return
    content = server.content
    start = 0
    is_same = server.ignores_if_range or request.headers.get("If-Range") == server.etag
    if asked and server.has_ranges and is_same:
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(content):
            request.send_error(416)
            return
        request.send_response(206)
        request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    else:
        request.send_response(200)
    if server.etag:
        request.send_header("ETag", server.etag)
    body = content[start:]
    if server.says_length:
        request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body[: server.breaks.pop(0)] if server.breaks else body)
