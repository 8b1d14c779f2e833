"""The server of `vidseg annotate`: the page, its pictures, its downloads and its socket."""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from mimetypes import guess_type
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from vidseg.annotation.connection import Connection, Threads
from vidseg.annotation.guard import Guard
from vidseg.annotation.listening import listen, own_addresses
from vidseg.annotation.workbench import Workbench
from vidseg.errors import VidsegError

PAGE = Path(__file__).with_name("page")
MAX_MESSAGE_BYTES = 1 << 20
MAX_PAGES = 16
"""How many sockets may be open at once."""
LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
NOTEBOOKS = "'self' http://localhost:* http://127.0.0.1:*"
"""Pages of one's own machine, which may hold the page in a frame."""
CHUNK_BYTES = 1 << 20
GONE_S = 0.05
"""How often the server looks whether somebody still waits for a picture."""

_NEVER_CHANGES = {"Cache-Control": "private, max-age=31536000, immutable"}
_MAY_CHANGE = {"Cache-Control": "no-cache"}


class AnnotationServer:
    """Serves one workbench on one address.

    Args:
        host: the address to listen on; others than 127.0.0.1 let other machines in, if they have the token.
        port: 0 takes any that is free.

    Raises:
        InputError: there is no such port.
        OutputError: the port is taken, or the host is not one of this machine.
    """

    def __init__(self, bench: Workbench, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._bench = bench
        self._threads = Threads()
        self._num_pages = 0
        self._socket = listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._token = secrets.token_urlsafe(32)
        self._cookie = f"vidseg-{self.port}"  # cookies are shared by all ports of a host
        shown = host if host not in ("0.0.0.0", "::") else socket.gethostname()
        self.address = f"http://{f'[{shown}]' if ':' in shown else shown}:{self.port}/?token={self._token}"
        self._page = {
            path.relative_to(PAGE).as_posix(): path for path in sorted(PAGE.rglob("*")) if path.is_file()
        }
        hosts = {f"{name}:{self.port}" for name in (*LOCAL_NAMES, shown.lower())}
        if host in ("0.0.0.0", "::"):
            hosts |= {f"{address}:{self.port}" for address in own_addresses()}
        app = Starlette(
            routes=[
                Route("/", self._index),
                Route("/page/{name:path}", self._page_file),
                Route("/frame/{video:int}/{number:int}.jpg", self._frame),
                Route("/near/{video:int}/{number:int}.jpg", self._near),
                Route("/download/{name}", self._download),
                WebSocketRoute("/socket", self._serve_socket),
            ]
        )
        guarded = Guard(app, hosts=hosts, token=self._token, cookie=self._cookie, ancestors=NOTEBOOKS)
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(
                guarded,
                log_level="error",
                ws="websockets-sansio",
                ws_max_size=MAX_MESSAGE_BYTES,
                h11_max_incomplete_event_size=1 << 16,
                timeout_graceful_shutdown=2,
                timeout_keep_alive=60,
                server_header=False,
            )
        )
        self._thread: threading.Thread | None = None

    def run(self, announce: Callable[[], object] = lambda: None) -> None:
        """Serve until Ctrl-C or `stop`, then close the workbench.

        Args:
            announce: tells people the address first; Ctrl-C closes the workbench from then on.
        """
        with self._ended_by_ctrl_c():
            try:
                announce()
                self._uvicorn.run(sockets=[self._socket])
            finally:
                self._close()

    @contextmanager
    def _ended_by_ctrl_c(self) -> Iterator[None]:
        """Have Ctrl-C end the server even before it runs.

        Python's own handler raises KeyboardInterrupt wherever the main thread is, and drops it where nothing
        can be raised, such as in a callback of the import system.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # signals reach the main thread alone
            return
        before = signal.signal(signal.SIGINT, lambda *_: setattr(self._uvicorn, "should_exit", True))
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def start(self) -> None:
        """Serve in a thread; returns when pages can be opened."""
        self._thread = threading.Thread(target=self.run, name="vidseg-annotate-server", daemon=True)
        self._thread.start()
        while not self._uvicorn.started and self._thread.is_alive():
            self._thread.join(0.02)

    def stop(self) -> None:
        """End the server, and close the workbench."""
        self._uvicorn.should_exit = True
        if self._thread is not None:
            self._thread.join()

    def _close(self) -> None:
        self._threads.close()
        self._bench.close()
        self._socket.close()

    async def _index(self, request: Request) -> Response:
        response = FileResponse(self._page["index.html"], headers=_MAY_CHANGE)
        response.set_cookie(self._cookie, self._token, httponly=True, samesite="strict", path="/")
        return response

    async def _page_file(self, request: Request) -> Response:
        path = self._page.get(request.path_params["name"])  # a name from a list, never a path
        if path is None:
            return PlainTextResponse("there is no such file\n", status_code=404)
        kind = "text/javascript" if path.suffix == ".js" else guess_type(path.name)[0]
        return FileResponse(path, media_type=kind, headers=_MAY_CHANGE)

    async def _frame(self, request: Request) -> Response:
        if request.path_params["video"] != self._bench.index:
            return PlainTextResponse("another video is open\n", status_code=404)
        waiting = asyncio.wrap_future(self._bench.pictures.get(request.path_params["number"]))
        while not (await asyncio.wait({waiting}, timeout=GONE_S))[0]:
            if await request.is_disconnected():  # the playhead went on
                waiting.cancel()
                return Response(status_code=499)
        try:
            return Response(waiting.result(), media_type="image/jpeg", headers=_NEVER_CHANGES)
        except VidsegError as error:
            return PlainTextResponse(f"{error.message}\n", status_code=404)

    async def _near(self, request: Request) -> Response:
        """Leads to the nearest picture that is ready."""
        video = request.path_params["video"]
        ready = self._bench.pictures.nearest(request.path_params["number"])
        if video != self._bench.index or ready is None:
            return PlainTextResponse("no picture is ready\n", status_code=404)
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"/frame/{video}/{ready}.jpg{query}", headers={"Cache-Control": "no-store"})

    async def _download(self, request: Request) -> Response:
        name = request.path_params["name"]
        path = self._bench.exported.get(name)  # a name from a list, never a path
        if path is None or not path.exists():
            return PlainTextResponse("there is no such export\n", status_code=404)
        if path.is_file():
            return FileResponse(path, filename=name)
        disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
        return StreamingResponse(_zipped(path), media_type="application/zip", headers=disposition)

    async def _serve_socket(self, websocket: WebSocket) -> None:
        if self._num_pages >= MAX_PAGES:
            await websocket.close(4429, "too many pages are open")
            return
        self._num_pages += 1
        try:
            await Connection(websocket, self._bench, self._threads).serve()
        finally:
            self._num_pages -= 1


def _zipped(folder: Path) -> Iterator[bytes]:
    """A folder as a zip file, in pieces; what is written there is compressed already, mostly."""
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for path in sorted(folder.rglob("*")):
                if path.is_file() and not path.is_symlink():
                    archive.write(path, path.relative_to(folder.parent))
        file.seek(0)
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
