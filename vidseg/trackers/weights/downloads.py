"""Downloads that may break at any point and still end as the right file, or as no file.

A download grows in `<file>.part`, with what the server said about it in `<file>.part.json`. A broken one is
continued if the server still has the same file (RFC 9110: Range with If-Range), else started again. The file
gets its name only when its length and digest are right. If several processes want a file, one downloads and
the others wait.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidseg.errors import CheckpointError, OutputError, RunError
from vidseg.trackers.weights.cache import (
    cache_folder,
    check_first,
    make_folder,
    missing_weights,
    record_digest,
    record_path,
    recorded_digest,
    sha256_of,
    verify,
)
from vidseg.trackers.weights.checkpoint import check_whole
from vidseg.trackers.weights.published import Published, published
from vidseg.version import __version__

ATTEMPTS = 5
"""After this many attempts in a row without a single new byte a download is given up."""
FIRST_PAUSE_S = 1.0
"""Pause after a failed attempt; it doubles after each further one."""
TIMEOUT_S = 30.0
"""An attempt fails after this many seconds without a byte from the server."""
CHUNK = 1 << 18
"""Bytes that are read at once."""

_NETWORK_ERRORS = (
    urllib.error.URLError,
    http.client.HTTPException,
    TimeoutError,
    ConnectionError,
    ssl.SSLError,
)

Progress = Callable[[int, "int | None"], None]
"""Called with the bytes downloaded and, if the server says it, the number of bytes in all."""


def download(
    name: str,
    folder: Path | None = None,
    *,
    on_progress: Progress | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> Path:
    """The published weights of a tracker, from the cache or from their official address.

    Args:
        folder: where to put them; None: the cache.
        on_progress: called as bytes arrive.
        on_wait: called with the reason before a pause (another process is at it, or the connection broke).

    Returns:
        The file, with the right length and digest.

    Raises:
        CheckpointError: no such weights, none that a program can get, not at their address, or not what they
            were (published, or recorded at the first download).
        RunError: no connection, the server fails, or the disk is full.
        OutputError: the folder cannot be written to.
    """
    wanted = published(name)
    target = (folder or cache_folder()) / wanted.file_name
    if target.is_file():
        verify(target, wanted)
        return target
    if wanted.url is None:
        raise missing_weights(name, wanted)
    make_folder(target.parent)
    return fetch(wanted, target, on_progress=on_progress, on_wait=on_wait)


def fetch(
    wanted: Published,
    target: Path,
    *,
    on_progress: Progress | None = None,
    on_wait: Callable[[str], None] | None = None,
    first_pause_s: float = FIRST_PAUSE_S,
) -> Path:
    """Download one published file to `target`; see `download`."""
    import filelock

    lock = filelock.FileLock(f"{target}.lock")
    try:
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            if on_wait:
                on_wait("another process is downloading the same file; waiting for it")
            lock.acquire()
        try:
            if not target.is_file():
                part = target.with_name(target.name + ".part")
                _fetch_whole(wanted, part, on_progress, on_wait, first_pause_s)
                _accept(wanted, part, target)
            verify(target, wanted)
            return target
        finally:
            lock.release()
    except OSError as error:
        raise _disk_error(error, target) from None


def _accept(wanted: Published, part: Path, target: Path) -> None:
    """Give a complete download its name if it is the right file; else delete it."""
    expected = wanted.sha256 or recorded_digest(target)
    try:
        check_whole(part, hint="it was deleted; try again")
        digest = sha256_of(part)
        if expected is None:
            check_first(part, digest, wanted)
        if expected is not None and digest != expected:
            source = (
                "published" if wanted.sha256 else f"recorded in {target.name}.sha256 at the first download"
            )
            raise CheckpointError(
                f"the download is not what was {source}: SHA-256 {digest[:16]}..., not {expected[:16]}...",
                hint="it was deleted; try again, and if the file was replaced on purpose "
                + (f"see {wanted.page}" if wanted.sha256 else f"delete {record_path(target)}"),
            )
    except CheckpointError as error:
        _discard(part)
        error.where = wanted.url
        raise
    record_digest(target, digest)
    os.replace(part, target)
    _note_path(part).unlink(missing_ok=True)


@dataclass(frozen=True)
class _Remote:
    """What the server says about a file; equal as long as it is the same file."""

    url: str
    num_bytes: int | None
    etag: str | None
    last_modified: str | None

    @property
    def validator(self) -> str | None:
        """The value for If-Range, which takes strong validators only."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified


class _Interrupted(Exception):  # noqa: N818 (not an error: the next attempt goes on)
    """An attempt failed in a way that may pass."""


class _NoSuchHost(_Interrupted):
    """The name of the server cannot be resolved: most likely there is no network at all."""


class _Changed(_Interrupted):
    """The part on disk cannot be continued."""

    def __init__(self) -> None:
        super().__init__("the file on the server has changed")


def _fetch_whole(
    wanted: Published,
    part: Path,
    on_progress: Progress | None,
    on_wait: Callable[[str], None] | None,
    first_pause_s: float,
) -> None:
    """Attempt until the whole file is in `part`; attempts that bring new bytes do not count as failed."""
    failures = 0
    most = 0
    while True:
        try:
            _attempt(wanted, part, on_progress)
            return
        except _Interrupted as failure:
            if isinstance(failure, _Changed):
                _discard(part)
            failures = failures + 1 if _size(part) <= most else 1
            most = max(most, _size(part))
            is_offline = isinstance(failure, _NoSuchHost) and not most
            if failures >= ATTEMPTS or is_offline:
                here = f"; it goes on after the {_size(part):,} bytes that are here" if _size(part) else ""
                raise RunError(
                    str(failure)
                    if is_offline
                    else f"{ATTEMPTS} attempts in a row failed; the last: {failure}",
                    where=wanted.url,
                    hint=f"try again when the network is there{here}; or give a file: --weights FILE",
                ) from None
            pause_s = first_pause_s * 2 ** (failures - 1)
            if on_wait:
                on_wait(f"{failure}; trying again in {pause_s:g} s")
            time.sleep(pause_s)


def _attempt(wanted: Published, part: Path, on_progress: Progress | None) -> None:
    """One request, which continues where the last one stopped.

    Raises:
        _Interrupted: the connection or the server failed.
        CheckpointError: the file is not there.
    """
    assert wanted.url is not None
    known = _read_note(part)
    offset = _size(part) if known and known.url == wanted.url and known.validator else 0
    if known and offset and offset == known.num_bytes:
        return
    request = urllib.request.Request(
        wanted.url, headers={"User-Agent": f"vidseg/{__version__}", "Accept-Encoding": "identity"}
    )
    if known and known.validator and offset:
        request.add_header("Range", f"bytes={offset}-")
        request.add_header("If-Range", known.validator)
    try:
        with _opener().open(request, timeout=TIMEOUT_S) as response:
            is_continued, remote = _same_file(wanted, response, known, offset)
            if not is_continued:
                # Delete the bytes before the note, as a crash between the two would mix two files otherwise.
                _discard(part)
                offset = 0
            _check_room(part, remote, offset)
            _write_note(part, remote)
            _receive(response, part, offset, remote.num_bytes, on_progress)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            raise _Changed from None
        if error.code in (408, 429) or error.code >= 500:
            raise _Interrupted(f"the server answered {error.code} {error.reason}") from None
        # A loop of redirects is told in several lines.
        raise CheckpointError(
            f"the server answered {error.code} {' '.join(error.reason.split())}",
            where=wanted.url,
            hint=f"see {wanted.page} for where the weights are now, and give the file with --weights FILE",
        ) from None
    except _NETWORK_ERRORS as error:
        reason = getattr(error, "reason", None) or error or type(error).__name__
        kind = _NoSuchHost if isinstance(reason, socket.gaierror) else _Interrupted
        raise kind(f"no connection ({reason})") from None


def _same_file(wanted: Published, response: Any, known: _Remote | None, offset: int) -> tuple[bool, _Remote]:
    """Whether the response continues the file that is partly here, and what the server says about the whole.

    Raises:
        _Interrupted: the server continues with another part or file.
    """
    assert wanted.url is not None
    headers = response.headers
    length = headers.get("Content-Length")
    etag, last_modified = headers.get("ETag"), headers.get("Last-Modified")
    if response.status != 206:
        num_bytes = int(length) if length and length.isdigit() else None
        return False, _Remote(wanted.url, num_bytes, etag, last_modified)
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", "").strip())
    if span and int(span[1]) == offset:
        remote = _Remote(wanted.url, int(span[2]), etag, last_modified)
        if remote == known:
            return True, remote
    # If-Range should have prevented this; a server that ignores it would splice two files together.
    raise _Changed


def _receive(
    response: Any, part: Path, offset: int, num_bytes: int | None, on_progress: Progress | None
) -> None:
    with open(part, "r+b" if offset else "wb") as file:
        file.seek(offset)
        file.truncate()
        here = offset
        if on_progress:
            on_progress(here, num_bytes)
        while chunk := _next_chunk(response):
            file.write(chunk)
            here += len(chunk)
            if on_progress:
                on_progress(here, num_bytes)
        file.flush()
        os.fsync(file.fileno())
    if num_bytes is not None and here != num_bytes:
        raise _Interrupted(f"the connection broke after {here:,} of {num_bytes:,} bytes")


def _next_chunk(response: Any) -> bytes:
    """The next bytes from the server; b'' at the end.

    Raises:
        _Interrupted: the network failed, in a way that would else look like a failure of the disk.
    """
    try:
        chunk: bytes = response.read(CHUNK)
    except _NETWORK_ERRORS:
        raise
    except OSError as error:  # a network that went down, no route to the host
        raise _Interrupted(f"no connection ({error})") from None
    return chunk


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to plain http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise CheckpointError(
                f"the server redirects to an insecure address, {newurl}", where=req.full_url
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_SafeRedirects)


def _check_room(part: Path, remote: _Remote, offset: int) -> None:
    if remote.num_bytes is None:
        return
    free = shutil.disk_usage(part.parent).free
    if remote.num_bytes - offset > free:
        raise OSError(errno.ENOSPC, f"{remote.num_bytes - offset:,} bytes are needed, {free:,} are free")


def _disk_error(error: OSError, target: Path) -> RunError | OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunError(
            f"the disk is full ({error.strerror})",
            where=str(target.parent),
            hint="make room and try again (it goes on where it stopped), or set VIDSEG_CACHE elsewhere",
        )
    return OutputError(
        f"the weights cannot be written ({error.strerror or error})",
        where=str(target.parent),
        hint="set VIDSEG_CACHE to a folder that you may write to, or give --to DIR",
    )


def _note_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_note(part: Path) -> _Remote | None:
    try:
        return _Remote(**json.loads(_note_path(part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _write_note(part: Path, remote: _Remote) -> None:
    _note_path(part).write_text(json.dumps(asdict(remote)), encoding="utf-8")


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note_path(part).unlink(missing_ok=True)
