"""An S3 server, whose address workers on a Ray cluster know as well."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import fsspec
import pytest


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[int]:
    """For this process and those that it starts, a Ray cluster's too; the port that a server should take."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield port


@pytest.fixture(scope="session")
def s3_server(s3_environment: int) -> Iterator[Any]:
    pytest.importorskip("s3fs", reason="needs the extra s3")
    server_module = pytest.importorskip("moto.server", reason="needs moto, of the extra dev")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=s3_environment, verbose=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: Any) -> Iterator[str]:
    """The address of an empty bucket."""
    fs = fsspec.filesystem("s3", skip_instance_cache=True)
    fs.mkdir("bucket")
    yield "s3://bucket"
    fs.rm("bucket", recursive=True)
    type(fs).clear_instance_cache()
