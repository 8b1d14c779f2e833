"""A server of `vidseg annotate` in this process, and a page's side of its socket."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from websockets.sync.client import ClientConnection, connect

from vidseg.annotation.server import AnnotationServer
from vidseg.annotation.workbench import Workbench
from vidseg.testing.fake_tracker import FakeTracker
from vidseg.trackers.contract import Tracker
from vidseg.trackers.options import TrackerOptions


@dataclass
class Served:
    """A server that runs, and what its tests ask of it."""

    bench: Workbench
    server: AnnotationServer

    @property
    def token(self) -> str:
        return self.server.address.partition("token=")[2]

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def get(
        self, path: str, *, method: str = "GET", token: bool = True, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of an answer; `path` is sent as it is. `headers`: '_' stands for '-'."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        if token:
            path += f"{'&' if '?' in path else '?'}token={self.token}"
        connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, data

    def page(self, **options: Any) -> Page:
        options = {"origin": f"http://{self.host}", **options}
        address = options.pop("address", f"ws://{self.host}/socket?token={self.token}")
        return Page(connect(address, max_size=None, open_timeout=30, legacy=True, **options))


@dataclass
class Page:
    """What a page knows, and its acts."""

    socket: ClientConnection
    state: dict[str, Any] = field(default_factory=dict)
    timelines: dict[int, list[str]] = field(default_factory=dict)
    masks: dict[int, dict[int, dict[str, Any]]] = field(default_factory=dict)
    """Frame -> object id -> its header, with the runs as `lengths`."""
    previews: list[dict[str, Any]] = field(default_factory=list)
    others: list[dict[str, Any]] = field(default_factory=list)
    """Messages of other types, such as errors without a number and `exported`."""
    number: int = 0

    def __enter__(self) -> Page:
        while not self.state:
            self.receive()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, act: str, **fields: Any) -> int:
        self.number += 1
        self.socket.send(json.dumps({"n": self.number, "act": act, **fields}))
        return self.number

    def act(self, act: str, **fields: Any) -> dict[str, Any]:
        """Send an act, and receive until it is answered; returns the answer."""
        number = self.send(act, **fields)
        while True:
            message = self.receive()
            if message.get("n") == number and message["type"] in ("done", "error"):
                return message

    def until(self, is_so: Any) -> None:
        """Receive until something is so."""
        while not is_so():
            self.receive()

    def receive(self) -> dict[str, Any]:
        data = self.socket.recv(timeout=60)
        if isinstance(data, bytes):
            return self._take_masks(data)
        message: dict[str, Any] = json.loads(data)
        if message["type"] == "state":
            self.state, self.timelines, self.masks = message["state"], {}, {}
        elif message["type"] == "patch":
            self.state |= message["state"]
        elif message["type"] == "timeline":
            kinds = self.timelines.setdefault(message["object"], ["."] * self.state["video"]["frames"])
            kinds[message["first"] : message["first"] + len(message["kinds"])] = message["kinds"]
            assert len(message["kinds"]) == len(message["scores"]) == len(message["areas"])
        elif message["type"] == "timeline_gone":
            self.timelines.pop(message["object"], None)
        elif message["type"] == "stale":
            for frame in range(message["first"], message["last"] + 1):
                self.masks.pop(frame, None)
        elif message["type"] != "done":
            self.others.append(message)
        return message

    def _take_masks(self, data: bytes) -> dict[str, Any]:
        import numpy as np

        length = int.from_bytes(data[:4], "little")
        assert length % 4 == 0
        header: dict[str, Any] = json.loads(data[4 : 4 + length])
        runs = np.frombuffer(data, "<u4", offset=4 + length)
        for item in header["objects"]:
            item["lengths"] = runs[item["at"] : item["at"] + item["runs"]].tolist()
        if header["type"] == "masks":
            self.masks[header["frame"]] = {item["id"]: item for item in header["objects"]}
        else:
            self.previews.append(header)
        return header


@contextmanager
def served(source: Path, out: Path | None, tracker: Tracker | None = None) -> Iterator[Served]:
    bench = Workbench(source, out, tracker=tracker or FakeTracker(), asked=TrackerOptions())
    server = AnnotationServer(bench)
    server.start()
    try:
        yield Served(bench, server)
    finally:
        server.stop()


def raw(port: int, request: bytes) -> bytes:
    """What a server answers to bytes that no HTTP library would send."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
        return b"".join(parts)
